"""SIGTERM, as a cluster sends it before a time limit."""

import os
import signal
from contextlib import suppress
from typing import Any


def end_on_sigterm() -> list[int]:
    """From now on SIGTERM ends a run like Ctrl-C: what is finished is written.

    Returns:
        The signals that came.
    """
    own, received = os.getpid(), []

    def end(number: int, frame: Any) -> None:
        if os.getpid() != own:  # a worker that was forked from this process
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        received.append(number)
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread: the program around it has its own ways
        signal.signal(signal.SIGTERM, end)
    return received
