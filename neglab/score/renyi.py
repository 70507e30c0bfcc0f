"""Renyi-DRO's score: the ID classes' mass less a worst case over all labels, told by a Renyi divergence."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import AboveOne, Cosine, CountOrZero, NotNegative, Positive
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.types import TextBank, UserError

CHUNK_ELEMENTS = 2**20  # logits held at once, some times over, in float64: 8 MiB each
BISECTIONS = 50  # halve a bracket, less than a thousand cosines wide, below what a cosine's last bit is


@dataclass(frozen=True)
class AllLabels:
    """The ID classes, then the negatives [C + M, D], and C."""

    labels: Float[Tensor, "N D"]
    num_id: int


class RenyiScore(BankScore[AllLabels]):
    """logsumexp over the ID classes of s / tau, less F(b) / tau. Higher is more ID.

    With s_j the cosines of all C + M labels, no groups, and r* = r / (r - 1): d_j = max(0, s_j - b) / tau, norm(b) =
    (mean_j d_j^r*)^(1/r*) and F(b) = b + eta tau norm(b), the dual of a worst case over distributions within a Renyi
    divergence. It is convex; b takes `steps` steps down its slope from `start`, which hardly move it: the start is a
    constant of the method.

    Args:
        temperature: tau, divides the cosines.
        eta: weight of the norm.
        order: r, of the divergence; near 1 the norm is nearly the maximum (1.05 makes r* 21).
        start: beta_0, a cosine.
        steps: of gradient descent; "optimum": b is F's minimum, found by bisection, and `start` does not count.
        step_size: of the descent, in cosines.

    Raises:
        UserError: `steps` is "optimum" and eta at most 1: F then falls without end.

    Shapes: images [B, D] and a bank of C + M labels give [B]; float64.

    Source: "A Closer Look at Negative Label Guided OOD Detection in Pre-trained VLMs", ICML 2026; official code,
        main_online.py at bd615d7 (`get_score_2`) and main_online_fs.py (float64).
    Differs: the largest d stands before the norm, since d^r* leaves float32 from d = 68 on (r* = 21). Where b lies
        above every cosine the norm is 0 and F's slope 1; the official one is NaN. `steps: optimum` is ours.
    """

    def __init__(
        self,
        temperature: Positive,
        eta: NotNegative,
        order: AboveOne,
        start: Cosine,
        steps: CountOrZero | Literal["optimum"],
        step_size: NotNegative,
    ) -> None:
        if steps == "optimum" and eta <= 1:
            raise UserError(
                f"score.steps=optimum needs score.eta above 1, else F has no minimum; got eta={eta}. Give a number of "
                "steps."
            )
        self.temperature, self.eta, self.conjugate = temperature, eta, order / (order - 1)
        self.start, self.steps, self.step_size = start, steps, step_size

    def prepare(self, bank: TextBank) -> AllLabels:
        return AllLabels(torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings]), len(bank.id_labels))

    def score(self, images: Float[Tensor, "B D"], prepared: AllLabels) -> Float[Tensor, " B"]:
        rows = rows_at_once(images, len(prepared.labels), CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _score_chunk(self, images: Float[Tensor, "B D"], bank: AllLabels) -> Float[Tensor, " B"]:
        rough = images @ bank.labels.T
        cosines = rough.double()
        # Powers are slow; float32 moves b by some 1e-8 in all steps.
        b = self._minimum(cosines) if isinstance(self.steps, str) else self._descended(rough, self.steps)
        id_mass = (cosines[:, : bank.num_id] / self.temperature).logsumexp(dim=1)
        return id_mass - b / self.temperature - self.eta * self._norm_and_slope(cosines, b)[0]

    def _descended(self, cosines: Float[Tensor, "B N"], steps: int) -> Float[Tensor, " B"]:
        b = cosines.new_full(cosines.shape[:1], self.start, dtype=torch.float64)
        for _ in range(steps):
            b = b - self.step_size * (1 - self.eta * self._norm_and_slope(cosines, b)[1].double())
        return b

    def _minimum(self, cosines: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        least, high = cosines.aminmax(dim=1)
        # There the least d is so near to the largest that the norm falls faster than b / (eta tau) rises.
        nearness = self.eta ** (-1 / (self.conjugate - 1))
        low = (least - nearness * high) / (1 - nearness)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            falls = self.eta * self._norm_and_slope(cosines, middle)[1] > 1
            low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
        return high

    def _norm_and_slope(
        self, cosines: Float[Tensor, "B N"], b: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """norm(b), and how fast tau times it falls as b rises, in [0, 1]."""
        distances = (cosines - b[:, None].to(cosines.dtype)).clamp_(min=0)
        largest = distances.amax(dim=1)
        shares = distances.div_(largest.where(largest > 0, 1)[:, None])
        powers = shares.pow(self.conjugate - 1)
        mean = (powers * shares).mean(dim=1)
        slope = torch.where(largest > 0, mean.pow(1 / self.conjugate - 1) * powers.mean(dim=1), 0)
        return largest / self.temperature * mean.pow(1 / self.conjugate), slope
