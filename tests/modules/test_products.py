"""Jobs of a sweep share products with the bank, and score as they would alone, to the last bit."""

import fakes
import pytest
import torch

from neglab.modules.products import KeptProducts
from neglab.modules.scoring import score_images
from neglab.passes.prediction import Devices
from neglab.score.debiased import DebiasedScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.types import LabelledEmbeddings, TextBank

CPU = Devices("cpu", 1, "auto", False)
IMAGES = {
    name: LabelledEmbeddings(fakes.unit(count, dim=32, seed=seed), torch.full((count,), -1))
    for seed, (name, count) in enumerate((("id", 90), ("far", 37)))
}
SCORES = (
    NegLabelScore(1, 0.01, 0),
    NegLabelScore(8, 0.01, 0),  # of the same permutation
    NegLabelScore(7, 0.01, 3),
    NegLabelScore(8, 0.02, 0),
    DebiasedScore(40, 0.01, 0, 0.5),
    MCMScore(1.0),
    MCMScore(0.01),
)


def bank(num_negatives):
    negatives = fakes.label_set(400, dim=32, seed=6).take(torch.arange(num_negatives))
    return TextBank(fakes.label_set(20, dim=32, seed=5), negatives, 100.0)


def score_all(kept, batch_size=24):
    jobs = [(score, bank(count)) for score in SCORES for count in (200, 400, 200)]
    found = [score_images(score, bank, None, IMAGES, CPU, batch_size, kept) for score, bank in jobs]
    return [(table.scores, table.predicted) for tables in found for table in tables.values()]


def same(found, expected):
    return all(torch.equal(*pair) for both in zip(found, expected, strict=True) for pair in zip(*both, strict=True))


@pytest.mark.parametrize("batch_size", [24, 32, 500])
@pytest.mark.parametrize("most", [2**31, 60_000, 0])
def test_a_job_scores_as_it_would_alone(most, batch_size):
    kept = KeptProducts(most)
    assert same(score_all(kept, batch_size), score_all(None, batch_size))
    assert sum(table.num_bytes for table in kept.tables) <= most


def test_products_are_taken_from_earlier_jobs():
    images, weights, kept = IMAGES["id"].embeddings[:32], bank(400).negatives.embeddings, KeptProducts()
    kept.begin(IMAGES)
    product = kept.product("id", 0, images, weights, 0)
    for own, again in ((weights, product), (weights.flip(0)[:50], product.flip(1)[:, :50])):
        kept.begin(IMAGES)
        kept.product("id", 0, images, own.clone(), 0)  # the first of its shape is made, to be compared
        kept.begin(IMAGES)
        mine = own.clone()
        kept.product("id", 0, images, mine, 0)
        assert torch.equal(kept.product("id", 0, torch.zeros_like(images), mine, 0), again)
    kept.begin(dict(IMAGES))
    assert torch.equal(kept.product("id", 0, images + 1, weights, 0), (images + 1) @ weights.T)


def test_columns_that_round_otherwise_are_made_anew():
    images, weights, kept = IMAGES["id"].embeddings[:32], bank(400).negatives.embeddings, KeptProducts()
    kept.begin(IMAGES)
    kept.product("id", 0, images, weights, 0)
    kept.tables[0].rows["id"][0, 3] += 1e-3  # stands for another rounding
    part = weights[:50].clone()
    for _ in range(2):
        assert torch.equal(kept.product("id", 0, images, part, 0), images @ part.T)


def test_tables_that_no_job_uses_make_room():
    weights = [fakes.unit(100, dim=32, seed=seed) for seed in range(3)]
    kept = KeptProducts(2 * 4 * 100 * (90 + 16))
    for own in weights:
        kept.begin(IMAGES)
        kept.product("id", 0, IMAGES["id"].embeddings[:32], own, 0)
    assert [any(table.weights is own for table in kept.tables) for own in weights] == [False, True, True]
