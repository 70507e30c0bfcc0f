"""The pass over stored embeddings: each image's ID score and predicted ID class.

Batches are dealt out over the devices where a score judges each image by itself. Where it learns from the stream, whole
streams are dealt out, one for each OOD set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from neglab.columns import texts_at
from neglab.embedding.module import PartFolders
from neglab.modules.products import KeptProducts
from neglab.parts import merge_parts, read_parts
from neglab.passes.part_writer import Rows
from neglab.passes.prediction import Devices
from neglab.score.base import Judgement, ProductScore, Score
from neglab.stream.base import StreamPlan
from neglab.types import LabelledEmbeddings, ScoredPair, ScoreTable, TextBank, TextEncoder

STREAMS = "streams"


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


class StreamBatch(NamedTuple):
    """Streams that follow one another without a reset, each [N, D] in its order.

    Attributes:
        positions: [N], of each image among those of all streams of the pass.
        embeddings: [N, D].
        batch_size: images per step.
        starts: [S], where each stream begins; a step never spans two.
    """

    positions: Int[Tensor, " N"]
    embeddings: Float[Tensor, "N D"]
    batch_size: int
    starts: tuple[int, ...]

    def steps(self) -> list[Float[Tensor, "_ D"]]:
        """The batches of all streams, in order."""
        ends = (*self.starts[1:], len(self.embeddings))
        streams = [self.embeddings[start:end] for start, end in zip(self.starts, ends, strict=True)]
        return [batch for stream in streams for batch in stream.split(self.batch_size)]


class StreamBatches(Dataset[StreamBatch]):
    """Each stream whole; or, where nothing is reset between them, all streams in one."""

    def __init__(self, streams: Sequence[Float[Tensor, "_ D"]], batch_size: int, reset: bool) -> None:
        self.streams, self.batch_size = streams, batch_size
        self.groups = [[i] for i in range(len(streams))] if reset else [list(range(len(streams)))]
        self.starts = [0, *accumulate(map(len, streams))]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, position: int) -> StreamBatch:
        group = self.groups[position]
        first = self.starts[group[0]]
        embeddings = torch.cat([self.streams[i] for i in group])
        starts = tuple(self.starts[i] - first for i in group)
        return StreamBatch(torch.arange(first, first + len(embeddings)), embeddings, self.batch_size, starts)


class ScoringModule(L.LightningModule):
    """Scores batches of image embeddings. The text bank lies in buffers, so each rank holds it on its own device."""

    id_embeddings: Tensor
    negative_embeddings: Tensor
    id_image_embeddings: Tensor | None

    def __init__(
        self, score: Score[Any], bank: TextBank, encoder: TextEncoder | None, kept: KeptProducts | None = None
    ) -> None:
        super().__init__()
        self.score, self.bank, self.kept = score, bank, kept
        # A module that encodes moves to the rank's device with this one.
        self.encoder = encoder
        self.state: Any = None
        self.register_buffer("id_embeddings", bank.id_labels.embeddings)
        self.register_buffer("negative_embeddings", bank.negatives.embeddings)
        self.register_buffer("id_image_embeddings", None if bank.id_images is None else bank.id_images.embeddings)

    def on_predict_start(self) -> None:
        id_images = self.bank.id_images
        if id_images is not None and self.id_image_embeddings is not None:
            labels = id_images.labels.to(self.device)
            id_images = replace(id_images, embeddings=self.id_image_embeddings, labels=labels)
        on_device = replace(
            self.bank,
            id_labels=replace(self.bank.id_labels, embeddings=self.id_embeddings),
            negatives=replace(self.bank.negatives, embeddings=self.negative_embeddings),
            id_images=id_images,
        )
        # There is an encoder for every score that needs one.
        self.state = self.score.init(on_device, self.encoder)  # pyright: ignore[reportArgumentType]
        if self.device.type != "cpu":
            self.kept = None

    def predict_step(self, batch: ScoringBatch | StreamBatch, batch_idx: int) -> tuple[str, Rows]:
        if isinstance(batch, StreamBatch):
            return STREAMS, self._replay(batch)
        images = batch.embeddings
        if self.kept is not None and isinstance(self.score, ProductScore):
            place = batch.dataset, int(batch.positions[0])
            judgement, self.state = self.score.step(self.state, images, partial(self.kept.product, *place))
            judgement = judgement._replace(predicted=self.kept.nearest(*place, images, self.id_embeddings))
        else:
            judgement, self.state = self.score.step(self.state, images)
        return batch.dataset, {"index": batch.positions, **self._columns(judgement, images)}

    def _replay(self, batch: StreamBatch) -> Rows:
        """Score from the initial state, which is kept unchanged for the next stream."""
        state, found = self.state, []
        for images in batch.steps():
            judgement, state = self.score.step(state, images)
            found.append(self._columns(judgement, images))
        self.score.finish(state)
        return {"index": batch.positions, **{name: torch.cat([rows[name] for rows in found]) for name in found[0]}}

    def _columns(self, judgement: Judgement, images: Float[Tensor, "B _"]) -> Rows:
        scores, predicted = judgement
        return {"scores": scores, "predicted": self._nearest(images) if predicted is None else predicted}

    def _nearest(self, images: Float[Tensor, "B _"]) -> Int[Tensor, " B"]:
        """The most similar ID class. A LocalScore's column is not part of the embedding."""
        return (images[:, : self.id_embeddings.shape[1]] @ self.id_embeddings.T).argmax(dim=1)


def score_images(
    score: Score[Any],
    bank: TextBank,
    encoder: TextEncoder | None,
    images: Mapping[str, LabelledEmbeddings],
    devices: Devices,
    batch_size: int,
    kept: KeptProducts | None = None,
) -> dict[str, ScoreTable]:
    """Score every set in one predict pass.

    Args:
        score: the method's score; higher is more ID.
        bank: ID labels and negatives.
        encoder: for the scores that encode texts per image.
        images: stored embeddings of each set.
        devices: where to run.
        batch_size: images per step.
        kept: of the sweep's earlier jobs; several devices, or a GPU, do without.

    Returns:
        One table per set, in the order of `images`; scores and classes lie in files without a name.
    """
    with devices.scratch_folder() as place:
        folders = {name: place / str(i) for i, name in enumerate(images)}
        if devices.strategy == "ddp_spawn":
            kept = None
        if kept is not None:
            kept.begin(images)
        module = ScoringModule(score, bank, encoder if score.needs_encoder else None, kept)
        devices.predict(module, ScoringBatches(images, batch_size), PartFolders(folders), num_workers=0)
        merged = {
            name: merge_parts(read_parts(folders[name]), len(rows), on_disk=True) for name, rows in images.items()
        }
    return {
        name: ScoreTable(name, merged[name]["scores"], rows.labels, merged[name]["predicted"], rows.paths)
        for name, rows in images.items()
    }


def score_streams(
    score: Score[Any],
    bank: TextBank,
    encoder: TextEncoder | None,
    id_images: LabelledEmbeddings,
    ood_images: Mapping[str, LabelledEmbeddings],
    plan: StreamPlan,
    devices: Devices,
) -> list[ScoredPair]:
    """Replay one stream per OOD set, the ID images mixed with that set's, in one predict pass.

    Args:
        score: a score that learns from the stream; higher is more ID.
        bank: ID labels, negatives, few ID images.
        encoder: for the scores that encode texts.
        id_images: stored embeddings.
        ood_images: stored embeddings of each OOD set.
        plan: order, batch size and reset.
        devices: where to run; each stream runs on one.

    Returns:
        The scores of each OOD set and of the ID images within its stream, in their own order; images that the plan
        leaves out are in neither.
    """
    orders = {name: plan.draw(len(id_images), len(images)).order for name, images in ood_images.items()}
    streams = [
        torch.cat([id_images.embeddings, images.embeddings])[orders[name]] for name, images in ood_images.items()
    ]
    with devices.scratch_folder() as place:
        module = ScoringModule(score, bank, encoder if score.needs_encoder else None)
        batches = StreamBatches(streams, plan.batch_size, plan.reset)
        devices.predict(module, batches, PartFolders({STREAMS: place}), num_workers=0)
        merged = merge_parts(read_parts(place), sum(map(len, streams)), on_disk=True)
    lengths = list(map(len, streams))
    columns = zip(merged["scores"].split(lengths), merged["predicted"].split(lengths), strict=True)
    return [
        ScoredPair(
            _in_own_order(f"id_{name}", id_images, order, *rows, first=0),
            _in_own_order(name, images, order, *rows, first=len(id_images)),
        )
        for (name, images), order, rows in zip(ood_images.items(), orders.values(), columns, strict=True)
    ]


def _in_own_order(
    name: str, images: LabelledEmbeddings, order: Tensor, scores: Tensor, predicted: Tensor, first: int
) -> ScoreTable:
    """The rows of one set's images, in the set's order; before the stream's shuffle they begin at position `first`."""
    places = order.argsort()
    places = places[(order[places] >= first) & (order[places] < first + len(images))]
    own = order[places] - first
    paths = texts_at(images.paths, own.tolist()) if images.paths else ()
    return ScoreTable(name, scores[places], images.labels[own], predicted[places], paths)
