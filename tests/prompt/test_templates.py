import pytest
import torch
from torch.nn.functional import normalize

from neglab.prompt.templates import PromptTemplates
from neglab.types import UserError


def test_parts_of_speech_have_their_own_templates():
    prompts = PromptTemplates(["the nice {}", "a {}"], ["This is a {} photo"], True)
    texts, owner = prompts.expand(["cat", "red"], ["noun", "adjective"])
    assert texts == ["the nice cat", "a cat", "This is a red photo"]
    assert owner.tolist() == [0, 0, 1]


def test_braces_in_a_name_are_safe():
    assert PromptTemplates(["a {}"], ["{}"], True).expand(["{odd} {}"], ["noun"])[0] == ["a {odd} {}"]


@pytest.mark.parametrize("normalise_before_mean", [True, False])
def test_the_mean_is_of_raw_or_of_normalised_embeddings(normalise_before_mean):
    raw = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    prompts = PromptTemplates(["{}", "a {}"], ["{}"], normalise_before_mean)
    result = prompts.average(raw, torch.tensor([0, 0, 1]), 2)
    first = torch.tensor([1.0, 1.0]) if normalise_before_mean else torch.tensor([3.0, 1.0])
    assert torch.allclose(result, normalize(torch.stack([first, torch.tensor([0.0, 1.0])]), dim=1))


def test_averages_equal_the_loop_over_names():
    names, kinds = [f"name {i}" for i in range(20)], ["noun", "adjective"] * 10
    for normalise_before_mean in (True, False):
        prompts = PromptTemplates(["{}", "a {}", "the {}"], ["{}", "{} thing"], normalise_before_mean)
        texts, owner = prompts.expand(names, kinds)
        raw = torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(0))
        rows = normalize(raw, dim=1) if normalise_before_mean else raw
        expected = torch.stack([normalize(rows[owner == i].mean(dim=0), dim=0) for i in range(20)])
        # Rows need not come in the order of their names.
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(1))
        assert torch.allclose(prompts.average(raw[order], owner[order], 20), expected, atol=1e-6, rtol=0)


def test_no_names_no_prompts():
    prompts = PromptTemplates(["{}"], ["{}"], True)
    texts, owner = prompts.expand([], [])
    assert texts == [] and prompts.average(torch.empty(0, 4), owner, 0).shape == (0, 4)


@pytest.mark.parametrize("templates", [[], ["no slot"], ["{} and {}"], "{}"])
def test_a_template_has_one_slot(templates):
    with pytest.raises(UserError, match=r"prompt\.noun must be templates with one \{\}"):
        PromptTemplates(templates, ["{}"], True)
