"""Weights files: whole as they were shipped, or not to be had."""

import hashlib
import os
import re
import socket
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from huggingface_hub import constants as hub

from neglab.files import open_regular, read_bytes
from neglab.types import UserError

DIGESTS = "SHA256SUMS"  # as `sha256sum` writes it, beside the files of a model's folder
NETWORK_LIBRARIES = {"httpcore", "httpx", "requests", "urllib3"}
NETWORK_ERRORS = {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}  # of huggingface_hub
# How transformers says which package a class of it needs.
NEEDED_PACKAGE = re.compile(r"pip install (?:--?\S+ )*([\w.\[\]-]+)|requires the (\S+) library")
PACKAGE_OF = {"google": "protobuf"}  # modules of another name
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
PATIENCE = 5.0  # seconds until a connection opens
CHAIN = 20  # errors, each the cause of the one before


def check_digests(folder: Path) -> None:
    """Raise a UserError where a file of the folder is not the one that its SHA256SUMS, if any, tells of."""
    table = folder / DIGESTS
    if not table.is_file():
        return
    for line in read_bytes(table).decode(errors="replace").splitlines():
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


@cache  # once for each process
def look_for_hub() -> None:
    """Where no connection to the hub opens, tell its library: it would try for a minute and bury the cause in lines.

    What lies in the hub's cache on this machine is found all the same.
    """
    address = urlsplit(hub.ENDPOINT)
    if hub.is_offline_mode() or any(map(os.environ.get, PROXIES)) or address.hostname is None:
        return
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=PATIENCE).close()
    except OSError:
        hub.HF_HUB_OFFLINE = True


def advice(error: BaseException) -> str:
    """What to do where weights could not be fetched for want of a network or a package; empty for any other error."""
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
        if isinstance(found, ImportError) and (package := _missing_package(found)):
            return f" A package is missing: pip install {package}"
        found = found.__cause__ or found.__context__
    return ""


def _missing_package(error: ImportError) -> str | None:
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        module = error.name.split(".")[0]
        return PACKAGE_OF.get(module, module)
    needed = NEEDED_PACKAGE.search(str(error))
    return None if needed is None else needed[1] or needed[2].lower()
