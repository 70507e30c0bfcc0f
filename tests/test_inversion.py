"""Pseudo-words: the gradient, the chunks, the cut prompts and the mean images."""

from copy import deepcopy

import fakes
import pytest
import torch
from reference import interneg as reference
from torch.nn.functional import normalize

from neglab import inversion
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.inversion import Descent, deviation, image_anchors, invert, placeholder_prompts, text_anchors, word_prompts
from neglab.prompt.templates import PromptTemplates
from neglab.types import LabelledEmbeddings, UserError

TEMPLATES = ("a bad photo of a {}.", "{}", "a photo of the hard to see {}.")
IMAGES = fakes.unit(5, seed=3)
DRAWN = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 0, 1, 0]])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory):
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    prompts = PromptTemplates(["{}"], ["{}"], True)
    return DirectTextEncoder(backbone, prompts, tmp_path_factory.mktemp("store"), 64)


def start(count=5, num_tokens=1, std=0.02):
    return torch.randn(count, num_tokens, 16, generator=torch.Generator().manual_seed(0)) * std


def test_free_tokens_stand_where_the_slot_was(encoder):
    prompts = placeholder_prompts(encoder, TEMPLATES, 2, CPU)
    assert prompts.slots.tolist() == [[6, 7], [1, 2], [8, 9]]  # a begin token before the words
    assert prompts.end.tolist() == [9, 3, 11]


def test_a_words_last_token_is_free(encoder):
    """As the official code counts: the tokens without the period, less two."""
    words = ["cat", "genus lepidobotrys", "yellow-banded"]
    prompts = word_prompts(encoder, "a photo of a {}.", words, CPU)
    tokenizer = encoder.backbone.tokenizer
    counts = [int((tokenizer([f"a photo of a {word}"]) != 0).sum()) for word in words]
    assert prompts.slots.tolist() == [[count - 2] for count in counts]
    untouched = prompts.tokens[range(3), prompts.slots[:, 0]][:, None]
    ours = inversion.encode_slotted(encoder, prompts, torch.arange(3), int(prompts.end.max()) + 1, untouched)
    assert torch.allclose(ours, encoder.encode_texts([f"a photo of a {word}." for word in words]), atol=1e-6)


def slow_loss(network, image, mean, vector):
    """1 - cos(f, h) + 0.3 * (1 + cos(f, mean)), float64, of "a photo of a $ ." with a vector in its place."""
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 259, 269, 49407]])
    tokens = network.token_embedding(ids).scatter(1, torch.full((1, 1, 16), 5), vector)
    hidden = tokens + network.positional_embedding[:8]
    hidden = network.transformer(hidden, attn_mask=network.attn_mask[:8, :8].double())
    found = normalize(network.ln_final(hidden[0, 7]) @ network.text_projection, dim=0)
    return (1 - found @ image + 0.3 * (1 + found @ mean)).item()


class Spy(fakes.NoEncoder):
    """Remembers the vectors that it encoded."""

    def __init__(self, encoder):
        self.encoder, self.seen = encoder, []

    def encode_tokens(self, token_embeddings, end):
        self.seen.append(token_embeddings.detach()[:, 5].clone())
        return self.encoder.encode_tokens(token_embeddings, end)


def test_the_gradient_is_that_of_finite_differences(encoder, monkeypatch):
    """Plain descent in AdamW's place moves the vectors by the gradient of the mean over three images."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda values, lr, weight_decay: torch.optim.SGD(values, lr))
    prompts, spy = placeholder_prompts(encoder, ["a photo of a {}."], 1, CPU), Spy(encoder)
    mean, first = fakes.unit(3, seed=9).mean(dim=0), start(3, std=0.3)
    no_choice = torch.zeros(1, 3, dtype=torch.long)
    invert(spy, prompts, no_choice, first, IMAGES[:3], Descent(1, 1.0, 0.0), 0.3 * mean)
    before, after = spy.seen
    network, steps = deepcopy(encoder.backbone.network).double(), torch.eye(16).double()[:, None, None] * 1e-5
    for i, image in enumerate(IMAGES[:3].double()):
        sides = [[slow_loss(network, image, mean.double(), first[i : i + 1].double() + side * step) for step in steps]
                 for side in (1, -1)]  # fmt: skip
        numeric = torch.tensor([(up - down) / 2e-5 for up, down in zip(*sides, strict=True)])
        assert numeric.abs().max() > 0.05
        assert torch.allclose(3 * (before[i] - after[i]), numeric, atol=2e-5, rtol=0)


@pytest.mark.parametrize("repelled", [False, True])
def test_equals_one_whole_prompt_at_a_time(encoder, repelled):
    prompts = placeholder_prompts(encoder, TEMPLATES, 1, CPU)
    means = fakes.unit(3, seed=9) if repelled else fakes.unit(1)[:0]
    repulsion = 0.3 * means.mean(dim=0) if repelled else None
    ours = invert(encoder, prompts, DRAWN, start(), IMAGES, Descent(2, 0.02, 0.01), repulsion)
    for i, image in enumerate(IMAGES):
        texts = [TEMPLATES[step[i]].replace("{}", " $ ") for step in DRAWN.tolist()]
        network, tokenizer = encoder.backbone.network, encoder.backbone.tokenizer
        slow = reference.invert(network, tokenizer, texts, start()[i], image, 5, reference.marks, list(means), 0.3)
        assert torch.allclose(ours[i], slow, atol=1e-5, rtol=0)
    assert torch.allclose(ours.norm(dim=1), torch.ones(5), atol=1e-6)
    assert not ours.requires_grad


def test_texts_come_nearer_to_their_images(encoder):
    prompts, drawn = placeholder_prompts(encoder, TEMPLATES[:1], 1, CPU), torch.zeros(30, 5, dtype=torch.long)
    descents = [Descent(steps, 0.02, 0.01) for steps in (1, 30)]
    before, after = [invert(encoder, prompts, drawn[: d.steps], start(), IMAGES, d, None) for d in descents]
    assert ((after * IMAGES).sum(dim=1) > (before * IMAGES).sum(dim=1) + 0.05).all()


def test_chunks_and_inference_mode_change_nothing(encoder, monkeypatch):
    prompts = placeholder_prompts(encoder, TEMPLATES, 1, CPU)
    descent = Descent(2, 0.02, 0.01)
    whole = invert(encoder, prompts, DRAWN, start(), IMAGES, descent, None)
    with torch.inference_mode():
        made = placeholder_prompts(encoder, TEMPLATES, 1, CPU)
        inside = invert(encoder, made, DRAWN.clone(), start(), IMAGES.clone(), descent, None)
    assert torch.equal(inside, whole)
    monkeypatch.setattr("neglab.inversion.TOKEN_ELEMENTS", 1)
    chunked = invert(encoder, prompts, DRAWN, start(), IMAGES, descent, None)
    assert torch.allclose(chunked, whole, atol=1e-5, rtol=0)


def test_mean_images_and_deviation_equal_the_loops():
    classes, labels = fakes.label_set(4, seed=1), torch.tensor([0, 1, 2, 3, 3, -1])
    images = LabelledEmbeddings(fakes.unit(6, seed=5), labels)
    anchors = image_anchors(classes, images)
    means = reference.prototypes(images.embeddings, labels.tolist(), 4)
    assert torch.allclose(anchors.prototypes, means, atol=1e-6)
    for found, used in ((anchors, means), (text_anchors(classes), classes.embeddings)):
        passes, degrees = deviation(fakes.unit(40, seed=7), found)
        slow = [reference.judge(text, classes.embeddings, used) for text in fakes.unit(40, seed=7)]
        assert passes.tolist() == [one for one, _ in slow]
        assert degrees.tolist() == pytest.approx([degree for _, degree in slow], abs=1e-5)


def test_what_is_missing():
    classes = fakes.label_set(3, prefix="class")
    with pytest.raises(UserError, match="got none"):
        image_anchors(classes, None)
    images = LabelledEmbeddings(fakes.unit(2), torch.tensor([0, 2]))
    with pytest.raises(UserError, match="1 classes, the first is 'class 1'"):
        image_anchors(classes, images)
