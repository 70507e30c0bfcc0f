"""Where messages go: warnings to the screen, and more, with time and level, into the run's folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

FILE = "neglab.log"
WITH_TIME = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_log(folder: Path, verbose: bool | str | Sequence[str], level: str = "warning") -> None:
    """Set up the logging of this process for one run.

    Args:
        folder: of the run.
        verbose: hydra.verbose: True for all that is said, or the names of the loggers that say all they have.
        level: log_level: of neglab's messages that reach the screen; at debug the file has those too.
    """
    root, screen = logging.getLogger(), logging.StreamHandler()
    for handler in root.handlers[:]:  # of the sweep's earlier job
        root.removeHandler(handler)
        handler.close()
    shown = logging.getLevelNamesMapping()[level.upper()]
    screen.setLevel(logging.NOTSET if verbose else shown)
    screen.setFormatter(logging.Formatter(WITH_TIME if verbose else "%(message)s"))
    file = logging.FileHandler(folder / FILE, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter(WITH_TIME))
    file.handleError = lambda record: None  # a full disk is said once, by what had to be written
    root.addHandler(screen)
    root.addHandler(file)
    root.setLevel(logging.DEBUG if verbose is True else logging.WARNING)
    logging.getLogger("neglab").setLevel(min(shown, logging.INFO))
    for name in () if isinstance(verbose, bool) else [verbose] if isinstance(verbose, str) else verbose:
        logging.getLogger(str(name)).setLevel(logging.DEBUG)
