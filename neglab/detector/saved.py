"""What a detector leaves on disk: detector.safetensors with the text bank, detector.json with all the rest."""

import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neglab import __version__
from neglab.detector.calibration import Calibration
from neglab.files import DamagedError, Document, read_bytes, read_json, write_atomically
from neglab.types import LabelledEmbeddings, LabelSet, TextBank, UserError, Words

logger = logging.getLogger(__name__)

TENSORS, DESCRIPTION = "detector.safetensors", "detector.json"
FORMAT = 1

Count = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Recipe:
    """What a detector is rebuilt from, besides its text bank.

    Attributes:
        method: the preset's name, for people.
        groups: the resolved configs of backbone, prompt and score.
        image_batch_size: images per forward pass.
        text_batch_size: texts per forward pass, of the scores that encode texts.
        score_batch_size: images per step; of a score that learns while it tests, a hyper-parameter.
        backbone: its fingerprint.
    """

    method: str
    groups: dict[str, dict[str, Any]]
    image_batch_size: Count
    text_batch_size: Count
    score_batch_size: Count
    backbone: str

    def __post_init__(self) -> None:
        if missing := [name for name in ("backbone", "prompt", "score") if name not in self.groups]:
            raise ValueError(f"groups lack {', '.join(missing)}")

    @property
    def model(self) -> str:
        """What people call the backbone: its name, or that of its folder."""
        return str(self.groups["backbone"].get("model", "of an unknown name")).rsplit("/", 1)[-1]

    @property
    def caution(self) -> str | None:
        """What a person should know before they trust the model, if it says so."""
        return self.groups["backbone"].get("caution")

    def check_backbone(self, fingerprint: str) -> None:
        """Raise a UserError where a backbone is not the one that the text bank was made with."""
        if fingerprint != self.backbone:
            raise UserError(
                f"A detector must run with the backbone that it was made with, fingerprint {self.backbone[:12]}; got "
                f"{fingerprint[:12]} (weights, tokenizer, image transform and precision count). Put the same weights "
                "in place, or create the detector again."
            )


@dataclass(frozen=True)
class Settings:
    """What decides a detector's scores and decisions, beside its text bank.

    Attributes:
        recipe: what it is rebuilt from.
        threshold: as set or calibrated; None: the score's neutral value.
        calibration: what the threshold was found on; None: it was not.
    """

    recipe: Recipe
    threshold: float | None
    calibration: Calibration | None


@dataclass(frozen=True)
class Content:
    """What detector.json holds.

    Attributes:
        neglab: the version that wrote it.
        settings: of the detector.
        logit_scale: of the text bank.
        id_labels: the ID classes, without their embeddings.
        negatives: the negative labels, without theirs.
        tensors_sha256: checksum of detector.safetensors.
    """

    neglab: str
    settings: Settings
    logit_scale: float
    id_labels: Words
    negatives: Words
    tensors_sha256: str


def write_detector(folder: Path, settings: Settings, bank: TextBank) -> None:
    """Write both files, each whole or not at all; equal detectors give equal bytes.

    Args:
        folder: made where it is missing; an older detector there is replaced.
        settings: of the detector.
        bank: with its embeddings.

    Raises:
        UserError: the folder cannot be made, or the disk is full.
    """
    tensors = {"id_labels": bank.id_labels.embeddings, "negatives": bank.negatives.embeddings}
    if bank.id_images is not None:
        tensors |= {"id_images": bank.id_images.embeddings, "id_image_labels": bank.id_images.labels}
    tensor_file = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    content = Content(
        neglab=__version__,
        settings=settings,
        logit_scale=bank.logit_scale,
        id_labels=bank.id_labels.words,
        negatives=bank.negatives.words,
        tensors_sha256=hashlib.sha256(tensor_file).hexdigest(),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"A detector is saved in a folder; {folder} cannot be one: {error.strerror}.") from error
    write_atomically(folder / TENSORS, tensor_file)
    write_atomically(folder / DESCRIPTION, Document.of(asdict(content), FORMAT).as_json())


def read_detector(folder: Path) -> tuple[Settings, TextBank]:
    """The settings and the text bank of a saved detector.

    Raises:
        UserError: there is none, it is damaged, or it is of another format.
    """
    if not all((folder / name).is_file() for name in (TENSORS, DESCRIPTION)):
        raise UserError(
            f"A saved detector is a folder with {DESCRIPTION} and {TENSORS}; {folder} is none. Save one with "
            "`Detector.save` or `neglab detect save=FOLDER`."
        )
    try:
        content, bank = _opened(folder)
    except (DamagedError, OSError) as error:
        raise UserError(
            f"The detector in {folder} is damaged ({error}). Save it again, or fetch both files again."
        ) from error
    if content.neglab != __version__:
        logger.warning("%s was saved by neglab %s; this is %s", folder, content.neglab, __version__)
    return content.settings, bank


def _opened(folder: Path) -> tuple[Content, TextBank]:
    """Both files, held against each other."""
    document = read_json(folder / DESCRIPTION, Document)
    if document.format != FORMAT:
        raise UserError(
            f"This neglab, {__version__}, reads detectors of format {FORMAT}; that in {folder} has format "
            f"{document.format}. Create it again, or use the neglab that saved it."
        )
    content = document.opened(Content, FORMAT)
    return content, _bank(content, _tensors(read_bytes(folder / TENSORS), content.tensors_sha256))


def _tensors(tensor_file: bytes, checksum: str) -> dict[str, Tensor]:
    if hashlib.sha256(tensor_file).hexdigest() != checksum:
        raise DamagedError(f"{TENSORS} does not match its checksum")
    try:
        return load(tensor_file)
    except SafetensorError as error:
        raise DamagedError(str(error)) from error


def _bank(content: Content, tensors: dict[str, Tensor]) -> TextBank:
    width = tensors["id_labels"].shape[-1] if "id_labels" in tensors else 0

    def rows(name: str, count: int) -> Tensor:
        found = tensors.get(name, torch.empty(0))
        if found.shape != (count, width) or found.dtype != torch.float32 or not found.isfinite().all():
            raise DamagedError(f"{name} must be {count} finite rows of float32; got {found.dtype} {list(found.shape)}")
        return found

    labels, negatives = (
        LabelSet(words.names, words.parts_of_speech, rows(name, len(words)), words.synsets)
        for name, words in (("id_labels", content.id_labels), ("negatives", content.negatives))
    )
    if not len(labels) or not width:
        raise DamagedError("it has no classes")
    if "id_images" not in tensors:
        return TextBank(labels, negatives, content.logit_scale)
    classes = tensors.get("id_image_labels", torch.empty(0))
    if classes.dtype != torch.int64 or classes.ndim != 1 or not ((classes >= 0) & (classes < len(labels))).all():
        raise DamagedError("the ID images' labels must be those of the classes")
    return TextBank(
        labels, negatives, content.logit_scale, LabelledEmbeddings(rows("id_images", len(classes)), classes)
    )
