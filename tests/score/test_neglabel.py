import fakes
import pytest
import torch
from reference import neglabel as reference

from neglab.score.neglabel import NegLabelScore


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


def test_the_paper_size_gives_the_permutation_of_the_specification():
    bank = fakes.text_bank(num_negatives=10_000, dim=2)
    prepared = NegLabelScore(100, 1.0, 0).prepare(bank)
    assert torch.equal(prepared.negative_weights[:5], bank.negatives.embeddings[[6044, 2890, 9399, 1917, 4919]])


def test_the_remainder_is_dropped_from_the_end_before_the_permutation():
    """Whatever the last three of 23 labels are, five groups never see them."""
    bank, other, images = fakes.text_bank(), fakes.text_bank(), fakes.unit(9, seed=3)
    other.negatives.embeddings[20:] = images[:3]
    score = NegLabelScore(5, 0.01, 0)
    assert torch.equal(score(images, bank), score(images, other))


def test_one_group_is_the_softmax_of_equation_6():
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    expected = (images @ labels.T).double().div(0.1).softmax(dim=1)[:, :5].sum(dim=1)
    assert torch.allclose(NegLabelScore(1, 0.1, 0)(images, bank), expected, atol=1e-6, rtol=0)


def test_the_group_seed_deals_the_negatives_out():
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    first, again, other = (NegLabelScore(4, 0.01, seed)(images, bank) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scores_near_one_do_not_tie():
    """Two images that differ only by their ID margin keep their order where float32 would round both to 1."""
    bank = fakes.text_bank(num_classes=1, num_negatives=4, dim=2)
    direction = bank.id_labels.embeddings[0]
    bank.negatives.embeddings[:] = -direction
    images = torch.stack([direction, direction * 0.9999])
    scores = NegLabelScore(1, 0.1, 0)(images, bank)
    assert scores[0] > scores[1]
