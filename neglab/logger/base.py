"""The contract of a run logger: a view of a run whose truth is in its folder's files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """By what a run is found again.

    Attributes:
        command: what it does, such as "evaluate".
        folder: where its files are.
        sweep: the name that all jobs of one sweep share; None: it is no job of a sweep.
        tags: method, backbone and ID set, those that the command has.
    """

    command: str
    folder: Path
    sweep: str | None
    tags: tuple[str, ...]


class RunLogger(ABC):
    """Receives one run's config, metrics, tables and plots.

    Attributes:
        log_images: whether it wants some of the dataset's images too.
    """

    log_images = False

    @abstractmethod
    def start(self, config: Mapping[str, Any], job: Job) -> None:
        """Begin the run; `config` is the resolved one."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """The run's final metrics."""

    def log_epoch(self, values: Mapping[str, float]) -> None:
        """One point of the training curves; nothing, unless a dashboard draws them."""
        return

    @abstractmethod
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of results, labels or images; a cell may be a PIL image."""

    @abstractmethod
    def log_image(self, name: str, path: Path) -> None:
        """A plot."""

    @abstractmethod
    def finish(self) -> None:
        """End the run, also after a failure; safe to call when it never began."""
