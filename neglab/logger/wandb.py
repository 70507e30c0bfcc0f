"""Weights & Biases: one run per job, online for whoever is logged in, else offline without a question."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from neglab.logger.base import Job, RunLogger
from neglab.types import UserError

MODES = ("auto", "online", "offline", "disabled")
PATIENCE = 5.0  # seconds until a connection to W&B's server opens
INIT_PATIENCE = 20.0  # seconds until it has taken a run
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
LONGEST_TAG = 64  # characters; W&B takes no longer ones

logger = logging.getLogger(__name__)


class WandbRunLogger(RunLogger):
    """Writes the run to W&B: an online run from its start on, one that stays here once there is something to log.

    Args:
        project: W&B's project.
        group: runs that belong together; None: the jobs of one sweep.
        name: the run's name; None: W&B makes one up.
        tags: for finding it again, beside method, backbone and ID set.
        mode: "auto" is online for whoever is logged in and offline otherwise; "online", "offline", "disabled".
        log_images: whether images of the dataset leave this machine.

    Raises:
        UserError: an unknown mode.
    """

    def __init__(
        self,
        project: str,
        group: str | None,
        name: str | None,
        tags: Sequence[str],
        mode: str,
        log_images: bool,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"logger.mode must be one of {', '.join(MODES)}; got {mode!r}.")
        self.project, self.group, self.name, self.tags = project, group, name, tuple(tags)
        self.mode, self.log_images = mode, log_images
        self.begin: Callable[[], Any] | None = None  # what is left to do of the start
        self._run: Any = None
        self.staging = Path()

    def start(self, config: Mapping[str, Any], job: Job) -> None:
        mode = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE") or mode_of_this_user()
        job.folder.mkdir(parents=True, exist_ok=True)
        self.staging = job.folder.absolute() / "wandb"
        stays_here = mode in ("offline", "disabled")
        self.begin = partial(self._begun, config, job, mode if stays_here else "offline")
        if not stays_here:
            self._run = self._begun_online(config, job, mode)

    def _begun_online(self, config: Mapping[str, Any], job: Job, mode: str) -> Any:
        """None where the server does not take it: it begins offline, later."""
        import wandb  # here: `logger=csv` must not pay for it

        try:
            return self._begun(config, job, mode)
        except wandb.Error as error:
            if self.mode == "online":
                self.begin = None
                raise UserError(
                    f"logger.mode=online needs W&B's server: {error} Take logger.mode=auto, which goes offline by "
                    "itself, or logger=csv."
                ) from error
            logger.warning("W&B's server did not take the run (%s): it is kept offline in %s", error, self.staging)
            return None

    @property
    def run(self) -> Any:
        """W&B's own run, begun by now."""
        if self._run is None and self.begin is not None:
            self._run = self.begin()
        return self._run

    def _begun(self, config: Mapping[str, Any], job: Job, mode: Any) -> Any:
        import wandb

        # Without these, a job of a few seconds spends as long on W&B's own bookkeeping.
        quick = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,  # environment.json has the libraries that count
            init_timeout=INIT_PATIENCE,
        )
        # "create_new": the jobs of a multirun share a process and must not merge into one run.
        return wandb.init(
            project=self.project,
            group=self.group or job.sweep,
            job_type=job.command,
            name=self.name,
            tags=list(dict.fromkeys(map(fitting, [*job.tags, *self.tags]))),
            dir=job.folder,
            mode=mode,
            config=dict(config),
            settings=quick,
            reinit="create_new",
        )

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.run.summary.update(dict(metrics))

    def log_epoch(self, values: Mapping[str, float]) -> None:
        self.run.log(dict(values))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        cells: list[Any] = [
            [wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in rows
        ]
        # Where None may come, W&B weighs two types for each cell, which takes three times as long.
        optional = [any(row[i] is None for row in cells) for i in range(len(columns))]
        with staging_in(self.staging):
            self.run.log({name: wandb.Table(columns=list(columns), data=cells, optional=optional)})

    def log_image(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))})

    def finish(self) -> None:
        if self.begin is not None:  # one that failed before it logged stands there too
            self.run.finish(exit_code=int(sys.exc_info()[0] is not None))  # called on the way out of a failure too
            self.begin = self._run = None


@contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """W&B copies a table and its images to the home folder, unless this variable names another: an offline run is
    whole only with them, so they stay with its other files."""
    chosen = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = chosen or str(folder)
    try:
        yield
    finally:
        if chosen is None:
            del os.environ["WANDB_DATA_DIR"]


def fitting(tag: str) -> str:
    """A tag as W&B takes it."""
    return tag if len(tag) <= LONGEST_TAG else f"{tag[: LONGEST_TAG - 3]}..."


def mode_of_this_user() -> str:
    """Online where wandb itself knows this user and its server can be reached; asks the user nothing."""
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(silent=True))
        if not wandb.login(prompt=False, verify=False):
            return "offline"
    except (wandb.Error, ValueError) as error:  # a key or an address of another form
        logger.warning("W&B's login cannot be used (%s): runs are kept offline", error)
        return "offline"
    return "online" if is_reachable(wandb.setup().settings.base_url) else "offline"


@cache  # asked, and said, once for each process
def is_reachable(server: str) -> bool:
    """Whether a connection to W&B's server opens; behind a proxy it is taken for granted."""
    address = urlsplit(server)
    if any(map(os.environ.get, PROXIES)) or address.hostname is None:
        return True
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), timeout=PATIENCE).close()
    except OSError as error:
        logger.warning("W&B's server %s cannot be reached (%s): runs are kept offline", server, error)
        return False
    return True
