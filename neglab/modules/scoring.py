"""The pass over stored embeddings: each image's ID score and most similar ID class."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from neglab.modules.embedding import PartFolders
from neglab.modules.prediction import Devices, Rows
from neglab.score.base import Score
from neglab.store import merge_parts, read_parts
from neglab.types import LabelledEmbeddings, ScoreTable, TextBank, TextEncoder


class ScoringBatch(NamedTuple):
    """Stored embeddings of one set's images."""

    dataset: str
    positions: Int[Tensor, " B"]
    embeddings: Float[Tensor, "B D"]


class ScoringBatches(Dataset[ScoringBatch]):
    """All sets' stored embeddings in batches; a batch never mixes two sets."""

    def __init__(self, images: Mapping[str, LabelledEmbeddings], batch_size: int) -> None:
        self.images = images
        self.batches = [
            (name, index) for name, rows in images.items() for index in torch.arange(len(rows)).split(batch_size)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> ScoringBatch:
        name, index = self.batches[position]
        return ScoringBatch(name, index, self.images[name].embeddings[index])


class ScoringModule(L.LightningModule):
    """Scores batches of image embeddings. The text bank lies in buffers, so each rank holds it on its own device."""

    id_embeddings: Tensor
    negative_embeddings: Tensor

    def __init__(self, score: Score[Any], bank: TextBank, encoder: TextEncoder) -> None:
        super().__init__()
        self.score, self.bank, self.encoder = score, bank, encoder
        self.state: Any = None
        self.register_buffer("id_embeddings", bank.id_labels.embeddings)
        self.register_buffer("negative_embeddings", bank.negatives.embeddings)

    def on_predict_start(self) -> None:
        on_device = replace(
            self.bank,
            id_labels=replace(self.bank.id_labels, embeddings=self.id_embeddings),
            negatives=replace(self.bank.negatives, embeddings=self.negative_embeddings),
        )
        self.state = self.score.init(on_device, self.encoder)

    def predict_step(self, batch: ScoringBatch, batch_idx: int) -> tuple[str, Rows]:
        scores, self.state = self.score.step(self.state, batch.embeddings)
        predicted = (batch.embeddings @ self.id_embeddings.T).argmax(dim=1)
        return batch.dataset, {"index": batch.positions, "scores": scores, "predicted": predicted}


def score_images(
    score: Score[Any],
    bank: TextBank,
    encoder: TextEncoder,
    images: Mapping[str, LabelledEmbeddings],
    devices: Devices,
    batch_size: int,
) -> dict[str, ScoreTable]:
    """Score every set in one predict pass.

    Args:
        score: the method's score; higher is more ID.
        bank: ID labels and negatives.
        encoder: for the scores that encode texts per image.
        images: stored embeddings of each set.
        devices: where to run.
        batch_size: images per step.

    Returns:
        One table per set, in the order of `images`.
    """
    with tempfile.TemporaryDirectory(prefix="neglab-scores-") as place:
        folders = {name: Path(place, str(i)) for i, name in enumerate(images)}
        module = ScoringModule(score, bank, encoder)
        devices.predict(module, ScoringBatches(images, batch_size), PartFolders(folders), num_workers=0)
        merged = {name: merge_parts(read_parts(folders[name]), len(rows)) for name, rows in images.items()}
    return {
        name: ScoreTable(name, merged[name]["scores"], rows.labels, merged[name]["predicted"], rows.paths)
        for name, rows in images.items()
    }
