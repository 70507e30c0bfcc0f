import hashlib

import fakes
import pytest
import torch
from reference import negrefine as reference
from score_fakes import NEGREFINE
from score_fakes import run as run_with

from neglab.score.neglabel import NegLabelScore
from neglab.score.negrefine import NegRefineScore


class CountingEncoder(fakes.NoEncoder):
    """Each name has a direction of its own; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def one(self, name):
        return fakes.unit(1, seed=int(hashlib.sha256(name.encode()).hexdigest()[:12], 16))[0]

    def encode(self, names, parts_of_speech):
        assert set(parts_of_speech) == {"noun"}
        self.asked += names
        return torch.stack([self.one(name) for name in names])


def score(**changes):
    return NegRefineScore(**{**NEGREFINE, **changes})


def run(method, bank, images, batch_size, encoder=None):
    return run_with(method, bank, images, batch_size, encoder or CountingEncoder())[0]


@pytest.mark.parametrize("num_classes", [1, 3, 12])
@pytest.mark.parametrize("temperature", [0.01, 0.2])
def test_equals_the_official_loop(num_classes, temperature):
    bank, images, encoder = fakes.text_bank(num_classes, 23), fakes.unit(9, seed=3), CountingEncoder()
    classes = list(zip(bank.id_labels.names, bank.id_labels.embeddings, strict=True))
    negatives = list(zip(bank.negatives.names, bank.negatives.embeddings, strict=True))
    expected = [reference.score(image, classes, negatives, encoder.one, temperature) for image in images]
    scores = run(score(temperature=temperature), bank, images, 9)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_cosines_near_1_do_not_overflow():
    """Official exponentials in float32 are infinite above 88.7, so that their quotient is NaN."""
    bank = fakes.text_bank(6, 40)
    scores = run(score(), bank, torch.cat([bank.negatives.embeddings, bank.id_labels.embeddings]), 46)
    assert scores.isfinite().all() and (scores >= 0).all() and (scores <= 3).all()


def test_a_pair_is_encoded_once_however_many_images_show_it():
    bank, encoder = fakes.text_bank(6, 40), CountingEncoder()
    images = fakes.unit(200, seed=4)
    run(score(), bank, images, 16, encoder)
    assert len(encoder.asked) == len(set(encoder.asked)) <= 6 * 40
    asked = len(encoder.asked)
    state = score().init(bank, encoder)
    _, state = score().step(state, images)
    assert len(encoder.asked) == 2 * asked  # another run
    _, state = score().step(state, images.flip(0))
    assert len(encoder.asked) == 2 * asked  # the same images, in another order


def test_the_batch_split_does_not_change_scores():
    bank, images = fakes.text_bank(6, 40), fakes.unit(50, seed=4)
    whole = run(score(), bank, images, 50)
    for batch_size in (1, 7, 32):
        assert torch.allclose(run(score(), bank, images, batch_size), whole, atol=1e-6, rtol=0)


def test_chunks_do_not_change_scores(monkeypatch):
    bank, images = fakes.text_bank(6, 40), fakes.unit(50, seed=4)
    whole = run(score(), bank, images, 50)
    monkeypatch.setattr("neglab.score.negrefine.CHUNK_ELEMENTS", 1)
    assert torch.allclose(run(score(), bank, images, 50), whole, atol=1e-6, rtol=0)


def test_without_pairs_it_is_neglabel():
    bank, images = fakes.text_bank(6, 40), fakes.unit(50, seed=4)
    assert torch.equal(run(score(pair_weight=0.0), bank, images, 50), NegLabelScore(4, 0.01, 0)(images, bank))


def test_negatives_that_the_groups_drop_may_still_be_matched():
    """23 negatives in 4 groups: the last three only take part in pairs."""
    bank = fakes.text_bank(3, 23)
    images = bank.negatives.embeddings[20:]
    encoder = CountingEncoder()
    run(score(num_negatives=1), bank, images, 3, encoder)
    assert {name.split(" and ")[1] for name in encoder.asked} == set(bank.negatives.names[20:])
