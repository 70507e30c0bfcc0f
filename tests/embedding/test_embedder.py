from dataclasses import replace

import fakes
import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.base import ImageDataset
from neglab.data.image_folder import ImageFolder
from neglab.data.view import RandomCrop
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.jpegs import Undecoded
from neglab.embedding.store import Store
from neglab.embedding.task import described, read_task
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.types import UserError, Words
from neglab.weights.pixels import Pictures

ONE = Devices("cpu", 1, "auto", progress_bar=False)
PLAIN = PromptTemplates(["{}"], ["{}"], True)


@pytest.fixture
def make(tiny_model, tmp_path):
    """Makes an embedder over one store, as a new run would."""

    def build(
        devices=ONE, prompts=PLAIN, image_batch_size=4, max_unreadable=0, store="store", num_workers=0, **options
    ):
        backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
        loading = Loading(image_batch_size, 8, num_workers, max_unreadable, 16, **options)
        return Embedder(backbone, prompts, Store(tmp_path / store), devices, loading)

    return build


@pytest.fixture
def pictures(tmp_path):
    fakes.write_pictures(tmp_path / "pictures", 10)
    return ImageFolder(str(tmp_path / "pictures"), False, None, None, None)


WORDS = Words.nouns([f"word {'x ' * (i % 5)}{i}" for i in range(30)])


def test_embeddings_equal_a_plain_loop(make, pictures):
    embedder = make()
    images, (labels,) = embedder.embed({"set": pictures}, [WORDS])
    backbone = embedder.backbone
    transform = backbone.image_transform()
    from neglab.data.base import read_image

    with torch.inference_mode():
        whole = [read_image(source, transform) for source in pictures.images().sources]
        expected = torch.cat([backbone.encode_image(image[None]) for image in whole])
        texts = torch.cat([backbone.encode_text([name]) for name in WORDS.names])
    assert torch.allclose(images["set"].embeddings, normalize(expected, dim=1), atol=1e-6)
    assert torch.allclose(labels.embeddings, normalize(texts, dim=1), atol=1e-6)
    assert images["set"].paths == tuple(map(str, pictures.images().sources))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pictures_that_the_device_resizes_have_entries_of_their_own(make, tmp_path, num_workers):
    fakes.write_pictures(tmp_path / "pictures", 5)
    for i, path in enumerate(sorted((tmp_path / "pictures").iterdir())):
        with Image.open(path) as image:
            image.resize((40 + 7 * (i % 2), 36)).save(path)
    (tmp_path / "pictures" / "picture02b.png").write_bytes(b"none")
    pictures = ImageFolder(str(tmp_path / "pictures"), False, None, None, None)
    options = {"max_unreadable": 1, "num_workers": num_workers}
    plain, device = make(**options), make(**options, resize="device")
    by_pillow, _ = plain.embed({"set": pictures}, [])
    by_device, _ = device.embed({"set": pictures}, [])
    assert device.num_encoded == 6  # of which one is none
    assert by_device["set"].paths == by_pillow["set"].paths and len(by_device["set"]) == 5
    cosines = (by_device["set"].embeddings * by_pillow["set"].embeddings).sum(dim=1)
    assert cosines.min() > 0.999 and not torch.equal(by_device["set"].embeddings, by_pillow["set"].embeddings)
    again = make(**options, resize="device")
    assert torch.equal(again.embed({"set": pictures}, [])[0]["set"].embeddings, by_device["set"].embeddings)
    assert again.num_encoded == 0


@pytest.mark.parametrize(
    ("options", "kind"), [({}, torch.Tensor), ({"resize": "device"}, Pictures), ({"decode": "device"}, Undecoded)]
)
def test_a_helping_process_reads_pictures_as_the_first_one_does(make, pictures, tmp_path, options, kind):
    embedder = make(**options)
    job = embedder._image_request(pictures.images()).job
    record = described(embedder.backbone, 0, [job], [torch.zeros(len(job), dtype=torch.bool)])
    batches, _ = read_task(record).work(embedder.backbone, Store(tmp_path / "store"))
    own, helping = job.load(torch.arange(3)), batches[0]
    assert isinstance(helping.images, kind)
    assert all(torch.equal(one, other) for one, other in zip(own.decoded()[0], helping.decoded()[0], strict=False))


def test_all_sets_and_names_go_through_one_loader_and_no_set_hangs_on_the_others(make, tmp_path, monkeypatch):
    sets = {}
    for seed, count in enumerate((6, 5, 3)):
        fakes.write_pictures(tmp_path / f"set{seed}", count, seed)
        sets[f"set{seed}"] = ImageFolder(str(tmp_path / f"set{seed}"), False, None, None, None)
    loaders, run = [], Devices._run
    monkeypatch.setattr(Devices, "_run", lambda self, *given: loaders.append(len(given[1])) or run(self, *given))
    together, _ = make().embed(sets, [WORDS])
    assert loaders == [2 + 2 + 1 + 4]  # of four images and of eight names; no batch holds those of two sets
    for name, dataset in sets.items():
        alone, _ = make(store=name).embed({name: dataset}, [])
        assert torch.equal(alone[name].embeddings, together[name].embeddings)


def test_lengths_are_those_of_the_towers_own_embeddings(make):
    embedder = make(prompts=PromptTemplates(["the {}", "a {}"], ["{}"], True))
    embedder.embed({}, [WORDS])
    num_encoded, names = embedder.num_encoded, WORDS.names[:5]
    expected = [embedder.backbone.encode_text([f"the {name}", f"a {name}"]).mean(dim=0).norm() for name in names]
    assert torch.allclose(embedder.lengths(names, ("noun",) * 5), torch.stack(expected), atol=1e-5)
    assert embedder.num_encoded == num_encoded  # the rows were there


def test_nothing_is_encoded_twice(make, pictures):
    first = make()
    before, (labels,) = first.embed({"set": pictures}, [WORDS])
    assert first.num_encoded == 40
    second = make()
    after, (again,) = second.embed({"set": pictures}, [WORDS])
    assert second.num_encoded == 0
    assert torch.equal(before["set"].embeddings, after["set"].embeddings)
    assert torch.equal(labels.embeddings, again.embeddings)


def test_equal_prompts_are_encoded_once(make):
    embedder = make()
    doubled = embedder.encode(["cat", "dog", "cat"], ["noun"] * 3)
    assert embedder.num_encoded == 2
    assert torch.equal(doubled[0], doubled[2])


def test_a_text_is_encoded_once_whatever_list_it_stands_in(make):
    first = make(prompts=PromptTemplates(["a {}", "the {}"], ["{}"], False))
    before = first.encode(["cat", "dog"], ["noun"] * 2)
    second = make(prompts=PromptTemplates(["the {}"], ["{}"], True))
    _, labels = second.embed({}, [Words.nouns(["owl", "dog"]), Words.nouns(["fox", "owl", "cat"])])
    assert second.num_encoded == 2  # "the owl" and "the fox"
    assert torch.equal(labels[0].embeddings[0], labels[1].embeddings[1])
    the_cat, a_cat = second.encode_texts(["the cat", "a cat"])
    assert second.num_encoded == 2 and torch.equal(labels[1].embeddings[2], the_cat)
    rows = second.backbone.encode_text(["a cat", "the cat"])  # the mean is of raw rows
    assert torch.allclose(before[0], normalize(rows.sum(dim=0), dim=0), atol=1e-6)
    assert not torch.allclose(a_cat, the_cat, atol=1e-3)


def test_an_interrupted_pass_over_texts_resumes(make, monkeypatch):
    whole = make(store="other").encode(WORDS.names, WORDS.parts_of_speech)
    embedder = make()
    encode, calls = embedder.backbone.encode_token_ids, []

    def failing(ids, end):
        calls.append(len(ids))
        if len(calls) == 3:
            raise Interrupted
        return encode(ids, end)

    monkeypatch.setattr(embedder.backbone, "encode_token_ids", failing)
    with pytest.raises(Interrupted):
        embedder.encode(WORDS.names, WORDS.parts_of_speech)
    resumed = make()
    assert torch.equal(resumed.encode(WORDS.names, WORDS.parts_of_speech), whole)
    assert resumed.num_encoded == 14  # two of the four batches were kept


def test_texts_of_one_length_in_tokens_share_batches(make, monkeypatch):
    embedder, shapes = make(), []
    encode = embedder.backbone.encode_token_ids

    def seen(ids, end):
        shapes.append(tuple(ids.shape))
        return encode(ids, end)

    monkeypatch.setattr(embedder.backbone, "encode_token_ids", seen)
    embedder.encode_texts([text.format(i) for i in range(8) for text in ("photograph {}", "a b c {}")])
    assert shapes == [(8, 4), (8, 6)]


def test_a_changed_image_is_encoded_again(make, pictures, tmp_path):
    make().embed({"set": pictures}, [])
    fakes.write_pictures(tmp_path / "pictures", 1, seed=99)  # overwrites the first
    embedder = make()
    embedder.embed({"set": pictures}, [])
    assert embedder.num_encoded == 10


def test_a_view_has_its_own_place_in_the_store(make, pictures):
    plain, _ = make().embed({"set": pictures}, [])
    viewed = Viewed(pictures, RandomCrop(0))
    first, _ = make().embed({"set": viewed}, [])
    embedder = make(image_batch_size=3)
    again, _ = embedder.embed({"set": viewed}, [])
    other, _ = make().embed({"set": Viewed(pictures, RandomCrop(1))}, [])
    assert embedder.num_encoded == 0 and torch.equal(first["set"].embeddings, again["set"].embeddings)
    assert not torch.isclose(first["set"].embeddings, plain["set"].embeddings).all(dim=1).any()
    assert not torch.isclose(first["set"].embeddings, other["set"].embeddings).all(dim=1).any()


class Viewed(ImageDataset):
    """Another set under a random view."""

    def __init__(self, dataset, view):
        self.dataset, self.view = dataset, view

    def class_names(self):
        return self.dataset.class_names()

    def images(self):
        return replace(self.dataset.images(), view=self.view)


class Interrupted(RuntimeError):
    pass


def stop_at_batch(embedder, number, error, monkeypatch):
    """The embedder's pass fails when it comes to this batch of images."""
    encode, calls = embedder.backbone.encode_image, []

    def failing(images):
        calls.append(len(images))
        if len(calls) == number:
            raise error
        return encode(images)

    monkeypatch.setattr(embedder.backbone, "encode_image", failing)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Interrupted])
def test_an_interrupted_pass_resumes(make, pictures, monkeypatch, error):
    whole, _ = make(store="other").embed({"set": pictures}, [])
    embedder = make()
    stop_at_batch(embedder, 3, error, monkeypatch)
    with pytest.raises(error):
        embedder.embed({"set": pictures}, [])
    resumed = make()
    images, _ = resumed.embed({"set": pictures}, [])
    assert resumed.num_encoded == 2  # two of the three batches were kept
    assert torch.equal(images["set"].embeddings, whole["set"].embeddings)


def test_a_pass_resumed_with_another_batch_size_starts_again(make, pictures, monkeypatch):
    embedder = make()
    stop_at_batch(embedder, 2, Interrupted, monkeypatch)
    with pytest.raises(Interrupted):
        embedder.embed({"set": pictures}, [])
    other = make(image_batch_size=3)
    images, _ = other.embed({"set": pictures}, [])
    assert other.num_encoded == 10 and len(images["set"]) == 10


def test_unreadable_images_stop_the_run_or_are_skipped(make, pictures, tmp_path, caplog):
    for name in ("picture03.png", "picture07.png"):
        (tmp_path / "pictures" / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"(?s)2 of 10 images of set cannot be read.*picture03.*picture07.*max_unread"):
        make(max_unreadable=1).embed({"set": pictures}, [])
    images, _ = make(max_unreadable=2).embed({"set": pictures}, [])
    assert len(images["set"]) == len(images["set"].paths) == 8
    assert images["set"].embeddings.isfinite().all()
    assert "They are skipped" in caplog.text
    assert not any("picture03" in path for path in images["set"].paths)


def test_nan_embeddings_are_an_error(make, pictures, monkeypatch):
    embedder = make()
    dim = embedder.backbone.embedding_dim
    monkeypatch.setattr(embedder.backbone, "encode_image", lambda images: torch.full((len(images), dim), torch.nan))
    with pytest.raises(UserError, match=r"Embeddings must be finite; 1 are NaN .* that of .*png"):
        embedder.embed({"set": pictures}, [])
    monkeypatch.setattr(embedder.backbone, "encode_token_ids", lambda ids, end: torch.full((len(ids), dim), torch.inf))
    with pytest.raises(UserError, match="Embeddings must be finite; 30 are NaN"):
        embedder.embed({}, [WORDS])


def test_a_damaged_entry_is_computed_again(make, pictures, tmp_path):
    before, _ = make().embed({"set": pictures}, [])
    (path,) = (tmp_path / "store" / "embeddings").rglob("embeddings.safetensors")
    content = path.read_bytes()
    path.unlink()  # `before` is mapped to it
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    embedder = make()
    after, _ = embedder.embed({"set": pictures}, [])
    assert embedder.num_encoded == 10
    assert torch.equal(before["set"].embeddings, after["set"].embeddings)


def test_too_many_devices(make, pictures):
    with pytest.raises(UserError, match=r"trainer\.accelerator=gpu"):
        make(Devices("gpu", 99, "auto", progress_bar=False)).embed({"set": pictures}, [])


def test_the_text_encoder_door(make):
    embedder = make(prompts=PromptTemplates(["a {}"], ["{}"], True))
    assert torch.allclose(embedder.encode(["cat"], ["noun"]), embedder.encode_texts(["a cat"]), atol=1e-6)
    ids, end = embedder.tokenize(["a cat"])
    through_tokens = embedder.encode_tokens(embedder.embed_tokens(ids), end)
    assert torch.allclose(through_tokens, embedder.encode_texts(["a cat"]), atol=1e-6)


def test_a_mistake_that_a_loading_worker_finds_is_a_plain_message(make):
    embedder = make(num_workers=1)
    with pytest.raises(UserError, match=r"^A text must fit the context of 77 tokens; 1 do not") as caught:
        embedder.encode_texts(["cat", " ".join(["a"] * 100)])
    assert "Traceback" not in str(caught.value)


def test_more_processes_than_batches(make):
    two = Devices("cpu", 2, "ddp_spawn", progress_bar=False)
    assert torch.equal(make(two).encode(["cat"], ["noun"]), make(store="other").encode(["cat"], ["noun"]))


def test_a_mistake_in_a_spawned_process_is_a_plain_message(make):
    two = Devices("cpu", 2, "ddp_spawn", progress_bar=False)
    with pytest.raises(UserError, match=r"^A text must fit the context of 77 tokens; 1 do not"):
        make(two).encode_texts([f"text {i}" for i in range(20)] + [" ".join(["a"] * 100)])


def test_a_pass_over_a_store_that_fails_is_taken_up_again(make, pictures, monkeypatch):
    """An outage, met in a loader's worker, is no unreadable image: it stops the run, and what was finished is kept."""
    store = fsspec.filesystem("memory")
    store.put(f"{pictures.root}/", "/outage/", recursive=True)
    there = ImageFolder("memory://outage", False, None, None, None)
    expected, _ = make(store="other").embed({"set": pictures}, [])
    read = MemoryFileSystem.cat_file

    def failing(self, path, **options):
        if path.endswith("picture09.png"):
            raise ConnectionError("no route")
        return read(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    with pytest.raises(UserError, match=r"^A place .*memory://outage/picture09.png is not \(ConnectionError: no route"):
        make(max_unreadable=9, num_workers=1).embed({"set": there}, [])
    monkeypatch.undo()
    resumed = make()
    found, _ = resumed.embed({"set": there}, [])
    assert resumed.num_encoded == 2  # the last of three batches
    assert torch.equal(found["set"].embeddings, expected["set"].embeddings)
    again = make()
    again.embed({"set": there}, [])
    assert again.num_encoded == 0
    store.rm("/outage", recursive=True)
