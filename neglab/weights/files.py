"""Weights files: whole as they were shipped, or not to be had."""

import hashlib
import socket
from pathlib import Path
from urllib.error import URLError

from neglab.files import open_regular
from neglab.types import UserError

DIGESTS = "SHA256SUMS"  # as `sha256sum` writes it, beside the files of a model's folder
NETWORK_LIBRARIES = {"httpcore", "httpx", "requests", "urllib3"}
NETWORK_ERRORS = {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}  # of huggingface_hub
CHAIN = 20  # errors, each the cause of the one before


def check_digests(folder: Path) -> None:
    """Raise a UserError where a file of the folder is not the one that its SHA256SUMS, if any, tells of."""
    table = folder / DIGESTS
    if not table.is_file():
        return
    for line in table.read_text().splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        found = "no file"
        if path.is_file():
            with open_regular(path) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise UserError(
                f"{path} must be the file with the sha256 {expected[:12]}..., as {table} says; found {found[:12]}: it "
                "is cut short, damaged or changed. Install neglab again, or renew the table if you changed the model."
            )


def advice(error: BaseException) -> str:
    """What to do where weights could not be fetched for want of a network; empty for any other error."""
    found: BaseException | None = error
    for _ in range(CHAIN):
        if found is None:
            break
        library = type(found).__module__.split(".")[0]
        is_network = isinstance(found, (ConnectionError, TimeoutError, URLError, socket.gaierror))
        if is_network or library in NETWORK_LIBRARIES or type(found).__name__ in NETWORK_ERRORS:
            return (
                " The hub with the weights could not be reached: fetch them where it can be and point to the folder or "
                "file, or take backbone=mini, which ships with neglab."
            )
        found = found.__cause__ or found.__context__
    return ""
