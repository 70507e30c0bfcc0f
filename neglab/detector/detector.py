"""The Python face: a detector of images that do not belong to the classes it is given."""

import logging
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone, ImageTransform
from neglab.compose import build, compose, resolved
from neglab.data.names import Names, given_names
from neglab.detector.calibration import Calibration, calibrate
from neglab.detector.image_inputs import ImageInput, as_list, transformed
from neglab.detector.predictions import Prediction, predictions
from neglab.detector.saved import Recipe, Settings, read_detector, write_detector
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.pipeline import gather
from neglab.prompt.templates import PromptTemplates
from neglab.saved_config import construct
from neglab.score.base import Score
from neglab.types import TextBank, UserError

logger = logging.getLogger(__name__)

SAME_IMAGE = 1 - 1e-5  # cosine of two embeddings of one image, for rounding
ROWS = 4096  # images compared at once with those that the method has learned from


class Detector:
    """Scores images by how well they belong to the ID classes: a higher score is more ID.

    `create` makes one, `load` reads one back. A call's result depends on its images alone: nothing is kept between
    calls. Within a call, the scores that learn while they test (`method=adaneg`, `interneg`, `tanl`, `tins`,
    `clipscope`) take the images as one stream, in the order given; they begin anew with each call.

    Images may be PIL images, paths, folders, uint8 arrays [H, W, 3], uint8 tensors [3, H, W], or floating tensors
    [3, H, W] that went through `transform`; one of them, a list of them, or a batched array or tensor. Large folders
    are for `neglab detect`, which stores embeddings and resumes.

    Args:
        backbone: the dual encoder.
        prompts: of the scores that encode texts while they run; None for all others.
        scorer: the method's score.
        bank: ID classes, negatives and few ID images.
        recipe: what the rest was built from.
        device: where to compute; None: a GPU if there is one.

    Raises:
        UserError: the score cannot work with this bank.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: PromptTemplates | None,
        scorer: Score[Any],
        bank: TextBank,
        recipe: Recipe,
        device: str | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.backbone, self.prompts, self.scorer, self.recipe = backbone, prompts, scorer, recipe
        self.bank = _moved(bank, self.device)
        self.calibration: Calibration | None = None
        self._threshold: float | None = None
        logger.info("The model %s judges", recipe.model)
        if recipe.caution:
            logger.warning("The model %s: %s", recipe.model, recipe.caution)
        with self._encoder() as encoder:
            scorer.init(self.bank, encoder)  # what does not fit is said before any image is encoded
        if len(bank.id_labels) == 1 and not len(bank.negatives) and self._is_constant():
            raise UserError(
                f"method={recipe.method} scores every image alike where there is one class. Name more classes, or "
                "choose a method with negative labels, such as method=neglabel."
            )

    @classmethod
    def create(
        cls,
        class_names: Names,
        backbone: str = "mini",
        method: str = "neglabel",
        id_images: str | Path | None = None,
        overrides: Sequence[str] = (),
        device: str | None = None,
        **groups: str,
    ) -> "Detector":
        """A detector for these classes.

        Args:
            class_names: the ID classes: a list or an array, a mapping such as a model's id2label, or a file (text with
                one name per line, JSON, YAML or CSV).
            backbone: an option of the config group.
            method: a preset.
            id_images: for the methods that learn the classes from a few ID images: a folder with one subfolder per
                class, named as the class.
            overrides: more, as on the command line: "score.num_groups=1".
            device: where to compute; None: a GPU if there is one.
            groups: options of other config groups, such as llm_filter="wordnet".

        Raises:
            UserError: no class, an unknown option, or a method that lacks what it needs.
        """
        chosen = {"backbone": backbone, "method": method, **groups}
        config = compose([*(f"{group}={option}" for group, option in chosen.items()), *overrides], "detect")
        config.class_names = given_names(class_names)
        if id_images is not None:
            config.id_images.dataset.root = str(id_images)
        return cls.from_config(config, method, device)

    @classmethod
    def from_config(cls, config: Any, method: str, device: str | None = None) -> "Detector":
        """The detector that a composed config of `neglab detect` describes."""
        if device is None and config.trainer.accelerator == "cpu":
            device = "cpu"
        parts = build(config)
        bank = gather(parts, image_sets={}).bank
        recipe = Recipe(
            method,
            resolved(config, ("backbone", "prompt", "score")),
            parts.loading.image_batch_size,
            parts.loading.text_batch_size,
            parts.stream.batch_size if parts.score.order_dependent else parts.loading.score_batch_size,
            parts.backbone.fingerprint,
        )
        return cls(parts.backbone, parts.prompts, parts.score, bank, recipe, device)

    @property
    def transform(self) -> ImageTransform:
        """The backbone's transform, from a PIL image to [3, H, W]."""
        return self.backbone.image_transform()

    @property
    def threshold(self) -> float | None:
        """An image is OOD where its score is below: as set, else as calibrated, else the score's neutral value.

        Setting it forgets a calibration. None: there is no threshold.
        """
        return self.scorer.neutral if self._threshold is None else self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not math.isfinite(value):
            raise UserError(f"A threshold must be a finite number, in units of the ID score; got {value}.")
        self._threshold, self.calibration = float(value), None

    @property
    def threshold_origin(self) -> str:
        """Where the threshold comes from, in a few words."""
        if self.calibration is not None:
            return self.calibration.describe()
        if self._threshold is not None:
            return "set by hand"
        if self.scorer.neutral is None:
            return "none: this score has no neutral value; calibrate it on ID images, or set a threshold"
        return "the score's neutral value, as much ID as OOD; not calibrated on ID images"

    def score(self, images: ImageInput | Iterable[ImageInput]) -> Float[Tensor, " N"]:
        """The ID score of each image, float64; higher is more ID."""
        return self.score_embeddings(self.embed(images))

    def predict(self, images: ImageInput | Iterable[ImageInput]) -> list[Prediction]:
        """Score, decision and the labels that decide, for each image."""
        return self.predict_embeddings(self.embed(images))

    def calibrate(
        self,
        id_images: ImageInput | Iterable[ImageInput],
        id_acceptance: float = 0.95,
        confidence: float = 0.95,
        margin: float = 0.05,
    ) -> Calibration:
        """Set the threshold that accepts this share of ID images.

        Args:
            id_images: images of the ID classes, drawn as later ones will be. Those that the method has learned from
                are left out.
            id_acceptance: the share to accept.
            confidence: of the interval of the true share.
            margin: a warning says how many images it takes where the interval reaches further below `id_acceptance`.

        Raises:
            UserError: too few images, or a score that learns while it tests.
        """
        return self.calibrate_embeddings(self.embed(id_images), id_acceptance, confidence, margin)

    @torch.no_grad()
    def embed(self, images: ImageInput | Iterable[ImageInput]) -> Float[Tensor, "N D"]:
        """Unit-norm embeddings on the CPU."""
        self.backbone.to(self.device)
        found, size = [torch.empty(0, self.backbone.embedding_dim)], self.recipe.image_batch_size
        listed = as_list(images)
        for start in range(0, len(listed), size):
            pixels = torch.stack(list(transformed(listed[start : start + size], self.transform)))
            found.append(normalize(self.backbone.encode_image(pixels.to(self.device)), dim=1).cpu())
        embeddings = torch.cat(found)
        if not embeddings.isfinite().all():
            raise UserError("Embeddings must be finite; some are not. Try backbone.precision=fp32.")
        return embeddings

    @torch.no_grad()
    def score_embeddings(self, embeddings: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The ID scores of images whose unit-norm embeddings are known, float64."""
        scores = [torch.empty(0, dtype=torch.float64)]
        with self._encoder() as encoder:
            state = self.scorer.init(self.bank, encoder)
            for start in range(0, len(embeddings), self.recipe.score_batch_size):
                batch = embeddings[start : start + self.recipe.score_batch_size].to(self.device)
                values, state = self.scorer.step(state, batch)
                scores.append(values.double().cpu())
        return torch.cat(scores)

    def predict_embeddings(self, embeddings: Float[Tensor, "N D"]) -> list[Prediction]:
        """Score, decision and the labels that decide, of images whose unit-norm embeddings are known."""
        scores = self.score_embeddings(embeddings)
        return predictions(scores, embeddings.to(self.device), self.bank, self.threshold)

    def calibrate_embeddings(
        self, embeddings: Float[Tensor, "N D"], id_acceptance: float, confidence: float, margin: float
    ) -> Calibration:
        """`calibrate` on ID images whose unit-norm embeddings are known."""
        if self.scorer.order_dependent:
            raise UserError(
                f"method={self.recipe.method} learns from the images that it tests, so its scores on ID images alone "
                "say nothing about those in another stream: it cannot be calibrated. Set the threshold yourself, or "
                "choose a method that judges each image by itself, such as method=neglabel."
            )
        if self.bank.id_images is not None:
            learned, parts = self.bank.id_images.embeddings, embeddings.to(self.device).split(ROWS)
            known = torch.cat([(part @ learned.T).amax(dim=1) > SAME_IMAGE for part in parts])
            embeddings = embeddings[~known.cpu()]
        self.calibration = calibrate(self.score_embeddings(embeddings), id_acceptance, confidence, margin)
        self._threshold = self.calibration.threshold
        return self.calibration

    def save(self, folder: str | Path) -> None:
        """Write detector.json and detector.safetensors. To run it again takes the backbone, but no corpus or store."""
        settings = Settings(self.recipe, self._threshold, self.calibration)
        write_detector(Path(folder).expanduser(), settings, self.bank)

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> "Detector":
        """A saved detector; its scores are those of the one that was saved, bit for bit on the same kind of device.

        Raises:
            UserError: none is there, it is damaged or of another version, or the backbone's weights are others.
        """
        settings, bank = read_detector(Path(folder).expanduser())
        recipe = settings.recipe
        backbone, scorer = construct("backbone", recipe.groups["backbone"]), construct("score", recipe.groups["score"])
        recipe.check_backbone(backbone.fingerprint)
        if bank.id_labels.embeddings.shape[1] != backbone.embedding_dim:
            raise UserError(f"The detector in {folder} is damaged: its text bank is not its backbone's. Save it again.")
        prompts = construct("prompt", recipe.groups["prompt"]) if scorer.needs_encoder else None
        detector = cls(backbone, prompts, scorer, bank, recipe, device)
        detector._threshold, detector.calibration = settings.threshold, settings.calibration
        return detector

    def _is_constant(self) -> bool:
        """An image at the first class and one opposite to it score alike."""
        label = self.bank.id_labels.embeddings[:1].cpu()
        return len(self.score_embeddings(torch.cat([label, -label])).unique()) == 1

    @contextmanager
    def _encoder(self) -> Iterator[Any]:
        """For the scores that encode texts. What it encodes is forgotten: other batches would move the last bits."""
        if not self.scorer.needs_encoder or self.prompts is None:
            yield None
            return
        self.backbone.to(self.device)
        with tempfile.TemporaryDirectory(prefix="neglab-names-") as place:
            yield DirectTextEncoder(self.backbone, self.prompts, Path(place), self.recipe.text_batch_size)


def _moved(bank: TextBank, device: torch.device) -> TextBank:
    """The bank with all its tensors on a device."""
    id_labels, negatives = (
        replace(labels, embeddings=labels.embeddings.to(device)) for labels in (bank.id_labels, bank.negatives)
    )
    id_images = bank.id_images
    if id_images is not None:
        id_images = replace(id_images, embeddings=id_images.embeddings.to(device), labels=id_images.labels.to(device))
    return TextBank(id_labels, negatives, bank.logit_scale, id_images)
