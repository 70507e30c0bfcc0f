import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import ContextPrompts, TokenTower, context_prompts
from neglab.types import UserError


def test_the_context_stands_between_begin_token_and_name():
    tokens = torch.arange(2 * 5 * 1.0).view(2, 5, 1)
    prompts = ContextPrompts(tokens, torch.tensor([4, 3]), 2)
    context = torch.tensor([[[[-1.0], [-2.0]]], [[[-3.0], [-4.0]]]])
    filled, end = prompts(context)
    assert filled[:, :, 0].tolist() == [[0, -1, -2, 3, 4], [5, -1, -2, 8, 9], [0, -3, -4, 3, 4], [5, -3, -4, 8, 9]]
    assert end.tolist() == [4, 3, 4, 3]
    assert not prompts.state_dict()


def test_each_class_may_have_its_own_context():
    prompts = ContextPrompts(torch.zeros(2, 4, 1), torch.tensor([3, 3]), 1)
    filled, _ = prompts(torch.tensor([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]))
    assert filled[:, 1, 0].tolist() == [1, 2, 3, 4]


def test_a_tokenizer_that_splits_the_placeholder_is_refused(tiny_model):
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    backbone.tokenize = lambda texts: (torch.arange(8).repeat(len(texts), 1), torch.full((len(texts),), 7))
    with pytest.raises(UserError, match="one token"):
        context_prompts(backbone, ["cat"], 3, True, torch.device("cpu"))


def test_no_prompt_per_pass_is_refused(tiny_model):
    with pytest.raises(UserError, match="prompts_per_pass"):
        TokenTower(OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False), 0)
