"""`neglab detect`: which of a person's images do not belong to the classes, and which labels say so."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neglab.data.base import ImageDataset, ImageFile, ImageList, UnreadableImageError, read_image
from neglab.data.image_folder import images_below
from neglab.data.pictures import as_rgb
from neglab.detector import Detector
from neglab.detector.calibration import check_count
from neglab.detector.predictions import Prediction
from neglab.embedding.embedder import Embedder
from neglab.embedding.store import Store, write_atomically
from neglab.logger.base import RunLogger
from neglab.plots.contact_sheet import SIZE, Card, contact_sheet, thumbnail
from neglab.prompt.templates import PromptTemplates
from neglab.results.environment import write_environment
from neglab.results.results import write_csv
from neglab.stream.base import StreamPlan
from neglab.tasks.evaluate import job
from neglab.types import LabelledEmbeddings, UserError, Words

COLUMNS = ("path", "id_score", *Prediction._fields[1:], "error")
PHOTOS, ID_IMAGES = "images", "id_images"
NUM_SHOWN = 10  # images on the console and, with logger.log_images, in W&B

Found = list[tuple[str, Prediction]]


@dataclass(frozen=True)
class Photos(ImageDataset):
    """Image files of no class."""

    paths: tuple[Path, ...]

    @classmethod
    def below(cls, place: str, key: str) -> "Photos":
        """All images below a folder, or one image.

        Args:
            place: folder or file.
            key: what the user calls it, for messages.

        Raises:
            UserError: there is none.
        """
        path = Path(str(place)).expanduser()
        if not path.exists():
            raise UserError(f"{key} must be a folder of images, or one image; there is no {path}.")
        paths = images_below(path) if path.is_dir() else [path]
        if not paths:
            raise UserError(f"{key} must hold at least one image, at any depth; got none below {path}.")
        return cls(tuple(paths))

    def class_names(self) -> Words:
        return Words.nouns(())

    def images(self) -> ImageList:
        return ImageList.of_files(self.paths, [-1] * len(self.paths))


def run(config: DictConfig) -> None:
    """Score a folder of images; writes detections.csv, detections.parquet and contact_sheet.html.

    Raises:
        UserError: no images, no classes, or a threshold that cannot be found.
    """
    console, folder = Console(), Path(config.paths.output)
    if config.save is not None and Path(config.save).expanduser().is_file():
        raise UserError(f"save must be a folder for the detector; {config.save} is a file. Choose another place.")
    logger: RunLogger = instantiate(config.logger)
    photos = Photos.below(config.images, PHOTOS)
    write_environment(folder)
    try:
        logger.start(OmegaConf.to_container(config, resolve=True), job(config, "detect"))  # pyright: ignore[reportArgumentType]
        detector, plan = open_detector(config), instantiate(config.stream)
        check_stream(detector, plan, len(photos.paths))
        images, id_images = embed(config, detector, photos)
        if config.threshold is not None:
            detector.threshold = float(config.threshold)
        elif id_images is not None:
            detector.calibrate_embeddings(id_images.embeddings, config.id_acceptance, config.confidence, config.margin)
        found = sorted(predict(detector, images, plan), key=lambda row: row[1].score)
        broken = unreadable(photos, images, detector)
        facts = summary(detector, found, len(broken))
        write_tables(folder, found, broken)
        write_sheet(folder / "contact_sheet.html", found, facts, config.num_thumbnails)
        if config.save is not None:
            detector.save(config.save)
        num_ood = sum(bool(prediction.is_ood) for _, prediction in found)
        counts = {"num_images": len(found), "num_ood": num_ood, "num_unreadable": len(broken)}
        logger.log_metrics({name: float(count) for name, count in counts.items()})
        if logger.log_images:
            logger.log_table("sample_images", ("image", *COLUMNS[:-1]), sample_rows(found[:NUM_SHOWN]))
    finally:
        logger.finish()
    show(console, found, facts)
    if config.save is not None:
        console.print(f"The detector is in {config.save}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)


def open_detector(config: DictConfig) -> Detector:
    """A saved detector, or a new one."""
    if config.detector is None:
        choices = config.run.choices if "run" in config else HydraConfig.get().runtime.choices
        return Detector.from_config(config, str(choices["method"] or "custom"))
    if config.class_names is not None:
        raise UserError("A saved detector knows its classes: give detector= or class_names=, not both.")
    return Detector.load(config.detector, "cpu" if config.trainer.accelerator == "cpu" else None)


def embed(
    config: DictConfig, detector: Detector, photos: Photos
) -> tuple[LabelledEmbeddings, LabelledEmbeddings | None]:
    """The images, and the ID images to calibrate on, if any; through the store and in one pass."""
    sets: dict[str, ImageDataset] = {PHOTOS: photos}
    root = None if OmegaConf.is_missing(config.id_images.dataset, "root") else config.id_images.dataset.root
    # Of a method that learns while it tests, ID images are only what it learns the classes from.
    only_learned_from = detector.scorer.order_dependent and detector.scorer.needs_id_images
    if root is not None and config.threshold is None and not only_learned_from:
        sets[ID_IMAGES] = id_photos = Photos.below(root, ID_IMAGES)
        # Those that are unreadable, or that the method has learned from, will be fewer still.
        check_count(len(id_photos.paths), config.id_acceptance, config.confidence, config.margin)
    as_given = PromptTemplates(["{}"], ["{}"], normalise_before_mean=True)  # images alone: no prompt is read
    store, devices, loading = Store(config.paths.store), instantiate(config.trainer), instantiate(config.data)
    embedded, _ = Embedder(detector.backbone, as_given, store, devices, loading).embed(sets, [])
    if not len(embedded[PHOTOS]):
        raise UserError(f"At least one image must be readable; none of the {len(photos.paths)} is.")
    return embedded[PHOTOS], embedded.get(ID_IMAGES)


def check_stream(detector: Detector, plan: StreamPlan, count: int) -> torch.Tensor:
    """The order in which a score that learns while it tests meets so many images.

    Raises:
        UserError: it leaves some out.
    """
    if not detector.scorer.order_dependent:
        return torch.arange(count)
    order = plan.draw(count, 0).order
    if len(order) != count:
        raise UserError(f"The stream must hold each of the {count} images; got {len(order)}. Take stream=shuffled.")
    return order


def predict(detector: Detector, images: LabelledEmbeddings, plan: StreamPlan) -> Found:
    """Path and prediction of each image. A score that learns while it tests meets them in the stream's order."""
    order = check_stream(detector, plan, len(images))
    predictions = detector.predict_embeddings(images.embeddings[order])
    return [(images.paths[i], prediction) for i, prediction in zip(order.tolist(), predictions, strict=True)]


def unreadable(photos: Photos, images: LabelledEmbeddings, detector: Detector) -> list[tuple[str, str]]:
    """Path and reason of each image that could not be read."""
    readable, found = set(images.paths), []
    for path in photos.paths:
        if str(path) not in readable:
            try:
                read_image(ImageFile(path), detector.transform)
            except UnreadableImageError as error:
                found.append((str(path), str(error)))
    return found


def summary(detector: Detector, found: Found, num_unreadable: int) -> list[str]:
    """What came out, in a few lines."""
    caution = detector.recipe.caution
    num_ood, threshold = sum(bool(prediction.is_ood) for _, prediction in found), detector.threshold
    labels = f"{len(detector.bank.id_labels)} classes, {len(detector.bank.negatives)} negative labels"
    counted = "no decision without a threshold" if threshold is None else f"{num_ood} OOD ({num_ood / len(found):.1%})"
    lines = [
        f"{len(found)} images: {counted}",
        f"Threshold{'' if threshold is None else f' of the ID score {threshold:.6g}'}: {detector.threshold_origin}",
        f"Method {detector.recipe.method}: {labels}",
        f"Model {detector.recipe.model}" + (f": {caution}" if caution else ""),
    ]
    return lines + [f"Unreadable: {num_unreadable}; detections.csv says why"] * bool(num_unreadable)


def write_tables(folder: Path, found: Found, broken: Sequence[tuple[str, str]]) -> None:
    """detections.csv and detections.parquet: the most OOD first, unreadable images last."""
    rows: list[list[Any]] = [[path, *prediction, None] for path, prediction in found]
    rows += [[path, *[None] * len(Prediction._fields), error] for path, error in broken]
    write_csv(folder / "detections.csv", COLUMNS, rows)
    real, text = pyarrow.float64(), pyarrow.string()
    types = (text, real, pyarrow.bool_(), text, real, text, real, text)
    columns = zip(*rows, strict=True)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays, names=list(COLUMNS)), content)
    write_atomically(folder / "detections.parquet", content.getvalue())


def write_sheet(path: Path, found: Found, facts: Sequence[str], num_thumbnails: int) -> None:
    """contact_sheet.html with the images most like OOD."""
    shown = found[:num_thumbnails]
    left_out = [f"Shown are the {len(shown)} most like OOD (num_thumbnails)."] * (len(shown) < len(found))
    page = contact_sheet(cards(shown), "Which images do not belong?", [*facts, *left_out])
    write_atomically(path, page.encode())


def cards(found: Found) -> Iterator[Card]:
    """The images as the backbone sees them, small, with the labels that decided."""
    for path, prediction in found:
        with ImageFile(Path(path)).open() as image:
            image.draft("RGB", (SIZE, SIZE))  # of a large JPEG only what a thumbnail needs is decoded
            small = thumbnail(as_rgb(image))
        labels = [(prediction.predicted_class, prediction.class_share, True)]
        if prediction.negative_label is not None and prediction.negative_share is not None:
            labels.append((prediction.negative_label, prediction.negative_share, False))
        link = Path(path).resolve().as_uri()
        yield Card(Path(path).name, link, small, prediction.score, prediction.is_ood, tuple(labels))


def sample_rows(found: Found) -> list[tuple[Any, ...]]:
    """Thumbnail, path and prediction of each image."""
    pictures = (Image.open(io.BytesIO(card.thumbnail)) for card in cards(found))
    return [(picture, path, *prediction) for picture, (path, prediction) in zip(pictures, found, strict=True)]


def show(console: Console, found: Found, facts: Sequence[str]) -> None:
    """The summary and the images most like OOD."""
    table = Table(title="Most like OOD", title_justify="left")
    for heading in ("image", "ID score", "OOD", "nearest class", "nearest negative label"):
        table.add_column(heading, overflow="fold")
    for path, prediction in found[:NUM_SHOWN]:
        decision = "" if prediction.is_ood is None else "yes" if prediction.is_ood else "no"
        cells = (path, f"{prediction.score:.4f}", decision, prediction.predicted_class, prediction.negative_label or "")
        table.add_row(*map(escape, cells))
    console.print(table)
    for fact in facts:
        console.print(fact, highlight=False, markup=False, soft_wrap=True)
