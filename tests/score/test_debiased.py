import fakes
import pytest
import torch
from reference import debiased as reference
from reference import renyi as fixtures

from neglab.score.debiased import DebiasedScore
from neglab.score.neglabel import NegLabelScore
from neglab.types import UserError


def groups_of(num_negatives, num_groups, seed):
    kept = num_negatives - num_negatives % num_groups
    order = torch.randperm(kept, generator=torch.Generator().manual_seed(seed))
    return order.view(num_groups, -1).tolist()


def cosines(images, bank):
    return images.double() @ torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings]).double().T


def test_the_numbers_of_the_specification(monkeypatch):
    """Labels along the axes: coordinates are cosines, printed to 5e-8; the groups in their order."""
    monkeypatch.setattr("torch.randperm", lambda count, generator: torch.arange(count))
    bank = fakes.text_bank(2, 4, dim=6)
    bank.id_labels.embeddings[:], bank.negatives.embeddings[:] = torch.eye(6).split([2, 4])
    slow = [reference.score(row, 2, [[0, 1], [2, 3]], 0.01, 0.5) for row in fixtures.FIXTURE]
    assert slow == pytest.approx(reference.FIXTURE_SCORES, rel=5e-6)
    ours = DebiasedScore(2, 0.01, 0, 0.5)(torch.tensor(fixtures.FIXTURE), bank)
    assert ours.tolist() == pytest.approx(reference.FIXTURE_SCORES, rel=5e-6)


@pytest.mark.parametrize("num_groups", [1, 4, 10])
@pytest.mark.parametrize("purity", [0.95, 1.0])
@pytest.mark.parametrize("temperature", [0.01, 0.2])
def test_equals_the_loop_over_groups(num_groups, purity, temperature):
    bank, images = fakes.text_bank(5, 43), fakes.unit(20, seed=3)
    groups = groups_of(43, num_groups, seed=50)
    expected = [reference.score(row, 5, groups, temperature, purity) for row in cosines(images, bank)]
    ours = DebiasedScore(num_groups, temperature, 50, purity)(images, bank)
    assert torch.allclose(ours, torch.tensor(expected, dtype=torch.float64), atol=0, rtol=2e-5)


def test_one_group_ranks_as_neglabel():
    bank, images = fakes.text_bank(30, 30), fakes.unit(500, seed=3)
    debiased, neglabel = DebiasedScore(1, 0.1, 50, 0.5)(images, bank), NegLabelScore(1, 0.1, 50)(images, bank)
    assert torch.equal(debiased.argsort(), neglabel.argsort())


def test_pure_negatives_are_neglabels():
    bank, images = fakes.text_bank(), fakes.unit(20, seed=3)
    pure, neglabel = DebiasedScore(4, 0.01, 50, 1.0)(images, bank), NegLabelScore(4, 0.01, 50)(images, bank)
    assert torch.allclose(5 * pure, neglabel, atol=1e-12, rtol=0)


@pytest.mark.parametrize("purity", [0.5, 0.12, 0.9])
def test_groups_too_large_for_few_classes_are_refused_with_a_remedy_that_works(purity):
    bank = fakes.text_bank(50, 1000)
    with pytest.raises(UserError, match="times as many labels as there are ID classes; got 1000 with 50") as refused:
        DebiasedScore(1, 0.01, 50, purity)(fakes.unit(3), bank)
    found = dict(word.rstrip(",.").split("=") for word in str(refused.value).split() if word.startswith("score."))
    num_groups, enough = int(found["score.num_groups"]), float(found["score.purity"])
    for score in (DebiasedScore(num_groups, 0.01, 50, purity), DebiasedScore(1, 0.01, 50, enough)):
        assert (score(fakes.unit(100, seed=3), bank) > 0).all()
    with pytest.raises(UserError):
        DebiasedScore(num_groups - 1, 0.01, 50, purity)(fakes.unit(3), bank)


def test_what_the_official_code_does_there():
    """Scores of both signs: what the refusal is for."""
    rows = cosines(fakes.unit(500, seed=3), fakes.text_bank(5, 100))
    scores = [reference.score(row, 5, groups_of(100, 10, 50), 0.01, 0.5) for row in rows]
    assert min(scores) < 0 < max(scores)
