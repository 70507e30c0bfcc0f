"""A stream in a given order."""

from pathlib import Path

import torch

from neglab.files import read_bytes
from neglab.ranges import Count
from neglab.stream.base import StreamPlan
from neglab.types import Stream, UserError


class FileStream(StreamPlan):
    """The order that a text file gives, one position per line: ID images are 0 to N-1, the OOD set's follow.

    Args:
        path: the file; with several OOD sets, they must all fit it.
        batch_size, reset: see `StreamPlan`.

    Raises:
        UserError: on first use, for a file that cannot be read, or positions that stand twice or do not exist.
    """

    def __init__(self, path: str, batch_size: Count, reset: bool) -> None:
        super().__init__(batch_size, 0, reset)
        self.path = Path(path).expanduser()

    def check(self) -> None:
        self._positions()

    def draw(self, num_id: int, num_ood: int) -> Stream:
        positions = self._positions()
        total = num_id + num_ood
        if not positions or len(set(positions)) != len(positions) or not 0 <= min(positions) <= max(positions) < total:
            raise UserError(
                f"{self.path} must name positions from 0 to {total - 1}, each at most once: {num_id} ID images, then "
                f"{num_ood} OOD images. Mend the file, or choose stream=shuffled."
            )
        return Stream(torch.tensor(positions), self.batch_size, self.seed)

    def _positions(self) -> list[int]:
        try:
            return [int(line) for line in read_bytes(self.path).decode().split()]
        except (OSError, ValueError) as error:
            raise UserError(f"stream.path must be a text file with one number per line; {self.path}: {error}") from None

    def describe(self) -> str:
        return f"order of {self.path.name}, batches of {self.batch_size}{'' if self.reset else ', never reset'}"
