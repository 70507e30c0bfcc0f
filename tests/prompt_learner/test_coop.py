import fakes
import learner_fakes
import pytest
import torch
from reference import coop as reference
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower

IMAGES = fakes.unit(7, seed=3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2])


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.mark.parametrize("double_softmax", [False, True])
@pytest.mark.parametrize("class_specific", [False, True])
def test_the_loss_equals_the_reference(backbone, class_specific, double_softmax):
    learner = learner_fakes.built(
        learner_fakes.coop(double_softmax=double_softmax, class_specific=class_specific), backbone
    )
    texts = learner.context(TokenTower(backbone, 100))[0]
    expected = reference.loss(IMAGES.tolist(), texts.tolist(), LABELS.tolist(), 0.5, double_softmax)
    assert learner_fakes.loss_value(learner, backbone, IMAGES, LABELS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("knobs", [{}, {"double_softmax": True}, {"num_sets": 2}, {"class_specific": True}], ids=str)
def test_the_gradient_equals_finite_differences(backbone, knobs):
    learner = learner_fakes.built(learner_fakes.coop(**knobs), backbone)
    learner_fakes.assert_gradient_is_finite_difference(learner, backbone, IMAGES, LABELS)


def test_several_sets_are_one_ensemble(backbone):
    learner = learner_fakes.built(learner_fakes.coop(num_sets=2), backbone)
    tower = TokenTower(backbone, 100)
    results = learner.results(tower, IMAGES)
    mean = normalize(learner.context(tower).mean(dim=0), dim=1)
    assert results["context"].shape == (2, 1, 4, 16)
    assert torch.allclose(results["class_embeddings"], mean, atol=1e-6)
    assert torch.allclose(learner.similarities(tower, IMAGES), IMAGES @ mean.T, atol=1e-6)


def test_it_is_one_stage_and_trains_the_context_alone(backbone):
    learner = learner_fakes.built(learner_fakes.coop(), backbone)
    assert list(learner.stages()) == [learner]
    assert [parameter.shape for parameter in learner.own_parameters()] == [(1, 1, 4, 16)]
    assert learner.num_negative_sets == 0
