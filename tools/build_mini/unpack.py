"""Unpack the photographs that keep the classifier in its place out of Debian's packages.

GCompris keeps its pictures in Qt's resource files: a tree of names over one block of data, all numbers big-endian.
"""

import struct
import subprocess
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from sources import GAME, WALLPAPERS, checked

ACTIVITIES = "gcompris/src/activities/"
PHOTOGRAPHS = (
    "details/resource/image/*_background.webp", "erase/resource/*.webp", "explore_monuments/resource/*.webp",
    "categorization/resource/images/renewable/*.webp", "categorization/resource/images/monuments/*.webp",
)  # fmt: skip
PAINTINGS = ("*gogh*", "*eglise_dauvers*", "*portraitofperetanguy*")
COMPRESSED, FOLDER = 1, 2  # flags of an entry


def build(packages: Path, work: Path) -> None:
    """Writes WORK/photographs/, one folder per package."""
    (work / "debian").mkdir(exist_ok=True)
    for source in (GAME, *WALLPAPERS):
        subprocess.run(["dpkg-deb", "-x", checked(packages, source), work / "debian" / source.file], check=True)
    folder, count = work / "photographs", 0
    for path in sorted((work / "debian" / GAME.file).rglob("*.rcc")):
        for name, data in resources(path.read_bytes()):
            if is_photograph(name):
                target = folder / "gcompris" / name.removeprefix(ACTIVITIES)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                count += 1
    for source in WALLPAPERS:
        for path in sorted((work / "debian" / source.file).rglob("backgrounds/**/*.jpg")):
            target = folder / source.file.partition("_")[0] / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            count += 1
    print(f"{count} photographs")


def is_photograph(name: str) -> bool:
    """Whether a file of the game is a photograph that is used."""
    wanted = any(fnmatch(name, ACTIVITIES + pattern) for pattern in PHOTOGRAPHS)
    return wanted and not any(fnmatch(name.lower(), pattern) for pattern in PAINTINGS)


def resources(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a Qt resource file (`rcc -binary`, formats 1 to 3; zlib or plain)."""
    magic, version, tree, data, names = struct.unpack_from(">4s4I", packed)
    if magic != b"qres" or version > 3:
        raise SystemExit(f"This is no Qt resource file of format 1 to 3: it begins with {packed[:8]!r}.")
    width = 14 if version == 1 else 22

    def below(number: int, folder: str) -> Iterator[tuple[str, bytes]]:
        place = tree + number * width
        name_place, flags = struct.unpack_from(">IH", packed, place)
        (length,) = struct.unpack_from(">H", packed, names + name_place)
        start = names + name_place + 6
        name = folder + packed[start : start + 2 * length].decode("utf-16-be") if number else ""
        if flags & FOLDER:
            count, first = struct.unpack_from(">II", packed, place + 6)
            for child in range(first, first + count):
                yield from below(child, name and f"{name}/")
            return
        (begin,) = struct.unpack_from(">I", packed, place + 10)
        (size,) = struct.unpack_from(">I", packed, data + begin)
        content = packed[data + begin + 4 : data + begin + 4 + size]
        yield name, zlib.decompress(content[4:]) if flags & COMPRESSED else content

    return below(0, "")
