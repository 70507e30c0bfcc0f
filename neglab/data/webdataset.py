"""Images in WebDataset shards: plain tar files, each picture read where it lies, without unpacking."""

import glob
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from neglab.data.base import About, ImageDataset, ImageList, ImageSource
from neglab.data.names import as_words, given_names, numbered, spoken
from neglab.data.pictures import is_picture
from neglab.data.tar import members
from neglab.files import decode, open_regular
from neglab.types import UserError, Words


@dataclass(frozen=True)
class TarImage(ImageSource):
    """A picture inside a tar file.

    Attributes:
        shard: the tar file.
        start: where the picture begins in it, in bytes.
        size: of the picture, in bytes.
        name: of the member.
    """

    shard: Path
    start: int
    size: int
    name: str

    @property
    def origin(self) -> Path:
        return self.shard

    @property
    def key(self) -> str:
        return f"{self.start}:{self.size}"

    def open(self) -> Image.Image:
        with open_regular(self.shard) as file:
            file.seek(self.start)
            return Image.open(io.BytesIO(file.read(self.size)))

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"


class WebDataset(ImageDataset):
    """Shards of images and labels; what belongs together shares its name up to the first dot of its last part.

    Args:
        root: a folder of `.tar` files, one of them, or a pattern such as "data/val-*.tar". They must not be compressed.
        labelled: True: an ID dataset. False: every picture in the shards, of no class.
        label: with `labelled`, the member that holds an image's label: "cls", "txt", or "json.KEY" for a value in a
            JSON member. The label is a class index or a class name.
        class_names: with `labelled`, the names in the order of their index: a list, or a file with one name per line
            (many sets bring a `classnames.txt`). None: the distinct labels, sorted, underscores read as spaces.
        about: what is known of a published set.

    Raises:
        UserError: on first use, for a missing, compressed or damaged shard, or an image without a label.

    Source: the WebDataset format (Aizman et al., IEEE Big Data 2019), github.com/webdataset/webdataset.
    Differs: images are read in a fixed order, as the store needs; nothing is shuffled or streamed.
    """

    def __init__(
        self, root: str, labelled: bool, label: str, class_names: str | Sequence[str] | None, about: About | None
    ) -> None:
        self.place, self.about = str(Path(root).expanduser()), about
        self.labelled, self.label, self._names = labelled, label, class_names

    def class_names(self) -> Words:
        names = self._labels[1]
        return as_words(names if self._names is not None else [spoken(name) for name in names])

    def images(self) -> ImageList:
        sources = tuple(image for image, _ in self._pairs)
        return self.counted(ImageList(sources, self._labels[0] if self.labelled else (-1,) * len(sources)))

    @cached_property
    def _labels(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The class of each image, and the class names."""
        return numbered([label for _, label in self._pairs], given_names(self._names), self.place)

    @cached_property
    def _pairs(self) -> list[tuple[TarImage, int | str]]:
        """Every image with its label as it stands in its shard."""
        pairs = [pair for shard in self._shards() for pair in self._read(shard)]
        if not pairs:
            raise UserError(f"Shards must hold at least one image; got none in {self.place}.")
        return pairs

    def _shards(self) -> list[Path]:
        pattern = f"{glob.escape(self.place)}/*.tar" if Path(self.place).is_dir() else self.place
        shards = [Path(path) for path in sorted(glob.glob(pattern))]
        if not shards:
            raise self.missing("There must be shards that end with .tar, not compressed")
        return shards

    def _read(self, shard: Path) -> Iterator[tuple[TarImage, int | str]]:
        wanted, _, key = self.label.partition(".")
        images: list[tuple[str, TarImage]] = []
        labels: dict[str, int | str] = {}
        with open_regular(shard) as file:
            for name, start, size in members(shard):
                sample, ending = _sample(name)
                if is_picture(name):
                    images.append((sample, TarImage(shard, start, size, name)))
                elif self.labelled and ending == wanted:
                    file.seek(start)
                    labels[sample] = _label(file.read(size), key, f"{shard}/{name}")
        for sample, image in images:
            if self.labelled and sample not in labels:
                raise UserError(
                    f"Each image must have a label beside it; got no {sample}.{wanted} for {image}. Set "
                    "id_dataset.label to cls, txt or json.KEY, whichever the shards hold."
                )
            yield image, labels.get(sample, -1)


def _sample(name: str) -> tuple[str, str]:
    """What the members of one sample share, and the ending of this one."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending


def _label(content: bytes, key: str, place: str) -> int | str:
    """A class index or name, as text or under a key of a JSON object."""
    try:
        label = decode(content, dict)[key] if key else content.decode("utf-8-sig").strip()
        if not isinstance(label, int | str):
            raise ValueError(f"got {label!r}")
        return int(label) if str(label).isdecimal() else label
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"A label must be a class index or a class name; {place} has none: {type(error).__name__}: {error}. For "
            "JSON members set id_dataset.label to json.KEY."
        ) from error
