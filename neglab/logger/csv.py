"""No dashboard: the run's folder already holds metrics.json, results.csv, tables and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neglab.logger.base import Job, RunLogger


class CSVRunLogger(RunLogger):
    """Adds nothing to the files that every run writes."""

    def start(self, config: Mapping[str, Any], job: Job) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        pass

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        pass

    def log_image(self, name: str, path: Path) -> None:
        pass

    def finish(self) -> None:
        pass
