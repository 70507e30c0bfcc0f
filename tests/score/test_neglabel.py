import fakes
import pytest
import torch
from reference import neglabel as reference

from neglab.score.neglabel import NegLabelScore
from neglab.types import UserError


@pytest.mark.parametrize("num_groups", [1, 4, 7, 23])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_equals_the_loop_over_groups(num_groups, temperature):
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    scores = NegLabelScore(num_groups, temperature, group_seed=0)(images, bank)
    expected = [
        reference.score(image, bank.id_labels.embeddings, bank.negatives.embeddings, num_groups, temperature, 0)
        for image in images
    ]
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_official_sizes_give_the_permutation_of_the_specification():
    """10,499 mined labels in 100 groups: 99 are dropped from the end, the rest permuted by seed 0."""
    bank = fakes.text_bank(num_negatives=10_499, dim=2)
    prepared = NegLabelScore(100, 1.0, 0).prepare(bank)
    assert len(prepared.negative_weights) == 10_400
    expected = bank.negatives.embeddings[[7244, 1095, 163, 4852, 5859]]
    assert torch.equal(prepared.negative_weights[:5], expected)


def test_batches_do_not_change_scores():
    bank, images = fakes.text_bank(num_negatives=100), fakes.unit(50, seed=3)
    score = NegLabelScore(10, 0.01, 0)
    whole = score(images, bank)
    assert torch.allclose(torch.cat([score(part, bank) for part in images.split(7)]), whole, atol=1e-6, rtol=0)


def test_scores_near_one_do_not_tie():
    """Two images that differ only by their ID margin keep their order where float32 would round both to 1."""
    bank = fakes.text_bank(num_classes=1, num_negatives=4, dim=2)
    direction = bank.id_labels.embeddings[0]
    bank.negatives.embeddings[:] = -direction
    images = torch.stack([direction, direction * 0.9999])
    scores = NegLabelScore(1, 0.1, 0)(images, bank)
    assert scores[0] > scores[1]


def test_the_global_random_state_is_untouched():
    before = torch.random.get_rng_state()
    NegLabelScore(4, 0.01, 0)(fakes.unit(3), fakes.text_bank())
    assert torch.equal(before, torch.random.get_rng_state())


def test_fewer_negatives_than_groups_say_what_to_do():
    with pytest.raises(UserError, match=r"num_groups=100 with 37 negatives\. Lower score\.num_groups or raise"):
        NegLabelScore(100, 0.01, 0)(fakes.unit(1), fakes.text_bank(num_negatives=37))


@pytest.mark.parametrize(("num_groups", "temperature"), [(0, 0.01), (1, 0.0), (1, -1.0)])
def test_values_out_of_range(num_groups, temperature):
    with pytest.raises(UserError, match="must be"):
        NegLabelScore(num_groups, temperature, 0)
