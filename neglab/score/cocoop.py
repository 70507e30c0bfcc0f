"""MCM, alone or within LSN's score, on prompts that CoCoOp makes anew for each image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.context.checkpoint import PromptCheckpoint, read_checkpoint
from neglab.context.prompts import ContextPrompts, MetaNet, TokenEncoder, conditional_texts, context_prompts
from neglab.ranges import Count, Positive
from neglab.score.base import Judgement, Score
from neglab.score.lsn import LSNScore, largest_share
from neglab.types import Outline, TextBank, TextEncoder, UserError


@dataclass(frozen=True)
class CoCoOpState:
    """The prompts of the ID classes, what shifts their context, and LSN's negatives.

    Attributes:
        encode: the text tower, unit norm.
        prompts: of C classes.
        context: before the image's share, [1, 1, n, E].
        meta_net: gives the image's share.
        negatives: [K, C, D]; K is 0 without LSN.
    """

    encode: TokenEncoder
    prompts: ContextPrompts
    context: Float[Tensor, "1 1 n E"]
    meta_net: MetaNet
    negatives: Float[Tensor, "K C D"]


class CoCoOpScore(Score[CoCoOpState]):
    """Largest softmax share of an ID class, whose text is encoded for each image. Higher is more ID.

    C prompts go through the text tower for every image. The predicted class is that of the image's own nearest text,
    as CoCoOp predicts.

    Args:
        checkpoint: the folder that `neglab learn prompt_learner=cocoop` left; None where it is still to be given.
        temperature: divides the cosine similarities; not used with `lsn`, which has its own.
        prompts_per_pass: prompts that are encoded at once; at least those of one image are.
        lsn: how negatives join in; None: positives alone.

    Raises:
        UserError: on first use, a checkpoint of other prompts or classes.

    Shapes: images [B, D] give [B], float64.

    Source: CoCoOp (Zhou et al., CVPR 2022), official code at ff61507c, trainers/cocoop.py; MCM (Ming et al., NeurIPS
        2022), Eq. 1; LSN (Nie et al., ICLR 2024), Eq. 9, whose code has no CoCoOp.
    """

    needs_encoder: ClassVar[bool] = True

    def __init__(
        self, checkpoint: str | None, temperature: Positive, prompts_per_pass: Count, lsn: LSNScore | None
    ) -> None:
        self.checkpoint, self.temperature = checkpoint, temperature
        self.prompts_per_pass, self.lsn = prompts_per_pass, lsn

    def check(self, outline: Outline) -> None:
        self._prompts(outline.id_names)

    def _prompts(self, id_names: tuple[str, ...]) -> PromptCheckpoint:
        """Those that CoCoOp learned, of these classes."""
        if self.checkpoint is None:
            raise UserError("score.checkpoint must be a folder that `neglab learn` left; got none.")
        checkpoint = read_checkpoint(self.checkpoint)
        if "meta_net.down.weight" not in checkpoint.tensors:
            raise UserError(
                f"score=cocoop needs prompts that CoCoOp learned; those in {self.checkpoint} have no meta-net. Run "
                "`neglab learn prompt_learner=cocoop`, or choose method=coop or method=lsn."
            )
        checkpoint.class_positions(id_names)
        return checkpoint

    def init(self, bank: TextBank, encoder: TextEncoder) -> CoCoOpState:
        names = bank.id_labels.names
        checkpoint = self._prompts(names)
        ids = bank.id_labels.embeddings
        context = checkpoint.tensors["context"].to(ids.device)
        prompts = context_prompts(encoder, names, context.shape[2], checkpoint.description.class_name, ids.device)
        negatives = ids.new_zeros(0, *ids.shape) if self.lsn is None else self.lsn.prepare(bank).negatives
        return CoCoOpState(
            encoder.encode_continuations, prompts, context, _meta_net(checkpoint).to(ids.device), negatives
        )

    @torch.no_grad()
    def step(self, state: CoCoOpState, images: Float[Tensor, "B D"]) -> tuple[Judgement, CoCoOpState]:
        scores, predicted = [], []
        for part in images.split(max(1, self.prompts_per_pass // len(state.prompts))):
            texts = conditional_texts(state.encode, state.prompts, state.context, state.meta_net, part)
            similarity = (texts * part[:, None]).sum(dim=2)
            predicted.append(similarity.argmax(dim=1))
            if self.lsn is None:
                scores.append(largest_share(similarity.double() / self.temperature))
            else:
                scores.append(self.lsn.joined(similarity, part, state.negatives))
        return Judgement(torch.cat(scores), torch.cat(predicted)), state


def _meta_net(checkpoint: PromptCheckpoint) -> MetaNet:
    prefix = "meta_net."
    weights = {name.removeprefix(prefix): t for name, t in checkpoint.tensors.items() if name.startswith(prefix)}
    width, embedding_dim = len(weights["up.weight"]), weights["down.weight"].shape[1]
    net = MetaNet(embedding_dim, width, torch.Generator())
    net.load_state_dict(weights)
    return net.requires_grad_(False)
