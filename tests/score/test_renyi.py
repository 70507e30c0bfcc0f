import fakes
import pytest
import torch
import yaml
from reference import renyi as reference
from score_fakes import RENYI as IMAGENET
from score_fakes import bank_of_axes

from neglab.config_files import configs_folder
from neglab.score.renyi import RenyiScore
from neglab.types import UserError


def fixture():
    return torch.tensor(reference.FIXTURE), bank_of_axes(2, 4)


def expected(images, bank, **constants):
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings]).double()
    found = [reference.score(row.tolist(), len(bank.id_labels), **constants)[0] for row in images.double() @ labels.T]
    return torch.tensor(found, dtype=torch.float64)


def test_the_numbers_of_the_specification():
    """Its cosines are printed to 5e-8, which tau makes 5e-6."""
    images, bank = fixture()
    found = [reference.score(row, 2, **IMAGENET) for row in reference.FIXTURE]
    assert [b for _, b in found] == pytest.approx(reference.FIXTURE_B, abs=1e-7)
    assert [score for score, _ in found] == pytest.approx(reference.FIXTURE_SCORES, abs=1e-5)
    assert RenyiScore(**IMAGENET)(images, bank).tolist() == pytest.approx(reference.FIXTURE_SCORES, abs=1e-5)


def preset(name):
    """The keys of a score's YAML over those that it builds on."""
    keys = yaml.safe_load((configs_folder() / "score" / f"{name}.yaml").read_text())
    return preset("renyi") | keys if "defaults" in keys else keys


@pytest.mark.parametrize("name", reference.CONSTANTS)
def test_equals_the_loop_over_labels_with_the_constants_of_the_specification(name):
    names = ("temperature", "eta", "order", "start", "steps", "step_size")
    found, bank, images = preset(name), fakes.text_bank(5, 60), fakes.unit(10, seed=3)
    constants = dict(zip(names, reference.CONSTANTS[name], strict=True))
    if not constants["steps"]:
        constants["step_size"] = found["step_size"]
    assert {key: found[key] for key in names} == constants
    scores = RenyiScore(**constants)(images, bank)
    assert torch.allclose(scores, expected(images, bank, **constants), atol=2e-4, rtol=1e-6)


def test_every_preset_has_its_constants():
    assert {path.stem for path in (configs_folder() / "score").glob("renyi*.yaml")} == set(reference.CONSTANTS)


@pytest.mark.parametrize("temperature", [0.006, 0.001])
def test_large_distances_and_exponents_stay_finite(temperature):
    bank, images = fakes.text_bank(5, 60), fakes.unit(10, seed=3)
    scores = RenyiScore(**{**IMAGENET, "temperature": temperature, "order": 1.003})(images, bank)
    assert scores.isfinite().all()


def test_a_start_above_every_cosine_comes_down():
    images, bank = fixture()
    start = RenyiScore(**{**IMAGENET, "start": 0.5, "steps": 3})(images, bank)
    lower = RenyiScore(**{**IMAGENET, "start": 0.47, "steps": 0})(images, bank)
    assert torch.allclose(start, lower, atol=1e-9, rtol=0)


@pytest.mark.parametrize("eta", [1.01, 1.2, 1.5, 5.0])
def test_the_optimum_is_the_least_of_the_objective(eta):
    bank, images = fakes.text_bank(5, 300), fakes.unit(4, seed=3)
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings]).double()
    score = RenyiScore(**{**IMAGENET, "eta": eta, "steps": "optimum"})
    for value, cosines in zip(score(images, bank).tolist(), images.double() @ labels.T, strict=True):
        mass = (cosines[:5] / 0.01).logsumexp(0).item()
        ours = (mass - value) * 0.01
        others = (cosines.max().item() + step for step in (-20, -3, -1, -0.5, -0.3, -0.1, -0.01, 0, 0.01, 1))
        assert all(ours <= reference.objective(cosines.tolist(), b, 0.01, eta, 1.05) + 1e-7 for b in others)


def test_there_is_no_optimum_up_to_eta_1():
    with pytest.raises(UserError, match=r"score\.eta above 1"):
        RenyiScore(**{**IMAGENET, "eta": 1.0, "steps": "optimum"})
