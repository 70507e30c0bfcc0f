import math

import fakes
import learner_fakes
import pytest
import torch
from reference import lsn as reference

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.context.prompts import TokenTower
from neglab.prompt_learner.lsn import negative_losses, orthogonality
from neglab.types import UserError

IMAGES = fakes.unit(7, seed=3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2])
SETS = fakes.unit(12, seed=4).view(3, 4, 16)


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.mark.parametrize("double_softmax", [False, True])
def test_the_negative_loss_equals_the_reference(double_softmax):
    losses = negative_losses(IMAGES, SETS, LABELS, 0.05, double_softmax)
    expected = reference.negative_loss(IMAGES.tolist(), SETS.tolist(), LABELS.tolist(), 0.05, double_softmax)
    assert float(losses.mean()) == pytest.approx(expected, rel=1e-5)


def test_closed_forms():
    """Two orthogonal classes whose negatives are the other class: Eq. 6 with cosines 0 and 1."""
    images = torch.eye(2, 16)
    right, wrong = images.flip(0)[None], images[None]
    labels = torch.tensor([0, 1])
    assert negative_losses(images, right, labels, 0.05, False).tolist() == pytest.approx(
        [math.log1p(math.exp(-20))] * 2, abs=1e-7
    )
    assert negative_losses(images, wrong, labels, 0.05, False).tolist() == pytest.approx([20.0] * 2)
    low, high = reference.double_softmax_bounds(2)
    assert negative_losses(images, right, labels, 0.05, True).tolist() == pytest.approx([low] * 2, abs=1e-5)
    assert negative_losses(images, wrong, labels, 0.05, True).tolist() == pytest.approx([high] * 2, abs=1e-5)
    same, opposite = torch.stack([images, images]), torch.stack([images, -images])
    assert float(orthogonality(same, "absolute_sum")) == float(orthogonality(opposite, "absolute_sum")) == 2
    assert float(orthogonality(same, "signed_mean")) == 1
    assert float(orthogonality(opposite, "signed_mean")) == -1
    assert float(orthogonality(right, "absolute_sum")) == float(orthogonality(right, "signed_mean")) == 0


def test_the_papers_penalty_equals_the_reference():
    assert float(orthogonality(SETS, "absolute_sum")) == pytest.approx(reference.absolute_sum(SETS.tolist()), rel=1e-5)


def test_each_sets_gradient_is_that_of_the_official_penalty():
    sets = SETS.clone().requires_grad_()
    orthogonality(sets, "signed_mean").backward()
    for own in range(3):
        for direction in fakes.unit(2, 64, seed=own).view(2, 4, 16):
            moved = [SETS.clone() for _ in range(2)]
            for sign, place in zip((1, -1), moved, strict=True):
                # The penalty takes unit-norm rows; so does the difference, which is why it is projected.
                place[own] += sign * 1e-3 * direction
            values = [reference.official_penalty(place.double().tolist(), own) for place in moved]
            radial = (sets.grad[own] * SETS[own]).sum(dim=1, keepdim=True) * SETS[own]
            slope = float(((sets.grad[own] - radial) * direction).sum())
            assert (values[0] - values[1]) / 2e-3 == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"double_softmax": True, "orthogonality": "signed_mean", "orthogonality_weight": 1.0},
        {"orthogonality_weight": 0.0},
        {"class_specific": False},
        {"class_name": False},
        {"num_sets": 1},
    ],
    ids=str,
)
def test_the_gradient_equals_finite_differences(backbone, knobs):
    learner = learner_fakes.built(learner_fakes.lsn(**knobs), backbone)
    learner_fakes.assert_gradient_is_finite_difference(learner, backbone, IMAGES, LABELS)


def test_the_loss_is_eq_8(backbone):
    learner = learner_fakes.built(learner_fakes.lsn(), backbone)
    sets = learner.context(TokenTower(backbone, 100)).tolist()
    expected = reference.negative_loss(IMAGES.tolist(), sets, LABELS.tolist(), 0.5) + 0.1 * reference.absolute_sum(sets)
    assert learner_fakes.loss_value(learner, backbone, IMAGES, LABELS) == pytest.approx(expected, rel=1e-5)


def test_row_k_times_c_plus_c_belongs_to_class_c(backbone):
    learner = learner_fakes.built(learner_fakes.lsn(), backbone)
    tower = TokenTower(backbone, 100)
    results = learner.results(tower, IMAGES)
    assert results["negative_context"].shape == (3, 3, 4, 16)
    for k in range(3):
        for c, name in enumerate(learner_fakes.NAMES):
            alone = learner_fakes.context()
            alone.build(backbone, [name], torch.Generator())
            with torch.no_grad():
                alone.vectors.copy_(results["negative_context"][k, c][None, None])
            assert torch.allclose(results["negative_embeddings"][k * 3 + c], alone(tower)[0, 0], atol=1e-6)


def test_the_positives_are_those_of_their_learner_alone(backbone):
    learner = learner_fakes.built(learner_fakes.lsn(), backbone)
    alone = learner_fakes.built(learner_fakes.coop(), backbone)
    tower = TokenTower(backbone, 100)
    assert torch.equal(learner.positive.context.vectors, alone.context.vectors)
    assert torch.equal(learner.similarities(tower, IMAGES), alone.similarities(tower, IMAGES))
    assert [stage.name for stage in learner.stages()] == ["coop", "lsn"]
    assert [id(parameter) for parameter in learner.own_parameters()] == [id(learner.context.vectors)]
    assert learner.num_negative_sets == 3


def test_the_presets_are_the_papers_and_the_codes():
    paper, official = (
        compose([f"prompt_learner=lsn_{name}"], "learn").prompt_learner for name in ("paper", "official")
    )
    assert (paper.recipe.learning_rate, paper.positive.recipe.learning_rate) == (0.001, 0.002)
    assert (official.recipe.learning_rate, official.positive.recipe.learning_rate) == (0.002, 0.001)
    assert (paper.orthogonality, paper.orthogonality_weight) == ("absolute_sum", 0.1)
    assert (official.orthogonality, official.orthogonality_weight) == ("signed_mean", 1.0)
    assert not (paper.double_softmax or paper.positive.double_softmax)
    assert official.double_softmax and official.positive.double_softmax
    for preset in (paper, official):
        assert (preset.recipe.num_epochs, preset.positive.recipe.num_epochs) == (100, 50)
        assert preset.recipe.batch_size == preset.positive.recipe.batch_size == 8
        assert (preset.context.num_sets, preset.context.num_tokens) == (3, 16)
        assert (preset.temperature, preset.positive.temperature) == (0.05, 0.01)
    both = compose(["prompt_learner=lsn_cocoop"], "learn").prompt_learner
    assert both.positive._target_.endswith("CoCoOpLearner")
    assert both.recipe.batch_size == both.positive.recipe.batch_size == 1


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"orthogonality": "squared"}, "absolute_sum, signed_mean"),
    ],
)
def test_settings_that_cannot_be(knobs, message):
    with pytest.raises(UserError, match=message):
        learner_fakes.lsn(**knobs)
