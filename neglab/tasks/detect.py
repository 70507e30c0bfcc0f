"""`neglab detect`: which of a person's images do not belong to the classes, and which labels say so."""

import io
from collections.abc import Iterator, Sequence
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

from neglab import digits
from neglab.columns import texts_at
from neglab.data.base import ImageDataset, UnreadableImageError, read_image
from neglab.data.photos import PHOTOS, Photos
from neglab.data.pictures import as_rgb, upright
from neglab.data.sources import ImageFile
from neglab.detector import Detector
from neglab.detector.calibration import check_count
from neglab.detector.predictions import Prediction
from neglab.embedding.embedder import Embedder
from neglab.embedding.local import with_local
from neglab.embedding.store import Store, write_atomically
from neglab.logger.base import RunLogger
from neglab.places import Place
from neglab.plots.contact_sheet import SIZE, Card, contact_sheet, selection, thumbnail
from neglab.prompt.templates import PromptTemplates
from neglab.results.environment import write_environment
from neglab.results.results import write_csv
from neglab.score.base import LocalScore
from neglab.stream.base import StreamPlan
from neglab.tasks.evaluate import job
from neglab.types import LabelledEmbeddings, UserError

REASONS = Prediction._fields[1:-2]
COLUMNS = ("path", "id_score", *REASONS, "error")
ID_IMAGES = "id_images"
NUM_SHOWN = 10  # images on the console and, with logger.log_images, in W&B

Found = list[Prediction]


def run(config: DictConfig) -> None:
    """Score a folder of images; writes detections.csv, detections.parquet and contact_sheet.html.

    Raises:
        UserError: no images, no classes, or a threshold that cannot be found.
    """
    console, folder = Console(), Path(config.paths.output)
    if config.save is not None and Path(config.save).expanduser().is_file():
        raise UserError(f"save must be a folder for the detector; {config.save} is a file. Choose another place.")
    logger: RunLogger = instantiate(config.logger)
    photos = Photos.below(config.images, PHOTOS, config.upright)
    id_photos = known_images(config)
    write_environment(folder)
    try:
        logger.start(OmegaConf.to_container(config, resolve=True), job(config, "detect"))  # pyright: ignore[reportArgumentType]
        detector, plan = open_detector(config), instantiate(config.stream)
        check_stream(detector, plan, len(photos.paths))
        images, id_images = embed(config, detector, photos, id_photos)
        if config.threshold is not None:
            detector.threshold = float(config.threshold)
        elif id_images is not None:
            detector.calibrate_embeddings(id_images.embeddings, config.id_acceptance, config.confidence, config.margin)
        found = sorted(predict(detector, images, plan), key=lambda row: row.score or 0.0)
        broken = unreadable(photos, images, detector)
        facts = summary(detector, found, len(broken))
        write_tables(folder, found, broken)
        caution = detector.recipe.caution  # on the console the detector has said it
        told = [*facts, f"Caution: {caution}"] if caution else facts
        sheet, count = folder / "contact_sheet.html", config.num_thumbnails
        write_sheet(sheet, found, photos.paths, told, detector.threshold, count)
        if config.save is not None:
            detector.save(config.save)
        num_ood = sum(bool(prediction.is_ood) for prediction in found)
        counts = {"num_images": len(found), "num_ood": num_ood, "num_unreadable": len(broken)}
        logger.log_metrics({name: float(count) for name, count in counts.items()})
        if logger.log_images:
            logger.log_table("sample_images", ("image", *COLUMNS[:-1]), sample_rows(found[:NUM_SHOWN], photos.paths))
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


def known_images(config: DictConfig) -> Photos | None:
    """The ID images that are named, looked for before any weights are loaded; None: none are."""
    if OmegaConf.is_missing(config.id_images.dataset, "root"):
        return None
    return Photos.below(config.id_images.dataset.root, ID_IMAGES, config.upright)


def embed(
    config: DictConfig, detector: Detector, photos: Photos, id_photos: Photos | None
) -> tuple[LabelledEmbeddings, LabelledEmbeddings | None]:
    """The images, and the ID images to calibrate on, if any; through the store and in one pass."""
    sets: dict[str, ImageDataset] = {PHOTOS: photos}
    # Of a method that learns while it tests, ID images are only what it learns the classes from.
    only_learned_from = detector.scorer.order_dependent and detector.scorer.needs_id_images
    if id_photos is not None and config.threshold is None and not only_learned_from:
        sets[ID_IMAGES] = id_photos
        # Those that are unreadable, or that the method has learned from, will be fewer still.
        check_count(len(id_photos.paths), config.id_acceptance, config.confidence, config.margin)
    as_given = PromptTemplates(["{}"], ["{}"], normalise_before_mean=True)  # images alone: no prompt is read
    store, devices, loading = Store(config.paths.store), instantiate(config.trainer), instantiate(config.data)
    embedder = Embedder(detector.backbone, as_given, store, devices, loading)
    embedded, _ = embedder.embed(sets, [])
    if isinstance(detector.scorer, LocalScore):
        embedded = with_local(embedder, sets, embedded, detector.scorer, detector.bank)
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
    """The prediction of each image. A score that learns while it tests meets them in the stream's order."""
    order = check_stream(detector, plan, len(images))
    return detector.predict_embeddings(images.embeddings[order], texts_at(images.paths, order.tolist()))


def unreadable(photos: Photos, images: LabelledEmbeddings, detector: Detector) -> Found:
    """Path and reason of each image that could not be read."""
    readable, found = set(images.paths), []
    for path in photos.paths:
        if str(path) not in readable:
            try:
                read_image(ImageFile(path), detector.transform)
            except UnreadableImageError as error:
                found.append(Prediction.unreadable(str(path), str(error)))
    return found


def summary(detector: Detector, found: Found, num_unreadable: int) -> list[str]:
    """What came out, in a few lines."""
    num_ood, threshold = sum(bool(prediction.is_ood) for prediction in found), detector.threshold
    labels = f"{len(detector.bank.id_labels)} classes, {len(detector.bank.negatives)} negative labels"
    counted = "no decision without a threshold" if threshold is None else f"{num_ood} OOD ({num_ood / len(found):.1%})"
    value = "" if threshold is None else f" of the ID score {digits.shown(threshold)}"
    lines = [
        f"{len(found)} images: {counted}",
        f"Threshold{value}: {detector.threshold_origin}",
        f"Method {detector.recipe.method}: {labels}",
        f"Model {detector.recipe.model}",
    ]
    return lines + [f"Unreadable: {num_unreadable}; detections.csv says why"] * bool(num_unreadable)


def write_tables(folder: Path, found: Found, broken: Found) -> None:
    """detections.csv and detections.parquet: the most OOD first, unreadable images last."""
    rows: list[list[Any]] = [[one.path, *one[:-2], one.error] for one in (*found, *broken)]
    write_csv(folder / "detections.csv", COLUMNS, rows)
    real, text = pyarrow.float64(), pyarrow.string()
    types = (text, real, pyarrow.bool_(), text, real, real, text, real, real, text)
    columns = zip(*rows, strict=True)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays, names=list(COLUMNS)), content)
    write_atomically(folder / "detections.parquet", content.getvalue())


def write_sheet(
    path: Path,
    found: Found,
    places: Sequence[Place],
    facts: Sequence[str],
    threshold: float | None,
    num_thumbnails: int,
) -> None:
    """contact_sheet.html with the images around the threshold, and some of the ends."""
    chosen = selection([one.score or 0.0 for one in found], threshold, num_thumbnails)
    which = "most like OOD" if threshold is None else "around the threshold, and a quarter from either end"
    left_out = [f"Shown are {len(chosen)} of {len(found)}: those {which} (num_thumbnails)."]
    facts = [*facts, *left_out * (len(chosen) < len(found))]
    page = contact_sheet(cards([found[i] for i in chosen], places), "Which images do not belong?", facts, threshold)
    write_atomically(path, page.encode())


def cards(found: Found, places: Sequence[Place]) -> list[Card]:
    """The images as people see them, small, with the labels that decided.

    Args:
        places: where the run's images lie; a path in a prediction is the text of one.
    """
    wanted = {one.path for one in found}
    by_path = {path: place for place in places if (path := str(place)) in wanted}
    return [
        Card(
            place.name, place.resolve().as_uri(), small_photo(place), one.score or 0.0, one.is_ood, tuple(reasons(one))
        )
        for one in found
        for place in [by_path[one.path or ""]]
    ]


def small_photo(path: Place) -> bytes:
    """A thumbnail, upright."""
    with ImageFile(path).open() as image:
        image.draft("RGB", (SIZE, SIZE))  # of a large JPEG only what a thumbnail needs is decoded
        return thumbnail(as_rgb(upright(image)))


def reasons(one: Prediction) -> Iterator[tuple[str, float, bool]]:
    """Label, share and whether it speaks for ID: the nearest and all together."""
    for label, share, together, is_class in (
        (one.predicted_class, one.class_share, one.all_classes_share, True),
        (one.negative_label, one.negative_share, one.all_negatives_share, False),
    ):
        if label is not None and share is not None and together is not None:
            yield label, share, is_class
            yield ("all classes" if is_class else "all negatives"), together, is_class


def sample_rows(found: Found, places: Sequence[Place]) -> list[tuple[Any, ...]]:
    """Thumbnail, path and prediction of each image."""
    pictures = (Image.open(io.BytesIO(card.thumbnail)) for card in cards(found, places))
    return [(picture, one.path, *one[:-2]) for picture, one in zip(pictures, found, strict=True)]


def show(console: Console, found: Found, facts: Sequence[str]) -> None:
    """The summary and the images most like OOD."""
    table = Table(title="Most like OOD", title_justify="left")
    for heading in ("image", "ID score", "OOD", "nearest class", "nearest negative label"):
        table.add_column(heading, overflow="fold")
    for one in found[:NUM_SHOWN]:
        decision = "" if one.is_ood is None else "yes" if one.is_ood else "no"
        cells = (one.path, digits.shown(one.score or 0.0), decision, one.predicted_class, one.negative_label)
        table.add_row(*(escape(cell or "") for cell in cells))
    console.print(table)
    for fact in facts:
        console.print(fact, highlight=False, markup=False, soft_wrap=True)
