"""The pipeline of a run: embed ID labels and corpus, select and filter negatives, score the images."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from neglab.backbone.base import Backbone
from neglab.config_check import ID, ID_IMAGES
from neglab.corpus.base import Corpus
from neglab.data.base import ImageDataset, ImageList, check_apart
from neglab.data.few_shot import FewShot, check_classes, for_classes
from neglab.data.names import Names, given_names
from neglab.data.shared import warn_of_near_copies
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.gallery import Gallery
from neglab.embedding.local import with_local
from neglab.embedding.store import Store
from neglab.llm_filter.base import LabelFilter
from neglab.modules.products import KeptProducts
from neglab.modules.scoring import score_images, score_streams
from neglab.negative_selector.base import NegativeSelector
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.score.base import LocalScore, Score
from neglab.stream.base import StreamPlan
from neglab.types import LabelledEmbeddings, LabelSet, Outline, ScoredPair, TextBank, UserError, Words

logger = logging.getLogger(__name__)


class ClassNames(ImageDataset):
    """ID classes that are known by name alone; it has no images.

    Args:
        names: as `given_names` takes them: a list, or a file. A repeated name counts once.

    Raises:
        UserError: no names, an empty one, or a file that cannot be read.
    """

    def __init__(self, names: Names) -> None:
        given = given_names(names)
        if not given:
            raise UserError("class_names must be a list of names, or a file with one name per line; got none.")
        self.names = list(dict.fromkeys(given))
        if num_repeated := len(given) - len(self.names):
            logger.warning("%d class names are repeated and count once", num_repeated)

    def class_names(self) -> Words:
        return Words.nouns(self.names)

    def images(self) -> ImageList:
        return ImageList.of_files((), ())


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

    @property
    def before_the_towers(self) -> tuple[Any, ...]:
        """Everything that the embeddings depend on: equal objects give equal embeddings."""
        corpus = self.corpus if self.selector.needs_corpus else None
        data = (self.id_dataset, self.id_images, self.ood_datasets, corpus, self.selector.needs_lengths)
        return (self.backbone, self.prompts, *data, self.loading, self.devices, self.store.root)


@dataclass(frozen=True)
class Embedded:
    """The embeddings of a run's images and names. Selector, filter and score leave them as they are.

    Attributes:
        source: `before_the_towers` of the parts that it was made from.
        id_labels: the ID classes.
        corpus: the words among which negatives are selected; empty where the selector needs none.
        images: embeddings of the image sets.
        id_images: few ID images, with the labels of the ID classes; None where the method needs none.
        selected: places in the corpus, by the selector that chose them.
    """

    source: tuple[Any, ...]
    id_labels: LabelSet
    corpus: LabelSet
    images: dict[str, LabelledEmbeddings]
    id_images: LabelledEmbeddings | None
    selected: dict[NegativeSelector, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one run."""

    pairs: list[ScoredPair]
    embedded: Embedded
    id_labels: LabelSet
    negatives: LabelSet
    similarity: torch.Tensor
    verdicts: tuple[dict[str, str], ...]
    times: dict[str, float]


@dataclass(frozen=True)
class Material:
    """What a score works with: the text bank and the embeddings of every set.

    Attributes:
        encoder: the run's prompts, store and devices.
        embedded: the embeddings of images and names.
        bank: ID classes, negatives and, for the methods that use them, few ID images.
        verdicts: what the filter decided.
        times: seconds per stage.
    """

    encoder: Embedder
    embedded: Embedded
    bank: TextBank
    verdicts: tuple[dict[str, str], ...]
    times: dict[str, float]

    @property
    def images(self) -> dict[str, LabelledEmbeddings]:
        """Embeddings of the image sets."""
        return self.embedded.images


def check(parts: Parts, id_words: Words, corpus_words: Words, scored: bool) -> None:
    """Before the first pass, raise a UserError for what configs, class names and words show to be impossible."""
    num_id_images = 0
    if parts.id_images is not None:
        own_names = parts.id_images.class_names().names
        check_classes(own_names, id_words.names)
        num_id_images = parts.id_images.num_per_class * max(len(own_names), len(id_words))
    parts.label_filter.check()
    num_negatives = parts.selector.most(corpus_words, id_words.names)
    if scored:
        if isinstance(parts.score, LocalScore):
            parts.backbone.check_patches()
        parts.score.check(Outline(id_words.names, num_negatives, num_id_images))
        if parts.score.order_dependent:
            parts.stream.check()


def embed(parts: Parts, encoder: Embedder, image_sets: Mapping[str, ImageDataset], scored: bool) -> Embedded:
    """ID labels, corpus and images, from the store or through the towers."""
    check_apart(parts.id_dataset, parts.ood_datasets)
    id_words = parts.id_dataset.class_names()
    corpus_words = parts.corpus.words(id_words.names) if parts.selector.needs_corpus else Words.nouns(())
    check(parts, id_words, corpus_words, scored)
    sets = dict(image_sets)
    if parts.id_images is not None:
        sets[ID_IMAGES] = parts.id_images
    unshared = [(ID, name) for name in sets if ID in sets and name != ID]
    unshared += [(ID_IMAGES, name) for name in parts.ood_datasets if ID_IMAGES in sets and name in sets]
    images, (id_labels, corpus) = encoder.embed(sets, [id_words, corpus_words], unshared)
    warn_of_near_copies(images, unshared)
    if parts.selector.needs_lengths:
        corpus = replace(corpus, lengths=encoder.lengths(corpus.names, corpus.parts_of_speech))
    id_images = None
    if parts.id_images is not None:
        id_images = for_classes(images.pop(ID_IMAGES), parts.id_images.class_names().names, id_words.names)
    return Embedded(parts.before_the_towers, id_labels, corpus, images, id_images)


def gather(
    parts: Parts,
    image_sets: Mapping[str, ImageDataset] | None = None,
    earlier: Embedded | None = None,
    scored: bool = True,
) -> Material:
    """Everything that a score needs: embeddings, selected and filtered negatives, and the text bank of them.

    Args:
        parts: of the run.
        image_sets: which images to embed; None: the benchmark's.
        earlier: embeddings of an earlier job of the sweep; reused if they were made from the same parts.
        scored: the score will be run, so what it needs is checked.
    """
    times: dict[str, float] = {}
    encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
    with timed(times, "embed"):
        embedded = earlier
        if embedded is None or embedded.source != parts.before_the_towers:
            embedded = embed(parts, encoder, parts.benchmark if image_sets is None else image_sets, scored)
    id_labels, id_images = embedded.id_labels, embedded.id_images
    with timed(times, "mine"):
        if parts.selector not in embedded.selected:
            embedded.selected[parts.selector] = parts.selector.select(embedded.corpus, id_labels, id_images)
        selected = embedded.corpus.take(embedded.selected[parts.selector])
    with timed(times, "filter"):
        negatives, verdicts = filter_labels(parts.label_filter, selected, id_labels, encoder)
    bank = TextBank(id_labels, negatives, parts.backbone.logit_scale, id_images)
    return Material(encoder, embedded, bank, verdicts, times)


def evaluate(parts: Parts, earlier: Embedded | None = None, kept: KeptProducts | None = None) -> Evaluation:
    """The pipeline: gather what the score needs, then score every image.

    Args:
        parts: of the run.
        earlier: embeddings of an earlier job, as for `gather`.
        kept: products of earlier jobs, and room for this one's; None: it is no job of a sweep.
    """
    material = gather(parts, earlier=earlier)
    bank, images, times = material.bank, material.images, material.times
    if isinstance(parts.score, LocalScore):
        with timed(times, "patches"):
            images = with_local(material.encoder, parts.benchmark, images, parts.score, bank)
    with timed(times, "score"):
        gallery = None
        if parts.score.needs_pictures:
            gallery = Gallery(images, {name: dataset.images() for name, dataset in parts.benchmark.items()})
        direct = material.encoder.direct(gallery)
        if parts.score.order_dependent:
            id_images = images[ID]
            ood_images = {name: images[name] for name in parts.ood_datasets}
            pairs = score_streams(parts.score, bank, direct, id_images, ood_images, parts.stream, parts.devices)
        else:
            batch_size = parts.loading.score_batch_size
            tables = score_images(parts.score, bank, direct, images, parts.devices, batch_size, kept)
            pairs = [ScoredPair(tables[ID], tables[name]) for name in parts.ood_datasets]
    num_images, num_encoded = sum(map(len, images.values())), material.encoder.num_encoded + direct.num_encoded
    times |= {"score_per_image": times["score"] / num_images, "num_encoded": num_encoded}
    similarity = parts.selector.similarity(bank.negatives, bank.id_labels)
    return Evaluation(pairs, material.embedded, bank.id_labels, bank.negatives, similarity, material.verdicts, times)


def filter_labels(
    label_filter: LabelFilter, selected: LabelSet, id_labels: LabelSet, encoder: Embedder
) -> tuple[LabelSet, tuple[dict[str, str], ...]]:
    """The negatives that a filter keeps, under the names it gives them, and its verdicts.

    A changed name is encoded again.
    """
    result = label_filter.apply(selected, id_labels, encoder)
    kept = selected.take(result.positions)
    if result.names != kept.names:
        embeddings = encoder.encode(result.names, kept.parts_of_speech)
        kept = replace(kept, names=result.names, embeddings=embeddings, lengths=None)
    return kept, result.verdicts


@contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    """Seconds of a stage."""
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start
