"""Errors of users and of disks; without torch, so that the command line can catch them cheaply."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can mend. The message says the rule, what came, and what to do; no traceback is shown."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk, or a person's share of it, has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_full_said(what: str) -> Iterator[None]:
    """Around writing into the store.

    Args:
        what: could not be written, and what is kept.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"The disk is full: {what} Free some space, or set paths.store (NEGLAB_STORE) to another disk, and run the "
            "same command again."
        ) from error
