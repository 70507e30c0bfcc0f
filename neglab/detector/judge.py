"""A detector's score with its bank on a device: prepared once if possible, then asked batch by batch."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from neglab.backbone.base import Backbone
from neglab.detector.saved import Recipe
from neglab.embedding.local import ImageRows
from neglab.embedding.text_encoder import forgetful_encoder
from neglab.prompt.templates import PromptTemplates
from neglab.score.base import Judgement, Score
from neglab.types import TextBank, UserError


class Judge:
    """Judges images whose embeddings are known; nothing is kept between calls.

    Args:
        backbone: that made the embeddings.
        prompts: of the scores that encode texts while they run; None for all others.
        scorer: the method's score.
        bank: ID classes, negatives and few ID images.
        recipe: with the method's name and batch sizes.
        device: where to compute.

    Attributes:
        rows: what the score sees of images.

    Raises:
        UserError: the score cannot work with this bank; said before any image is encoded.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: PromptTemplates | None,
        scorer: Score[Any],
        bank: TextBank,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.backbone, self.prompts, self.scorer, self.recipe = backbone, prompts, scorer, recipe
        self.bank, self.device = bank.to(device), device
        self._prepared: Any = None
        with self._encoder() as encoder:
            state = scorer.init(self.bank, encoder)
        if not scorer.needs_encoder and not scorer.order_dependent:
            self._prepared = state  # a pure function of the bank: no call changes it
        self.rows = ImageRows(backbone, scorer, self.bank)

    @torch.no_grad()
    def __call__(self, embeddings: Float[Tensor, "N _"]) -> Judgement:
        """Scores in float64, and the classes of a method that predicts them its own way."""
        if (given := embeddings.shape[1]) != self.rows.width:
            raise UserError(
                f"method={self.recipe.method} takes embeddings of {self.rows.width} numbers, as `Detector.embed` "
                f"gives them; got {given}."
            )
        found: list[Judgement] = []
        with self._encoder() as encoder:
            state = self.scorer.init(self.bank, encoder) if self._prepared is None else self._prepared
            for batch in embeddings.split(self.recipe.score_batch_size) if len(embeddings) else ():
                judgement, state = self.scorer.step(state, batch.to(self.device))
                found.append(judgement)
        scores = torch.cat([torch.empty(0, device=self.device), *(one.scores for one in found)])
        predicted = [one.predicted for one in found if one.predicted is not None]
        return Judgement(scores.double(), torch.cat(predicted) if predicted else None)

    def is_constant(self) -> bool:
        """Whether an image at the first class and one opposite to it score alike."""
        label = self.bank.id_labels.embeddings[:1].cpu()
        opposite = pad(torch.cat([label, -label]), (0, self.rows.width - label.shape[1]))
        return len(self(opposite).scores.unique()) == 1

    def _encoder(self) -> AbstractContextManager[Any]:
        if not self.scorer.needs_encoder or self.prompts is None:
            return nullcontext()
        return forgetful_encoder(self.backbone.to(self.device), self.prompts, self.recipe.text_batch_size)
