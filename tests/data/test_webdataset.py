import io
import json
import pickle
import tarfile

import fakes
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import to_tensor

from neglab.data.base import About, UnreadableImageError, read_image
from neglab.data.webdataset import WebDataset
from neglab.embedding.store import Store
from neglab.types import UserError


@pytest.fixture
def pictures(tmp_path):
    return fakes.write_pictures(tmp_path / "pictures", 4)


def write_shard(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def root(tmp_path, pictures):
    """Two shards; every kind of label beside each picture."""
    for shard in range(2):
        members = {}
        for i in (2 * shard, 2 * shard + 1):
            label = i % 2
            members[f"__MACOSX/{i:04d}.jpg"] = b"junk"
            members[f"part.{shard}/{i:04d}.cls"] = b"%d\n" % label
            members[f"part.{shard}/{i:04d}.jpg"] = pictures[i].read_bytes()
            members[f"part.{shard}/{i:04d}.json"] = json.dumps(
                {"label": label, "name": ["owl", "barn_cat"][label]}
            ).encode()
            members[f"part.{shard}/{i:04d}.txt"] = [b"owl", b"barn_cat"][label]
            members[f"part.{shard}/._{i:04d}.jpg"] = b"fork"
        write_shard(tmp_path / "shards" / f"val-{shard:02d}.tar", members)
    return tmp_path / "shards"


def dataset(root, labelled=True, label="cls", class_names=("owl", "cat"), about=None, image=None):
    return WebDataset(str(root), labelled, image, label, class_names, about)


def test_pictures_are_those_of_the_files(root, pictures):
    images = pickle.loads(pickle.dumps(dataset(root).images()))
    assert images.labels == (0, 1, 0, 1)
    assert [str(source) for source in images.sources][1::2] == [
        f"{root}/val-00.tar/part.0/0001.jpg",
        f"{root}/val-01.tar/part.1/0003.jpg",
    ]
    for source, path in zip(images.sources, pictures, strict=True):
        with source.open() as read, Image.open(path) as written:
            assert np.array_equal(np.asarray(read), np.asarray(written))
        content = source.origin.read_bytes()
        start, size = map(int, source.key.split(":"))
        assert content[start : start + size] == path.read_bytes()


@pytest.mark.parametrize("label", ["cls", "json.label", "json.name", "txt"])
def test_every_kind_of_label(root, label):
    names = ["owl", "barn_cat"]
    assert dataset(root, label=label, class_names=names).images().labels == (0, 1, 0, 1)
    if label in ("json.name", "txt"):
        unnamed = dataset(root, label=label, class_names=None)
        assert unnamed.images().labels == (1, 0, 1, 0)
        assert unnamed.class_names().names == ("barn cat", "owl")


def test_of_several_pictures_one_is_the_image(tmp_path, pictures):
    members = {}
    for i, picture in enumerate(pictures):
        members |= {f"{i}.image.png": picture.read_bytes(), f"{i}.mask.PNG": b"mask", f"{i}.cls": b"1"}
    write_shard(tmp_path / "masks" / "a.tar", members)
    for labelled in (True, False):
        with pytest.raises(
            UserError, match=r"one image; 0 in .*a.tar has image.png, mask.png. Set image .*image=image"
        ):
            dataset(tmp_path / "masks", labelled).images()
        images = dataset(tmp_path / "masks", labelled, image="image.png").images()
        assert [source.name for source in images.sources] == [f"{i}.image.png" for i in range(4)]
    assert len(dataset(tmp_path / "masks", image="jpg;MASK.png").images()) == 4
    with pytest.raises(UserError, match="at least one image"):
        dataset(tmp_path / "masks", image="jpg").images()


def test_names_that_come_again_are_other_samples(tmp_path, pictures):
    """As after `tar -A a.tar b.tar`: the same names, other pictures and labels."""
    first = [
        (f"{i}.{end}", content) for i in (0, 1) for end, content in (("jpg", pictures[i].read_bytes()), ("cls", b"0"))
    ]
    again = [
        (f"{i}.{end}", content)
        for i in (0, 1)
        for end, content in (("jpg", pictures[i + 2].read_bytes()), ("cls", b"1"))
    ]
    lone = [
        ("one.jpg", pictures[0].read_bytes()),
        ("one.cls", b"0"),
        ("one.jpg", pictures[1].read_bytes()),
        ("one.cls", b"1"),
    ]
    for members, expected in ((first + again, pictures), (lone, pictures[:2])):
        write_shard(tmp_path / "twice" / "a.tar", members)
        images = dataset(tmp_path / "twice").images()
        assert images.labels == ((0, 0, 1, 1) if len(expected) == 4 else (0, 1))
        for source, path in zip(images.sources, expected, strict=True):
            start, size = map(int, source.key.split(":"))
            assert source.origin.read_bytes()[start : start + size] == path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # the library's
def test_samples_are_those_of_the_webdataset_library(tmp_path, pictures):
    library = pytest.importorskip("webdataset")
    content = pictures[0].read_bytes()
    members = [("d.1/a.b.JPG", content), ("d.1/a.cls", b"0"), ("e/.hidden", b""), ("plain", b""), ("e/a.cls", b"1")]
    members += [("e/a.b.jpg", content), ("d.1/a.b.jpg", content), ("d.1/a.CLS", b"1")]
    write_shard(tmp_path / "odd" / "a.tar", members)
    samples = library.WebDataset(f"{tmp_path}/odd/a.tar", shardshuffle=False, empty_check=False)
    expected = tuple(int(sample["cls"]) for sample in samples if "cls" in sample)
    assert dataset(tmp_path / "odd", image="b.jpg").images().labels == expected == (0, 1, 1)


def test_class_names_that_are_digits(tmp_path, pictures):
    jets = ["737", "747", "a320", "747"]
    members = [
        (f"{i}.{end}", jets[i].encode() if end == "txt" else pictures[i].read_bytes())
        for i in range(4)
        for end in ("jpg", "txt")
    ]
    write_shard(tmp_path / "jets" / "a.tar", members)
    for names in (None, ["737", "747", "a320"]):
        found = dataset(tmp_path / "jets", label="txt", class_names=names)
        assert found.images().labels == (0, 1, 2, 1) and found.class_names().names == ("737", "747", "a320")


def test_an_ood_set_takes_every_picture(root, caplog):
    images = dataset(root, labelled=False, class_names=None, about=About(5, "", "")).images()
    assert images.labels == (-1,) * 4
    assert "must hold 5 images to be the published set; got 4" in caplog.text


def test_a_folder_a_file_or_a_pattern(root):
    assert len(dataset(root / "val-01.tar").images()) == 2
    assert len(dataset(root / "val-*.tar").images()) == 4
    with pytest.raises(UserError, match=r"shards that end with .tar, not compressed; got .*train"):
        dataset(root / "train-*.tar").images()


def test_mistakes(root, tmp_path, pictures):
    with pytest.raises(UserError, match="Labels that are no names need names"):
        dataset(root, class_names=None).images()
    with pytest.raises(UserError, match="one of the 1 class names"):
        dataset(root, class_names=["owl"]).images()
    with pytest.raises(UserError, match=r"got no part.0/0000.id for .*0000.jpg"):
        dataset(root, label="id").images()
    with pytest.raises(UserError, match="has none: KeyError: 'class'"):
        dataset(root, label="json.class").images()
    write_shard(tmp_path / "one" / "a.tar", {"a.jpg": pictures[0].read_bytes(), "a.json": b"[1, 2]"})
    for label in ("json.name", "json"):
        with pytest.raises(UserError, match=r"a.json has none|class names, or a number"):
            dataset(tmp_path / "one", label=label).images()
    write_shard(tmp_path / "none" / "a.tar", {"a.txt": b"owl"})
    with pytest.raises(UserError, match="at least one image"):
        dataset(tmp_path / "none").images()


@pytest.mark.parametrize("damage", [lambda shard: shard.unlink(), lambda shard: shard.write_bytes(b"x" * 700)])
def test_a_member_that_is_gone_is_an_unreadable_image(root, damage):
    images = dataset(root).images()
    damage(root / "val-00.tar")
    for source in images.sources[:2]:
        with pytest.raises(UnreadableImageError):
            read_image(source, to_tensor)
    assert read_image(images.sources[2], to_tensor).shape == (3, 40, 36)
    digests = Store(root / "store").file_marks(images.sources.files()[0])
    assert [bool(text) for text in digests.texts(0, 2)] == [(root / "val-00.tar").exists(), True]
