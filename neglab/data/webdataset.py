"""Images in WebDataset shards: plain tar files, each picture read where it lies, without unpacking."""

import glob
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from pathlib import Path

from PIL import Image

from neglab.columns import Numbers, Texts
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.names import Names, as_words, given_names, numbered, spoken
from neglab.data.pictures import is_junk, is_picture
from neglab.data.sources import ImageSource, MadeSources
from neglab.data.tar import Content, Member, contents, members
from neglab.files import decode, open_regular
from neglab.places import Place, RemotePath, place_of
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

    shard: Place
    start: int
    size: int
    name: str

    @property
    def origin(self) -> Path | None:
        return self.shard if isinstance(self.shard, Path) else None

    @property
    def key(self) -> str:
        shard = "" if isinstance(self.shard, Path) else f"{self.shard.key} "
        return f"{shard}{self.start}:{self.size}"

    def open(self) -> Image.Image:
        if isinstance(self.shard, RemotePath):
            return Image.open(io.BytesIO(self.shard.read(self.start, self.start + self.size)))
        with open_regular(self.shard) as file:
            file.seek(self.start)
            return Image.open(io.BytesIO(file.read(self.size)))

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"


class WebDataset(ImageDataset):
    """Shards of images and labels; what belongs together stands together and shares its name up to the first dot.

    Args:
        root: a folder of `.tar` files, one of them, or a pattern such as "data/val-*.tar". They must not be compressed.
            Of an address such as s3://bucket/shards the last part alone may be a pattern; its shards are read through
            once for the list of what they hold.
        labelled: True: an ID dataset. False: the images of all samples, of no class.
        image: the member that is a sample's image, by its ending, such as "jpg" or "image.png", or several of which it
            has one: "jpg;png". None: its only picture.
        label: with `labelled`, the member that holds an image's label: "cls", "txt", or "json.KEY" for a value in a
            JSON member. The label is a class index or a class name.
        class_names: with `labelled`, the names in the order of their index, given or in a file (many sets bring a
            `classnames.txt`; see `given_names`). None: the distinct labels, sorted, underscores read as spaces.
        about: what is known of a published set.

    Raises:
        UserError: on first use, for a missing, compressed or damaged shard, an image without a label, or a sample of
            several pictures where `image` names none of them.

    Source: the WebDataset format (Aizman et al., IEEE Big Data 2019), github.com/webdataset/webdataset.
    Differs: images are read in a fixed order, as the store needs; nothing is shuffled or streamed. A member that a
        sample has already begins the next one, where the library stops.
    """

    def __init__(
        self, root: str, labelled: bool, image: str | None, label: str, class_names: Names, about: About | None
    ) -> None:
        self.root, self.about = place_of(root), about
        self.place = str(self.root)
        self.labelled, self._names = labelled, class_names
        self.image, self.label = image, label

    def class_names(self) -> Words:
        names = self._labels[1]
        return as_words(names if self._names is not None else [spoken(name) for name in names])

    def class_keys(self) -> Sequence[str]:
        return self._labels[1] if self._names is None else ()

    def extent(self) -> Sequence[Place]:
        return self._shards()

    def images(self) -> ImageList:
        sources, _ = self._content
        return self.counted(ImageList(sources, self._labels[0] if self.labelled else (-1,) * len(sources)))

    @cached_property
    def _labels(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The class of each image, and the class names."""
        return numbered(self._content[1], given_names(self._names), self.place)

    @cached_property
    def _content(self) -> tuple[MadeSources, list[int | str]]:
        """Every image with its label as it stands in its shard."""
        shards, labels, known = tuple(self._shards()), list[int | str](), dict[int | str, int | str]()
        numbers, starts, sizes, names = Numbers(), Numbers(), Numbers(), Texts()
        for number, shard in enumerate(shards):
            for image, label in self._read(shard):
                numbers.append(number)
                starts.append(image.start)
                sizes.append(image.size)
                names.append(image.name)
                labels.append(known.setdefault(label, label))  # one text of each
        if not labels:
            raise UserError(f"Shards must hold at least one image; got none in {self.place}.")
        return MadeSources(partial(_image_in, shards), numbers, starts, sizes, names), labels

    def _shards(self) -> Sequence[Place]:
        if isinstance(self.root, RemotePath):
            shards = _stored_shards(self.root)
        else:
            pattern = f"{glob.escape(self.place)}/*.tar" if self.root.is_dir() else self.place
            shards = [Path(path) for path in sorted(glob.glob(pattern))]
        if not shards:
            raise self.missing("There must be shards that end with .tar, not compressed")
        return shards

    def _read(self, shard: Place) -> Iterator[tuple[Member, int | str]]:
        wanted, _, key = self.label.partition(".")
        with contents(shard) as content:
            for sample, found in _samples(shard, content):
                image = self._image(shard, sample, found)
                if image is None:
                    continue
                if not self.labelled:
                    yield image, -1
                    continue
                if (member := found.get(wanted.lower())) is None:
                    raise UserError(
                        f"Each image must have a label beside it; got no {sample}.{wanted} for {shard}/{image.name}. "
                        "Set id_dataset.label to cls, txt or json.KEY, whichever the shards hold, and pack what "
                        "belongs together side by side."
                    )
                label = content[member.start : member.start + member.size]
                yield image, _label(label, key, f"{shard}/{member.name}")

    def _image(self, shard: Place, sample: str, found: Mapping[str, Member]) -> Member | None:
        """The image of a sample; None where it has none."""
        if self.image is not None:
            endings = self.image.lower().split(";")
            return next((found[ending] for ending in endings if ending in found), None)
        pictures = {ending: member for ending, member in found.items() if is_picture(member.name)}
        if len(pictures) > 1:
            raise UserError(
                f"Each sample must have one image; {sample} in {shard} has {', '.join(pictures)}. Set image to the one "
                f"that counts, such as id_dataset.image={min(pictures)} (of an OOD set ood_datasets.NAME.image)."
            )
        return next(iter(pictures.values()), None)


def _stored_shards(root: RemotePath) -> list[RemotePath]:
    """The shards in a folder of a store, or those that fit a pattern, or the one that is named."""
    folder, pattern = (root, "*.tar") if root.is_dir() else (root.parent, root.name)
    entries = folder.iterdir() if folder.is_dir() else ()
    fitting = (entry for entry in entries if fnmatchcase(entry.name, pattern) and not is_junk(entry.name))
    return sorted(entry for entry in fitting if entry.mark)


def _image_in(shards: Sequence[Place], number: int, start: int, size: int, name: str) -> TarImage:
    return TarImage(shards[number], start, size, name)


def _samples(shard: Place, content: Content) -> Iterator[tuple[str, dict[str, Member]]]:
    """The samples of a shard in its order: what they are called, and their members by ending."""
    name, found = "", dict[str, Member]()
    for member in members(shard, content):
        folder, slash, last = member.name.rpartition("/")
        stem, dot, ending = last.partition(".")
        if not stem or not dot or any(map(is_junk, folder.split("/"))):  # hidden files too
            continue
        sample, ending = f"{folder}{slash}{stem}", ending.lower()
        if found and (sample != name or ending in found):
            yield name, found
            found = {}
        name = sample
        found[ending] = member
    if found:
        yield name, found


def _label(content: bytes, key: str, place: str) -> int | str:
    """A class index or name, as text or under a key of a JSON object."""
    try:
        label = decode(content, dict)[key] if key else content.decode("utf-8-sig").strip()
        if not isinstance(label, int | str):
            raise ValueError(f"got {label!r}")
        return label
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"A label must be a class index or a class name; {place} has none: {type(error).__name__}: {error}. For "
            "JSON members set id_dataset.label to json.KEY."
        ) from error
