"""The main job: score a benchmark with one method, whole."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from neglab.backbone.base import Backbone
from neglab.corpus.base import Corpus
from neglab.data.base import ImageDataset
from neglab.data.few_shot import FewShot, for_classes
from neglab.embedder import Embedder, Loading
from neglab.llm_filter.base import LabelFilter
from neglab.logger.base import RunLogger
from neglab.modules.prediction import Devices
from neglab.modules.scoring import score_images, score_streams
from neglab.negative_selector.base import NegativeSelector
from neglab.plots.detection import roc_curves, score_histograms
from neglab.prompt.learned import LearnedPrompts
from neglab.prompt.templates import PromptTemplates
from neglab.score.base import Score
from neglab.store import Store
from neglab.stream.base import StreamPlan
from neglab.tasks.results import (
    NEGATIVE_LABEL_COLUMNS,
    measure,
    negative_label_rows,
    result_rows,
    rich_table,
    write_csv,
    write_results,
    write_scores,
)
from neglab.types import LabelledEmbeddings, LabelSet, ScoredPair, TextBank, UserError, Words

ID = "id"  # the ID set's name among the embedded sets and in scores/
ID_IMAGES = "id images"  # the few ID images' name among the embedded sets


@dataclass(frozen=True)
class Parts:
    """What one run is composed of: one object per config group."""

    backbone: Backbone
    id_dataset: ImageDataset
    id_images: FewShot
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
        return self.selector.needs_id_images or self.score.needs_id_images


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
        images: embeddings of the ID set (`ID`) and of the OOD sets.
        verdicts: what the filter decided.
        times: seconds per stage.
    """

    encoder: Embedder
    bank: TextBank
    images: dict[str, LabelledEmbeddings]
    verdicts: tuple[dict[str, str], ...]
    times: dict[str, float]


def gather(parts: Parts) -> Material:
    """ID labels and corpus, selector, filter, text bank, images."""
    times: dict[str, float] = {}
    encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
    with timed(times, "embed"):
        id_words = parts.id_dataset.class_names()
        corpus_words = parts.corpus.words(id_words.names) if parts.selector.needs_corpus else Words.nouns(())
        sets = {ID: parts.id_dataset, **parts.ood_datasets}
        if parts.uses_id_images:
            sets[ID_IMAGES] = parts.id_images
        images, (id_labels, corpus) = encoder.embed(sets, [id_words, corpus_words])
        id_images = None
        if parts.uses_id_images:
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


def run(config: DictConfig) -> float:
    """Run the job that a config describes and write its results; returns the mean AUROC, for sweeps."""
    console, folder = Console(), Path(config.paths.output)
    logger: RunLogger = instantiate(config.logger)
    description = describe(config)
    label = " ".join(filter(None, (description["method"], description["overrides"], f"seed {description['seed']}")))
    # Not as markup: an override may hold brackets.
    console.print(f"{label} on {description['id_dataset']}, {description['backbone']}", style="bold", markup=False)
    try:
        logger.start(OmegaConf.to_container(config, resolve=True))  # pyright: ignore[reportArgumentType]
        start = time.perf_counter()
        parts = build(config)
        evaluation = evaluate(parts)
        metrics = measure(evaluation.pairs)
        times = {**evaluation.times, "total": time.perf_counter() - start}
        metrics |= {f"time/{name}": value for name, value in times.items()}
        uses_id_images = parts.uses_id_images or isinstance(parts.prompts, LearnedPrompts)
        used = {"uses_id_images": uses_id_images, "num_negatives": len(evaluation.negatives)}
        if parts.score.order_dependent:
            used |= {"stream": parts.stream.describe(), "stream_seed": parts.stream.seed}
        rows = result_rows(description | used, metrics)
        write_results(folder, rows, metrics)
        write_scores(folder, evaluation.pairs, evaluation.id_labels.names)
        negative_rows = negative_label_rows(evaluation.negatives, evaluation.similarity)
        write_csv(folder / "negative_labels.csv", NEGATIVE_LABEL_COLUMNS, negative_rows)
        if evaluation.verdicts:
            verdicts = [list(row.values()) for row in evaluation.verdicts]
            write_csv(folder / "filter_verdicts.csv", list(evaluation.verdicts[0]), verdicts)
        logger.log_metrics(metrics)
        logger.log_table("results", list(rows[0]), [list(row.values()) for row in rows])
        logger.log_table("negative_labels", NEGATIVE_LABEL_COLUMNS, negative_rows)
        if config.plots:
            draw(evaluation, metrics, str(label), folder, logger)
    finally:
        logger.finish()
    console.print(
        rich_table(rows, f"{escape(label)}: ID accuracy {100 * metrics['id/accuracy']:.2f}, values in percent")
    )
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    return metrics["ood/mean/auroc"]


def build(config: DictConfig) -> Parts:
    """The objects of a config's groups."""
    if not isinstance(config.seed.value, int):
        raise UserError(f"The seed must be an integer; got seed={config.seed.value}. A sweep: -m seed=0,1,2")
    if not config.ood_datasets:
        raise UserError("At least one OOD set is needed; got none. Choose one with ood_datasets=, such as emoji.")
    return Parts(
        backbone=instantiate(config.backbone),
        id_dataset=instantiate(config.id_dataset),
        id_images=instantiate(config.id_images),
        ood_datasets={str(name): instantiate(dataset) for name, dataset in config.ood_datasets.items()},
        corpus=instantiate(config.corpus),
        prompts=instantiate(config.prompt),
        selector=instantiate(config.negative_selector),
        label_filter=instantiate(config.llm_filter),
        score=instantiate(config.score),
        stream=instantiate(config.stream),
        loading=instantiate(config.data),
        devices=instantiate(config.trainer),
        store=Store(config.paths.store),
    )


# Overrides that say where and how a job runs, not what it computes.
CIRCUMSTANCES = ("seed", "trainer", "logger", "paths", "data", "plots", "hydra", "debug", "method")
GROUPS = ("backbone", "id_dataset", "corpus", "prompt", "negative_selector", "llm_filter", "score")


def describe(config: DictConfig) -> dict[str, Any]:
    """What every result row carries, so that a number is never without its setting."""
    choices, overrides = run_choices(config)
    own = [text for text in overrides if not _is_circumstance(text)]
    return {
        "method": choices["method"],
        "overrides": " ".join(own),
        **{group: choices[group] for group in GROUPS},
        "uses_id_images": False,  # `run` knows better once the parts are built
        "stream": "none",
        "stream_seed": "",
        "seed": config.seed.value,
    }


def _is_circumstance(override: str) -> bool:
    name = override.lstrip("+~").split("=")[0]
    return name.split(".")[0] in CIRCUMSTANCES or name == "stream.seed"


def run_choices(config: DictConfig) -> tuple[dict[str, str], list[str]]:
    """The chosen option of each group and the user's overrides, from Hydra's command line or from `compose`."""
    if "run" in config:
        choices, overrides = config.run.choices, config.run.overrides
    else:
        hydra = HydraConfig.get()
        choices, overrides = hydra.runtime.choices, hydra.overrides.task
    return {group: str(choices[group] or "custom") for group in ("method", *GROUPS)}, list(overrides)


def draw(evaluation: Evaluation, metrics: dict[str, float], title: str, folder: Path, logger: RunLogger) -> None:
    """Score histograms and ROC curves."""
    scores = {pair.ood_images.dataset: (pair.id_images.scores, pair.ood_images.scores) for pair in evaluation.pairs}
    aurocs = {name: metrics[f"ood/{name}/auroc"] for name in scores}
    score_histograms(scores, title, folder / "score_histograms.png")
    roc_curves(scores, aurocs, title, folder / "roc_curves.png")
    for name in ("score_histograms", "roc_curves"):
        logger.log_image(name, folder / f"{name}.png")


@contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    """Seconds of a stage."""
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start
