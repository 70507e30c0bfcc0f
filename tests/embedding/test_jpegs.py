"""JPEG files that the device decodes: on a CPU the pixels, rows and messages are those of Pillow's road."""

import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torchvision.transforms.functional import pil_to_tensor

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.base import ImageList
from neglab.data.image_folder import ImageFolder
from neglab.data.sources import ImageFile, Photo
from neglab.data.view import RandomCrop
from neglab.embedding import jpegs
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.jpegs import Undecoded, check_decoder
from neglab.embedding.local import PatchEmbedder
from neglab.embedding.module import EmbeddingModule, ImageJob
from neglab.embedding.store import Store
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.types import UserError

ONE = Devices("cpu", 1, "auto", progress_bar=False)
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
COLOURS = Image.effect_noise((61, 43), 90).convert("RGB").rotate(30).resize((122, 86))
TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
# What is handed on as a file, and what Pillow decodes in the loading workers.
FILES = {
    "plain": {},
    "small": {"quality": 30},
    "whole_colours": {"subsampling": 0},
    "progressive": {"progressive": True},
    "turned": {"exif": TURNED},
}
OTHERS = {"rgb_inside": {"keep_rgb": True}}
MODES = {"grey": "L", "cmyk": "CMYK"}


def write_all(folder):
    """One picture of each kind."""
    folder.mkdir()
    for name, options in (FILES | OTHERS).items():
        COLOURS.save(folder / f"{name}.jpg", **options)
    for name, mode in MODES.items():
        COLOURS.convert(mode).save(folder / f"{name}.jpg")
    COLOURS.save(folder / "portable.png")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "deep.png")
    COLOURS.save(folder / "two.jpg", "MPO", save_all=True, append_images=[COLOURS])
    (folder / "followed.jpg").write_bytes((folder / "plain.jpg").read_bytes() + b"more")


def without_tables(content):
    """A JPEG whose Huffman tables are none, and whose end is there."""
    place = content.find(b"\xff\xc4") + 5
    return content[:place] + b"\xff" * 16 + content[place + 16 :]


@pytest.fixture
def folder(tmp_path):
    write_all(tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.fixture
def make(tiny_model, tmp_path):
    def build(num_workers=0, max_unreadable=0, **options):
        backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
        loading = Loading(5, 8, num_workers, max_unreadable, 16, **options)
        return Embedder(backbone, PromptTemplates(["{}"], ["{}"], True), Store(tmp_path / "store"), ONE, loading)

    return build


def images_in(folder):
    return ImageFolder(str(folder), False, None, None, None)


def job_of(paths, source=ImageFile):
    images = ImageList.of(map(source, paths), (-1,) * len(paths))
    return ImageJob("set", images, pil_to_tensor, len(paths), keeps_files=True)


def loaded(job):
    """As a loading worker hands it on."""
    return pickle.loads(pickle.dumps(job.load(torch.arange(len(job)))))


def test_files_are_handed_on_and_other_pictures_decoded(folder):
    paths = sorted(folder.iterdir())
    batch = loaded(job_of(paths)).images
    assert len(batch) == len(paths)
    sizes = [path.stat().st_size if path.stem in FILES else 0 for path in paths]
    assert list(batch.lengths) == sizes and len(batch.files) == sum(sizes)
    assert batch.files[: sizes[paths.index(folder / "plain.jpg")]].dtype == torch.uint8
    for path, found in zip(paths, batch.decoded(), strict=True):
        assert torch.equal(found, pil_to_tensor(ImageFile(path).rgb())), path.name


def test_photos_are_turned_and_benchmarks_are_not(folder):
    paths = [folder / "turned.jpg", folder / "plain.jpg"]
    for source, lengths in ((Photo, [False, True]), (ImageFile, [True, True])):
        batch = loaded(job_of(paths, source)).images
        assert [length > 0 for length in batch.lengths] == lengths
        for path, found in zip(paths, batch.decoded(), strict=True):
            assert torch.equal(found, pil_to_tensor(source(path).rgb()))
    assert Photo(paths[0]).rgb().size == Photo(paths[1]).rgb().size[::-1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rows_are_those_of_the_workers_decoder_under_keys_of_their_own(make, folder, num_workers):
    options = {"num_workers": num_workers}
    resized, decoding = make(**options, resize="device"), make(**options, decode="device")
    expected, _ = resized.embed({"set": images_in(folder)}, [])
    found, _ = decoding.embed({"set": images_in(folder)}, [])
    assert decoding.num_encoded == len(list(folder.iterdir())) == len(found["set"])
    assert torch.equal(found["set"].embeddings, expected["set"].embeddings)  # libjpeg-turbo here and there
    again, plain = make(decode="device", resize="device"), make()
    again.embed({"set": images_in(folder)}, [])
    plain.embed({"set": images_in(folder)}, [])
    assert again.num_encoded == 0  # it resizes there anyway
    assert plain.num_encoded == decoding.num_encoded


def test_a_damaged_file_has_the_message_that_it_has_without(make, folder):
    plain = (folder / "plain.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(plain[: len(plain) // 2])
    (folder / "none.jpg").write_bytes(b"none")
    (folder / "tables.jpg").write_bytes(without_tables(plain))
    messages = []
    for options in ({"resize": "device"}, {"decode": "device"}):
        with pytest.raises(UserError, match=r"(?s)3 of 15 images .*cut\.jpg: .*none\.jpg: .*tables\.jpg: ") as caught:
            make(**options).embed({"set": images_in(folder)}, [])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    rows = [
        make(max_unreadable=3, **options).embed({"set": images_in(folder)}, [])[0]["set"]
        for options in ({"resize": "device"}, {"decode": "device"})
    ]
    assert rows[0].paths == rows[1].paths and len(rows[1]) == 12
    assert torch.equal(rows[0].embeddings, rows[1].embeddings)


def test_a_batch_of_damaged_files_alone(folder, make):
    paths = [folder / "first.jpg", folder / "second.jpg"]
    for path in paths:
        path.write_bytes(without_tables((folder / "plain.jpg").read_bytes()))
    batch = loaded(job_of(paths))
    assert batch.readable.all()  # as far as the workers see
    _, rows = EmbeddingModule(make().backbone).predict_step(batch, 0)
    assert rows["embeddings"].shape == (2, 16) and rows["embeddings"].isnan().all()


def test_pillow_reads_what_the_device_cannot(folder, monkeypatch, caplog):
    real, odd = jpegs.decode, (folder / "progressive.jpg").stat().st_size

    def picky(files, device):
        if any(len(file) == odd for file in files):
            raise RuntimeError("Unknown chroma subsampling\nmore")
        return real(files, device)

    monkeypatch.setattr(jpegs, "decode", picky)
    jpegs._say_that_pillow_helps.cache_clear()
    paths = [folder / f"{name}.jpg" for name in ("plain", "progressive", "small")]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = loaded(job_of(paths)).images.decoded()
            for path, image in zip(paths, found, strict=True):
                assert torch.equal(image, pil_to_tensor(ImageFile(path).rgb()))
    assert caplog.text.count("cannot decode some JPEG files (Unknown chroma subsampling); Pillow takes them") == 1


def test_a_torchvision_without_a_decoder_for_the_device_is_named(folder, monkeypatch):
    def failing(files, device):
        raise RuntimeError("torchvision not compiled with nvJPEG support")

    monkeypatch.setattr(jpegs, "decode", failing)
    check_decoder.cache_clear()
    with pytest.raises(UserError, match=r"data\.decode=device takes a torchvision .* on cpu; .* nvJPEG support\. Set"):
        loaded(job_of([folder / "plain.jpg"])).images.decoded()
    assert loaded(job_of([folder / "portable.png"])).images.decoded()[0].shape[0] == 3


def test_patches_are_of_the_same_pictures(make, folder):
    rows = [
        PatchEmbedder(make(**options)).patches(images_in(folder))[torch.arange(12)]
        for options in ({"resize": "device"}, {"decode": "device"})
    ]
    assert torch.equal(*rows)


def test_views_stay_with_the_workers(make, folder):
    images = images_in(folder).images()
    job = make(decode="device")._image_request(ImageList(images.sources, images.labels, RandomCrop(0))).job
    plain = make()._image_request(ImageList(images.sources, images.labels, RandomCrop(0))).job
    assert not job.keeps_files and not job.keeps_size
    assert torch.equal(job.read(3), plain.read(3))


def test_an_empty_batch():
    assert Undecoded.of([]).decoded() == [] and len(Undecoded.of([])) == 0


@pytest.mark.gpu
def test_on_a_gpu_pixels_are_nearly_those_of_the_cpu(folder):
    channels = [Image.effect_noise((12, 9), 90) for _ in range(3)]
    smooth = Image.merge("RGB", channels).resize((480, 360), Image.Resampling.BICUBIC)
    for name, options in FILES.items():
        smooth.save(folder / f"{name}.jpg", **options)
    batch = loaded(job_of(sorted(folder.iterdir()))).images
    found = batch.pin_memory().to(CUDA).decoded()
    assert {image.device for image in found} == {CUDA}
    for expected, image in zip(batch.decoded(), found, strict=True):
        assert image.shape == expected.shape
        assert (image.cpu().int() - expected.int()).abs().float().mean() < 4  # another way to smooth colours


@pytest.mark.gpu
def test_on_a_gpu_rows_are_nearly_those_of_the_cpu_and_damaged_files_have_none(folder, make):
    (folder / "tables.jpg").write_bytes(without_tables((folder / "plain.jpg").read_bytes()))
    batch = loaded(job_of(sorted(folder.iterdir())))
    embedder = make(decode="device")
    _, expected = EmbeddingModule(embedder.backbone).predict_step(batch, 0)
    moved = batch._replace(images=batch.images.to(CUDA), readable=batch.readable.to(CUDA))
    _, found = EmbeddingModule(embedder.backbone.to(CUDA)).to(CUDA).predict_step(moved, 0)
    rows, others = found["embeddings"].cpu(), expected["embeddings"]
    assert torch.equal(rows.isnan(), others.isnan()) and others.isnan().all(dim=1).sum() == 1
    whole = ~others.isnan().any(dim=1)
    assert torch.cosine_similarity(rows[whole], others[whole]).min() > 0.99


@pytest.mark.gpu
def test_on_a_gpu_memory_that_kernels_still_read_is_not_written_to(tmp_path):
    """The decoder gets memory that was freed while kernels that read it wait for their turn."""
    Image.new("RGB", (640, 480), "white").save(tmp_path / "white.jpg")
    files = [torch.frombuffer(bytearray((tmp_path / "white.jpg").read_bytes()), dtype=torch.uint8)] * 8
    jpegs.decode(files, CUDA)
    for _ in range(5):
        old = [torch.ones(3, 480, 640, dtype=torch.uint8, device=CUDA) for _ in files]
        torch.cuda.synchronize()
        torch.cuda._sleep(10**8)
        sums = [one.sum() for one in old]
        del old
        images = jpegs.decode(files, CUDA)
        assert [int(one) for one in sums] == [3 * 480 * 640] * len(files)
        assert all(int(image.min()) > 250 for image in images)
