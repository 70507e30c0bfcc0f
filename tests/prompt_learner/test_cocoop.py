import fakes
import learner_fakes
import pytest
import torch
from reference import coop as reference
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.types import UserError

LIVE_SEED = 5  # under which the meta-net's only hidden unit is not dead
IMAGES = fakes.unit(7, seed=3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2])


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.fixture
def learner(backbone):
    return learner_fakes.built(learner_fakes.cocoop(initial_words="a photo of a"), backbone, seed=LIVE_SEED)


def texts_by_image(learner, backbone):
    """One image at a time, the share of the meta-net by the reference."""
    weights = [
        learner.meta_net.state_dict()[f"{layer}.{kind}"].tolist()
        for layer in ("down", "up")
        for kind in ("weight", "bias")
    ]
    result = []
    for image in IMAGES.tolist():
        share = torch.tensor(reference.meta_net(image, *weights))
        prompts = learner.context.built((learner.context.vectors + share).detach())
        result.append(normalize(backbone.encode_continuations(*prompts)[0], dim=1).tolist())
    return result


def test_the_loss_equals_the_reference(learner, backbone):
    expected = reference.loss(IMAGES.tolist(), texts_by_image(learner, backbone), LABELS.tolist(), 0.5)
    assert learner_fakes.loss_value(learner, backbone, IMAGES, LABELS) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_equals_finite_differences(learner, backbone):
    learner_fakes.assert_gradient_is_finite_difference(learner, backbone, IMAGES, LABELS)
    gradients = torch.autograd.grad(
        learner_fakes.total_loss(learner, backbone, IMAGES, LABELS), learner.own_parameters()
    )
    assert [bool(gradient.any()) for gradient in gradients] == [True] * 5


def test_every_image_has_texts_of_its_own(learner, backbone):
    texts = texts_by_image(learner, backbone)
    assert texts[0] != texts[1]
    expected = torch.tensor(
        [[reference.cosine(image, text) for text in own] for image, own in zip(IMAGES.tolist(), texts, strict=True)]
    )
    tower = TokenTower(backbone, 100)
    with torch.no_grad():
        assert torch.allclose(learner.similarities(tower, IMAGES), expected, atol=1e-5)
        one_by_one = torch.cat([learner.similarities(tower, image[None]) for image in IMAGES])
    assert torch.allclose(one_by_one, expected, atol=1e-5)


def test_class_embeddings_are_those_of_the_mean_image(learner, backbone):
    tower = TokenTower(backbone, 100)
    results = learner.results(tower, IMAGES)
    mean = normalize(IMAGES.mean(dim=0, keepdim=True), dim=1)
    share = learner.meta_net(mean)[:, None, None]
    expected = tower(*learner.context.built(learner.context.vectors + share))
    assert torch.allclose(results["class_embeddings"], expected[0])
    assert {name for name in results if name.startswith("meta_net.")} == {
        f"meta_net.{layer}.{kind}" for layer in ("down", "up") for kind in ("weight", "bias")
    }


def test_an_empty_share_of_a_batch_has_a_gradient_of_zero(learner, backbone):
    losses, penalty = learner.losses(TokenTower(backbone, 100), IMAGES[:0], LABELS[:0])
    (losses.sum() + penalty).backward()
    assert not learner.context.vectors.grad.any()


def test_the_meta_net_begins_as_linear_layers_do(learner):
    weight = learner.meta_net.down.weight
    assert weight.shape == (1, 16)
    assert weight.abs().max() <= 1 / 4
    assert learner.meta_net.up.weight.abs().max() <= 1


@pytest.mark.parametrize("knobs", [{"class_specific": True}, {"num_sets": 2}], ids=str)
def test_one_context_for_all_classes(knobs):
    with pytest.raises(UserError, match="one context"):
        learner_fakes.cocoop(**knobs)
