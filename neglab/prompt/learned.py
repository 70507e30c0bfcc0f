"""Prompts that `neglab learn` trained: the ID classes and the negative prompts come from its checkpoint."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.context.checkpoint import read_checkpoint
from neglab.context.prompts import context_prompts
from neglab.prompt.templates import PromptTemplates
from neglab.types import TextEncoder, UserError, Words

WORDS = ("template", "context")
NAMES_PER_PASS = 1024


@runtime_checkable
class NamesClasses(Protocol):
    """What the ID dataset is asked for here."""

    def class_names(self) -> Words: ...


class LearnedPrompts(PromptTemplates):
    """Known names, ID classes and learned negatives, have their embeddings in the checkpoint; templates serve the rest.

    Args:
        checkpoint: the folder that `neglab learn` left.
        templates: for words that the checkpoint does not know, such as a corpus.
        id_dataset: whose classes are to be known.
        words: "template", or "context": other words take the learned context too, which is CoOp's.

    Raises:
        UserError: no checkpoint there, an ID class that it does not know, or no shared context to take.
    """

    def __init__(self, checkpoint: str, templates: PromptTemplates, id_dataset: NamesClasses, words: str) -> None:
        self.templates, self.normalise_before_mean = templates.templates, templates.normalise_before_mean
        if words not in WORDS:
            raise UserError(f"prompt.words must be one of {', '.join(WORDS)}; got {words!r}.")
        self.checkpoint, self.words = read_checkpoint(checkpoint), words
        self.checkpoint.class_positions(id_dataset.class_names().names)
        context = self.checkpoint.tensors["context"]
        by_image = "meta_net.down.weight" in self.checkpoint.tensors
        if words == "context" and (by_image or context.shape[1] > 1 or not self.checkpoint.description.class_name):
            raise UserError(
                "prompt.words=context needs one context that stands before any name, as CoOp learns; the checkpoint's "
                "depends on the image or on the class. Set prompt.words=template."
            )

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "learned": [self.checkpoint.digest, self.words]}

    def check_backbone(self, fingerprint: str) -> None:
        """Raise a UserError where the prompts were learned on another backbone."""
        self.checkpoint.check_backbone(fingerprint)

    def replace_known(
        self, names: Sequence[str], embeddings: Float[Tensor, "N D"], encoder: TextEncoder
    ) -> Float[Tensor, "N D"]:
        positions, known = self.known(names, encoder)
        embeddings[positions] = known
        return embeddings

    def known(self, names: Sequence[str], encoder: TextEncoder) -> tuple[Int[Tensor, " K"], Float[Tensor, "K D"]]:
        """The positions of the names whose embeddings do not come from templates, and these embeddings.

        Args:
            names: ID classes, negatives or corpus words.
            encoder: for words that take the learned context.
        """
        listed, own = tuple(names), self.checkpoint.description.class_names
        rows = torch.cat([self.checkpoint.class_embeddings, self.checkpoint.negative_embeddings])
        all_names = (*own, *self.checkpoint.negative_names())
        if listed == own:  # also where a name stands twice
            return torch.arange(len(own)), self.checkpoint.class_embeddings
        place = {name: i for i, name in reversed(list(enumerate(all_names)))}
        positions = torch.tensor([i for i, name in enumerate(listed) if name in place], dtype=torch.long)
        embeddings = rows[[place[name] for name in listed if name in place]]
        if self.words == "template":
            return positions, embeddings
        others = torch.tensor([i for i, name in enumerate(listed) if name not in place], dtype=torch.long)
        encoded = self._in_context([listed[i] for i in others.tolist()], encoder)
        return torch.cat([positions, others]), torch.cat([embeddings, encoded])

    @torch.no_grad()
    def _in_context(self, names: Sequence[str], encoder: TextEncoder) -> Float[Tensor, "N D"]:
        context = self.checkpoint.tensors["context"]
        found = [self.checkpoint.class_embeddings[:0]]
        for start in range(0, len(names), NAMES_PER_PASS):
            part = names[start : start + NAMES_PER_PASS]
            prompts = context_prompts(encoder, part, context.shape[2], True, context.device)
            encoded = encoder.encode_continuations(*prompts(context))
            found.append(encoded[0] if len(context) == 1 else normalize(encoded.mean(dim=0), dim=1))
        return torch.cat(found)
