"""EOE: the largest share of an ID class less a fraction of the largest share of an envisioned outlier label."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import NotNegative, Positive
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.types import Outline, TextBank, UserError

CHUNK_ELEMENTS = 2**23  # float64 logits held at once: 64 MiB
FORMS = ("eoe", "max", "msp", "energy", "max_logit")


@dataclass(frozen=True)
class OutlierBank:
    """The ID classes [C, D] and the outlier labels [M, D]."""

    id_embeddings: Float[Tensor, "C D"]
    outlier_embeddings: Float[Tensor, "M D"]


class EOEScore(BankScore[OutlierBank]):
    """max over ID classes p - beta * max over outlier labels p, p a softmax over all labels. Higher is more ID.

    The outlier labels are the bank's negatives. With s the similarities over the temperature T, the forms are

    - eoe: max_id p - beta * max_outlier p;
    - max: the largest softmax share among the ID classes alone; 1 / C, its floor, where an outlier label is on top;
    - msp: max_id p, the first term of eoe;
    - energy: T * (logsumexp_id(s) - beta * logsumexp_outlier(s));
    - max_logit: T * (max_id(s) - beta * max_outlier(s)).

    Args:
        form: one of the above.
        beta: weight of the outlier labels; max and msp have none.
        temperature: T, divides the cosine similarities; 1 in the official code for all but the energy (0.01).

    Raises:
        UserError: an unknown form, or no negatives.

    Shapes: images [B, D] and a bank of C + M labels give [B]; float64.

    Source: Cao et al., "Envisioning Outlier Exposure by Large Language Models for Out-of-Distribution Detection", ICML
        2024; official code 20fa95e.
    Differs: nothing for eoe and msp. For the others the specification leaves open where beta stands: it multiplies
        the outlier term, and 1 is the plain difference; max reads "the ID logits are set to 1 / C" as the floor of
        the softmax over the ID classes.
    """

    def __init__(self, form: str, beta: NotNegative, temperature: Positive) -> None:
        if form not in FORMS:
            raise UserError(f"score.form must be one of {', '.join(FORMS)}; got {form}. Choose one of these.")
        self.form, self.beta, self.temperature = form, beta, temperature

    def check(self, outline: Outline) -> None:
        if not outline.num_negatives:
            raise UserError(
                "EOE compares with outlier labels; got 0 negatives. Choose another negative_selector than nothing, or "
                "a score that needs none."
            )

    def prepare(self, bank: TextBank) -> OutlierBank:
        self.check(Outline.of(bank))
        return OutlierBank(bank.id_labels.embeddings, bank.negatives.embeddings)

    def score(self, images: Float[Tensor, "B D"], prepared: OutlierBank) -> Float[Tensor, " B"]:
        labels = len(prepared.id_embeddings) + len(prepared.outlier_embeddings)
        rows = rows_at_once(images, labels, CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _score_chunk(self, images: Float[Tensor, "B D"], bank: OutlierBank) -> Float[Tensor, " B"]:
        id_logits = (images @ bank.id_embeddings.T).double() / self.temperature
        outlier_logits = (images @ bank.outlier_embeddings.T).double() / self.temperature
        id_top, outlier_top = id_logits.amax(dim=1), outlier_logits.amax(dim=1)
        id_mass, outlier_mass = id_logits.logsumexp(dim=1), outlier_logits.logsumexp(dim=1)
        if self.form == "energy":
            return self.temperature * (id_mass - self.beta * outlier_mass)
        if self.form == "max_logit":
            return self.temperature * (id_top - self.beta * outlier_top)
        if self.form == "max":
            return torch.where(outlier_top > id_top, 1 / id_logits.shape[1], (id_top - id_mass).exp())
        mass = torch.logaddexp(id_mass, outlier_mass)
        weight = self.beta if self.form == "eoe" else 0.0
        return (id_top - mass).exp() - weight * (outlier_top - mass).exp()
