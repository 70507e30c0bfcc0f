"""Streams: every image is scored once, in the stream's order, and never before its batch."""

from typing import ClassVar

import fakes
import pytest
import torch

from neglab.mapped import mapped_empty
from neglab.modules.scoring import StreamBatches, score_images, score_streams
from neglab.passes.prediction import Devices
from neglab.score.base import Judgement, Score
from neglab.stream.arranged import ArrangedStream
from neglab.types import LabelledEmbeddings

CPU = Devices("cpu", 1, "auto", False)


class CountingScore(Score[int]):
    """The number of images seen before the batch, plus a thousandth of the image's first coordinate."""

    order_dependent: ClassVar[bool] = True
    needs_encoder: ClassVar[bool] = False

    def init(self, bank, encoder):
        return 0

    def step(self, state, images):
        return Judgement(state + images[:, 0] / 1000), state + len(images)


class OwnClassScore(CountingScore):
    """Predicts a class of its own: 3 where the first coordinate is positive, else 4."""

    def step(self, state, images):
        judgement, state = super().step(state, images)
        return Judgement(judgement.scores, 4 - (images[:, 0] > 0).long()), state


def embedded(count, seed, label=-1):
    return LabelledEmbeddings(fakes.unit(count, seed=seed), torch.full((count,), label), tuple(map(str, range(count))))


def pairs(order="shuffled", reset=True, id_per_ood=None, batch_size=4, score=CountingScore):
    plan = ArrangedStream(order, 0, id_per_ood, batch_size, reset)
    sets = {"near": embedded(7, 2), "far": embedded(5, 3)}
    return plan, score_streams(score(), fakes.text_bank(), None, embedded(10, 1, 0), sets, plan, CPU)


@pytest.mark.parametrize("order", ["shuffled", "id_first", "ood_first"])
def test_scores_return_to_their_images(order):
    plan, found = pairs(order)
    for pair, (count, seed) in zip(found, ((7, 2), (5, 3)), strict=True):
        drawn = plan.draw(10, count).order.tolist()
        for table, first, images in (
            (pair.id_images, 0, embedded(10, 1)),
            (pair.ood_images, 10, embedded(count, seed)),
        ):
            seen_before = torch.tensor([drawn.index(first + i) // 4 * 4 for i in range(len(images))])
            assert torch.allclose(table.scores, seen_before + images.embeddings[:, 0] / 1000)
            assert table.paths == images.paths
    assert [(pair.id_images.dataset, pair.ood_images.dataset) for pair in found] == [
        ("id_near", "near"), ("id_far", "far"),
    ]  # fmt: skip


def test_a_score_may_predict_the_class_and_the_nearest_text_does_where_it_does_not():
    texts = fakes.text_bank().id_labels.embeddings
    rules = {
        CountingScore: lambda images: (images @ texts.T).argmax(dim=1),
        OwnClassScore: lambda images: 4 - (images[:, 0] > 0).long(),
    }
    for score, rule in rules.items():
        for pair, (count, seed) in zip(pairs(score=score)[1], ((7, 2), (5, 3)), strict=True):
            assert torch.equal(pair.id_images.predicted, rule(embedded(10, 1).embeddings))
            assert torch.equal(pair.ood_images.predicted, rule(embedded(count, seed).embeddings))


def test_without_a_reset_what_was_learned_is_carried_on():
    _, (near, far) = pairs(reset=False)
    assert near.ood_images.scores.max() < 17
    assert min(far.id_images.scores.min(), far.ood_images.scores.min()) > 16.9


def test_a_ratio_leaves_images_out():
    _, (near, far) = pairs(id_per_ood=1.0)
    assert (len(near.id_images.scores), len(near.ood_images.scores)) == (7, 7)
    assert len(far.id_images.paths) == 5 and len(set(far.id_images.paths)) == 5


def test_a_step_never_spans_two_streams():
    batches = StreamBatches([fakes.unit(5), fakes.unit(3)], batch_size=4, reset=False)
    assert [len(step) for step in batches[0].steps()] == [4, 1, 3]
    assert [len(StreamBatches([fakes.unit(5), fakes.unit(3)], 4, True)[i].steps()) for i in (0, 1)] == [2, 1]


def test_scores_and_classes_are_merged_on_the_disk(monkeypatch):
    made = []

    def empty(shape, dtype):
        made.append(shape)
        return mapped_empty(shape, dtype)

    monkeypatch.setattr("neglab.parts.mapped_empty", empty)
    sets = {"near": embedded(7, 2), "far": embedded(5, 3)}
    tables = score_images(CountingScore(), fakes.text_bank(), fakes.NoEncoder(), sets, CPU, 4)
    assert made == [(7,), (7,), (5,), (5,)]
    assert all(len(tables[name].scores) == len(images) for name, images in sets.items())
    pairs()
    assert made[4:] == [(10 + 7 + 10 + 5,)] * 2
