import fakes
import numpy as np
import pytest
import torch
from reference import tanl as reference
from score_fakes import TANL as KNOBS
from score_fakes import run, stream
from torch.nn.functional import normalize

from neglab.score.tanl import TANLScore, id_share, otsu_threshold, relative_activation, weighted
from neglab.types import UserError, generator


def score(**changes):
    return TANLScore(**{**KNOBS, **changes})


def slow(bank, noise, **changes):
    knobs = {**KNOBS, **changes}
    return reference.TANL(
        bank.id_labels.embeddings.double().numpy(),
        bank.negatives.embeddings.double().numpy(),
        torch.randperm(len(bank.id_labels), generator=generator(knobs["seed"])).tolist(),
        noise.double().numpy(),
        temperature=knobs["temperature"],
        beta=knobs["num_active"],
        step=knobs["prefix_step"],
        weighting=knobs["weighting"],
        alpha=knobs["history_weight"],
        gap=knobs["gap"],
        length=knobs["memory_length"],
    )


def farthest(bank, count):
    nearest = (bank.negatives.embeddings @ bank.id_labels.embeddings.T).amax(dim=1)
    return bank.negatives.embeddings[nearest.argsort()[:count]]


@pytest.mark.parametrize("step", reference.FIXTURE_BY_STEP)
def test_the_shares_of_the_specification(step):
    expected = torch.tensor(reference.FIXTURE_BY_STEP[step], dtype=torch.float64)
    by_hand = [reference.fuse(np.array(row, dtype=float), 3, step) for row in reference.FIXTURE]
    assert torch.allclose(torch.tensor(by_hand, dtype=torch.float64), expected, atol=2e-7, rtol=0)
    logits = torch.tensor(reference.FIXTURE, dtype=torch.float32)
    assert torch.allclose(id_share(logits[:, :3], logits[:, 3:], step), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weighting", reference.FIXTURE_WEIGHTED)
def test_the_weighted_shares_of_the_specification(weighting):
    expected = torch.tensor(reference.FIXTURE_WEIGHTED[weighting], dtype=torch.float64)
    weights = np.array(reference.FIXTURE_WEIGHTS)
    by_hand = [reference.fuse_weighted(np.array(row, dtype=float), 3, weights, weighting) for row in reference.FIXTURE]
    assert torch.allclose(torch.tensor(by_hand, dtype=torch.float64), expected, atol=2e-7, rtol=0)
    logits = torch.tensor(reference.FIXTURE, dtype=torch.float32)
    negatives = weighted(logits[:, 3:], torch.tensor(reference.FIXTURE_WEIGHTS[3:]), weighting)
    assert torch.allclose(id_share(logits[:, :3], negatives, 0), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("values", "threshold"), reference.OTSU)
def test_the_thresholds_of_the_specification(values, threshold):
    assert reference.otsu(values) == threshold
    assert otsu_threshold(torch.tensor(values, dtype=torch.float64)) == threshold


@pytest.mark.parametrize("seed", range(10))
def test_the_threshold_equals_the_search(seed):
    draw = torch.Generator().manual_seed(seed)
    values = torch.rand(1 + 30 * seed, generator=draw, dtype=torch.float64) ** (1 + seed)
    assert otsu_threshold(values) == reference.otsu(values.numpy())
    coarse = (values * 20).floor() / 20  # many equal values, on the thresholds themselves
    assert otsu_threshold(coarse) == reference.otsu(coarse.numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prefix_step": 0},
        {"prefix_step": 3, "history_weight": 0.95, "gap": 0.2},
        {"prefix_step": 7, "gap": 0.0, "memory_length": 3},
        {"temperature": 0.03, "history_weight": 0.5, "num_active": 60},
        {"prefix_step": 0, "weighting": "inside", "history_weight": 0.5},
        {"prefix_step": 1, "weighting": "outside", "gap": 0.1},
        {"temperature": 0.05, "prefix_step": 2},  # below, activations of random labels underflow float32
    ],
    ids=str,
)
@pytest.mark.parametrize("sizes", [[40, 1, 50, 19], [110]])
def test_equals_the_official_loop(changes, sizes):
    bank = fakes.text_bank(6, 60)
    method, loop = score(**changes), slow(bank, farthest(bank, 4), **changes)
    state = method.init(bank, None)
    for part in stream(bank, 110).split(sizes):
        (values, _), state = method.step(state, part)
        expected = loop.batch(part.double().numpy())
        assert torch.allclose(values, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)
        assert otsu_threshold(state.gate_scores) == loop.thresholds[-1]
        assert (len(state.id_queue), len(state.ood_queue)) == (len(loop.from_id), len(loop.from_ood))
        queues = torch.tensor(np.concatenate([loop.from_id, loop.from_ood]))
        assert torch.allclose(torch.cat([state.id_queue, state.ood_queue]).double(), queues, atol=1e-5, rtol=0)
        assert torch.allclose(state.gate_scores, torch.tensor(loop.queue, dtype=torch.float64), atol=1e-5, rtol=0)
    assert len(state.gate_scores) == 6 + 4 + 110


def test_noise_images_come_from_the_encoder():
    bank, images = fakes.text_bank(6, 60), stream(fakes.text_bank(6, 60), 40)

    class NoiseEncoder(fakes.NoEncoder):
        def encode_noise_images(self, count, seed):
            return fakes.unit(count, seed=100 + seed)

    with pytest.raises(UserError, match="noise=text"):
        score(noise="images").init(bank, None)
    scores, _ = run(score(noise="images"), bank, images, 20, NoiseEncoder())
    loop = slow(bank, fakes.unit(4, seed=100))
    expected = [value for part in images.split(20) for value in loop.batch(part.double().numpy())]
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_random_noise_follows_the_seed():
    bank = fakes.text_bank(6, 60)
    first, again, other = (score(noise="random", seed=seed).init(bank, None).ood_queue for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert score(noise="random", num_noise=100).init(bank, None).ood_queue.shape == (20, 60)


def test_few_id_texts_are_drawn():
    """Of six ID texts the last three of the permutation begin the queue."""
    bank = fakes.text_bank(6, 60)
    state = score(memory_length=3).init(bank, None)
    order = torch.randperm(6, generator=generator(0))[3:]
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    expected = (bank.id_labels.embeddings[order] @ labels.T / 0.1).softmax(dim=1)[:, 6:]
    assert torch.allclose(state.id_queue, expected, atol=1e-6, rtol=0)


def test_the_score_queue_holds_twenty_thousand():
    bank = fakes.text_bank(2, 5)
    _, (*_, state) = run(score(num_active=3), bank, fakes.unit(24_000, seed=3), 8_000)
    assert len(state.gate_scores) == 20_000


def test_without_confident_images_the_queues_stay():
    """A gap of 1 leaves nothing above 1 and nothing below 0."""
    bank = fakes.text_bank(6, 60)
    method = score(gap=1.0)
    start = method.init(bank, None)
    (scores, _), state = method.step(start, stream(bank, 40))
    assert state.id_queue is start.id_queue and state.ood_queue is start.ood_queue
    assert torch.equal(scores, state.gate_scores[-40:])


def test_all_images_of_one_class():
    bank = fakes.text_bank(6, 60)
    draw = torch.Generator().manual_seed(0)
    images = normalize(bank.id_labels.embeddings[2] + 0.15 * torch.randn(50, 16, generator=draw), dim=1)
    scores, _ = run(score(), bank, images, 50)
    expected = slow(bank, farthest(bank, 4)).batch(images.double().numpy())
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_words_without_activation_weigh_nothing():
    assert relative_activation(torch.tensor([3.0, 1.0, 0.0, -5.0])).tolist() == [3.0, 1.0, 0.0, 0.0]
    assert relative_activation(torch.tensor([0.0, -5.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"weighting": "both"},
        {"noise": "pictures"},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"score\.\w+ must"):
        score(**changes)


def test_more_than_the_pool_has():
    with pytest.raises(UserError, match="num_active=61 with 60 negatives"):
        score(num_active=61).init(fakes.text_bank(6, 60), None)
    with pytest.raises(UserError, match="num_noise=61 with 60 negatives"):
        score(num_noise=61).init(fakes.text_bank(6, 60), None)
