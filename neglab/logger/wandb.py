"""Weights & Biases: one run per job, online for whoever is logged in, else offline without a question."""

import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from neglab.logger.base import RunLogger
from neglab.types import UserError

DEFAULT_SERVER = "https://api.wandb.ai"
MODES = ("auto", "online", "offline", "disabled")


class WandbRunLogger(RunLogger):
    """Writes the run to W&B.

    Args:
        project: W&B's project.
        group: runs that belong together, such as the jobs of one sweep; None: none.
        job_type: what the run does, such as "evaluate".
        name: the run's name; None: W&B makes one up.
        tags: for finding it again.
        folder: where W&B keeps its files.
        mode: "auto" is online for whoever is logged in and offline otherwise; "online", "offline", "disabled".

    Raises:
        UserError: an unknown mode.
    """

    def __init__(
        self,
        project: str,
        group: str | None,
        job_type: str,
        name: str | None,
        tags: Sequence[str],
        folder: str,
        mode: str,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"logger.mode must be one of {', '.join(MODES)}; got {mode!r}.")
        self.options = {"project": project, "group": group, "job_type": job_type, "name": name, "tags": list(tags)}
        self.folder, self.mode = folder, mode
        self.run: Any = None

    def start(self, config: Mapping[str, Any]) -> None:
        import wandb  # here: `logger=csv` must not pay for it

        mode: Any = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE") or mode_of_this_user()
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        # Without these, a job of a few seconds spends as long on W&B's own bookkeeping.
        quick = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        # "create_new": the jobs of a multirun share a process and must not merge into one run.
        self.run = wandb.init(
            **self.options, dir=self.folder, mode=mode, config=dict(config), settings=quick, reinit="create_new"
        )

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.run.summary.update(dict(metrics))

    def log_epoch(self, values: Mapping[str, float]) -> None:
        self.run.log(dict(values))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        self.run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})

    def log_image(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))})

    def finish(self) -> None:
        if self.run is not None:
            self.run.finish()
            self.run = None


def mode_of_this_user() -> str:
    """Whether W&B's key is in the environment or in ~/.netrc; asks nobody and opens no connection."""
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlsplit(os.environ.get("WANDB_BASE_URL", DEFAULT_SERVER)).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return "online" if netrc(str(path)).authenticators(host) else "offline"
    except (OSError, NetrcParseError):
        return "offline"
