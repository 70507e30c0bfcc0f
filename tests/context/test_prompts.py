import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import ContextPrompts, TokenTower, context_prompts
from neglab.types import UserError


def test_the_context_stands_between_begin_token_and_name():
    tokens = torch.arange(2 * 5 * 1.0).view(2, 5, 1)
    prompts = ContextPrompts(tokens, torch.tensor([4, 3]), 2, 1)
    context = torch.tensor([[[[-1.0], [-2.0]]], [[[-3.0], [-4.0]]]])
    beginnings, endings, end = prompts(context)
    assert beginnings[..., 0].tolist() == [[[0, -1, -2]], [[0, -3, -4]]]
    assert endings[:, :, 0].tolist() == [[3, 4], [8, 9]]
    assert end.tolist() == [4, 3]
    assert not prompts.state_dict()


def test_each_class_may_have_its_own_context():
    prompts = ContextPrompts(torch.zeros(2, 4, 1), torch.tensor([3, 3]), 1, 1)
    beginnings, _, _ = prompts(torch.tensor([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]))
    assert beginnings[..., 1, 0].tolist() == [[1, 2], [3, 4]]


def test_a_tokenizer_that_splits_the_placeholder_is_refused(tiny_model):
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    ends = lambda texts: torch.tensor([7 if text else 1 for text in texts])  # noqa: E731
    backbone.tokenize = lambda texts: (torch.arange(8).repeat(len(texts), 1), ends(texts))
    with pytest.raises(UserError, match="one token"):
        context_prompts(backbone, ["cat"], 3, True, torch.device("cpu"))


@pytest.mark.parametrize("num_contexts", [1, 5])
def test_prompts_of_like_length_go_through_together(tiny_model, monkeypatch, num_contexts):
    """In the order in which they came, whether or not their activations are kept."""
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    draw = torch.Generator().manual_seed(0)
    beginnings = torch.randn(2, num_contexts, 3, 16, generator=draw).requires_grad_()
    endings, end = torch.randn(5, 6, 16, generator=draw), torch.tensor([7, 3, 8, 4, 3])
    whole = TokenTower(backbone, 100)(beginnings, endings, end)
    gradient = torch.autograd.grad(whole[..., 0].sum(), beginnings)[0]
    monkeypatch.setattr("neglab.context.prompts.PROMPTS_ON_CPU", 2)
    encode, seen = backbone.encode_continuations, []
    monkeypatch.setattr(
        backbone, "encode_continuations", lambda *part: seen.append((len(part[0]), *part[1].shape[:2])) or encode(*part)
    )
    for prompts_per_pass in (100, 2):
        parts = TokenTower(backbone, prompts_per_pass)(beginnings, endings, end)
        assert torch.allclose(parts, whole, atol=1e-6)
        assert torch.allclose(torch.autograd.grad(parts[..., 0].sum(), beginnings)[0], gradient, atol=1e-6)
    assert seen[:5] == [(1, 2, 1), (1, 2, 1), (1, 2, 5), (1, 2, 5), (2, 1, 6)]
