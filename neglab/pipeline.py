"""The way of the data: ID labels and corpus, selector, filter, text bank, images, score."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from neglab.backbone.base import Backbone
from neglab.corpus.base import Corpus
from neglab.data.base import ImageDataset, ImageList
from neglab.data.few_shot import FewShot, for_classes
from neglab.data.names import given_names
from neglab.embedder import Embedder, Loading
from neglab.llm_filter.base import LabelFilter
from neglab.modules.prediction import Devices
from neglab.modules.scoring import score_images, score_streams
from neglab.negative_selector.base import NegativeSelector
from neglab.prompt.templates import PromptTemplates
from neglab.score.base import Score
from neglab.store import Store
from neglab.stream.base import StreamPlan
from neglab.types import LabelledEmbeddings, LabelSet, ScoredPair, TextBank, UserError, Words

logger = logging.getLogger(__name__)

ID = "id"  # the ID set's name among the embedded sets and in scores/
ID_IMAGES = "id images"  # the few ID images' name among the embedded sets


class ClassNames(ImageDataset):
    """ID classes that are known by name alone; it has no images.

    Args:
        names: a list, or a text file with one name per line. A name that stands more than once counts once.

    Raises:
        UserError: no names, an empty one, or a file that cannot be read.
    """

    def __init__(self, names: str | Sequence[str] | None) -> None:
        given = given_names(names)
        if not given:
            raise UserError("class_names must be a list of names, or a file with one name per line; got none.")
        if "" in given:
            raise UserError(f"A class name must not be empty; got one in place {given.index('') + 1}. Leave it out.")
        self.names = list(dict.fromkeys(given))
        if num_repeated := len(given) - len(self.names):
            logger.warning("%d class names stand more than once and count once", num_repeated)

    def class_names(self) -> Words:
        return Words.nouns(self.names)

    def images(self) -> ImageList:
        return ImageList((), ())


@dataclass(frozen=True)
class Parts:
    """What one run is composed of: one object per config group; no `id_images` where the method needs none."""

    backbone: Backbone
    id_dataset: ImageDataset
    id_images: FewShot | None
    ood_datasets: dict[str, ImageDataset]
    corpus: Corpus
    prompts: PromptTemplates
    selector: NegativeSelector
    label_filter: LabelFilter
    score: Score[Any]
    stream: StreamPlan
    loading: Loading
    devices: Devices
    store: Store

    @property
    def uses_id_images(self) -> bool:
        return self.id_images is not None

    @property
    def benchmark(self) -> dict[str, ImageDataset]:
        """The image sets on which a method is measured."""
        return {ID: self.id_dataset, **self.ood_datasets}


@dataclass(frozen=True)
class Evaluation:
    """What one run found out."""

    pairs: list[ScoredPair]
    id_labels: LabelSet
    negatives: LabelSet
    similarity: torch.Tensor
    verdicts: tuple[dict[str, str], ...]
    times: dict[str, float]


@dataclass(frozen=True)
class Material:
    """What there is before a score looks at it: the text bank and the embeddings of every set.

    Attributes:
        encoder: the run's prompts, store and devices.
        bank: ID classes, negatives and, for the methods that use them, few ID images.
        images: embeddings of the image sets.
        verdicts: what the filter decided.
        times: seconds per stage.
    """

    encoder: Embedder
    bank: TextBank
    images: dict[str, LabelledEmbeddings]
    verdicts: tuple[dict[str, str], ...]
    times: dict[str, float]


def gather(parts: Parts, image_sets: Mapping[str, ImageDataset] | None = None) -> Material:
    """ID labels and corpus, selector, filter, text bank, images.

    Args:
        parts: of the run.
        image_sets: which images to embed; None: the benchmark's.
    """
    times: dict[str, float] = {}
    encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
    with timed(times, "embed"):
        id_words = parts.id_dataset.class_names()
        corpus_words = parts.corpus.words(id_words.names) if parts.selector.needs_corpus else Words.nouns(())
        sets = dict(parts.benchmark if image_sets is None else image_sets)
        if parts.id_images is not None:
            sets[ID_IMAGES] = parts.id_images
        images, (id_labels, corpus) = encoder.embed(sets, [id_words, corpus_words])
        id_images = None
        if parts.id_images is not None:
            id_images = for_classes(images.pop(ID_IMAGES), parts.id_images.class_names().names, id_words.names)
    with timed(times, "mine"):
        selected = corpus.take(parts.selector.select(corpus, id_labels, id_images))
    with timed(times, "filter"):
        negatives, verdicts = filter_labels(parts.label_filter, selected, id_labels, encoder)
    bank = TextBank(id_labels, negatives, parts.backbone.logit_scale, id_images)
    return Material(encoder, bank, images, verdicts, times)


def evaluate(parts: Parts) -> Evaluation:
    """The pipeline: gather what the score needs, then score every image."""
    material = gather(parts)
    bank, images, times = material.bank, material.images, material.times
    with timed(times, "score"):
        direct = material.encoder.direct()
        if parts.score.order_dependent:
            id_images = images[ID]
            ood_images = {name: images[name] for name in parts.ood_datasets}
            pairs = score_streams(parts.score, bank, direct, id_images, ood_images, parts.stream, parts.devices)
        else:
            tables = score_images(parts.score, bank, direct, images, parts.devices, parts.loading.score_batch_size)
            pairs = [ScoredPair(tables[ID], tables[name]) for name in parts.ood_datasets]
    num_images, num_encoded = sum(map(len, images.values())), material.encoder.num_encoded + direct.num_encoded
    times |= {"score_per_image": times["score"] / num_images, "num_encoded": num_encoded}
    similarity = parts.selector.similarity(bank.negatives, bank.id_labels)
    return Evaluation(pairs, bank.id_labels, bank.negatives, similarity, material.verdicts, times)


def filter_labels(
    label_filter: LabelFilter, selected: LabelSet, id_labels: LabelSet, encoder: Embedder
) -> tuple[LabelSet, tuple[dict[str, str], ...]]:
    """The negatives that a filter keeps, under the names it gives them, and its verdicts.

    A changed name is encoded again.
    """
    result = label_filter.apply(selected, id_labels, encoder)
    kept = selected.take(result.positions)
    if result.names != kept.names:
        kept = replace(kept, names=result.names, embeddings=encoder.encode(result.names, kept.parts_of_speech))
    return kept, result.verdicts


@contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    """Seconds of a stage."""
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start
