"""KNN: the distance to the K-th nearest ID image."""

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Count
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.types import LabelledEmbeddings, Outline, TextBank, UserError

CHUNK_ELEMENTS = 2**24  # similarities held at once: 64 MiB


def id_images_of(bank: TextBank, score: str) -> LabelledEmbeddings:
    """The bank's ID images, on the device of its labels.

    Args:
        bank: what the score sees.
        score: the score's name, for the message.

    Raises:
        UserError: the bank holds no ID images.
    """
    if bank.id_images is None or len(bank.id_images) == 0:
        raise UserError(f"{score} compares with ID images; got none. Choose id_images=..., or a score that needs none.")
    device = bank.id_labels.embeddings.device
    return LabelledEmbeddings(bank.id_images.embeddings.to(device), bank.id_images.labels.to(device))


class KNNScore(BankScore[Tensor]):
    """The negative squared distance to the K-th nearest ID image. Higher is more ID.

    Args:
        num_neighbours: K, at most the number of ID images.

    Raises:
        UserError: K is above the number of ID images, or the bank has none.

    Shapes: images [B, D] and a bank of N ID images give [B], in [-4, 0]; float64.

    Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022; OpenOOD,
        openood/postprocessors/knn_postprocessor.py (faiss's L2 is squared).
    Differs: OpenOOD adds 1e-10 to every coordinate after the normalisation; unit embeddings are compared as they are,
        by 2 - 2 cosine.
    """

    needs_id_images = True

    def __init__(self, num_neighbours: Count) -> None:
        self.num_neighbours = num_neighbours

    def check(self, outline: Outline) -> None:
        if outline.num_id_images < self.num_neighbours:
            raise UserError(
                f"num_neighbours must be at most the number of ID images; got num_neighbours={self.num_neighbours} "
                f"with {outline.num_id_images} images. Lower score.num_neighbours or take more ID images."
            )

    def prepare(self, bank: TextBank) -> Float[Tensor, "N D"]:
        images = id_images_of(bank, "KNN")
        self.check(Outline.of(bank))
        return images.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "N D"]) -> Float[Tensor, " B"]:
        rows = rows_at_once(images, len(prepared), CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _score_chunk(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "N D"]) -> Float[Tensor, " B"]:
        return 2 * (images @ prepared.T).topk(self.num_neighbours, dim=1).values[:, -1].double() - 2
