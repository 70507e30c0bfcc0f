"""What a detector leaves on disk: detector.safetensors with the text bank, detector.json with all the rest."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from neglab import __version__
from neglab.store import digest, write_atomically
from neglab.types import LabelledEmbeddings, LabelSet, TextBank, UserError

logger = logging.getLogger(__name__)

TENSORS, DESCRIPTION = "detector.safetensors", "detector.json"
FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """What a detector is built from again, beside its text bank.

    Attributes:
        method: the preset's name, for people.
        groups: the resolved configs of backbone, prompt and score.
        image_batch_size: images per forward pass.
        text_batch_size: texts per forward pass, of the scores that encode texts.
        score_batch_size: images per step; of a score that learns while it tests, a hyper-parameter.
        backbone: its fingerprint.
    """

    method: str
    groups: dict[str, Any]
    image_batch_size: int
    text_batch_size: int
    score_batch_size: int
    backbone: str

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


def write_detector(folder: Path, settings: dict[str, Any], bank: TextBank) -> None:
    """Write both files, each whole or not at all; equal detectors give equal bytes.

    Args:
        folder: made where it is missing; an older detector there is replaced.
        settings: as JSON takes them.
        bank: with its embeddings.

    Raises:
        UserError: the folder cannot be made, or the disk is full.
    """
    tensors = {"id_labels": bank.id_labels.embeddings, "negatives": bank.negatives.embeddings}
    if bank.id_images is not None:
        tensors |= {"id_images": bank.id_images.embeddings, "id_image_labels": bank.id_images.labels}
    tensor_file = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    content = {
        "neglab": __version__,
        "settings": settings,
        "logit_scale": bank.logit_scale,
        "id_labels": _words(bank.id_labels),
        "negatives": _words(bank.negatives),
        "tensors_sha256": hashlib.sha256(tensor_file).hexdigest(),
    }
    document = {"format": FORMAT, "sha256": digest(content), "content": content}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"A detector is saved in a folder; {folder} cannot be one: {error.strerror}.") from error
    write_atomically(folder / TENSORS, tensor_file)
    write_atomically(folder / DESCRIPTION, f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode())


def read_detector(folder: Path) -> tuple[dict[str, Any], TextBank]:
    """The settings and the text bank of a saved detector.

    Raises:
        UserError: there is none, it is damaged, or it is of another format.
    """
    if not all((folder / name).is_file() for name in (TENSORS, DESCRIPTION)):
        raise UserError(
            f"A saved detector is a folder with {DESCRIPTION} and {TENSORS}; {folder} is none. Save one with "
            "`Detector.save` or `neglab detect save=FOLDER`."
        )
    damaged = f"The detector in {folder} is damaged ({{}}). Save it again, or fetch both files again."
    try:
        document = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        file_format, content = document["format"], document["content"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(damaged.format(f"{DESCRIPTION} cannot be read")) from error
    if file_format != FORMAT:
        raise UserError(
            f"This neglab, {__version__}, reads detectors of format {FORMAT}; that in {folder} has format "
            f"{file_format}. Create it again, or use the neglab that saved it."
        )
    if digest(content) != document.get("sha256"):
        raise UserError(damaged.format(f"{DESCRIPTION} does not match its checksum"))
    tensor_file = (folder / TENSORS).read_bytes()
    if hashlib.sha256(tensor_file).hexdigest() != content["tensors_sha256"]:
        raise UserError(damaged.format(f"{TENSORS} does not match its checksum"))
    if content["neglab"] != __version__:
        logger.warning("%s was saved by neglab %s; this is %s", folder, content["neglab"], __version__)
    try:
        return content["settings"], _bank(content, load(tensor_file))
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(damaged.format(f"{type(error).__name__}: {error}")) from error


def _words(labels: LabelSet) -> dict[str, Any]:
    return {"names": labels.names, "parts_of_speech": labels.parts_of_speech, "synsets": labels.synsets}


def _bank(content: dict[str, Any], tensors: dict[str, Any]) -> TextBank:
    labels, negatives = (
        LabelSet(embeddings=tensors[name], **{key: tuple(values) for key, values in content[name].items()})
        for name in ("id_labels", "negatives")
    )
    id_images = None
    if "id_images" in tensors:
        id_images = LabelledEmbeddings(tensors["id_images"], tensors["id_image_labels"])
    return TextBank(labels, negatives, content["logit_scale"], id_images)
