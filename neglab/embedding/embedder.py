"""Look in the store, else one predict pass over all devices: the one road for texts and images."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.data.base import ImageDataset, ImageList
from neglab.embedding.module import (
    EmbeddingBatches,
    EmbeddingJob,
    EmbeddingModule,
    ImageJob,
    PartFolders,
    TextJob,
    check_finite,
)
from neglab.embedding.store import Entry, Manifest, Store
from neglab.embedding.task import described
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.parts import Rows, RowsOf, StoredRows, merge_parts, read_parts
from neglab.passes.prediction import Devices
from neglab.prompt.templates import SLOT, PromptTemplates
from neglab.ranges import Count, CountOrZero
from neglab.types import LabelledEmbeddings, LabelSet, PartOfSpeech, UserError, Words

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
    """

    image_batch_size: Count
    text_batch_size: Count
    num_workers: CountOrZero
    max_unreadable: CountOrZero
    score_batch_size: Count
    download: bool = False


class _TextRequest:
    """Names wanted in embeddings: their entry in the store, and how it is made of the rows of their prompts."""

    def __init__(
        self,
        embedder: "Embedder",
        prompts: PromptTemplates,
        names: Sequence[str],
        parts_of_speech: Sequence[PartOfSpeech],
    ) -> None:
        self.embedder, self.prompts, self.names, self.parts_of_speech = embedder, prompts, names, parts_of_speech
        identity = {
            "kind": "text",
            **embedder.text_identity,
            **prompts.identity,
            "names": list(names),
            "parts_of_speech": list(parts_of_speech),
        }
        self.entry = embedder.store.entry(identity, kind="text", num_labels=len(names))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def prompted(self) -> tuple[list[str], Int[Tensor, " P"]]:
        return self.prompts.expand(self.names, self.parts_of_speech)

    def finish(self, stored: StoredRows) -> None:
        texts, owner = self.prompted
        embeddings = self.prompts.average(stored.rows(texts), owner, len(self.names))
        self.entry.write(self.prompts.replace_known(self.names, embeddings, self.embedder))


class _ImageRequest:
    """The images of one set: their entry in the store, and the job that makes it."""

    def __init__(self, embedder: "Embedder", images: ImageList) -> None:
        self.images = images
        files = [source.origin for source in images.sources if source.origin is not None]
        content = embedder.store.file_digests(files)
        identity = {
            "kind": "image",
            "backbone": embedder.backbone.fingerprint,
            "images": [(content[source.origin] if source.origin else "", source.key) for source in images.sources],
            "view": str(images.view),
        }
        self.entry = embedder.store.entry(identity, kind="image", num_images=len(images))
        transform, batch_size = embedder.backbone.image_transform(), embedder.loading.image_batch_size
        self.job = ImageJob(self.entry.folder.name, images, transform, batch_size)

    def __len__(self) -> int:
        return len(self.images)

    def finish(self, raw: Float[Tensor, "N D"]) -> None:
        self.entry.write(normalize(torch.nan_to_num(raw), dim=1), self.job.unreadable(raw))


Request = TypeVar("Request", _TextRequest, _ImageRequest)


class Embedder:
    """The run's prompts, the store and the devices behind one door; it is the TextEncoder that methods see.

    Args:
        backbone: the dual encoder.
        prompts: templates that turn names into texts.
        store: where embeddings are kept.
        devices: where passes run.
        loading: batch sizes, workers and patience with unreadable images.

    Attributes:
        num_encoded: items that went through the towers since construction, not found in the store.
    """

    def __init__(
        self, backbone: Backbone, prompts: PromptTemplates, store: Store, devices: Devices, loading: Loading
    ) -> None:
        prompts.check_backbone(backbone.fingerprint)
        self.backbone, self.prompts, self.store = backbone, prompts, store
        self.devices, self.loading = devices, loading
        self.num_encoded = 0

    def embed(
        self, images: Mapping[str, ImageDataset], words: Sequence[Words]
    ) -> tuple[dict[str, LabelledEmbeddings], list[LabelSet]]:
        """Embeddings of image sets and of names; everything that the store misses goes through one pass.

        Args:
            images: the sets, by name.
            words: lists of names, prompted with the run's templates.

        Returns:
            The sets' embeddings without their unreadable images, and one label set per list of names.

        Raises:
            UserError: a place is missing, an image unreadable beyond `max_unreadable`, an embedding not finite.
        """
        lists = {name: dataset.images() for name, dataset in images.items()}
        image_requests = [_ImageRequest(self, images) for images in lists.values()]
        text_requests = [self._prompted(names.names, names.parts_of_speech) for names in words if len(names)]
        self._fulfil(image_requests, text_requests)
        embedded = {
            name: self._without_unreadable(name, images, *self._stored(request))
            for (name, images), request in zip(lists.items(), image_requests, strict=True)
        }
        texts = (self._stored(request)[0] for request in text_requests)
        nothing = torch.empty(0, self.backbone.embedding_dim)
        label_sets = [
            LabelSet(names.names, names.parts_of_speech, next(texts) if len(names) else nothing, names.synsets)
            for names in words
        ]
        return embedded, label_sets

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        return self._encoded(self._prompted(names, parts_of_speech))

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        return self._encoded(_TextRequest(self, AS_GIVEN, texts, ("noun",) * len(texts)))

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        return self.backbone.tokenize(texts)

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        return self.backbone.embed_tokens(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return normalize(self.backbone.encode_tokens(token_embeddings, end), dim=1)

    def encode_continuations(
        self, beginnings: Float[Tensor, "S M P E"], endings: Float[Tensor, "N R E"], end: Int[Tensor, " N"]
    ) -> Float[Tensor, "S N D"]:
        return normalize(self.backbone.encode_continuations(beginnings, endings, end), dim=2)

    def direct(self) -> DirectTextEncoder:
        """The encoder for a scoring pass: no pass of its own; what it encodes is kept in the store, name by name."""
        entry = self.store.entry({"kind": "rows of names", **self.text_identity, **self.prompts.identity}, kind="names")
        return DirectTextEncoder(self.backbone, self.prompts, entry.parts, self.loading.text_batch_size)

    @property
    def text_identity(self) -> dict[str, Any]:
        """What decides the row of a text, for the store."""
        return {"backbone": self.backbone.fingerprint, "long_texts": getattr(self.backbone, "long_texts", None)}

    @cached_property
    def _module(self) -> EmbeddingModule:
        return EmbeddingModule(self.backbone)

    def _prompted(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> _TextRequest:
        return _TextRequest(self, self.prompts, names, parts_of_speech)

    def _encoded(self, request: _TextRequest) -> Float[Tensor, "N D"]:
        self._fulfil([], [request])
        return self._stored(request)[0]

    def _fulfil(self, images: Sequence[_ImageRequest], texts: Sequence[_TextRequest]) -> None:
        """Everything that the store misses goes through one pass."""
        images, texts = self._missing(images), self._missing(texts)
        if not images and not texts:
            return
        rows = self.store.entry({"kind": "rows of texts", **self.text_identity})
        entries = [request.entry for request in (*images, *texts)]
        with self.store.locked([*entries, rows] if texts else entries):
            # Another process may have finished some while this one waited for the lock.
            images, texts = self._missing(images), self._missing(texts)
            stored = StoredRows(rows.parts, self.backbone.embedding_dim)
            lacking = stored.lacking([text for request in texts for text in request.prompted[0]])
            work: list[tuple[Entry, EmbeddingJob]] = [(request.entry, request.job) for request in images]
            if lacking:
                work.append(self._text_work(lacking))
            raw = self._run_pass(work)
            for request, embeddings in zip(images, raw, strict=False):
                request.finish(embeddings)
            if lacking:
                check_finite(lacking, raw[-1])
                stored.add(lacking, raw[-1])
                shutil.rmtree(work[-1][0].folder)
            for request in texts:
                request.finish(stored)

    def _text_work(self, texts: Sequence[str]) -> tuple[Entry, EmbeddingJob]:
        """A job for these texts, and the entry under which it is resumed."""
        entry = self.store.entry({"kind": "pass", **self.text_identity, "texts": list(texts)})
        num_tokens, batch_size = self.backbone.count_tokens(texts), self.loading.text_batch_size
        return entry, TextJob(entry.folder.name, texts, num_tokens, self.backbone.tokenize, batch_size)

    def _run_pass(self, work: Sequence[tuple[Entry, EmbeddingJob]]) -> list[Float[Tensor, "_ D"]]:
        """The towers' rows of each job's items, on top of what an interrupted pass has left."""
        finished = [self._finished_rows(entry, job) for entry, job in work]
        batches = EmbeddingBatches([job for _, job in work], finished)
        if resumed := int(sum(rows.sum() for rows in finished)):
            logger.warning("Resuming an interrupted pass: %d items are done", resumed)
        if len(batches):
            folders = PartFolders({job.name: entry.parts for entry, job in work})
            self.num_encoded += sum(len(job) for _, job in work) - resumed
            task = described(self.backbone, self.loading.num_workers, [job for _, job in work], finished)
            self.devices.predict(self._module, batches, folders, self.loading.num_workers, task)
        return [merge_parts(self._parts(entry, job), len(job))["embeddings"] for entry, job in work]

    def _missing(self, requests: Sequence[Request]) -> list[Request]:
        """Those without a readable entry. Two with one content are one piece of work."""
        return [one for one in {one.entry.folder: one for one in requests}.values() if self._read(one) is None]

    def _stored(self, request: _TextRequest | _ImageRequest) -> tuple[Tensor, Manifest]:
        if (result := self._read(request)) is None:
            raise RuntimeError("a finished pass left no readable entry in the store")
        return result

    def _read(self, one: _TextRequest | _ImageRequest) -> tuple[Tensor, Manifest] | None:
        return one.entry.read(len(one), self.backbone.embedding_dim)

    def _parts(self, entry: Entry, job: EmbeddingJob) -> list[Rows]:
        return read_parts(entry.parts, RowsOf(len(job), self.backbone.embedding_dim))

    def _finished_rows(self, entry: Entry, job: EmbeddingJob) -> Bool[Tensor, " N"]:
        """Which rows an interrupted pass has left; none where they do not make up whole batches, each once.

        It may have run with another batch size.
        """
        count = torch.zeros(len(job), dtype=torch.long)
        for part in self._parts(entry, job):
            count += torch.bincount(part["index"], minlength=len(job))
        finished = count > 0
        if (count > 1).any() or any(finished[index].any() and not finished[index].all() for index in job.batches()):
            shutil.rmtree(entry.parts)
            return torch.zeros_like(finished)
        return finished

    def _without_unreadable(
        self, name: str, images: ImageList, embeddings: Float[Tensor, "N D"], manifest: Manifest
    ) -> LabelledEmbeddings:
        unreadable = manifest.unreadable
        if unreadable:
            listed = "\n".join(f"  {images.sources[i]}: {reason}" for i, reason in list(unreadable.items())[:20])
            message = f"{len(unreadable)} of {len(images)} images of {name} cannot be read:\n{listed}"
            if len(unreadable) > self.loading.max_unreadable:
                raise UserError(f"{message}\nRepair or remove them, or allow so many with data.max_unreadable.")
            logger.warning("%s\nThey are skipped.", message)
        kept = torch.tensor([i for i in range(len(images)) if i not in unreadable], dtype=torch.long)
        paths = tuple(str(images.sources[i]) for i in kept.tolist())
        return LabelledEmbeddings(embeddings[kept], torch.tensor(images.labels)[kept], paths)
