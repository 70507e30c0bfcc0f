"""The end of an image transform on the device gives the bits that the loading workers gave."""

import pickle

import fakes
import open_clip
import pytest
import torch
import transformers
from backbone import tiny_transformers
from PIL import Image
from torchvision.transforms import Compose, Grayscale, Normalize, Resize, ToTensor
from torchvision.transforms.functional import pil_to_tensor

from neglab.backbone.huggingface import HuggingFaceBackbone
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.image_folder import ImageFolder
from neglab.embedding.module import ImageJob
from neglab.types import UserError
from neglab.weights.pixels import Pictures, Scaling, resizing_of, split_at_bytes
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


def test_pictures_travel_as_one_tensor():
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in [(4, 5), (1, 2), (4, 5)]]
    pictures = pickle.loads(pickle.dumps(Pictures.of(images))).to(torch.device("cpu"))
    assert len(pictures) == 3 and pictures.content.shape == (126,)
    assert all(torch.equal(one, other) for one, other in zip(pictures, images, strict=True))
    assert len(Pictures.of([])) == 0 and list(Pictures.of([])) == []


@pytest.mark.parametrize("mode", ["squash", "shortest"])
def test_resizing_on_the_device_is_nearly_pillows(mode):
    to_bytes, _ = split_at_bytes(open_clip.image_transform(32, is_train=False, resize_mode=mode))
    resizing = resizing_of(to_bytes)
    smooth = [Image.effect_noise(size, 90).convert("RGB").resize((90, 70)).resize(size) for size in [*SIZES, SIZES[0]]]
    found = resizing(Pictures.of([pil_to_tensor(picture) for picture in smooth]))
    expected = torch.stack([to_bytes(picture) for picture in smooth])
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= 3 and (difference > 1).float().mean() < 0.01
    for i, picture in enumerate(smooth):  # nor do its neighbours change it
        assert torch.equal(resizing(Pictures.of([pil_to_tensor(picture)]))[0], found[i])


def test_what_the_device_cannot_resize():
    for transform in (
        open_clip.image_transform(32, is_train=False, resize_mode="longest"),
        open_clip.image_transform((32, 48), is_train=False, resize_mode="shortest"),
        ProcessedImage(transformers.CLIPImageProcessor()),
        Compose([Resize((8, 8)), Grayscale(3), ToTensor(), Normalize(0.5, 0.5)]),
        Compose([ToTensor(), Normalize(0.5, 0.5)]),
    ):
        assert resizing_of(split_at_bytes(transform)[0]) is None


def test_a_backbone_that_cannot_resize_says_what_to_do(tmp_path):
    folder = tiny_transformers.save(tmp_path / "model", "clip")
    plain, clip = (HuggingFaceBackbone(folder, None, 1.0, "fp32", "error", name, False) for name in ("model", "clip"))
    with pytest.raises(UserError, match=r"backbone\.transform=model .* Take backbone\.transform=clip or"):
        plain.loading_transform(resize=False)
    assert clip.loading_transform(resize=False) is pil_to_tensor


@pytest.mark.gpu
def test_on_a_gpu_pictures_are_scaled_and_resized_without_waiting():
    to_bytes, scaling = split_at_bytes(open_clip.image_transform(32, is_train=False, resize_mode="shortest"))
    resizing, pictures = resizing_of(to_bytes), Pictures.of([pil_to_tensor(picture) for picture in PICTURES])
    expected = scaling(resizing(pictures))
    pinned = pictures.pin_memory()
    scaling(resizing(pinned.to(torch.device("cuda"))))  # mean and standard deviation go there once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = scaling(resizing(pinned.to(torch.device("cuda"))))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(found.cpu(), expected, atol=0.05)
