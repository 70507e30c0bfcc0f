"""Mahalanobis: the distance to the nearest class mean, measured by how ID images scatter around theirs."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Share
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.score.knn import id_images_of
from neglab.types import TextBank, UserError

CHUNK_ELEMENTS = 2**23  # float64 values held at once: 64 MiB
LEDOIT_WOLF = "ledoit_wolf"


@dataclass(frozen=True)
class WhitenedMeans:
    """The class means [K, D] after centring by `origin` [D] and whitening by `transform` [D, D], float64."""

    origin: Float[Tensor, " D"]
    transform: Float[Tensor, "D D"]
    means: Float[Tensor, "K D"]


def ledoit_wolf_shrinkage(residuals: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """The share of the identity that minimises the expected squared error of the covariance.

    Args:
        residuals: centred rows, float64.

    Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, Lemma 3.3;
        the same number as scikit-learn's `LedoitWolf(assume_centered=True)`.
    """
    count, dim = residuals.shape
    covariance = residuals.T @ residuals / count
    squared = covariance.square().sum()
    spread = squared - covariance.trace().square() / dim
    # Mean over images of |x x' - S|^2, which is |x|^4 on average less |S|^2.
    noise = (residuals.square().sum(dim=1).square().mean() - squared) / count
    return torch.where(spread > 0, (noise / spread.clamp_min(torch.finfo(spread.dtype).tiny)).clamp(0, 1), 0.0)


class MahalanobisScore(BankScore[WhitenedMeans]):
    """-min over classes of (f - mu)' Sigma^-1 (f - mu), Sigma shared by the classes. Higher is more ID.

    Sigma is (1 - a) S + a trace(S) / D I, where S is the covariance (division by N) of the ID images around the mean
    of their own class and a the shrinkage. Without shrinkage S has no inverse when N - C < D, as with 16 images per
    class and few classes. Classes without images have no mean; images without a class (-1) are left out.

    Args:
        shrinkage: a, in [0, 1], or "ledoit_wolf": the value that Ledoit and Wolf estimate from the images.

    Raises:
        UserError: no ID images, no two of one class, or a covariance without an inverse.

    Shapes: images [B, D] and a bank of N ID images give [B], at most 0; float64.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        NeurIPS 2018, Eq. 1 and 2; OpenOOD, openood/postprocessors/mds_postprocessor.py (its covariance is a = 0).
    Differs: unit embeddings, not raw features, and shrinkage where OpenOOD takes a pseudo-inverse. MCM's official
        code centres all images by one mean and numbers the class means by batch: that is another score.
    """

    needs_id_images = True

    def __init__(self, shrinkage: Share | Literal["ledoit_wolf"]) -> None:
        self.shrinkage = shrinkage

    def prepare(self, bank: TextBank) -> WhitenedMeans:
        images = id_images_of(bank, "Mahalanobis")
        known = images.labels >= 0
        embeddings, labels = images.embeddings[known].double(), images.labels[known]
        means, members = self._class_means(embeddings, labels)
        residuals = embeddings - means[members]
        if len(means) == len(embeddings):
            raise UserError(
                f"Mahalanobis needs two ID images of one class at least; got {len(embeddings)} images of "
                f"{len(means)} classes. Take more ID images per class."
            )
        values, vectors = torch.linalg.eigh(self._covariance(residuals))
        if values[0] <= values[-1] * len(values) * torch.finfo(values.dtype).eps:
            raise UserError(
                f"Mahalanobis needs a covariance that has an inverse; got {len(embeddings)} ID images in "
                f"{embeddings.shape[1]} dimensions with score.shrinkage={self.shrinkage}. Set score.shrinkage="
                f"{LEDOIT_WOLF} or above 0, or take more (different) ID images."
            )
        origin, transform = embeddings.mean(dim=0), vectors / values.sqrt()
        return WhitenedMeans(origin, transform, (means - origin) @ transform)

    def score(self, images: Float[Tensor, "B D"], prepared: WhitenedMeans) -> Float[Tensor, " B"]:
        rows = rows_at_once(images, max(prepared.means.shape), CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _class_means(
        self, embeddings: Float[Tensor, "N D"], labels: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "K D"], Int[Tensor, " N"]]:
        _, members, counts = labels.unique(return_inverse=True, return_counts=True)
        sums = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add(0, members, embeddings)
        return sums / counts[:, None], members

    def _covariance(self, residuals: Float[Tensor, "N D"]) -> Float[Tensor, "D D"]:
        covariance = residuals.T @ residuals / len(residuals)
        estimated = isinstance(self.shrinkage, str)
        shrinkage = ledoit_wolf_shrinkage(residuals) if estimated else covariance.new_tensor(self.shrinkage)
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        return (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().mean() * identity

    def _score_chunk(self, images: Float[Tensor, "B D"], prepared: WhitenedMeans) -> Float[Tensor, " B"]:
        whitened = (images.double() - prepared.origin) @ prepared.transform
        lengths = whitened.square().sum(dim=1, keepdim=True) + prepared.means.square().sum(dim=1)
        return -(lengths - 2 * whitened @ prepared.means.T).amin(dim=1).clamp_min(0)
