"""The main job: score a benchmark with one method, whole."""

import json
import time
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from neglab.compose import Kept, build
from neglab.embedding.embedder import done_by_device
from neglab.logger.base import Job, RunLogger
from neglab.modules.products import KeptProducts
from neglab.pipeline import Evaluation, evaluate
from neglab.plots.detection import roc_curves, score_histograms
from neglab.prompt.learned import LearnedPrompts
from neglab.results.aggregate import aggregate, sweep_name
from neglab.results.classes import write_class_table
from neglab.results.environment import write_environment
from neglab.results.examples import SAMPLE_COLUMNS, most_wrong, sample_rows, write_examples
from neglab.results.published import compare, comparison_tables, identify
from neglab.results.results import (
    NEGATIVE_LABEL_COLUMNS,
    measure,
    method_label,
    negative_label_rows,
    result_rows,
    rich_table,
    write_csv,
    write_results,
)
from neglab.results.score_tables import write_scores

DRAWN = 2**20  # scores of a set, at most


def run(config: DictConfig) -> float:
    """Run the job that a config describes and write its results; returns the mean AUROC, for sweeps."""
    console, folder = Console(), Path(config.paths.output)
    logger: RunLogger = instantiate(config.logger)
    description = describe(config)
    label = f"{method_label(description)} seed {description['seed']}"
    # Not as markup: an override may hold brackets.
    console.print(f"{label} on {description['id_dataset']}, {description['backbone']}", style="bold", markup=False)
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True)
        this_job = job(config, "evaluate")
        logger.start({**settings, "environment": write_environment(folder)}, this_job)
        start = time.perf_counter()
        kept = kept_in(this_job.sweep) if this_job.sweep else Kept()
        parts = build(config, kept)
        write_class_table(folder, parts.id_dataset, console)
        evaluation = evaluate(parts, kept.embedded, kept.products)
        kept.embedded = evaluation.embedded
        metrics = measure(evaluation.pairs)
        times = {**evaluation.times, "total": time.perf_counter() - start}
        metrics |= {f"time/{name}": value for name, value in times.items()}
        uses_id_images = parts.uses_id_images or isinstance(parts.prompts, LearnedPrompts)
        num_unclear = sum(int(verdict["unclear"]) for verdict in evaluation.verdicts)
        metrics |= {"filter/num_unclear": float(num_unclear)} if evaluation.verdicts else {}
        used = {
            "uses_id_images": uses_id_images,
            "num_negatives": len(evaluation.negatives),
            "num_unclear": num_unclear,
        }
        used |= setting_digests(config, parts.score.order_dependent)
        if parts.score.order_dependent:
            used |= {"stream": parts.stream.describe(), "stream_seed": parts.stream.seed}
        rows = result_rows(description | used, metrics)
        write_results(folder, rows, metrics)
        write_scores(folder, evaluation.pairs, evaluation.id_labels.names, config.score_tables)
        negative_rows = negative_label_rows(evaluation.negatives, evaluation.similarity)
        write_csv(folder / "negative_labels.csv", NEGATIVE_LABEL_COLUMNS, negative_rows)
        if evaluation.verdicts:
            verdicts = [list(row.values()) for row in evaluation.verdicts]
            write_csv(folder / "filter_verdicts.csv", list(evaluation.verdicts[0]), verdicts)
        examples = most_wrong(parts, evaluation)
        write_examples(folder / "examples.csv", examples)
        logger.log_metrics(metrics)
        logger.log_table("results", list(rows[0]), [list(row.values()) for row in rows])
        logger.log_table("negative_labels", NEGATIVE_LABEL_COLUMNS, negative_rows)
        if config.plots:
            draw(evaluation, metrics, str(label), folder, logger)
        if logger.log_images:
            logger.log_table("sample_images", SAMPLE_COLUMNS, sample_rows(parts, examples))
    finally:
        logger.finish()
    console.print(
        rich_table(rows, f"{escape(label)}: ID accuracy {100 * metrics['id/accuracy']:.2f}, values in percent")
    )
    compared = [row for row in compare(aggregate(rows)) if row["published_source"]]
    console.print(*comparison_tables(compared), sep="\n", end="")
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    return metrics["ood/mean/auroc"]


@lru_cache(maxsize=1)
def kept_in(sweep: str) -> Kept:
    """What the jobs of this sweep share; the next sweep's first job lets go of it."""
    return Kept(products=KeptProducts())


# Overrides that say where and how a job runs, not what it computes.
CIRCUMSTANCES = ("seed", "trainer", "logger", "paths", "data", "plots", "score_tables", "hydra", "debug", "method")
READING = ("resize", "decode")  # the keys of `data` that change numbers
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


def setting_digests(config: DictConfig, with_stream: bool) -> dict[str, str]:
    """Digests by which a report knows equal settings, whatever was typed to get them.

    References such as ${paths.data} and ${seed.value} stay references: neither place nor seed is part of a setting.

    Args:
        config: of the run.
        with_stream: the score learns from the stream.
    """
    settings: Any = OmegaConf.to_container(config)
    if isinstance(settings.get("stream"), dict):
        settings["stream"].pop("seed", None)
    left_out = (*CIRCUMSTANCES, "run", "published", "experiment", *([] if with_stream else ["stream"]))
    own = {key: value for key, value in settings.items() if key not in left_out}
    by_device = done_by_device(*(config.data.get(key, "pillow") for key in READING))
    own |= {f"data.{key}": value for key, value in by_device.items()}
    return {"config": _digest(own), "benchmark": _digest([settings["id_dataset"], settings["ood_datasets"]])}


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _is_circumstance(override: str) -> bool:
    name = override.lstrip("+~").split("=")[0]
    group, _, key = name.partition(".")
    return (group in CIRCUMSTANCES and not (group == "data" and key in READING)) or name == "stream.seed"


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


def draw(evaluation: Evaluation, metrics: dict[str, float], title: str, folder: Path, logger: RunLogger) -> None:
    """Score histograms and ROC curves; of very large sets of evenly spaced images."""
    scores = {
        pair.ood_images.dataset: (_spaced(pair.id_images.scores), _spaced(pair.ood_images.scores))
        for pair in evaluation.pairs
    }
    aurocs = {name: metrics[f"ood/{name}/auroc"] for name in scores}
    score_histograms(scores, title, folder / "score_histograms.png")
    roc_curves(scores, aurocs, title, folder / "roc_curves.png")
    for name in ("score_histograms", "roc_curves"):
        logger.log_image(name, folder / f"{name}.png")


def _spaced(scores: Float[Tensor, " N"]) -> Float[Tensor, " _"]:
    return scores[:: -(-len(scores) // DRAWN) or 1]
