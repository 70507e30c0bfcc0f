"""`neglab learn`: trains prompts on few ID images and leaves a checkpoint for `prompt=learned`."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from neglab.backbone.base import Backbone
from neglab.context.checkpoint import PromptDescription, write_checkpoint
from neglab.context.prompts import TokenTower
from neglab.data.base import ImageDataset
from neglab.data.few_shot import FewShot, for_classes
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.local import PatchEmbedder
from neglab.embedding.store import Store, digest, write_atomically
from neglab.logger.base import RunLogger
from neglab.modules.prompt_learning import Training
from neglab.modules.training_state import Curve
from neglab.parts import MappedRows
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.prompt_learner.base import PromptLearner
from neglab.results.classes import write_class_table
from neglab.results.environment import write_environment
from neglab.tasks.evaluate import job
from neglab.types import LabelledEmbeddings, UserError, generator

FEW_SHOT, TEST = "few-shot images", "ID test images"
CODE_VERSION = 1  # raised when the same settings would train other prompts: interrupted runs then begin anew


@dataclass(frozen=True)
class Lesson:
    """What a learner sees, few ID images, their patches if it needs them, and names; and the ID test images.

    On the latter it is judged afterwards.
    """

    backbone: Backbone
    class_names: tuple[str, ...]
    images: LabelledEmbeddings
    patches: MappedRows | None
    test_images: LabelledEmbeddings | None


def run(config: DictConfig) -> float:
    """Learn prompts as a config says; returns the ID accuracy, on the ID test images where there are some."""
    console, folder, start = Console(), Path(config.paths.output), time.perf_counter()
    write_environment(folder)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    logger: RunLogger = instantiate(config.logger)
    learner: PromptLearner = instantiate(config.prompt_learner)
    title = f"{learner.name}, seed {config.seed.value}, {config.id_images.num_per_class} images per class"
    console.print(f"Learning prompts: {title}", style="bold", markup=False)
    try:
        logger.start(settings, job(config, "learn"))
        store = Store(config.paths.store)
        needs_patches = any(stage.needs_patches for stage in learner.stages())
        lesson = prepare(config, store, needs_patches)
        write_class_table(folder, instantiate(config.id_images), console)
        tower = TokenTower(lesson.backbone, config.learn.prompts_per_pass)
        learner.build(lesson.backbone, lesson.class_names, generator(config.seed.value))
        description = describe(config, settings["prompt_learner"], learner, lesson)
        entry = store.entry(_identity(settings, lesson), kind="learning")
        devices: Devices = instantiate(config.trainer)
        training = Training(devices, config.learn.precision, config.seed.value, entry.folder, folder / "curves.csv")
        prepared = time.perf_counter()
        with store.locked([entry]):
            train(training, tower, learner, lesson, folder, description, logger)
            tensors = finish(tower, learner, lesson, _device(devices))
            write_checkpoint(folder, description, tensors)
            shutil.rmtree(entry.folder, ignore_errors=True)
        metrics = accuracies(tower, learner, lesson)
        metrics |= {"time/prepare": prepared - start, "time/learn": time.perf_counter() - prepared}
        write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=1, sort_keys=True) + "\n").encode())
        logger.log_metrics(metrics)
    finally:
        logger.finish()
    for key, which in (("id/accuracy_few_shot", FEW_SHOT), ("id/accuracy", TEST)):
        if key in metrics:
            console.print(f"ID accuracy on the {which}: {100 * metrics[key]:.2f}%", highlight=False)
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Use it: prompt=learned prompt.checkpoint={folder.absolute()}", markup=False, soft_wrap=True)
    return metrics.get("id/accuracy", metrics["id/accuracy_few_shot"])


def prepare(config: DictConfig, store: Store, needs_patches: bool) -> Lesson:
    """The backbone, the class names and the embedded images.

    Raises:
        UserError: fewer than two classes, a class with fewer images than asked for, or a backbone without the local
            embeddings that the learner needs.
    """
    few_shot: FewShot = instantiate(config.id_images)
    test: ImageDataset | None = instantiate(config.id_dataset) if config.get("id_dataset") else None
    own_names = few_shot.class_names().names
    names = own_names if test is None else test.class_names().names
    if len(names) < 2:
        raise UserError(f"Prompts are learned by telling classes apart; got {len(names)} class. Add a second one.")
    backbone: Backbone = instantiate(config.backbone)
    if needs_patches:
        backbone.check_patches()
    loading: Loading = instantiate(config.data)
    # No name is encoded here, so the templates do not matter.
    plain = PromptTemplates(["{}"], ["{}"], normalise_before_mean=True)
    sets: dict[str, ImageDataset] = {FEW_SHOT: few_shot}
    if test is not None and config.learn.test:
        sets[TEST] = test
    unshared = [(FEW_SHOT, TEST)] if TEST in sets else []
    embedder = Embedder(backbone, plain, store, instantiate(config.trainer), loading)
    embedded, _ = embedder.embed(sets, [], unshared)
    images = for_classes(embedded[FEW_SHOT], own_names, names)
    if not config.learn.allow_fewer_images:
        check_shots(images, names, few_shot.num_per_class)
    patches = PatchEmbedder(embedder).patches(few_shot) if needs_patches else None
    return Lesson(backbone, names, images, patches, embedded.get(TEST))


def check_shots(images: LabelledEmbeddings, names: tuple[str, ...], num_per_class: int) -> None:
    """Raise a UserError where a class has fewer images than asked for."""
    counts = torch.bincount(images.labels, minlength=len(names)).tolist()
    if short := [i for i, count in enumerate(counts) if count < num_per_class]:
        raise UserError(
            f"Each class must have id_images.num_per_class={num_per_class} images; {len(short)} classes have fewer, "
            f"the first is {names[short[0]]!r} with {counts[short[0]]}. Lower id_images.num_per_class, add images, or "
            "set learn.allow_fewer_images=true."
        )


def train(
    training: Training,
    tower: TokenTower,
    learner: PromptLearner,
    lesson: Lesson,
    folder: Path,
    description: PromptDescription,
    logger: RunLogger,
) -> None:
    """All stages, one after the other.

    Raises:
        UserError: a loss is not finite; the prompts of the last good epoch are in the folder `last_good`.
    """

    def log(row: Curve) -> None:
        stage = row["stage"]
        logger.log_epoch({f"{stage}/{name}": float(value) for name, value in row.items() if name != "stage"})

    curves: list[Curve] = []
    for stage in learner.stages():
        try:
            training.train(tower, stage, lesson.images, curves, log, lesson.patches)
        except UserError as error:
            epochs = training.state(stage).num_epochs
            if not epochs:
                raise
            write_checkpoint(folder / "last_good", description, finish(tower, learner, lesson, torch.device("cpu")))
            raise UserError(f"{error} The prompts after epoch {epochs} are kept in {folder / 'last_good'}.") from error


def finish(tower: TokenTower, learner: PromptLearner, lesson: Lesson, device: torch.device) -> dict[str, Any]:
    """The checkpoint's tensors."""
    return learner.to(device).results(tower.to(device), lesson.images.embeddings.to(device))


@torch.no_grad()
def accuracies(tower: TokenTower, learner: PromptLearner, lesson: Lesson) -> dict[str, float]:
    """The share of images whose most similar positive prompt is their class's."""
    device, result = next(learner.parameters()).device, {}
    for key, images in (("id/accuracy_few_shot", lesson.images), ("id/accuracy", lesson.test_images)):
        if images is not None:
            predicted = learner.similarities(tower, images.embeddings.to(device)).argmax(dim=1).cpu()
            result[key] = float((predicted == images.labels).double().mean())
    return result


def describe(config: DictConfig, knobs: dict[str, Any], learner: PromptLearner, lesson: Lesson) -> PromptDescription:
    """What the checkpoint's tensors belong to."""
    positive = next(learner.stages())
    return PromptDescription(
        learner=learner.name,
        class_names=lesson.class_names,
        backbone=lesson.backbone.fingerprint,
        seed=config.seed.value,
        shots=config.id_images.num_per_class,
        knobs=knobs,
        num_sets=learner.num_negative_sets,
        class_name=positive.context.class_name,
    )


def _identity(settings: dict[str, Any], lesson: Lesson) -> dict[str, Any]:
    """Everything that decides what is learned, so that the same command goes on where it was stopped."""
    return {
        "kind": "learning",
        "learner": settings["prompt_learner"],
        "precision": settings["learn"]["precision"],
        "seed": settings["seed"]["value"],
        "backbone": lesson.backbone.fingerprint,
        "class_names": list(lesson.class_names),
        "images": digest([lesson.images.embeddings.tolist(), lesson.images.labels.tolist()]),
        "code": CODE_VERSION,
    }


def _device(devices: Devices) -> torch.device:
    # This process alone, whatever started it.
    return L.Fabric(accelerator=devices.accelerator, devices=1, plugins=[LightningEnvironment()]).device
