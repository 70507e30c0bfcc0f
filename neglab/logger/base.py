"""The contract of a run logger: a view of a run whose truth is in its folder's files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class RunLogger(ABC):
    """Receives one run's config, metrics, tables and pictures."""

    @abstractmethod
    def start(self, config: Mapping[str, Any]) -> None:
        """Begin the run; `config` is the resolved one."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """The run's final metrics."""

    def log_epoch(self, values: Mapping[str, float]) -> None:
        """One point of the training curves; nothing, unless a dashboard draws them."""
        return

    @abstractmethod
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of results or labels."""

    @abstractmethod
    def log_image(self, name: str, path: Path) -> None:
        """A plot."""

    @abstractmethod
    def finish(self) -> None:
        """End the run, also after a failure; safe to call when it never began."""
