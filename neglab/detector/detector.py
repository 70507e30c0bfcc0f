"""The Python face: a detector of images that do not belong to the classes it is given."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neglab import digits
from neglab.backbone.base import Backbone, ImageTransform
from neglab.compose import build, compose, resolved, settled
from neglab.data.names import Names, given_names
from neglab.detector.calibration import Calibration, calibrate, origin
from neglab.detector.decent import DecentCorpus
from neglab.detector.hub import OnHub
from neglab.detector.image_inputs import ImageInput
from neglab.detector.image_reader import ReadImages, read_images
from neglab.detector.judge import Judge
from neglab.detector.predictions import Prediction, predictions
from neglab.detector.saved import Recipe, Settings, read_detector, write_detector
from neglab.pipeline import gather
from neglab.prompt.templates import PromptTemplates
from neglab.saved_config import construct
from neglab.score.base import Score
from neglab.types import TextBank, UserError

logger = logging.getLogger(__name__)


class Detector(OnHub):
    """Scores images by how well they belong to the ID classes: a higher score is more ID.

    `create` makes one, `load` reads one back, `push_to_hub` and `from_pretrained` share it. A call's result
    depends on its images alone: nothing is kept between calls. Within a call, the scores that learn while they test
    (`method=adaneg`, `interneg`, `tanl`, `tins`, `clipscope`) take the images as one stream, in the order given; they
    begin anew with each call.

    Images may be PIL images, paths, folders, uint8 arrays [H, W, 3], uint8 tensors [3, H, W], or floating tensors
    [3, H, W] that went through `transform`; one of them, a batched array or tensor, or a list, an iterator or a
    DataLoader of them (of its pairs the first counts). Pictures are turned as their EXIF orientation says. An
    unreadable picture stops nothing. Large folders are for `neglab detect`, which stores embeddings and resumes.

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

    progress_bar = True  # on a terminal, where there is more than one batch

    def __init__(
        self,
        backbone: Backbone,
        prompts: PromptTemplates | None,
        scorer: Score[Any],
        bank: TextBank,
        recipe: Recipe,
        device: str | None = None,
    ) -> None:
        self.backbone, self.prompts, self.scorer, self.recipe = backbone, prompts, scorer, recipe
        self.calibration: Calibration | None = None
        self._threshold: float | None = None
        logger.info("The model %s judges", recipe.model)
        if recipe.caution:
            logger.warning("The model %s: %s", recipe.model, recipe.caution)
        self._judge = Judge(
            backbone, prompts, scorer, bank, recipe,
            torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
        )  # fmt: skip
        if len(bank.id_labels) == 1 and not len(bank.negatives) and self._judge.is_constant():
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
        if config.get("decent", False):
            parts = replace(parts, corpus=DecentCorpus(parts.corpus))
        if config.get("upright", False) and parts.id_images is not None:
            parts = replace(parts, id_images=parts.id_images.upright())
        bank = gather(parts, image_sets={}).bank
        groups = resolved(config, ("backbone", "prompt", "score"))
        recipe = Recipe(
            method,
            {**groups, "score": settled(groups["score"], lambda: parts.backbone.logit_scale)},
            parts.loading.image_batch_size,
            parts.loading.text_batch_size,
            parts.stream.batch_size if parts.score.order_dependent else parts.loading.score_batch_size,
            parts.backbone.fingerprint,
        )
        return cls(parts.backbone, parts.prompts, parts.score, bank, recipe, device)

    @property
    def bank(self) -> TextBank:
        """ID classes, negatives and few ID images, on the device."""
        return self._judge.bank

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._judge.device

    def to(self, device: str | torch.device) -> "Detector":
        """Let it compute elsewhere."""
        bank, chosen = self.bank, torch.device(device)
        self._judge = Judge(self.backbone, self.prompts, self.scorer, bank, self.recipe, chosen)
        return self

    @property
    def transform(self) -> ImageTransform:
        """The backbone's transform, from a PIL image to [3, H, W]."""
        return self.backbone.image_transform()

    @property
    def threshold(self) -> float | None:
        """An image is OOD where its score is below it: the value set by hand or calibrated, else the neutral value.

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
        return origin(self.calibration, self._threshold, self.scorer.neutral)

    def __repr__(self) -> str:
        names, shown = self.bank.id_labels.names, 3
        classes = ", ".join(names[:shown]) + ", ..." * (len(names) > shown)
        threshold = "none" if self.threshold is None else digits.shown(self.threshold)
        return (
            f"<Detector of {len(names)} classes ({classes}) by {self.recipe.method} with {self.recipe.model}, "
            f"{len(self.bank.negatives)} negative labels, threshold {threshold}: {self.threshold_origin}>"
        )

    def score(self, images: ImageInput | Iterable[Any]) -> Float[Tensor, " N"]:
        """The ID score of each image, float64; higher is more ID. NaN where one cannot be read."""
        found = self._read(images)
        scores = torch.full((len(found.paths),), torch.nan, dtype=torch.float64)
        scores[found.places] = self.score_embeddings(found.embeddings)
        return scores

    def predict(self, images: ImageInput | Iterable[Any]) -> list[Prediction]:
        """Score, decision and the labels that decide, for each image; one that cannot be read with its reason."""
        found = self._read(images)
        readable = iter(self.predict_embeddings(found.embeddings, [found.paths[i] for i in found.places]))
        broken = {i: Prediction.unreadable(found.paths[i], error) for i, error in found.errors.items()}
        return [broken[i] if i in broken else next(readable) for i in range(len(found.paths))]

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
                are left out, and those that cannot be read.
            id_acceptance: the share to accept.
            confidence: of the interval of the true share.
            margin: a warning says how many images it takes where the interval reaches further below `id_acceptance`.

        Raises:
            UserError: too few images, or a score that learns while it tests.
        """
        return self.calibrate_embeddings(self._read(id_images).embeddings, id_acceptance, confidence, margin)

    def embed(self, images: ImageInput | Iterable[Any]) -> Float[Tensor, "N D"]:
        """Unit-norm embeddings on the CPU, with one more column for a method that looks at patches (`glmcm`).

        Raises:
            UserError: an image cannot be read.
        """
        found = self._read(images)
        for position, error in found.errors.items():
            place = found.paths[position] or f"that in place {position}"
            raise UserError(f"Images must be readable; {place} is not: {error}")
        return found.embeddings

    def _read(self, images: ImageInput | Iterable[Any]) -> ReadImages:
        self.backbone.to(self.device)
        return read_images(images, self._judge.rows, self.device, self.recipe.image_batch_size, self.progress_bar)

    def score_embeddings(self, embeddings: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The ID scores of images whose unit-norm embeddings are known, float64.

        Raises:
            UserError: they are not those that `embed` makes for this method.
        """
        return self._judge(embeddings).scores.cpu()

    def predict_embeddings(
        self, embeddings: Float[Tensor, "N D"], paths: Sequence[str | None] | None = None
    ) -> list[Prediction]:
        """Score, decision and the labels that decide, of images whose unit-norm embeddings are known."""
        if not len(embeddings):
            return []
        known, temperature = paths or [None] * len(embeddings), self.scorer.share_temperature
        whole = embeddings[:, : self.backbone.embedding_dim].to(self.device)
        return predictions(self._judge(embeddings), whole, self.bank, self.threshold, temperature, known)

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
            whole = embeddings[:, : self.backbone.embedding_dim].to(self.device)
            embeddings = embeddings[~self.bank.id_images.hold(whole).cpu()]
        self.calibration = calibrate(self.score_embeddings(embeddings), id_acceptance, confidence, margin)
        self._threshold = self.calibration.threshold
        return self.calibration

    def save(self, folder: str | Path) -> None:
        """Write detector.json and detector.safetensors. To run it again takes the backbone, but no corpus or store."""
        settings = Settings(self.recipe, self._threshold, self.calibration)
        write_detector(Path(folder).expanduser(), settings, self.bank)

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> "Detector":
        """A saved detector. It gives the scores of the original, bit for bit on the same kind of device.

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
