import fakes
import learner_fakes
import pytest
import torch
from reference import coop as coop_reference
from reference import locoop as reference
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.prompt_learner.locoop import LoCoOpLearner, background_entropies

IMAGES = fakes.unit(7, seed=3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2])
PATCHES = fakes.unit(7 * 6, seed=4).unflatten(0, (7, 6)).half()


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


def locoop(temperature=0.5, foreground_share=0.34, entropy_weight=0.25, calibrated=False, **recipe):
    own = learner_fakes.context(initial_std=1.0)  # so that the classes' texts differ
    trained = learner_fakes.recipe(**recipe)
    return LoCoOpLearner(own, trained, temperature, False, foreground_share, entropy_weight, calibrated)


class WithPatches:
    """A learner whose loss is asked for without patches, as the fakes' finite differences do."""

    def __init__(self, learner):
        self.learner = learner

    def losses(self, encode, images, labels):
        return self.learner.losses(encode, images, labels, PATCHES)

    def own_parameters(self):
        return self.learner.own_parameters()


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("foreground_share", "num_foreground"), [(0.01, 1), (0.34, 1), (0.67, 2), (0.999, 2)])
def test_the_loss_equals_the_reference(backbone, calibrated, foreground_share, num_foreground):
    learner = learner_fakes.built(locoop(foreground_share=foreground_share, calibrated=calibrated), backbone)
    texts = learner.context(TokenTower(backbone, 100))[0].tolist()
    expected = reference.loss(
        IMAGES.tolist(),
        normalize(PATCHES.float(), dim=2).tolist(),
        texts,
        LABELS.tolist(),
        0.5,
        num_foreground,
        0.25,
        calibrated,
    )
    found = learner_fakes.loss_value(WithPatches(learner), backbone, IMAGES, LABELS)
    assert found == pytest.approx(expected, abs=1e-4)
    plain = coop_reference.loss(IMAGES.tolist(), texts, LABELS.tolist(), 0.5)
    assert abs(expected - plain) > 1e-2


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_gradient_equals_finite_differences(backbone, calibrated):
    learner = learner_fakes.built(locoop(calibrated=calibrated), backbone)
    learner_fakes.assert_gradient_is_finite_difference(WithPatches(learner), backbone, IMAGES, LABELS, step=5e-4)


def test_without_background_there_is_no_penalty(backbone):
    learner = learner_fakes.built(locoop(), backbone)
    texts = learner.context(TokenTower(backbone, 100))[0].detach()
    own = texts[LABELS][:, None].expand(-1, 6, -1).half()  # every patch shows its class
    losses, penalty = learner.losses(TokenTower(backbone, 100), IMAGES, LABELS, own)
    assert float(penalty.detach()) == 0 and losses.isfinite().all()
    (gradient,) = torch.autograd.grad(losses.mean() + penalty, learner.own_parameters())
    assert gradient.isfinite().all()


def test_background_is_where_the_class_is_not_among_the_likeliest():
    logits = torch.tensor([[[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]]])
    for num_foreground, expected in ((1, [0, 1, 1]), (2, [0, 1, 0])):
        _, background = background_entropies(logits, torch.tensor([0]), num_foreground)
        assert background[0].tolist() == expected
    entropies, _ = background_entropies(torch.zeros(1, 1, 4), torch.tensor([1]), 1)
    assert float(entropies) == pytest.approx(1.3862, abs=1e-4)


def test_it_is_coop_in_all_else(backbone):
    learner = learner_fakes.built(locoop(), backbone)
    results = learner.results(TokenTower(backbone, 100), IMAGES)
    assert sorted(results) == ["class_embeddings", "context"]
    assert learner.needs_patches and learner.num_negative_sets == 0
    with pytest.raises(RuntimeError, match="got none"):
        learner.losses(TokenTower(backbone, 100), IMAGES, LABELS)
