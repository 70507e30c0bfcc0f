import fakes
import pytest
import torch
from reference import neglabel_forms as reference
from score_fakes import FORM_PAIRS, FORM_THRESHOLDS, bank_of_axes
from score_fakes import neglabel_form as build

from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.neglabel_forms import COSINE_FORMS, DealtBank
from neglab.types import UserError


def positive_images(bank, count=6):
    """Images whose cosines are positive, as CLIP's are, so that no sum comes near 0."""
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    labels[:] = torch.nn.functional.normalize(labels.abs(), dim=1)
    bank.id_labels.embeddings[:] = labels[: len(bank.id_labels)]
    bank.negatives.embeddings[:] = labels[len(bank.id_labels) :]
    return fakes.unit(count, seed=3).abs()


def deal(negatives, num_groups, seed=0):
    """The groups as the specification deals them: drop the remainder, permute, cut."""
    kept = len(negatives) - len(negatives) % num_groups
    order = torch.randperm(kept, generator=torch.Generator().manual_seed(seed)).tolist()
    size = kept // num_groups
    return [[negatives[i] for i in order[g * size : (g + 1) * size]] for g in range(num_groups)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("linear_sum", 0.5 - 0.1 * 0.5),
        ("linear_max", 0.3),
        ("linear_binarized", 1 - 0.1),
        ("negative_binarized", -1),
        ("sum_softmax", 0.5514859),  # (e^3 + e^2) / (e^3 + e^2 + e^2.6 + e^2 + e^0.4)
        ("max_softmax", 0.4031685),
        ("proportional_sum", 0.5),
        ("proportional_max", 0.3),
        ("proportional_binarized", 0.5),
    ],
)
def test_the_rows_of_table_12_by_hand(form, expected):
    """Similarities .3 and .2 to ID, .26, .2 and .04 to negatives; within 1e-6."""
    image = torch.tensor([[0.3, 0.2, 0.26, 0.2, 0.04]])
    ids, negatives = image[0, :2].tolist(), image[0, 2:].tolist()
    assert reference.ROWS[form](ids, negatives, 0.1, 0.25, 0.1) == pytest.approx(expected, abs=1e-6)
    assert build(form)(image, bank_of_axes(2, 3)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("form", "similarity"), FORM_PAIRS)
@pytest.mark.parametrize(("num_groups", "num_fused_groups"), [(1, None), (4, None), (7, 3)])
def test_equals_the_loop_over_groups(form, similarity, num_groups, num_fused_groups):
    """Within 1e-5: the similarities are float32, divided by the temperature."""
    bank = fakes.text_bank()
    images = positive_images(bank)
    score = build(form, similarity, num_groups=num_groups, num_fused_groups=num_fused_groups)
    ids, negatives = bank.id_labels.embeddings.tolist(), bank.negatives.embeddings.tolist()
    groups = deal(negatives, num_groups)[:num_fused_groups]
    measure = getattr(reference, similarity)
    expected = [
        reference.score(image, ids, groups, form, measure, 0.1, FORM_THRESHOLDS[similarity], 0.1)
        for image in images.tolist()
    ]
    assert score(images, bank).tolist() == pytest.approx(expected, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("num_groups", [1, 4, 23])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_the_sum_softmax_is_the_neglabel_score(num_groups, temperature):
    """Within 1e-5: float32 logits there, float64 quotients of float32 cosines here."""
    bank, images = fakes.text_bank(), fakes.unit(50, seed=3)
    expected = NegLabelScore(num_groups, temperature, 0)(images, bank)
    scores = build(temperature=temperature, num_groups=num_groups)(images, bank)
    assert torch.allclose(scores, expected, atol=1e-5, rtol=0)


def test_the_max_softmax_is_the_share_of_the_best_class():
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    product = build("sum_softmax")(images, bank) * MCMScore(0.1)(images, bank)
    assert torch.allclose(build("max_softmax")(images, bank), product, atol=1e-6, rtol=0)


def test_fused_groups_are_the_first_ones():
    """n groups are averaged, not n - 1 as in the official code, where one fused group is the mean of nothing."""
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    first, both = (build(num_groups=4, num_fused_groups=n)(images, bank) for n in (1, 2))
    dealt = build(num_groups=4).prepare(bank)
    second = build().score(images, DealtBank(dealt.id_embeddings, dealt.negative_embeddings[5:10]))
    assert torch.allclose(both, (first + second) / 2, atol=1e-6, rtol=0)
    assert torch.equal(build(num_groups=4, num_fused_groups=4)(images, bank), build(num_groups=4)(images, bank))


def test_a_thousand_groups():
    bank, images = fakes.text_bank(num_negatives=2_999), fakes.unit(3, seed=3)
    assert torch.allclose(
        build(num_groups=1000)(images, bank), NegLabelScore(1000, 0.1, 0)(images, bank), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("form", "similarity"), FORM_PAIRS)
def test_one_class_and_one_negative(form, similarity):
    """At right angles: an image on the class scores higher than one on the negative, whatever the form."""
    bank = fakes.text_bank(num_classes=1, num_negatives=1, dim=2)
    bank.id_labels.embeddings[:], bank.negatives.embeddings[:] = torch.eye(2)[:1], torch.eye(2)[1:]
    threshold = {"cosine": 0.25, "l1": -1.0, "kl": -0.05}[similarity]
    on_class, on_negative = build(form, similarity, threshold=threshold)(torch.eye(2), bank)
    assert on_class > on_negative


def test_nothing_above_the_threshold_speaks_for_no_id_label():
    images = torch.tensor([[0.1, 0.1, 0.1, 0.1, 0.1], [0.3, 0.1, 0.1, 0.1, 0.1]])
    assert build("proportional_binarized")(images, bank_of_axes(2, 3)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("form", "similarity"), FORM_PAIRS)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_tiny_and_huge_similarities_give_numbers(form, similarity, size):
    images = size * torch.tensor([[0.3, 0.2, 0.26, 0.2, 0.04], [-0.3, -0.2, -0.26, -0.2, -0.04]])
    for temperature in (1e-3, 10.0):
        assert not build(form, similarity, temperature=temperature)(images, bank_of_axes(2, 3)).isnan().any()


@pytest.mark.parametrize("similarity", ["l1", "kl"])
@pytest.mark.parametrize("form", COSINE_FORMS)
def test_a_share_of_negated_distances_is_refused(form, similarity):
    with pytest.raises(
        UserError, match=rf"score\.form={form} needs positive similarities; got similarity={similarity}"
    ):
        build(form, similarity)


@pytest.mark.parametrize(
    "changes",
    [
        {"form": "softmax"},
        {"similarity": "l2"},
        {"num_groups": 4, "num_fused_groups": 5},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"score\.\w+ must be .*; got .*\. \w+ "):
        build(**changes)
