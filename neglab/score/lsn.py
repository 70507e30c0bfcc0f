"""LSN's score: MCM on the positive prompts, set against the best "not" among the negative ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.ranges import NotNegative, Positive
from neglab.score.base import BankScore
from neglab.types import Outline, TextBank, UserError

FORMS = ("paper", "official")


@dataclass(frozen=True)
class LSNBank:
    """Positive prompts [C, D] and K negative ones per class [K, C, D]."""

    positives: Float[Tensor, "C D"]
    negatives: Float[Tensor, "K C D"]


class LSNScore(BankScore[LSNBank]):
    """Largest softmax share of a positive prompt, and how little the weakest negative one matches. Higher is more ID.

    An ID image matches the negative prompts of its own class least of all. With s+ and s- the cosines:

    - "paper": max_c softmax(s+ / tau) - mean_k min_c softmax(s-_k / tau-), Eq. 9;
    - "official": max_c softmax(s+ / tau) + mean_k max_c softmax((1 - s-_k) / tau-).

    Both are decided by the same negative prompt of a set; only the shares' normalisation differs.

    Args:
        form: "paper" or "official".
        temperature: tau, divides the positive cosines.
        negative_temperature: tau-, divides the negative ones.
        positive_weight: of the first term; 0: negatives only.
        negative_weight: of the second; 0: positives only.

    Raises:
        UserError: an unknown form, or weights that are both 0; on first use, of
            negatives that are not K per class.

    Shapes: images [B, D] and a bank of C ID labels and K C negatives give [B], float64.

    Source: LSN (Nie et al., ICLR 2024), Eq. 9 and 11 to 14, temperatures in Appendix D; official code at ebd97e22,
        main_feature_100_upload.py:155-257.
    Differs: the paper leaves open how K sets are joined; its form takes the mean of their minima, as the code of its
        maxima. The official code scores in float16, where 20,000 images share some 130 values; here nothing ties.
    """

    def __init__(
        self,
        form: str,
        temperature: Positive,
        negative_temperature: Positive,
        positive_weight: NotNegative,
        negative_weight: NotNegative,
    ) -> None:
        if form not in FORMS:
            raise UserError(f"score.form must be one of {', '.join(FORMS)}; got {form!r}.")
        if positive_weight == negative_weight == 0:
            raise UserError("score.positive_weight and score.negative_weight must not both be 0. Raise one of them.")
        self.form, self.temperature, self.negative_temperature = form, temperature, negative_temperature
        self.positive_weight, self.negative_weight = positive_weight, negative_weight

    def check(self, outline: Outline) -> None:
        num_classes, count = len(outline.id_names), outline.num_negatives
        if not count or count % num_classes:
            raise UserError(
                f"LSN's score needs K negative prompts for each of the {num_classes} ID classes; got {count} "
                "negatives. Choose method=lsn with prompt.checkpoint=FOLDER, which `neglab learn` leaves, and "
                "llm_filter=none."
            )

    def prepare(self, bank: TextBank) -> LSNBank:
        self.check(Outline.of(bank))
        num_classes, count = len(bank.id_labels), len(bank.negatives)
        negatives = bank.negatives.embeddings.unflatten(0, (count // num_classes, num_classes))
        return LSNBank(bank.id_labels.embeddings, negatives)

    def score(self, images: Float[Tensor, "B D"], prepared: LSNBank) -> Float[Tensor, " B"]:
        return self.joined(images @ prepared.positives.T, images, prepared.negatives)

    def joined(
        self, similarity: Float[Tensor, "B C"], images: Float[Tensor, "B D"], negatives: Float[Tensor, "K C D"]
    ) -> Float[Tensor, " B"]:
        """The score from the cosines with the positive prompts, which may have been encoded for each image."""
        positive = largest_share(similarity.double() / self.temperature)
        parts = []
        for own in negatives:  # set by set: all cosines at once would take K times the memory
            cosines = (images @ own.T).double()
            if self.form == "official":
                parts.append(largest_share((1 - cosines) / self.negative_temperature))
            else:
                logits = cosines / self.negative_temperature
                parts.append(-torch.exp(logits.amin(dim=1) - logits.logsumexp(dim=1)))
        return self.positive_weight * positive + self.negative_weight * torch.stack(parts).mean(dim=0)


def largest_share(logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """The largest softmax share of each row."""
    return torch.exp(logits.amax(dim=1) - logits.logsumexp(dim=1))
