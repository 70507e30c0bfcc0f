"""The expensive pass: images and texts are encoded in one predict loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from neglab.backbone.base import Backbone, ImageTransform
from neglab.data.base import ImageList, UnreadableImageError, read_image, read_undecoded
from neglab.embedding.jpegs import Undecoded
from neglab.parts import not_finite, write_part
from neglab.passes.part_writer import Rows
from neglab.text_rows import KeyedTexts, with_digests
from neglab.types import UserError
from neglab.weights.pixels import Pictures, Pixels

Tokenizer = Callable[[Sequence[str]], tuple[Tensor, Tensor]]


class EmbeddingBatch(NamedTuple):
    """A batch of images or of texts; the other kind's fields are None.

    Attributes:
        job: whose batch it is.
        positions: [B], of each item in its job.
        readable: [B], False for an image file that is no picture.
        images: [R, 3, H, W], the readable images, by the backbone's loading transform, or before it.
        ids: [B, L], token ids.
        end: [B], position of each end token.
    """

    job: str
    positions: Int[Tensor, " B"]
    readable: Bool[Tensor, " B"]
    images: Pixels | Pictures | Undecoded | None
    ids: Int[Tensor, "B L"] | None
    end: Int[Tensor, " B"] | None

    def decoded(self) -> tuple[Pixels | Pictures | None, Bool[Tensor, " N"]]:
        """The images, decoded where that was left to the device, and which are readable."""
        if not isinstance(self.images, Undecoded):
            return self.images, self.readable
        found = self.images.decoded()
        whole, readable = [image for image in found if image is not None], self.readable
        if len(whole) < len(found):
            is_whole = torch.tensor([image is not None for image in found], device=readable.device)
            readable = readable.masked_scatter(readable, is_whole)
        return Pictures.of(whole), readable


class EmbeddingJob(ABC):
    """A list of items to embed. The whole list fixes its batches, so that a resumed pass repeats them exactly."""

    name: str
    batch_size: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self) -> list[Int[Tensor, " _"]]:
        """The positions that form each batch."""

    @abstractmethod
    def load(self, index: Int[Tensor, " B"]) -> EmbeddingBatch:
        """Read, decode or tokenize one batch; runs in the loading workers."""


@dataclass(frozen=True)
class ImageJob(EmbeddingJob):
    """The images of a set."""

    name: str
    images: ImageList
    transform: ImageTransform
    batch_size: int
    keeps_files: bool = False  # JPEG files are decoded on the device, after they are loaded

    def __len__(self) -> int:
        return len(self.images)

    def batches(self) -> list[Int[Tensor, " _"]]:
        return list(torch.arange(len(self)).split(self.batch_size))

    @property
    def keeps_size(self) -> bool:
        """The pictures are resized on the device, after they are loaded."""
        return self.transform is pil_to_tensor

    def read(self, position: int) -> Shaped[Tensor, "3 H W"]:
        """One transformed image.

        Raises:
            UnreadableImageError: it is no whole picture.
        """
        source, view = self.images.sources[position], self.images.view
        if view is None:
            return read_image(source, self.transform)
        return read_image(source, lambda image: self.transform(view(image, position, self._size)))

    def unreadable(self, positions: Sequence[int]) -> dict[int, str]:
        """Why these images, whose rows are not finite, could not be read.

        Args:
            positions: of these rows.

        Raises:
            UserError: one could be read.
        """
        reasons: dict[int, str] = {}
        for i in positions:
            try:
                self.read(i)
            except UnreadableImageError as error:
                reasons[i] = str(error)
            else:
                raise _not_finite(1, str(self.images.sources[i]))
        return reasons

    @cached_property
    def _size(self) -> int:
        """Height and width of what the transform makes."""
        return self.transform(Image.new("RGB", (8, 8))).shape[-1]

    def load(self, index: Int[Tensor, " B"]) -> EmbeddingBatch:
        images, readable = [], []
        for i in index.tolist():
            try:
                images.append(self._handed_on(i))
                readable.append(True)
            except UnreadableImageError:
                readable.append(False)
        return EmbeddingBatch(self.name, index, torch.tensor(readable), self._batch(images), None, None)

    def _handed_on(self, position: int) -> Shaped[Tensor, "..."]:
        """A JPEG file for the device to decode, or what `read` makes of the image. Errors are those of `read`."""
        if self.keeps_files:
            return read_undecoded(self.images.sources[position], self.transform)
        return self.read(position)

    def _batch(self, images: list[Tensor]) -> Pixels | Pictures | Undecoded:
        if self.keeps_files:
            return Undecoded.of(images)
        return Pictures.of(images) if self.keeps_size else torch.stack(images or [torch.empty(3, 1, 1)])[: len(images)]


@dataclass(frozen=True)
class TextJob(EmbeddingJob):
    """Distinct texts. Texts of one length in tokens [N] share batches, since a batch costs its longest text."""

    name: str
    texts: KeyedTexts
    num_tokens: Int[Tensor, " N"]
    tokenize: Tokenizer
    batch_size: int

    def __len__(self) -> int:
        return len(self.texts)

    def batches(self) -> list[Int[Tensor, " _"]]:
        return list(self.num_tokens.argsort(stable=True).split(self.batch_size))

    def load(self, index: Int[Tensor, " B"]) -> EmbeddingBatch:
        texts, chosen = self.texts.texts, list[int](index.tolist())
        ids, end = self.tokenize([texts[i] for i in chosen])
        return EmbeddingBatch(self.name, index, torch.ones(len(index), dtype=torch.bool), None, ids, end)


class EmbeddingBatches(Dataset[EmbeddingBatch]):
    """The batches of all jobs, one after the other, without those that are finished already.

    Args:
        jobs: what to embed.
        finished: for each job, which of its items an earlier, interrupted pass has finished.
    """

    def __init__(self, jobs: Sequence[EmbeddingJob], finished: Sequence[Bool[Tensor, " _"]]) -> None:
        self.batches = [
            (job, index)
            for job, done in zip(jobs, finished, strict=True)
            for index in job.batches()
            if not done[index].all()
        ]

    @property
    def contents(self) -> dict[str, tuple[str, int]]:
        """For each job, what its items are called and how many are left to do."""
        found: dict[str, tuple[str, int]] = {}
        for job, index in self.batches:
            unit = "images" if isinstance(job, ImageJob) else "texts"
            found[job.name] = (unit, found.get(job.name, (unit, 0))[1] + len(index))
        return found

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> EmbeddingBatch:
        job, index = self.batches[position]
        return job.load(index)


@dataclass(frozen=True)
class PartFolders:
    """Writes each job's finished rows as parts in the job's folder; those of texts beside the texts' digests.

    Attributes:
        folders: of each job.
        digests: of the jobs that are texts.
    """

    folders: dict[str, Path]
    digests: dict[str, Int[Tensor, "2 N"]] = field(default_factory=dict)

    @classmethod
    def of(cls, places: Iterable[tuple[EmbeddingJob, Path]]) -> "PartFolders":
        places = list(places)
        digests = {job.name: job.texts.digests for job, _ in places if isinstance(job, TextJob)}
        return cls({job.name: place for job, place in places}, digests)

    def __call__(self, job: str, rows: Rows) -> None:
        if job in self.digests:
            rows = with_digests(rows, self.digests[job][:, rows["index"]])
        write_part(self.folders[job], rows)


class EmbeddingModule(L.LightningModule):
    """Encodes a batch of images or texts on this rank's device. A row of NaN stands for an unreadable image."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.most_images = 0  # of a batch so far

    def predict_step(self, batch: EmbeddingBatch, batch_idx: int) -> tuple[str, Rows]:
        if batch.ids is not None and batch.end is not None:
            embeddings = self.backbone.encode_token_ids(batch.ids, batch.end)
        else:
            size = (len(batch.positions), self.backbone.embedding_dim)
            embeddings = torch.full(size, torch.nan, device=self.device)
            images, is_readable = batch.decoded()
            if images is not None and len(images) == len(embeddings):
                embeddings = self._encoded(images)  # no mask: one would wait for the device
            elif images is not None and len(images):
                embeddings[is_readable] = self._encoded(images)
        return batch.job, {"index": batch.positions, "embeddings": embeddings}

    def _encoded(self, images: Pixels | Pictures) -> Float[Tensor, "B D"]:
        """A compiled tower takes full batches alone: a last, smaller one would have it compiled anew."""
        count = len(images)
        self.most_images = max(self.most_images, count)
        if self.backbone.compiled:
            images = pad(self.backbone.resized(images), (0, 0) * 3 + (0, self.most_images - count))
        return self.backbone.encode_image(images)[:count]


def check_finite(texts: Sequence[str], parts: Sequence[Rows]) -> None:
    """Raise a UserError where the embedding of a text, in a part of a pass, is not finite."""
    if broken := not_finite(parts):
        raise _not_finite(len(broken), repr(texts[broken[0]]))


def _not_finite(count: int, first: str) -> UserError:
    """What to raise where embeddings are not finite."""
    return UserError(
        f"Embeddings must be finite; {count} are NaN or infinite, the first is that of {first}. "
        "The weights may be damaged, or backbone.precision too low: try backbone.precision=fp32."
    )
