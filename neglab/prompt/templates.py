"""From names to prompted texts, and from the embeddings of a name's prompts to one embedding."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.types import PartOfSpeech, TextEncoder, UserError

SLOT = "{}"


class PromptTemplates:
    """Templates per part of speech; ID class names are nouns.

    Args:
        noun: templates for nouns and ID class names, each with one `{}`.
        adjective: templates for adjectives.
        normalise_before_mean: a name with several prompts gets the mean of their unit-norm embeddings (True, as
            open_clip and InterNeg) or of their raw embeddings (False, as CSP and NegRefine); then unit norm.

    Raises:
        UserError: a list is empty, or a template has no slot or several.
    """

    def __init__(self, noun: Sequence[str], adjective: Sequence[str], normalise_before_mean: bool) -> None:
        for kind, templates in (("noun", noun), ("adjective", adjective)):
            # A string is a sequence of strings too.
            listed = [templates] if isinstance(templates, str) else list(templates)
            if isinstance(templates, str) or not listed or any(str(one).count(SLOT) != 1 for one in listed):
                raise UserError(
                    f"prompt.{kind} must be templates with one {SLOT} each; got {templates}. "
                    f"Give a list, such as ['a photo of a {SLOT}']."
                )
        self.templates: dict[PartOfSpeech, tuple[str, ...]] = {"noun": tuple(noun), "adjective": tuple(adjective)}
        self.normalise_before_mean = normalise_before_mean

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the embedding of a name under a backbone, for the store."""
        return {"templates": self.templates, "normalise_before_mean": self.normalise_before_mean}

    def check_backbone(self, fingerprint: str) -> None:
        """Raise a UserError where these prompts do not fit the backbone; templates fit any."""
        return

    def replace_known(
        self, names: Sequence[str], embeddings: Float[Tensor, "N D"], encoder: TextEncoder
    ) -> Float[Tensor, "N D"]:
        """The embeddings, with those in place that do not come from templates: none here."""
        return embeddings

    def expand(
        self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]
    ) -> tuple[list[str], Int[Tensor, " P"]]:
        """Every prompt of every name, and the position of the name that each prompt belongs to."""
        texts, owner = [], []
        for i, (name, part_of_speech) in enumerate(zip(names, parts_of_speech, strict=True)):
            # `replace`, not `format`: a name may hold braces.
            texts += [template.replace(SLOT, name) for template in self.templates[part_of_speech]]
            owner += [i] * len(self.templates[part_of_speech])
        return texts, torch.tensor(owner, dtype=torch.long)

    def average(
        self, raw: Float[Tensor, "P D"], owner: Int[Tensor, " P"], num_names: int
    ) -> Float[Tensor, "{num_names} D"]:
        """One unit-norm embedding per name from the raw embeddings of its prompts."""
        if self.normalise_before_mean:
            raw = normalize(raw, dim=1)
        # The sum has the mean's direction.
        return normalize(raw.new_zeros(num_names, raw.shape[1]).index_add(0, owner, raw), dim=1)

    def lengths(
        self, raw: Float[Tensor, "P D"], owner: Int[Tensor, " P"], num_names: int
    ) -> Float[Tensor, " {num_names}"]:
        """How long the mean of each name's raw embeddings is."""
        sums = raw.new_zeros(num_names, raw.shape[1]).index_add(0, owner, raw)
        return sums.norm(dim=1) / owner.bincount(minlength=num_names)
