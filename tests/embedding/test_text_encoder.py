"""The encoder of a scoring pass equals the embedder's, and encodes nothing twice, in this run or the next."""

import pytest
import torch

from neglab.compose import build, compose
from neglab.embedding.embedder import Embedder
from neglab.types import UserError

NAMES = ["cat and grass", "dog and a very long and leafy tree", "cat and grass", "owl and sky"]


@pytest.fixture
def embedder(overrides):
    parts = build(compose([*overrides, "prompt=csp"]))
    return Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)


def test_equals_the_embedder(embedder):
    kinds = ["noun", "adjective", "noun", "adjective"]
    direct = embedder.direct()
    assert torch.allclose(direct.encode(NAMES, kinds), embedder.encode(NAMES, kinds), atol=1e-6)
    assert torch.allclose(direct.encode_texts(NAMES), embedder.encode_texts(NAMES), atol=1e-6)


def test_a_name_is_encoded_once(embedder):
    direct = embedder.direct()
    first = direct.encode(NAMES, ["noun"] * 4)
    assert direct.num_encoded == 3 * 8
    assert torch.equal(direct.encode(NAMES[::-1], ["noun"] * 4), first.flip(0))
    direct.encode([*NAMES, "fox and snow"], ["noun"] * 5)
    assert direct.num_encoded == 4 * 8
    later = embedder.direct()
    assert torch.equal(later.encode(NAMES, ["noun"] * 4), first)
    assert later.num_encoded == 0


def test_another_prompt_is_another_embedding(embedder, overrides):
    embedder.direct().encode(NAMES, ["noun"] * 4)
    parts = build(compose([*overrides, "prompt=plain"]))
    embedder.prompts = parts.prompts
    plain = embedder.direct()
    plain.encode(NAMES, ["noun"] * 4)
    assert plain.num_encoded == 3


def test_noise_images_come_from_the_seed(embedder):
    direct = embedder.direct()
    first, again, other = (direct.encode_noise_images(15, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (15, embedder.backbone.embedding_dim)
    assert torch.allclose(first.norm(dim=1), torch.ones(15), atol=1e-5)
    with pytest.raises(UserError, match="multiple of 5"):
        direct.encode_noise_images(7, 0)
