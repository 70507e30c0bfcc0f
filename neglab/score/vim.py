"""ViM: the energy of the logits less a virtual logit, from the part of the image outside the ID images' subspace."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Count, Positive
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.score.knn import id_images_of
from neglab.types import TextBank, UserError

CHUNK_ELEMENTS = 2**23  # values held at once: 64 MiB in float64
NO_RESIDUAL = 1e-6  # a mean residual norm of unit embeddings below this is rounding error


@dataclass(frozen=True)
class VirtualLogit:
    """The classifier's weights [C, D], the directions outside the principal space [D, R] and the residual's scale."""

    weights: Float[Tensor, "C D"]
    residual_directions: Float[Tensor, "D R"]
    alpha: Float[Tensor, ""]


class ViMScore(BankScore[VirtualLogit]):
    """logsumexp(logits) - alpha * norm of the image's part outside the principal space. Higher is more ID.

    CLIP as a classifier: the weights are text embeddings / temperature and the bias is 0, so the origin of the feature
    space, u = -pinv(W) b, is 0. The principal space is spanned by the leading eigenvectors of the ID images'
    covariance around u, that is the mean of f f'; alpha is their mean largest logit over their mean residual norm.

    Args:
        temperature: divides the cosine similarities; the model's own makes its logits of them.
        num_dimensions: of the principal space, below the embedding width and the number of ID images; None: half of
            the width.

    Raises:
        UserError: num_dimensions too large, no ID images, or ID images that leave no residual.

    Shapes: images [B, D], a bank of C ID labels and N ID images give [B]; float64.

    Source: Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022; OpenOOD 035ced2,
        openood/postprocessors/vim_postprocessor.py (EmpiricalCovariance(assume_centered=True) about u).
    Differs: unit embeddings, not raw features. Fewer images than principal dimensions are an error: the ID images then
        have no residual, and alpha is a division by rounding error.
    """

    needs_id_images = True

    def __init__(self, temperature: Positive, num_dimensions: Count | None) -> None:
        self.temperature, self.num_dimensions = temperature, num_dimensions

    def prepare(self, bank: TextBank) -> VirtualLogit:
        images = id_images_of(bank, "ViM").embeddings.double()
        count, width = images.shape
        kept = width // 2 if self.num_dimensions is None else self.num_dimensions
        if not 1 <= kept < min(count, width):
            raise UserError(
                "num_dimensions must be at least 1 and below the embedding width and the number of ID images; got "
                f"num_dimensions={kept} with width {width} and {count} images. Change score.num_dimensions or take "
                "more ID images."
            )
        eigenvectors = torch.linalg.eigh(images.T @ images / count).eigenvectors  # by rising eigenvalue
        directions = eigenvectors[:, : width - kept]
        weights = bank.id_labels.embeddings / self.temperature
        residual = (images @ directions).norm(dim=1).mean()
        if residual <= NO_RESIDUAL:
            raise UserError(
                f"ViM needs ID images that leave the principal space; got {count} images that lie in "
                f"num_dimensions={kept}. Lower score.num_dimensions or take more (different) ID images."
            )
        alpha = (images @ weights.double().T).amax(dim=1).mean() / residual
        return VirtualLogit(weights, directions.to(weights.dtype), alpha)

    def score(self, images: Float[Tensor, "B D"], prepared: VirtualLogit) -> Float[Tensor, " B"]:
        columns = len(prepared.weights) + prepared.residual_directions.shape[1]
        rows = rows_at_once(images, columns, CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _score_chunk(self, images: Float[Tensor, "B D"], prepared: VirtualLogit) -> Float[Tensor, " B"]:
        energy = (images @ prepared.weights.T).double().logsumexp(dim=1)
        return energy - prepared.alpha * (images @ prepared.residual_directions).double().norm(dim=1)
