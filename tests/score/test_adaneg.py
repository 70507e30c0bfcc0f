from dataclasses import replace

import fakes
import pytest
import torch
from reference.adaneg import AdaNeg
from score_fakes import ADANEG as KNOBS
from score_fakes import run, stream
from torch.nn.functional import normalize

from neglab.score.adaneg import AdaNegScore, _remember
from neglab.score.neglabel import NegLabelScore
from neglab.types import TextBank, UserError


def score(**changes):
    return AdaNegScore(**{**KNOBS, **changes})


def reference(bank, **changes):
    knobs = {**KNOBS, **changes}
    length, seed = knobs.pop("memory_length"), knobs.pop("group_seed")
    return AdaNeg(bank.id_labels.embeddings, bank.negatives.embeddings, length, seed=seed, **knobs)


def counts(state):
    return dict(sorted(zip(state.labels.tolist(), state.counts.tolist(), strict=True)))


@pytest.mark.parametrize("proxies", ["task", "sample"])
@pytest.mark.parametrize("adaptive_gap", [False, True])
@pytest.mark.parametrize("memory_length", [2, 4, 10])
@pytest.mark.parametrize("sizes", [[40, 1, 60, 19], [120]])
def test_equals_the_official_loop(proxies, adaptive_gap, memory_length, sizes):
    """Seven negatives in two groups: many collisions, and one negative that is remembered but never scored."""
    bank = fakes.text_bank(3, 7)
    changes = {
        "proxies": proxies, "adaptive_gap": adaptive_gap, "memory_length": memory_length, "num_groups": 2,
    }  # fmt: skip
    method, slow = score(**changes), reference(bank, **changes)
    state = method.init(bank, None)
    for part in stream(bank, 120).split(sizes):
        (values, predicted), state = method.step(state, part)
        assert torch.allclose(values, torch.tensor(slow.step(part), dtype=torch.float64), atol=1e-5, rtol=0)
        assert predicted.tolist() == slow.predicted
        assert counts(state) == slow.counts()
        for row, label in enumerate(state.labels.tolist()):
            assert torch.equal(state.slots[row], torch.stack(slow.memory[label][:-1]))
    assert max(counts(state).values()) == memory_length - 1
    if adaptive_gap:
        assert state.estimates.tolist() == slow.recent


@pytest.mark.parametrize("temperature", [0.01, 0.03, 0.2])
@pytest.mark.parametrize("num_groups", [1, 5])
def test_equals_the_official_loop_at_other_temperatures(temperature, num_groups):
    bank = fakes.text_bank()
    changes = {"temperature": temperature, "num_groups": num_groups, "proxies": "sample", "gap": 0.5}
    images, slow = stream(bank, 80), reference(bank, **changes)
    expected = [value for part in images.split(32) for value in slow.step(part)]
    scores, _ = run(score(**changes), bank, images, 32)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("memory_length", [2, 3, 7])
@pytest.mark.parametrize("proxies", ["task", "sample"])
def test_rounds_equal_the_sequence_with_ties_and_collisions(seed, memory_length, proxies):
    """Entropies from a grid of four values, 0 included; slot by slot, over several batches. What is made of the slots
    is as if it were made of all of them."""
    draw = torch.Generator().manual_seed(seed)
    bank = fakes.text_bank(2, 4)
    slow = reference(bank, memory_length=memory_length)
    method = score(memory_length=memory_length, proxies=proxies)
    state = method.init(bank, None)
    for size in (30, 1, 17, 2, 60):
        labels = torch.randint(6, (size,), generator=draw)
        entropies = torch.randint(4, (size,), generator=draw) / 4
        images = normalize(torch.randn(size, 16, generator=draw), dim=1)
        for image, label, entropy in zip(images, labels.tolist(), entropies.tolist(), strict=True):
            slow.store(label, image, entropy)
        state = _remember(state, images, labels, entropies, method._summary)
        assert torch.equal(state.summary, method._summary(state.slots))
        assert counts(state) == slow.counts()
        for row, label in enumerate(state.labels.tolist()):
            assert torch.equal(state.slots[row], torch.stack(slow.memory[label][:-1]))
            assert state.entropies[row].tolist() == slow.entropies[label][1:-1]


@pytest.mark.parametrize("adaptive_gap", [False, True])
def test_the_memory_predicts_other_classes_than_the_texts(adaptive_gap):
    """Five classes whose images lie between their text and another's: the proxies learn that, the texts cannot."""
    bank, draw = fakes.text_bank(5, 23), torch.Generator().manual_seed(0)
    texts, own = bank.id_labels.embeddings, torch.arange(5).repeat(60)
    noise = 0.15 * torch.randn(300, 16, generator=draw)
    images = normalize(texts[own] + 0.8 * texts[(own + 1) % 5] + noise, dim=1)
    changes = {"adaptive_gap": adaptive_gap, "static_weight": 1.0, "temperature": 0.05, "memory_length": 10}
    method, slow = score(**changes), reference(bank, **changes)
    state, predicted, expected = method.init(bank, None), [], []
    for part in images.split(100):
        (_, classes), state = method.step(state, part)
        slow.step(part)
        predicted, expected = predicted + classes.tolist(), expected + slow.predicted
    assert predicted == expected
    nearest = (images @ texts.T).argmax(dim=1)
    assert (torch.tensor(predicted) != nearest).sum() >= 5


def test_the_stronger_side_decides_the_class():
    """By hand: cosines .8, .6, 0 with the texts give class 0 a lead of .0799 in the softmax over all labels; with a
    proxy at .9762 class 1 leads by .0729 there. Among ID classes alone it is .0997 against .0878, without lambda."""
    ids, negative = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    image = normalize(torch.tensor([[0.8, 0.6, 0.0]]), dim=1)
    bank = TextBank(fakes.label_set(2, 3), fakes.label_set(1, 3), 1.0)
    bank = replace(bank, id_labels=replace(bank.id_labels, embeddings=ids))
    bank = replace(bank, negatives=replace(bank.negatives, embeddings=negative))
    for adaptive_gap, weight, expected in ((False, 0.0, 0), (False, 1.09, 0), (False, 1.1, 1), (True, 1.1, 0)):
        knobs = {"num_groups": 1, "temperature": 1.0, "threshold": 1.0, "gap": 1.0}  # nothing is remembered
        method = score(adaptive_gap=adaptive_gap, static_weight=weight, **knobs)
        slots = torch.stack([ids[1], image[0], image[0], image[0]])[None]
        state = replace(
            method.init(bank, None),
            labels=torch.tensor([1]),
            slots=slots,
            summary=method._summary(slots),
            entropies=torch.zeros(1, 3),
            counts=torch.tensor([3]),
        )
        (_, predicted), _ = method.step(state, image)
        assert predicted.tolist() == [expected]


def test_a_batch_of_one_class_alone():
    bank = fakes.text_bank(3, 7)
    draw = torch.Generator().manual_seed(0)
    images = normalize(bank.id_labels.embeddings[1] + 0.15 * torch.randn(50, 16, generator=draw), dim=1)
    scores, (*_, state) = run(score(memory_length=10), bank, images, 50)
    assert counts(state) == {1: 9}
    expected = reference(bank, memory_length=10).step(images)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_ten_slots_remember_nine_images():
    bank = fakes.text_bank(1, 4)
    images = bank.id_labels.embeddings.repeat(30, 1)
    assert counts(run(score(memory_length=10), bank, images, 7)[1][-1]) == {0: 9}


def test_the_first_batch_is_scored_with_what_it_taught():
    bank = fakes.text_bank(3, 7)
    images = stream(bank, 40)
    static = NegLabelScore(4, 0.1, 0)(images, bank)
    scores, _ = run(score(static_weight=0.0), bank, images, 40)
    assert not torch.allclose(scores, static, atol=1e-3)


def test_without_confident_images_it_is_neglabel():
    """At threshold and gap 1 nothing is above 1, and nothing below 0."""
    bank = fakes.text_bank(3, 7)
    images = stream(bank, 40)
    for proxies in ("task", "sample"):
        method = score(threshold=1.0, gap=1.0, proxies=proxies, static_weight=0.5)
        scores, (*_, state) = run(method, bank, images, 10)
        assert not counts(state)
        assert torch.allclose(scores, 1.5 * NegLabelScore(4, 0.1, 0)(images, bank), atol=1e-6, rtol=0)


def test_the_adaptive_gap_forgets_after_ten_thousand():
    """More than 10,000 estimates: the 200 of the start are gone, and only then is the window all ID."""
    bank = fakes.text_bank(1, 4)
    method, images = score(adaptive_gap=True), bank.id_labels.embeddings.repeat(4096, 1)
    state = method.init(bank, None)
    assert state.estimates.tolist() == [1, 0] * 100
    lengths, shares = [], []
    for _ in range(3):
        _, state = method.step(state, images)
        lengths.append(len(state.estimates))
        shares.append(state.estimates.double().mean().item())
    assert lengths == [200 + 4096, 200 + 8192, 10_000]
    assert shares[1] < 1 and shares[2] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"proxies": "both"},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"score\.\w+ must"):
        score(**changes)
