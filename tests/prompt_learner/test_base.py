import fakes
import pytest
import torch
from reference import coop as reference
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.prompt_learner.base import Recipe, TrainedContext, cross_entropies, ensemble
from neglab.types import UserError, generator

RECIPE = {
    "optimiser": "sgd",
    "learning_rate": 0.002,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "num_epochs": 50,
    "batch_size": 32,
    "warmup_epochs": 1,
    "warmup_learning_rate": 1e-5,
}
CONTEXT = {
    "num_tokens": 4,
    "num_sets": 1,
    "class_specific": False,
    "class_name": True,
    "initial_words": None,
    "initial_std": 0.02,
}
NAMES = ["cat", "tree frog", "dog"]


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


def built(backbone, names=NAMES, seed=0, **knobs):
    context = TrainedContext(**{**CONTEXT, **knobs})
    context.build(backbone, names, generator(seed))
    return context


def test_words_as_context_give_the_embeddings_of_the_written_prompt(backbone):
    context = built(backbone, initial_words="a photo of a")
    embeddings = context(TokenTower(backbone, 100))
    written = normalize(backbone.encode_text([f"a photo of a {name}." for name in NAMES]), dim=1)
    assert embeddings.shape == (1, 3, 16)
    assert torch.allclose(embeddings[0], written, atol=1e-6)


def test_sets_and_classes_have_rows_of_their_own(backbone):
    context = built(backbone, num_sets=2, class_specific=True)
    assert context.vectors.shape == (2, 3, 4, 16)
    assert float(context.vectors.detach().std()) == pytest.approx(0.02, rel=0.2)
    together = context(TokenTower(backbone, 100))
    for k in range(2):
        for c in range(3):
            alone = built(backbone, names=[NAMES[c]])
            with torch.no_grad():
                alone.vectors.copy_(context.vectors[k, c][None, None])
            assert torch.allclose(together[k, c], alone(TokenTower(backbone, 100))[0, 0], atol=1e-6)


def test_without_its_name_a_class_is_its_context(backbone):
    context = built(backbone, class_specific=True, class_name=False)
    renamed = built(backbone, names=["a", "b", "c"], class_specific=True, class_name=False)
    tower = TokenTower(backbone, 100)
    assert torch.equal(context(tower), renamed(tower))


def test_chunks_change_neither_embeddings_nor_gradients(backbone):
    context = built(backbone, num_sets=3, class_specific=True)
    results = []
    for prompts_per_pass in (100, 2):
        context.zero_grad()
        embeddings = context(TokenTower(backbone, prompts_per_pass))
        (embeddings * fakes.unit(9).view(3, 3, 16)).sum().backward()
        results.append((embeddings.detach(), context.vectors.grad.clone()))
    for first, second in zip(*results, strict=True):
        assert torch.allclose(first, second, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        assert torch.allclose(context(TokenTower(backbone, 2)), results[0][0], atol=1e-6)


def test_the_draws_are_the_seeds_and_leave_the_global_state_alone(backbone):
    before = torch.random.get_rng_state()
    first, again, other = (built(backbone, seed=seed).vectors for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_learning_rates_are_coops():
    recipe = Recipe(**RECIPE)
    rates = [recipe.rate(epoch) for epoch in range(50)]
    assert rates == pytest.approx(reference.learning_rates(0.002, 50, 1, 1e-5))
    assert rates[:2] == [1e-5, 0.002]
    plain = Recipe(**{**RECIPE, "warmup_epochs": 0})
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.002)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50)
    for epoch in range(50):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(plain.rate(epoch), abs=1e-12)
        optimiser.step()
        scheduler.step()


@pytest.mark.parametrize("double_softmax", [False, True])
def test_cross_entropies_equal_the_reference(double_softmax):
    logits = 10 * fakes.unit(6, 4).double()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = [
        reference.cross_entropy(row, label, double_softmax)
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert cross_entropies(logits.float(), labels, double_softmax).tolist() == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_is_the_unit_norm_mean():
    sets = fakes.unit(6).view(2, 3, 16)
    assert torch.allclose(ensemble(sets), normalize(sets.mean(dim=0), dim=1))
    assert torch.equal(ensemble(sets[:1]), sets[0])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"optimiser": "adamw"}, "sgd, adam"),
    ],
)
def test_a_recipe_refuses_what_it_does_not_know(knobs, message):
    with pytest.raises(UserError, match=message):
        Recipe(**{**RECIPE, **knobs})


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"class_name": False}, "class_specific=false"),
        ({"num_sets": 2, "initial_words": "a photo of a"}, "begin alike"),
        ({"initial_words": "a photo"}, "2"),
        ({"num_tokens": 73}, "'tree frog' has 78"),
        ({"num_tokens": 90}, "77 tokens"),
    ],
)
def test_a_context_refuses_what_cannot_work(backbone, knobs, message):
    with pytest.raises(UserError, match=message):
        built(backbone, **knobs)


def test_the_longest_context_that_fits_is_taken(backbone):
    assert built(backbone, num_tokens=72)(TokenTower(backbone, 100)).isfinite().all()
