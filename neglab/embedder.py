"""Look in the store, else one predict pass over all devices: the one road for texts and images."""

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.data.base import ImageDataset, ImageList, UnreadableImageError
from neglab.modules.embedding import EmbeddingBatches, EmbeddingJob, EmbeddingModule, ImageJob, PartFolders, TextJob
from neglab.modules.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.store import Entry, Manifest, Store, merge_parts, read_parts
from neglab.text_encoder import DirectTextEncoder
from neglab.types import LabelledEmbeddings, LabelSet, PartOfSpeech, UserError, Words

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

    image_batch_size: int
    text_batch_size: int
    num_workers: int
    max_unreadable: int
    score_batch_size: int
    download: bool = False


class _Request(ABC):
    """Something wanted in embeddings: its entry in the store, and the job that makes it."""

    entry: Entry

    @abstractmethod
    def job(self, name: str) -> EmbeddingJob: ...

    @abstractmethod
    def finish(self, raw: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "M D"], Manifest]:
        """From the towers' raw rows to what is stored."""


class _TextRequest(_Request):
    """Names with their prompts; each distinct text is encoded once, then every name's prompts are averaged."""

    def __init__(
        self,
        embedder: "Embedder",
        texts: Sequence[str],
        owner: Int[Tensor, " P"],
        num_names: int,
        names: Sequence[str] | None = None,
    ) -> None:
        self.embedder, self.owner, self.num_names = embedder, owner, num_names
        self.names = names  # of what is prompted; those that learned prompts know take their embeddings from there
        self.distinct = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(self.distinct)}
        self.positions = torch.tensor([place[text] for text in texts], dtype=torch.long)
        identity = {
            "kind": "text",
            "backbone": embedder.backbone.fingerprint,
            "long_texts": getattr(embedder.backbone, "long_texts", None),
            "texts": list(texts),
            "owner": owner.tolist(),
            "normalise_before_mean": embedder.prompts.normalise_before_mean,
        }
        if names is not None and embedder.prompts.identity:
            identity["learned"] = [*embedder.prompts.identity, list(names)]
        self.entry = embedder.store.entry(identity, kind="text", num_texts=len(texts), num_labels=num_names)

    def job(self, name: str) -> TextJob:
        return TextJob(name, self.distinct, self.embedder.backbone.tokenize, self.embedder.loading.text_batch_size)

    def finish(self, raw: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "M D"], Manifest]:
        broken = (~raw.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if broken:
            raise _not_finite(len(broken), repr(self.distinct[broken[0]]))
        embeddings = self.embedder.prompts.average(raw[self.positions], self.owner, self.num_names)
        if self.names is not None:
            embeddings = self.embedder.prompts.replace_known(self.names, embeddings, self.embedder)
        return embeddings, {}


class _ImageRequest(_Request):
    """The images of one set."""

    def __init__(self, embedder: "Embedder", images: ImageList) -> None:
        self.embedder, self.images = embedder, images
        files = [source.origin for source in images.sources if source.origin is not None]
        content = embedder.store.file_digests(files)
        identity = {
            "kind": "image",
            "backbone": embedder.backbone.fingerprint,
            "images": [(content[source.origin] if source.origin else "", source.key) for source in images.sources],
            "view": str(images.view),
        }
        self.entry = embedder.store.entry(identity, kind="image", num_images=len(images))

    def job(self, name: str) -> ImageJob:
        transform = self.embedder.backbone.image_transform()
        return ImageJob(name, self.images, transform, self.embedder.loading.image_batch_size)

    def finish(self, raw: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "M D"], Manifest]:
        unreadable, job = {}, self.job("")
        for i in (~raw.isfinite().all(dim=1)).nonzero().flatten().tolist():
            try:
                job.read(i)
            except UnreadableImageError as error:
                unreadable[str(i)] = str(error)
            else:
                raise _not_finite(1, str(self.images.sources[i]))
        return normalize(torch.nan_to_num(raw), dim=1), {"unreadable": unreadable}


def _not_finite(count: int, first: str) -> UserError:
    return UserError(
        f"Embeddings must be finite; {count} are NaN or infinite, the first is that of {first}. "
        "The weights may be damaged, or backbone.precision too low: try backbone.precision=fp32."
    )


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
        results = self._fulfil([*image_requests, *text_requests])
        embedded = {
            name: self._without_unreadable(name, images, *result)
            for (name, images), result in zip(lists.items(), results, strict=False)
        }
        texts = iter(results[len(lists) :])
        nothing = torch.empty(0, self.backbone.embedding_dim)
        label_sets = [
            LabelSet(names.names, names.parts_of_speech, next(texts)[0] if len(names) else nothing, names.synsets)
            for names in words
        ]
        return embedded, label_sets

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        return self._fulfil([self._prompted(names, parts_of_speech)])[0][0]

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        return self._fulfil([_TextRequest(self, texts, torch.arange(len(texts)), len(texts))])[0][0]

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        return self.backbone.tokenize(texts)

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        return self.backbone.embed_tokens(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return normalize(self.backbone.encode_tokens(token_embeddings, end), dim=1)

    def direct(self) -> DirectTextEncoder:
        """The encoder for a scoring pass: no pass of its own; what it encodes is kept in the store, name by name."""
        identity = {
            "kind": "names",
            "backbone": self.backbone.fingerprint,
            "long_texts": getattr(self.backbone, "long_texts", None),
            "templates": {kind: list(templates) for kind, templates in self.prompts.templates.items()},
            "normalise_before_mean": self.prompts.normalise_before_mean,
        }
        folder = self.store.entry(identity, kind="names").parts
        return DirectTextEncoder(self.backbone, self.prompts, folder, self.loading.text_batch_size)

    @cached_property
    def _module(self) -> EmbeddingModule:
        return EmbeddingModule(self.backbone)

    def _prompted(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> _TextRequest:
        texts, owner = self.prompts.expand(names, parts_of_speech)
        return _TextRequest(self, texts, owner, len(names), names)

    def _fulfil(self, requests: Sequence[_Request]) -> list[tuple[Tensor, Manifest]]:
        results = [request.entry.read() for request in requests]
        # Two lists with one content are one piece of work.
        missing = {r.entry.folder: r for r, result in zip(requests, results, strict=True) if result is None}
        if missing:
            self._run_pass(list(missing.values()))
            results = [result or request.entry.read() for request, result in zip(requests, results, strict=True)]
        if any(result is None for result in results):
            raise RuntimeError("a finished pass left no readable entry in the store")
        return [result for result in results if result is not None]

    def _run_pass(self, requests: Sequence[_Request]) -> None:
        with self.store.locked([request.entry for request in requests]):
            # Another process may have finished some while this one waited for the lock.
            requests = [request for request in requests if request.entry.read() is None]
            jobs = [request.job(request.entry.folder.name) for request in requests]
            finished = [_finished_rows(request.entry, job) for request, job in zip(requests, jobs, strict=True)]
            batches = EmbeddingBatches(jobs, finished)
            if resumed := int(sum(rows.sum() for rows in finished)):
                logger.warning("Resuming an interrupted pass: %d items are done", resumed)
            if len(batches):
                folders = {job.name: request.entry.parts for job, request in zip(jobs, requests, strict=True)}
                self.num_encoded += sum(map(len, jobs)) - resumed
                self.devices.predict(self._module, batches, PartFolders(folders), self.loading.num_workers)
            for request, job in zip(requests, jobs, strict=True):
                raw = merge_parts(read_parts(request.entry.parts), len(job))["embeddings"]
                request.entry.write(*request.finish(raw))

    def _without_unreadable(
        self, name: str, images: ImageList, embeddings: Float[Tensor, "N D"], manifest: Manifest
    ) -> LabelledEmbeddings:
        unreadable: dict[str, Any] = manifest["unreadable"]
        if unreadable:
            listed = "\n".join(f"  {images.sources[int(i)]}: {reason}" for i, reason in list(unreadable.items())[:20])
            message = f"{len(unreadable)} of {len(images)} images of {name} cannot be read:\n{listed}"
            if len(unreadable) > self.loading.max_unreadable:
                raise UserError(f"{message}\nRepair or remove them, or allow so many with data.max_unreadable.")
            logger.warning("%s\nThey are skipped.", message)
        kept = torch.tensor([i for i in range(len(images)) if str(i) not in unreadable], dtype=torch.long)
        paths = tuple(str(images.sources[i]) for i in kept.tolist())
        return LabelledEmbeddings(embeddings[kept], torch.tensor(images.labels)[kept], paths)


def _finished_rows(entry: Entry, job: EmbeddingJob) -> Bool[Tensor, " N"]:
    """Which rows an interrupted pass has left; none where it ran with another batch size, whose batches do not fit."""
    finished = torch.zeros(len(job), dtype=torch.bool)
    for part in read_parts(entry.parts):
        finished[part["index"]] = True
    if any(finished[index].any() and not finished[index].all() for index in job.batches()):
        shutil.rmtree(entry.parts)
        return torch.zeros_like(finished)
    return finished
