import logging

import fakes
import pytest
import torch
from reference import oodd as reference
from score_fakes import run

from neglab.compose import compose, make
from neglab.score.knn import KNNScore
from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.oodd import OODDScore
from neglab.score.tanl import TANLScore

NEGLABEL = NegLabelScore(4, 0.01, 0)


@pytest.mark.parametrize("base", [NEGLABEL, MCMScore(1.0)])
@pytest.mark.parametrize("size", [3, 20, 90])
@pytest.mark.parametrize("batch_size", [1, 7, 90])
@pytest.mark.parametrize(("num_neighbours", "weight"), [(1, 1.0), (5, 0.3)])
def test_equals_the_heap(base, size, batch_size, num_neighbours, weight):
    bank, images = fakes.text_bank(), fakes.unit(90, seed=3)
    base_scores = base(images, bank).double()
    expected = reference.scores(base_scores.tolist(), images.tolist(), batch_size, size, num_neighbours, weight)
    scores, (*_, state) = run(OODDScore(base, size, num_neighbours, weight), bank, images, batch_size)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)
    assert torch.equal(state.scores, state.scores.sort().values) and len(state.scores) == size


def test_an_image_like_those_in_the_queue_falls():
    bank = fakes.text_bank()
    score = OODDScore(NEGLABEL, 2, 1, 1.0)
    _, state = score.step(score.init(bank, None), bank.negatives.embeddings[:2])
    near = bank.negatives.embeddings[:1]
    (scores, _), _ = score.step(state, bank.id_labels.embeddings)
    assert score.step(state, near)[0].scores.item() == pytest.approx(NEGLABEL(near, bank).item() - 1, abs=1e-5)
    assert (scores > NEGLABEL(bank.id_labels.embeddings, bank) - 0.9).all()


def test_no_weight_is_the_base_score_and_a_base_that_learns_goes_on_learning():
    bank, images = fakes.text_bank(6, 60), fakes.unit(80, seed=3)
    tanl = TANLScore(0.01, 10, 1, "none", 0.0, 0.5, 30, "text", 5, 0)
    assert torch.equal(run(OODDScore(tanl, 20, 5, 0.0), bank, images, 10)[0], run(tanl, bank, images, 10)[0])


def test_it_asks_for_what_its_base_asks_for():
    tanl = TANLScore(0.01, 10, 1, "none", 0.0, 0.5, 30, "text", 5, 0)
    wrapped = OODDScore(KNNScore(1), 20, 5, 1.0), OODDScore(tanl, 20, 5, 1.0), OODDScore(MaxLogitScore(), 20, 5, 1.0)
    assert [score.needs_id_images for score in wrapped] == [True, False, False]
    assert [score.needs_encoder for score in wrapped] == [False, True, False]


def test_a_queue_that_never_overflowed_is_said(caplog):
    bank, images = fakes.text_bank(), fakes.unit(90, seed=3)
    with caplog.at_level(logging.WARNING):
        run(OODDScore(NEGLABEL, 89, 5, 1.0), bank, images, 20)
        assert not caplog.records
        run(OODDScore(NEGLABEL, 90, 5, 1.0), bank, images, 20)
    assert "queue of 90 never overflowed in a stream of 90 images" in caplog.text


def test_any_score_is_wrapped_from_the_command_line():
    score = make(compose(["method=oodd", "score@score.base=mcm"]).score)
    assert isinstance(score, OODDScore) and isinstance(score.base, MCMScore)
