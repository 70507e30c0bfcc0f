"""The end of an image transform on the device gives the bits that the loading workers gave."""

import pickle

import fakes
import open_clip
import pytest
import torch
import transformers
from backbone import tiny_transformers
from PIL import Image
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from neglab.backbone.huggingface import HuggingFaceBackbone
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.image_folder import ImageFolder
from neglab.embedding.module import ImageJob
from neglab.weights.pixels import Scaling, split_at_bytes
from neglab.weights.transforms import TRANSFORMS, ProcessedImage

SIZES = [(50, 40), (32, 32), (20, 90)]
MODES = ["squash", "longest", "shortest"]
PICTURES = [Image.effect_noise(size, 90).convert("RGB").rotate(30) for size in SIZES]


def assert_halves_are_the_whole(transform):
    halves = split_at_bytes(transform)
    assert halves is not None
    to_bytes, scaling = pickle.loads(pickle.dumps(halves))  # as a loading worker gets it
    found = [to_bytes(picture) for picture in PICTURES]
    assert {one.dtype for one in found} == {torch.uint8}
    assert torch.equal(scaling(torch.stack(found).contiguous()), torch.stack(list(map(transform, PICTURES))))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [32, (32, 48)])
def test_transforms_of_open_clip(mode, size):
    assert_halves_are_the_whole(open_clip.image_transform(size, is_train=False, resize_mode=mode))


@pytest.mark.parametrize("make", [transformers.CLIPImageProcessor, transformers.SiglipImageProcessor])
def test_processors_of_transformers(make):
    processor = ProcessedImage(make())
    assert_halves_are_the_whole(processor)
    small = Compose([Resize((32, 32)), processor.without_resizing()])
    assert_halves_are_the_whole(small)


def test_another_form_stays_with_the_workers():
    align = tiny_transformers.align()[2]
    for transform in (
        ProcessedImage(align),
        lambda image: ToTensor()(image),
        Compose([ToTensor(), Normalize(0.5, 0.5), torch.neg]),
        Compose([ToTensor(), torch.neg, Normalize(0.5, 0.5)]),
    ):
        assert split_at_bytes(transform) is None


def test_halves_that_differ_by_a_bit_are_not_taken(monkeypatch):
    transform = Compose([Resize((8, 8)), ToTensor(), Normalize(0.5, 0.5)])
    assert split_at_bytes(transform) is not None
    monkeypatch.setattr(Scaling, "__call__", lambda self, images: (images * (1 / 255) - 0.3) / 0.7)
    assert split_at_bytes(Compose([Resize((8, 8)), ToTensor(), Normalize(0.3, 0.7)])) is None


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("library", ["open_clip", "transformers"])
def test_a_batch_of_bytes_has_the_embeddings_of_the_whole_transform(tiny_model, tmp_path, library, transform):
    if library == "open_clip":
        backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", transform, False)
    else:
        folder = tiny_transformers.save(tmp_path / "model", "clip")
        backbone = HuggingFaceBackbone(folder, None, 100.0, "fp32", "error", transform, False)
    fakes.write_pictures(tmp_path / "pictures", 3)
    images = ImageFolder(str(tmp_path / "pictures"), False, None, None, None).images()
    batch, whole = (
        ImageJob("set", images, one, 3).load(torch.arange(3)).images
        for one in (backbone.loading_transform(), backbone.image_transform())
    )
    assert batch.dtype == torch.uint8 and batch.nbytes * 4 == whole.nbytes
    with torch.inference_mode():
        assert torch.equal(backbone.as_input(batch), whole)
        assert torch.equal(backbone.encode_image(batch), backbone.encode_image(whole))
        if backbone.has_patches:
            assert torch.equal(backbone.encode_patches(batch), backbone.encode_patches(whole))
