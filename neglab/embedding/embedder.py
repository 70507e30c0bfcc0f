"""Embeddings of texts and images: from the store, or else by one predict pass over all devices."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, TypeVar

import lightning as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neglab.backbone.base import Backbone
from neglab.data.base import ImageDataset, ImageList
from neglab.data.shared import Pair, check_unshared
from neglab.embedding.gallery import Gallery
from neglab.embedding.module import (
    EmbeddingBatches,
    EmbeddingJob,
    EmbeddingModule,
    PartFolders,
    TextJob,
    check_finite,
)
from neglab.embedding.requests import ImageRequest, LengthRequest, TextRequest
from neglab.embedding.store import Entry, Manifest, Store
from neglab.embedding.task import described
from neglab.embedding.text_encoder import DirectTextEncoder, TokenDoor
from neglab.embedding.unreadable import readable
from neglab.parts import Rows, RowsOf, check_complete, read_parts
from neglab.passes.prediction import Devices
from neglab.prompt.templates import SLOT, PromptTemplates
from neglab.ranges import Count, CountOrZero
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import LabelledEmbeddings, LabelSet, PartOfSpeech, Words

AS_GIVEN = PromptTemplates([SLOT], [SLOT], normalise_before_mean=True)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loading:
    """How images and texts are read.

    Attributes:
        image_batch_size: images per forward pass.
        text_batch_size: texts per forward pass.
        num_workers: processes that read and decode, per device.
        max_unreadable: so many unreadable images per set are skipped; one more stops the run.
        score_batch_size: stored embeddings per scoring step.
        download: public sets that torchvision can fetch are fetched where they are missing.
        allow_shared: sets that share images are not refused.
        hash_files: images are identified by their content, which reads each file once more; else by path, inode, times
            and size.
        resize: images by Pillow in the loading workers, or by torch on the device: other bytes, so other entries.
        decode: JPEG files by Pillow in the loading workers, or by torchvision on the device, which resizes then too.
    """

    image_batch_size: Count
    text_batch_size: Count
    num_workers: CountOrZero
    max_unreadable: CountOrZero
    score_batch_size: Count
    download: bool = False
    allow_shared: bool = False
    hash_files: bool = True
    resize: Literal["pillow", "device"] = "pillow"
    decode: Literal["pillow", "device"] = "pillow"

    @property
    def by_device(self) -> dict[str, str]:
        return done_by_device(self.resize, self.decode)


def done_by_device(resize: str, decode: str) -> dict[str, str]:
    """What the device does of reading images, as it stands in their keys in the store; empty: nothing."""
    if decode == "device":  # which resizes then too
        return {"decode": decode}
    return {} if resize == "pillow" else {"resize": resize}


Request = TypeVar("Request", TextRequest, ImageRequest)


class Embedder(TokenDoor):
    """Gives embeddings, with the run's prompts, store and devices. Methods see it as their TextEncoder.

    Args:
        backbone: the dual encoder.
        prompts: templates that turn names into texts.
        store: where embeddings are kept.
        devices: where passes run.
        loading: batch sizes, workers and patience with unreadable images.

    Attributes:
        unit: an image's row is an embedding, of unit norm.
        num_encoded: items that were encoded since construction, since the store lacked them.
    """

    unit: ClassVar[bool] = True

    def __init__(
        self, backbone: Backbone, prompts: PromptTemplates, store: Store, devices: Devices, loading: Loading
    ) -> None:
        prompts.check_backbone(backbone.fingerprint)
        self.backbone, self.prompts, self.store = backbone, prompts, store
        self.devices, self.loading = devices, loading
        self.num_encoded = 0

    def embed(
        self, images: Mapping[str, ImageDataset], words: Sequence[Words], unshared: Sequence[Pair] = ()
    ) -> tuple[dict[str, LabelledEmbeddings], list[LabelSet]]:
        """Embeddings of image sets and of names; what the store lacks is encoded in one pass.

        Args:
            images: the sets, by name.
            words: lists of names, prompted with the run's templates.
            unshared: pairs of sets that must have no picture in common.

        Returns:
            The sets' embeddings without their unreadable images, and one label set per list of names.

        Raises:
            UserError: a missing place, shared images, one unreadable beyond `max_unreadable`, an embedding not finite.
        """
        lists = {name: dataset.listing() for name, dataset in images.items()}
        image_requests = [self._image_request(images) for images in lists.values()]
        check_unshared(dict(zip(lists, image_requests, strict=True)), unshared, self.loading.allow_shared)
        text_requests = [self._prompted(names.names, names.parts_of_speech) for names in words if len(names)]
        self._fulfil(image_requests, text_requests)
        embedded = {
            name: readable(name, images, *self._stored(request), self.loading.max_unreadable)
            for (name, images), request in zip(lists.items(), image_requests, strict=True)
        }
        texts = (self._stored(request)[0] for request in text_requests)
        nothing = torch.empty(0, self.backbone.embedding_dim)
        return embedded, [
            LabelSet(names.names, names.parts_of_speech, next(texts) if len(names) else nothing, names.synsets)
            for names in words
        ]

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        return self._encoded(self._prompted(names, parts_of_speech))

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        return self._encoded(self._request(AS_GIVEN, texts, ("noun",) * len(texts)))

    def lengths(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, " N"]:
        """The norm of each prompted name's embedding as the tower gives it; the mean over its prompts."""
        request = LengthRequest(self.store, self.text_identity, 1, self.prompts, names, parts_of_speech)
        return self._encoded(request).squeeze(1)

    def direct(self, gallery: Gallery | None = None) -> DirectTextEncoder:
        """The encoder to use while scoring: it starts no pass, and keeps in the store what it encodes, name by name.

        Args:
            gallery: the pictures of the images to be scored, for scores that look at them.
        """
        entry = self.store.entry({"kind": "rows of names", **self.text_identity, **self.prompts.identity}, kind="names")
        return DirectTextEncoder(self.backbone, self.prompts, entry.parts, self.loading.text_batch_size, gallery)

    @property
    def text_identity(self) -> dict[str, Any]:
        """Everything that the row of a text depends on; part of its key in the store."""
        return {"backbone": self.backbone.fingerprint, "long_texts": getattr(self.backbone, "long_texts", None)}

    @property
    def image_identity(self) -> dict[str, Any]:
        """Everything that the row of an image depends on besides its content and view; part of its key in the store."""
        return {"kind": "image", "backbone": self.backbone.fingerprint, **self.loading.by_device}

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.backbone.embedding_dim

    @cached_property
    def _module(self) -> L.LightningModule:
        return EmbeddingModule(self.backbone)

    def _task(self, jobs: Sequence[EmbeddingJob], finished: Sequence[Bool[Tensor, " _"]]) -> bytes | None:
        """The pass as helping processes read it; None: this process works alone."""
        return described(self.backbone, self.loading.num_workers, jobs, finished)

    def _prompted(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> TextRequest:
        return self._request(self.prompts, names, parts_of_speech)

    def _request(
        self, prompts: PromptTemplates, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]
    ) -> TextRequest:
        return TextRequest(self.store, self.text_identity, self.width, prompts, names, parts_of_speech)

    def _image_request(self, images: ImageList) -> ImageRequest:
        by_device = self.loading.by_device if images.view is None else {}  # a view has the tower's size already
        return ImageRequest(
            self.store,
            self.image_identity,
            self.width,
            images,
            self.loading.hash_files,
            self.backbone.loading_transform(resize=not by_device),
            self.loading.image_batch_size,
            self.unit,
            "decode" in by_device,
        )

    def _encoded(self, request: TextRequest) -> Float[Tensor, "N _"]:
        self._fulfil([], [request])
        return self._stored(request)[0]

    def _fulfil(self, images: Sequence[ImageRequest], texts: Sequence[TextRequest]) -> None:
        """Encode what the store lacks, in one pass."""
        images, texts = self._missing(images), self._missing(texts)
        if not images and not texts:
            return
        rows = self.store.entry({"kind": "rows of texts", **self.text_identity})
        entries = [request.entry for request in (*images, *texts)]
        with self.store.locked([*entries, rows] if texts else entries):
            # Another process may have finished some while this one waited for the lock.
            images, texts = self._missing(images), self._missing(texts)
            stored = StoredRows(rows.parts, self.backbone.embedding_dim)
            lacking = stored.lacking(KeyedTexts.joined([request.prompted[0] for request in texts]))
            work: list[tuple[Entry, EmbeddingJob]] = [(request.entry, request.job) for request in images]
            if len(lacking):
                work.append(self._text_work(lacking))
            made = self._run_pass(work)
            for request, parts in zip(images, made, strict=False):
                request.finish(parts)
            if len(lacking):
                check_finite(lacking.texts, made[-1])
                stored.adopt(work[-1][0].parts, made[-1])
                shutil.rmtree(work[-1][0].folder)
            for request in texts:
                request.finish(stored, self)

    def _text_work(self, texts: KeyedTexts) -> tuple[Entry, EmbeddingJob]:
        """A job for these texts, and the entry under which it is resumed."""
        entry = self.store.entry({"kind": "pass with digests", **self.text_identity, "texts": list(texts.texts)})
        num_tokens, batch_size = self.backbone.count_tokens(texts.texts), self.loading.text_batch_size
        return entry, TextJob(entry.folder.name, texts, num_tokens, self.backbone.tokenize, batch_size)

    def _run_pass(self, work: Sequence[tuple[Entry, EmbeddingJob]]) -> list[list[Rows]]:
        """The rows of each job's items, in parts; those that an interrupted pass left are reused."""
        self._encode(work)
        made = [self._parts(entry, job) for entry, job in work]
        for parts, (_, job) in zip(made, work, strict=True):
            check_complete(parts, len(job))
        return made

    def _encode(self, work: Sequence[tuple[Entry, EmbeddingJob]]) -> None:
        """Write the rows of each job as parts of its entry, beside those of an interrupted pass."""
        finished = [self._finished_rows(entry, job) for entry, job in work]
        batches = EmbeddingBatches([job for _, job in work], finished)
        resumed = int(sum(rows.sum() for rows in finished))
        if resumed and len(batches):
            logger.warning("Resuming an interrupted pass: %d items are done", resumed)
        if len(batches):
            folders = PartFolders.of((job, entry.parts) for entry, job in work)
            self.num_encoded += sum(len(job) for _, job in work) - resumed
            describe = partial(self._task, [job for _, job in work], finished)
            self.devices.encode(self._module, batches, folders, self.loading.num_workers, describe)

    def _missing(self, requests: Sequence[Request]) -> list[Request]:
        """The requests without a readable entry; two of equal content are encoded once."""
        return [one for one in {one.entry.folder: one for one in requests}.values() if self._read(one) is None]

    def _stored(self, request: TextRequest | ImageRequest) -> tuple[Tensor, Manifest]:
        if (result := self._read(request)) is None:
            raise RuntimeError("a finished pass left no readable entry in the store")
        return result

    def _read(self, one: TextRequest | ImageRequest) -> tuple[Tensor, Manifest] | None:
        return one.entry.read(len(one), one.width)

    def _parts(self, entry: Entry, job: EmbeddingJob) -> list[Rows]:
        return read_parts(entry.parts, RowsOf(len(job), (self.width,)))

    def _finished_rows(self, entry: Entry, job: EmbeddingJob) -> Bool[Tensor, " N"]:
        """The rows that an interrupted pass left; none if they are not whole batches of this pass, each once."""
        count = torch.zeros(len(job), dtype=torch.long)
        for part in self._parts(entry, job):
            count += torch.bincount(part["index"], minlength=len(job))
        finished = count > 0
        if (count > 1).any() or any(finished[index].any() and not finished[index].all() for index in job.batches()):
            shutil.rmtree(entry.parts)
            return torch.zeros_like(finished)
        return finished
