"""What is kept of image patches: one number per image for a score, or all patches of a few images for a learner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import lightning as L
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.data.base import ImageDataset
from neglab.embedding.embedder import Embedder
from neglab.embedding.module import EmbeddingBatch, EmbeddingJob
from neglab.embedding.store import Entry
from neglab.parts import MappedRows, Rows, RowsOf, read_parts, tensors_digest
from neglab.score.base import LocalScore, Score, local_column
from neglab.types import LabelledEmbeddings, TextBank

CODE_VERSION = 1  # raised when the same weights and settings would give other local numbers


class PatchModule(L.LightningModule, ABC):
    """Encodes the patches of a batch of images on this rank's device. A row of NaN stands for an unreadable image.

    Args:
        backbone: its image tower gives local embeddings.
        shape: of what is kept of an image.
        precision: type of the numbers that are kept.
    """

    def __init__(self, backbone: Backbone, shape: tuple[int, ...], precision: torch.dtype) -> None:
        super().__init__()
        self.backbone, self.shape, self.precision = backbone, shape, precision

    @abstractmethod
    def kept(self, patches: Float[Tensor, "B P D"]) -> Tensor:
        """What to keep of these patches, which come as the tower gives them."""

    def predict_step(self, batch: EmbeddingBatch, batch_idx: int) -> tuple[str, Rows]:
        count, (images, is_readable) = len(batch.positions), batch.decoded()
        if images is not None and len(images) == count:
            rows = self.kept(self.backbone.encode_patches(images))
        else:
            rows = torch.full((count, *self.shape), torch.nan, dtype=self.precision, device=self.device)
            if images is not None and len(images):
                rows[is_readable] = self.kept(self.backbone.encode_patches(images))
        return batch.job, {"index": batch.positions, "embeddings": rows}


class LocalNumbers(PatchModule):
    """One number of each image's patches, as a score reads them."""

    def __init__(self, backbone: Backbone, score: LocalScore[Any], bank: TextBank) -> None:
        super().__init__(backbone, (1,), torch.float32)
        self.score, self.bank = score, bank
        self.prepared: Any = None

    def on_predict_start(self) -> None:
        self.prepared = self.score.prepare(self.bank.to(self.device))

    def kept(self, patches: Float[Tensor, "B P D"]) -> Float[Tensor, "B 1"]:
        return local_column(self.score, patches, self.prepared)


class WholePatches(PatchModule):
    """All patches, unit norm, in half precision: the official codes of learners work in it."""

    def kept(self, patches: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        return normalize(patches, dim=2).half()


class _PatchEmbedder(Embedder):
    """An embedder for what is kept of patches; it shares the store, devices and backbone of another."""

    unit: ClassVar[bool] = False

    def __init__(self, other: Embedder) -> None:
        super().__init__(other.backbone, other.prompts, other.store, other.devices, other.loading)
        self.backbone.check_patches()

    def _task(self, jobs: Sequence[EmbeddingJob], finished: Sequence[Bool[Tensor, " _"]]) -> None:
        """None: helping processes can encode images and texts alone."""


class LocalEmbedder(_PatchEmbedder):
    """One number per image, from its patches; its key in the store covers everything that it depends on.

    Args:
        other: whose store, devices and backbone it shares.
        score: that makes the number.
        bank: that the score sees.

    Raises:
        UserError: the backbone's image tower has no local embeddings.
    """

    def __init__(self, other: Embedder, score: LocalScore[Any], bank: TextBank) -> None:
        super().__init__(other)
        self.score, self.bank = score, bank

    @property
    def image_identity(self) -> dict[str, Any]:
        bank = self.bank
        tensors = {"id_labels": bank.id_labels.embeddings, "negatives": bank.negatives.embeddings}
        if bank.id_images is not None:
            tensors |= {"id_images": bank.id_images.embeddings, "id_image_labels": bank.id_images.labels}
        score = {**self.score.local_identity, "logit_scale": bank.logit_scale, "code": CODE_VERSION}
        return {**super().image_identity, "kind": "local number", "local": score, "bank": tensors_digest(tensors)}

    @property
    def width(self) -> int:
        return 1

    @cached_property
    def _module(self) -> LocalNumbers:
        return LocalNumbers(self.backbone, self.score, self.bank)


class PatchEmbedder(_PatchEmbedder):
    """All patches of few images, in half precision: 16 images of 1000 classes are 3.2 GB with ViT-B/16.

    Raises:
        UserError: the backbone's image tower has no local embeddings.
    """

    def patches(self, dataset: ImageDataset) -> MappedRows:
        """The patches [P, D] of each image of a set, unit norm, at the positions of its list; NaN where unreadable."""
        request = self._image_request(dataset.images())
        with self.store.locked([request.entry]):
            self._encode([(request.entry, request.job)])
            return MappedRows(request.entry.parts, self._fits(request.job))

    @property
    def image_identity(self) -> dict[str, Any]:
        return {**super().image_identity, "kind": "patches", "code": CODE_VERSION}

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """P and D."""
        blank = self.backbone.image_transform()(Image.new("RGB", (64, 64)))
        device = next(self.backbone.parameters()).device
        with torch.inference_mode():
            patches = self.backbone.encode_patches(blank[None].to(device))
        return patches.shape[1], patches.shape[2]

    @cached_property
    def _module(self) -> WholePatches:
        return WholePatches(self.backbone, self._shape, torch.float16)

    def _fits(self, job: EmbeddingJob) -> RowsOf:
        return RowsOf(len(job), self._shape, torch.float16)

    def _parts(self, entry: Entry, job: EmbeddingJob) -> list[Rows]:
        return read_parts(entry.parts, self._fits(job))


class ImageRows:
    """What a score sees of images: unit-norm embeddings, and for a LocalScore one more column.

    Args:
        backbone: encodes the images.
        score: that sees them.
        bank: that it sees, on the backbone's device.

    Attributes:
        width: numbers in a row.

    Raises:
        UserError: the score looks at patches, and the backbone's image tower has no local embeddings.
    """

    def __init__(self, backbone: Backbone, score: Score[Any], bank: TextBank) -> None:
        self.backbone, self.score = backbone, score if isinstance(score, LocalScore) else None
        self.width = backbone.embedding_dim
        if self.score is not None:
            backbone.check_patches()
            self.width += 1
            self.prepared = self.score.prepare(bank)

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D1"]:
        """The rows of transformed images."""
        rows = normalize(self.backbone.encode_image(images), dim=1)
        if self.score is None:
            return rows
        column = local_column(self.score, self.backbone.encode_patches(images), self.prepared)
        return torch.cat([rows, column], dim=1)


def with_local(
    embedder: Embedder,
    datasets: Mapping[str, ImageDataset],
    images: Mapping[str, LabelledEmbeddings],
    score: LocalScore[Any],
    bank: TextBank,
) -> dict[str, LabelledEmbeddings]:
    """Embedded sets with a LocalScore's column appended; what the store lacks is computed in one pass.

    Args:
        embedder: that embedded the sets.
        datasets: the sets, by name.
        images: their embeddings.
        score: that looks at the patches.
        bank: that the score sees.

    Raises:
        UserError: the backbone's image tower has no local embeddings.
    """
    local = LocalEmbedder(embedder, score, bank)
    columns, _ = local.embed({name: datasets[name] for name in images}, [])
    embedder.num_encoded += local.num_encoded
    return {
        name: replace(rows, embeddings=torch.cat([rows.embeddings, columns[name].embeddings], dim=1))
        for name, rows in images.items()
    }
