"""The detection metrics of more scores than memory holds: sorted runs on the disk, merged from the lowest score up.

AUROC and both FPR95 are ratios of whole numbers, and those of `curves.py` to the last bit; the average precisions are
sums of as many terms as there are distinct scores, taken block by block, and differ by rounding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from neglab.files import write_atomically
from neglab.metrics.curves import RECALL, check_scores

ROWS = 2**22  # scores that are sorted at once, and held in all while runs are merged: 100 MB of values and counts


@dataclass(frozen=True)
class Block:
    """The next distinct scores, ascending: how many images have each, and how many have a lower one."""

    id_counts: Int[Tensor, " V"]
    ood_counts: Int[Tensor, " V"]
    id_below: Int[Tensor, " V"]
    ood_below: Int[Tensor, " V"]

    @property
    def id_up_to(self) -> Int[Tensor, " V"]:
        return self.id_below + self.id_counts

    @property
    def ood_up_to(self) -> Int[Tensor, " V"]:
        return self.ood_below + self.ood_counts


class SortedScores:
    """Scores of ID and OOD images, sorted and counted in runs on the disk.

    Args:
        folder: for the runs; whoever made it removes it.
        rows: scores that are held in memory.
    """

    def __init__(self, folder: Path, rows: int = ROWS) -> None:
        self.folder, self.rows = folder, rows
        self.num_id = self.num_ood = self._num_runs = self._num_waiting = 0
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, scores: Float[Tensor, " B"], is_id: Bool[Tensor, " B"]) -> None:
        """Add a batch: ID scores, higher for ID, and which images are ID."""
        for part, kind in zip(scores.split(self.rows), is_id.split(self.rows), strict=True):
            self._waiting.append((part.double(), kind))
            self._num_waiting += len(part)
            if self._num_waiting >= self.rows:
                self._write_run()

    def metrics(self) -> dict[str, float]:
        """Every detection metric under the key it has in metrics.json, a fraction in [0, 1].

        Raises:
            UserError: a score is NaN, or one of the two kinds has no image.
        """
        self._write_run()
        check_scores(0, self.num_id, self.num_ood)
        metrics: dict[str, _Metric] = {
            "auroc": _AUROC(),
            "aupr_in": _AveragePrecisionIn(),
            "aupr_out": _AveragePrecisionOut(),
            "fpr95_id_positive": _FPRIDPositive(),
            "fpr95_ood_positive": _FPROODPositive(),
        }
        for block in self.blocks():
            for metric in metrics.values():
                metric.see(block, self.num_id, self.num_ood)
        return {name: metric.value(self.num_id, self.num_ood) for name, metric in metrics.items()}

    def blocks(self) -> Iterator[Block]:
        """All runs as one, in blocks of which each begins above the end of the one before."""
        self._write_run()
        size = max(1, self.rows // max(1, self._num_runs))
        runs = [_Run(self.folder / f"{i}.safetensors", size) for i in range(self._num_runs)]
        num_id = num_ood = 0
        while runs := [run for run in runs if run.fill()]:
            # Up to here every run shows all that it has.
            last = min((run.last for run in runs if run.is_unread), default=math.inf)
            taken = [run.take(last) for run in runs]
            rows = torch.cat([values for values, _ in taken])
            distinct, place = torch.unique(rows, return_inverse=True)
            counts = torch.zeros(2, len(distinct), dtype=torch.long)
            counts.index_add_(1, place, torch.cat([part for _, part in taken], dim=1))
            below = counts.cumsum(1) - counts + torch.tensor([[num_id], [num_ood]])
            yield Block(*counts, *below)
            num_id, num_ood = (below[:, -1] + counts[:, -1]).tolist()

    def _write_run(self) -> None:
        if not self._waiting:
            return
        scores, is_id = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        num_id = int(is_id.sum())
        if num_nan := int(scores.isnan().sum()):
            check_scores(num_nan, num_id, len(is_id) - num_id)
        values, place = torch.unique(scores, return_inverse=True)
        kinds = [place[is_id].bincount(minlength=len(values)), place[~is_id].bincount(minlength=len(values))]
        content = save({"values": values, "counts": torch.stack(kinds)})
        write_atomically(self.folder / f"{self._num_runs}.safetensors", content)
        self.num_id, self.num_ood = self.num_id + num_id, self.num_ood + len(is_id) - num_id
        self._num_runs, self._waiting, self._num_waiting = self._num_runs + 1, [], 0


class _Run:
    """A sorted run, of which some rows are in memory."""

    def __init__(self, path: Path, size: int) -> None:
        self.size, self.next_row = size, 0
        with safe_open(path, "pt") as file:
            self._values, self._counts = file.get_slice("values"), file.get_slice("counts")
        self.num_rows = self._values.get_shape()[0]
        self.values, self.counts = torch.empty(0, dtype=torch.double), torch.empty(2, 0, dtype=torch.long)

    @property
    def is_unread(self) -> bool:
        return self.next_row < self.num_rows

    @property
    def last(self) -> float:
        """The highest score in memory."""
        return float(self.values[-1])

    def fill(self) -> bool:
        """Read on until as many rows are in memory as may be; False: the run has ended."""
        end = min(self.next_row + self.size - len(self.values), self.num_rows)
        if end > self.next_row:
            self.values = torch.cat([self.values, self._values[self.next_row : end]])
            self.counts = torch.cat([self.counts, self._counts[:, self.next_row : end]], dim=1)
            self.next_row = end
        return len(self.values) > 0

    def take(self, last: float) -> tuple[Float[Tensor, " K"], Int[Tensor, "2 K"]]:
        """The rows up to this score, which leave memory."""
        count = int(torch.searchsorted(self.values, last, right=True))
        taken = self.values[:count], self.counts[:, :count]
        self.values, self.counts = self.values[count:], self.counts[:, count:]
        return taken


class _Metric(Protocol):
    """A metric that sees the distinct scores once, from the lowest up."""

    def see(self, block: Block, num_id: int, num_ood: int) -> None: ...

    def value(self, num_id: int, num_ood: int) -> float: ...


class _AUROC:
    twice_above = 0  # pairs in which the ID image scores higher, ties half

    def see(self, block: Block, num_id: int, num_ood: int) -> None:
        self.twice_above += int((block.id_counts * (2 * block.ood_below + block.ood_counts)).sum())

    def value(self, num_id: int, num_ood: int) -> float:
        return float(self.twice_above) / float(2 * num_id * num_ood)


class _AveragePrecisionIn:
    total = 0.0

    def see(self, block: Block, num_id: int, num_ood: int) -> None:
        found, others = (num_id - block.id_below).double(), num_ood - block.ood_below
        self.total += float((block.id_counts * (found / (found + others))).sum())

    def value(self, num_id: int, num_ood: int) -> float:
        return self.total / num_id


class _AveragePrecisionOut:
    total = 0.0

    def see(self, block: Block, num_id: int, num_ood: int) -> None:
        found = block.ood_up_to.double()
        self.total += float((block.ood_counts * (found / (found + block.id_up_to))).sum())

    def value(self, num_id: int, num_ood: int) -> float:
        return self.total / num_ood


class _FPROODPositive:
    """As `curves.fpr_ood_positive`."""

    rejected: int | None = None

    def see(self, block: Block, num_id: int, num_ood: int) -> None:
        is_caught = block.ood_up_to.double() / num_ood >= RECALL
        if self.rejected is None and is_caught.any():
            self.rejected = int(block.id_up_to[is_caught.int().argmax()])

    def value(self, num_id: int, num_ood: int) -> float:
        return float(self.rejected or 0) / num_id


class _FPRIDPositive:
    """As `curves.fpr_id_positive`: the threshold lies just above the next lower ID score."""

    distance, let_in = float("inf"), 0
    up_to_lower: int | None = None  # OOD images up to the highest ID score so far

    def see(self, block: Block, num_id: int, num_ood: int) -> None:
        places = block.id_counts.nonzero().flatten()
        if not len(places):
            return
        distances = ((num_id - block.id_below[places]).double() / num_id - RECALL).abs()
        cut = int(distances.argmin())
        if float(distances[cut]) < self.distance:  # of two equal distances the first has the higher recall
            lowest = int(block.ood_below[places[0]]) if self.up_to_lower is None else self.up_to_lower
            kept_out = int(block.ood_up_to[places[cut - 1]]) if cut > 0 else lowest
            self.distance, self.let_in = float(distances[cut]), num_ood - kept_out
        self.up_to_lower = int(block.ood_up_to[places[-1]])

    def value(self, num_id: int, num_ood: int) -> float:
        return float(self.let_in) / num_ood
