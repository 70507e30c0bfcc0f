import fakes
import open_clip
import pytest
import torch
from PIL import Image

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.types import UserError

TEXTS = ["cat", "the nice polar bear", "a much longer text about nothing at all, with a comma", "x"]


def load(model, **options):
    return OpenCLIPBackbone(model, **{"pretrained": None, "precision": "fp32", "long_texts": "error", **options})


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return load(tiny_model)


def test_shortened_texts_equal_the_librarys_own_embeddings(backbone, tiny_model):
    model = open_clip.create_model(tiny_model).eval()
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer(tiny_model)(TEXTS))
    ids, _ = backbone.tokenize(TEXTS)
    assert ids.shape[1] < backbone.context_length
    assert backbone.can_encode_tokens
    assert torch.allclose(backbone.encode_text(TEXTS), expected, atol=1e-6)


def test_a_tower_that_is_not_causal_keeps_the_librarys_length(tmp_path):
    model = fakes.write_tiny_model(tmp_path, no_causal_mask=True)
    backbone = load(model)
    assert not backbone.can_encode_tokens
    assert backbone.tokenize(TEXTS)[0].shape[1] == 77
    with torch.inference_mode():
        expected = open_clip.create_model(model).eval().encode_text(open_clip.get_tokenizer(model)(TEXTS))
    assert torch.allclose(backbone.encode_text(TEXTS), expected, atol=1e-6)
    with pytest.raises(UserError, match="must then be causal"):
        backbone.encode_tokens(torch.zeros(1, 5, 16), torch.tensor([4]))


def test_images_equal_the_librarys_own_embeddings(backbone, tiny_model):
    model, _, transform = open_clip.create_model_and_transforms(tiny_model)
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(picture)[None])
        ours = backbone.encode_image(backbone.image_transform()(picture)[None])
    assert torch.allclose(ours, expected, atol=1e-6)


def test_token_embeddings_carry_gradients(backbone):
    ids, end = backbone.tokenize(["a cat"])
    tokens = backbone.embed_tokens(ids).clone().requires_grad_(True)
    backbone.encode_tokens(tokens, end).sum().backward()
    assert tokens.grad.abs().sum() > 0


def test_the_fingerprint_is_of_weights_and_settings(tiny_model, backbone, tmp_path):
    assert load(tiny_model).fingerprint == backbone.fingerprint
    assert load(tiny_model, precision="bf16").fingerprint != backbone.fingerprint
    assert load(fakes.write_tiny_model(tmp_path, seed=1)).fingerprint != backbone.fingerprint


def test_long_texts(tiny_model, backbone, caplog):
    longest, too_long = " ".join(["a"] * 75), " ".join(["a"] * 76)
    assert backbone.encode_text([longest]).shape == (1, 16)
    with pytest.raises(UserError, match="must fit the context of 77 tokens; 1 do not"):
        backbone.encode_text(["cat", too_long])
    load(tiny_model, long_texts="truncate").encode_text([too_long])
    assert "1 texts were cut at 77 tokens" in caplog.text


def test_the_shipped_model_loads_and_knows_its_words():
    from neglab.compose import PACKAGE

    backbone = load(f"local-dir:{PACKAGE}/assets/mini")
    assert backbone.context_length == 77 and backbone.can_encode_tokens
    embeddings = torch.nn.functional.normalize(backbone.encode_text(["the nice dog", "the nice wolf", "the nice bus"]))
    assert embeddings[0] @ embeddings[1] > embeddings[0] @ embeddings[2]


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"backbone\.model=no-such-model"):
        load("no-such-model")
    with pytest.raises(UserError, match="could not be loaded"):
        load(f"local-dir:{tmp_path}/nowhere")
    with pytest.raises(UserError, match=r"backbone\.precision must be one of fp32, fp16, bf16"):
        load("ViT-B-32", precision="int8")
