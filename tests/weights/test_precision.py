import open_clip
import pytest
import torch
from backbone import test_huggingface, tiny_transformers
from backbone.test_open_clip import ARCHITECTURES, load, write
from torch import nn

from neglab.embedding.module import EmbeddingBatch, EmbeddingModule
from neglab.weights.precision import memory_format


def image_batch(images):
    count = len(images)
    return EmbeddingBatch("set", torch.arange(count), torch.ones(count, dtype=torch.bool), images, None, None)


def noise(count, size=32):
    draw = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, size, size), generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize(("name", "convolutional"), [("rn50", True), ("vit", False)])
def test_convolutional_towers_on_a_gpu_take_channels_last(tmp_path, name, convolutional):
    tower = open_clip.create_model(write(tmp_path / "model", ARCHITECTURES[name])).visual
    expected = torch.channels_last if convolutional else torch.contiguous_format
    assert memory_format(tower, torch.device("cuda", 1)) == expected
    assert memory_format(tower, torch.device("cpu")) == torch.contiguous_format


def test_channels_last_gives_the_same_embeddings(tmp_path, monkeypatch):
    model = write(tmp_path / "model", ARCHITECTURES["rn50"])
    plain, last = load(model), load(model)
    images, seen = noise(3), []
    monkeypatch.setattr("neglab.backbone.base.memory_format", lambda *of: torch.channels_last)
    last.network.visual.register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()))
    with torch.inference_mode():
        found = last.encode_image(images)
    monkeypatch.undo()
    with torch.inference_mode():
        expected = plain.encode_image(images)
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
    assert seen == [(3 * 32 * 32, 1, 3 * 32, 3)]
    weights = [part.weight for part in last.network.visual.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert not any(weight.is_inference() for weight in weights)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_compiled_tower_sees_full_batches_alone(tiny_model, monkeypatch, compiled):
    backbone = load(tiny_model)
    encode, counts = backbone.encode_image, []
    expected = [encode(noise(count)) for count in (4, 4, 3, 1)]
    monkeypatch.setattr(backbone, "compiled", compiled)
    monkeypatch.setattr(backbone, "encode_image", lambda images: counts.append(len(images)) or encode(images))
    module = EmbeddingModule(backbone)
    monkeypatch.setattr(nn.Module, "compile", lambda *arguments, **options: None)
    for count, rows in zip((4, 4, 3, 1), expected, strict=True):
        _, found = module.predict_step(image_batch(noise(count)), 0)
        assert torch.allclose(found["embeddings"], rows, atol=1e-6)
    assert counts == ([4, 4, 4, 4] if compiled else [4, 4, 3, 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["open_clip", "clip", "siglip"])
def test_towers_are_compiled_once_for_batches_and_lengths(tiny_model, tmp_path, kind):
    if kind == "open_clip":
        plain, compiled = load(tiny_model), load(tiny_model, compile=True)
    else:
        folder = tiny_transformers.save(tmp_path / "model", kind)
        plain, compiled = (test_huggingface.load(folder, compile=own) for own in (False, True))
    torch._dynamo.reset()  # models of transformers share wrappers, which earlier tests had compiled
    module = EmbeddingModule(compiled)
    with torch.inference_mode(), torch._dynamo.config.patch(error_on_recompile=True):
        for count in (8, 8, 5, 1):
            _, found = module.predict_step(image_batch(noise(count)), 0)
            assert torch.allclose(found["embeddings"], plain.encode_image(noise(count)), atol=1e-5)
        for count, length in ((8, 1), (8, 2), (8, 6), (3, 9)):
            texts = [f"{i} " * length for i in range(count)]
            assert torch.allclose(compiled.encode_text(texts), plain.encode_text(texts), atol=1e-5)
