"""The main job: score a benchmark with one method, whole."""

import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from neglab.compose import build
from neglab.embedder import Embedder
from neglab.logger.base import Job, RunLogger
from neglab.pipeline import ID, Evaluation, Parts, evaluate
from neglab.plots.contact_sheet import SIZE
from neglab.plots.detection import roc_curves, score_histograms
from neglab.predictions import predictions
from neglab.prompt.learned import LearnedPrompts
from neglab.tasks.aggregate import aggregate, sweep_name
from neglab.tasks.published import compare, comparison_tables, identify
from neglab.tasks.results import (
    NEGATIVE_LABEL_COLUMNS,
    measure,
    method_label,
    negative_label_rows,
    result_rows,
    rich_table,
    write_csv,
    write_results,
    write_scores,
)
from neglab.types import TextBank

SAMPLE_COLUMNS = ("dataset", "image", "path", "id_score", "predicted_class", "negative_label")
NUM_SAMPLES = 8  # images of each set


def run(config: DictConfig) -> float:
    """Run the job that a config describes and write its results; returns the mean AUROC, for sweeps."""
    console, folder = Console(), Path(config.paths.output)
    logger: RunLogger = instantiate(config.logger)
    description = describe(config)
    label = f"{method_label(description)} seed {description['seed']}"
    # Not as markup: an override may hold brackets.
    console.print(f"{label} on {description['id_dataset']}, {description['backbone']}", style="bold", markup=False)
    try:
        logger.start(OmegaConf.to_container(config, resolve=True), job(config, "evaluate"))  # pyright: ignore[reportArgumentType]
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
        if logger.log_images:
            logger.log_table("sample_images", SAMPLE_COLUMNS, sample_rows(parts, evaluation))
    finally:
        logger.finish()
    console.print(
        rich_table(rows, f"{escape(label)}: ID accuracy {100 * metrics['id/accuracy']:.2f}, values in percent")
    )
    compared = [row for row in compare(aggregate(rows)) if row["published_source"]]
    console.print(*comparison_tables(compared), sep="\n", end="")
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    return metrics["ood/mean/auroc"]


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
        **identify(OmegaConf.to_object(config.published), choices, own),  # pyright: ignore[reportArgumentType]
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


def job(config: DictConfig, command: str) -> Job:
    """By what a dashboard finds this run, from Hydra's command line or from `compose`."""
    sweep = None
    if "run" in config:
        choices = config.run.choices
    else:
        hydra = HydraConfig.get()
        choices = hydra.runtime.choices
        sweep = sweep_name(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else None
    tags = (choices.get(group) for group in ("method", "prompt_learner", "backbone", "id_dataset"))
    return Job(command, Path(config.paths.output), sweep, tuple(filter(None, tags)))


def sample_rows(parts: Parts, evaluation: Evaluation) -> list[tuple[Any, ...]]:
    """Of the ID set the images most like OOD, of an OOD set those most like ID, with the labels that say so."""
    bank = TextBank(evaluation.id_labels, evaluation.negatives, parts.backbone.logit_scale)
    # The pipeline has left every embedding in the store.
    encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
    images, _ = encoder.embed(parts.benchmark, [])
    # Where each OOD set's stream scores the ID images anew, those of the first stand for all.
    tables = {ID: evaluation.pairs[0].id_images}
    tables |= {pair.ood_images.dataset: pair.ood_images for pair in evaluation.pairs}
    rows: list[tuple[Any, ...]] = []
    for name, table in tables.items():
        chosen = table.scores.argsort(descending=name != ID)[:NUM_SAMPLES]
        paths = [table.paths[i] for i in chosen.tolist()]
        # By path: a stream may leave images out.
        place = {path: i for i, path in enumerate(images[name].paths)}
        embeddings = images[name].embeddings[[place[path] for path in paths]]
        found = predictions(table.scores[chosen], embeddings, bank, None)
        sources = {str(source): source for source in parts.benchmark[name].images().sources}
        for path, prediction in zip(paths, found, strict=True):
            small = sources[path].rgb()
            small.thumbnail((SIZE, SIZE))
            rows.append((name, small, path, prediction.score, prediction.predicted_class, prediction.negative_label))
    return rows


def draw(evaluation: Evaluation, metrics: dict[str, float], title: str, folder: Path, logger: RunLogger) -> None:
    """Score histograms and ROC curves."""
    scores = {pair.ood_images.dataset: (pair.id_images.scores, pair.ood_images.scores) for pair in evaluation.pairs}
    aurocs = {name: metrics[f"ood/{name}/auroc"] for name in scores}
    score_histograms(scores, title, folder / "score_histograms.png")
    roc_curves(scores, aurocs, title, folder / "roc_curves.png")
    for name in ("score_histograms", "roc_curves"):
        logger.log_image(name, folder / f"{name}.png")
