"""Small sets in the layouts that torchvision's classes read; digests are those of the whole sets and not checked."""

import pickle

import fakes
import numpy as np
import pytest
import torchvision
from scipy.io import savemat

from neglab.data.base import About
from neglab.data.sources import ImageFile
from neglab.data.torchvision_set import TorchvisionDataset
from neglab.types import UserError

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = [3, 1, 9, 0, 5, 7, 2, 8, 4, 6, 3, 3]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def dataset(name, root, options, download=False, labelled=True, class_names=None, classes=None, about=None):
    return TorchvisionDataset(name, str(root), options, download, labelled, class_names, classes, about)


def write_cifar10(root):
    """cifar-10-python.tar.gz: rows of 3072 bytes, the red plane first."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = {"data": PIXELS.transpose(0, 3, 1, 2).reshape(12, 3072), "labels": LABELS}
    (folder / "test_batch").write_bytes(pickle.dumps(rows))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR10}))


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    return tmp_path


def pixels_of(images):
    return [np.asarray(source.open()) for source in images.sources]


def test_pixels_in_memory(cifar10):
    cifar = dataset("CIFAR10", cifar10, {"train": False})
    assert cifar.class_names().names == tuple(CIFAR10)
    images = pickle.loads(pickle.dumps(cifar.images()))
    assert images.labels == tuple(LABELS)
    assert np.array_equal(pixels_of(images), PIXELS)
    assert str(images.sources[2]) == "CIFAR10/000002"


def test_the_key_is_the_content(cifar10):
    first, again = (dataset("CIFAR10", cifar10, {"train": False}).images().sources for _ in range(2))
    assert [source.key for source in first] == [source.key for source in again]
    assert len({source.key for source in first}) == 12
    assert all(source.origin is None for source in first)


def test_some_classes_in_the_given_order(cifar10):
    for classes in ([3, 0], ["cat", "airplane"]):
        some = dataset("CIFAR10", cifar10, {"train": False}, classes=classes)
        assert some.class_names().names == ("cat", "airplane")
        assert some.images().labels == (0, 1, 0, 0)
        assert np.array_equal(pixels_of(some.images()), PIXELS[[0, 3, 10, 11]])
    ood = dataset("CIFAR10", cifar10, {"train": False}, labelled=False, classes=[3]).images()
    assert ood.labels == (-1,) * 3
    with pytest.raises(UserError, match=r"among the 10 classes of CIFAR10; got 'owl'. The names begin with airplane"):
        dataset("CIFAR10", cifar10, {"train": False}, classes=["cat", "owl"]).images()


def test_names_of_ones_own(cifar10, caplog):
    names = [f"a {name}" for name in CIFAR10]
    some = dataset(
        "CIFAR10", cifar10, {"train": False}, class_names=names, classes=["a cat", 0], about=About(9, "", "")
    )
    assert some.class_names().names == ("a cat", "a airplane")
    assert len(some.images()) == 4 and "must hold 9 images to be the published set; got 4" in caplog.text
    with pytest.raises(UserError, match="all 10 classes of CIFAR10; got 1 names"):
        dataset("CIFAR10", cifar10, {"train": False}, class_names=["cat"]).class_names()


def test_grey_pixels(tmp_path):
    """MNIST's idx files: four bytes of kind, big-endian sizes, then the values."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    grey = PIXELS[:, :28, :28, 0]
    for name, kind, values in (("images-idx3", 0x803, grey), ("labels-idx1", 0x801, np.uint8(LABELS))):
        head = np.array([kind, *values.shape], dtype=">u4").tobytes()
        for part in ("train", "t10k"):
            (folder / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())
    images = dataset("MNIST", tmp_path, {"train": False}, class_names=list("0123456789")).images()
    assert images.labels == tuple(LABELS)
    assert np.array_equal(pixels_of(images), grey)


def test_pixels_with_the_colours_first(tmp_path, monkeypatch):
    """SVHN's Matlab files: height, width, colour, image; the digit 0 is 10."""
    savemat(tmp_path / "test_32x32.mat", {"X": PIXELS.transpose(1, 2, 3, 0), "y": np.array(LABELS)[:, None] + 1})
    monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda path, md5=None: True)
    svhn = dataset("SVHN", tmp_path, {"split": "test"}, class_names=list("0123456789"))
    assert svhn.images().labels == tuple((label + 1) % 10 for label in LABELS)
    assert np.array_equal(pixels_of(svhn.images()), PIXELS)
    with pytest.raises(UserError, match=r"SVHN names no classes. Set class_names"):
        dataset("SVHN", tmp_path, {"split": "test"}).class_names()


def test_files_with_a_list(tmp_path):
    """DTD: images by class, and lists of the splits."""
    folder = tmp_path / "dtd" / "dtd"
    for name in ("banded", "polka_dotted"):
        fakes.write_pictures(folder / "images" / name, 2)
    (folder / "labels").mkdir()
    (folder / "labels" / "test1.txt").write_text("polka_dotted/picture01.png\nbanded/picture00.png\n")
    textures = dataset("DTD", tmp_path, {"split": "test"})
    assert textures.class_names().names == ("banded", "polka dotted")
    images = textures.images()
    assert images.labels == (1, 0)
    assert images.sources[0] == ImageFile(folder / "images" / "polka_dotted" / "picture01.png")


def test_files_in_pairs(tmp_path):
    """EuroSAT: a folder of classes."""
    fakes.write_pictures(tmp_path / "eurosat" / "2750" / "AnnualCrop", 2)
    fakes.write_pictures(tmp_path / "eurosat" / "2750" / "Forest", 1)
    images = dataset("EuroSAT", tmp_path, {}).images()
    assert images.labels == (0, 0, 1)
    assert images.sources[2].path.name == "picture00.png"


def test_download_only_where_it_is_missing(tmp_path, monkeypatch):
    asked = []

    class Made:
        def __init__(self, root, download):
            asked.append(download)
            if not download:
                raise RuntimeError("Dataset not found.")
            self.data, self.targets, self.classes = PIXELS, LABELS, CIFAR10

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Made)
    assert len(dataset("CIFAR10", tmp_path, {}, download=True).images()) == 12
    assert asked == [False, True]
    with pytest.raises(UserError, match=r"or be fetched with data.download=true \(Dataset not found.\); got"):
        dataset("CIFAR10", tmp_path, {}).images()


def test_a_download_without_a_network(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)
    with pytest.raises(UserError, match=r"be reachable on the web \(no route to host\); got .* Get it\."):
        dataset("CIFAR10", tmp_path, {"train": False}, download=True, about=About(1, "Get it.", "")).images()


def test_a_set_that_is_fetched_no_more(tmp_path):
    with pytest.raises(UserError, match=r"StanfordCars must be there, or be reachable .*Stanford.*; got"):
        dataset("StanfordCars", tmp_path, {"split": "test"}, download=True).images()


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"class of torchvision.datasets; got 'CIFAR11'"):
        dataset("CIFAR11", tmp_path, {})
    with pytest.raises(UserError, match=r"CIFAR10 refuses options={'split': 'test'}"):
        dataset("CIFAR10", tmp_path, {"split": "test"}).images()
    with pytest.raises(UserError, match=r"SVHN refuses options={'split': 'val'}"):
        dataset("SVHN", tmp_path, {"split": "val"}).images()
    (tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google").mkdir(parents=True)
    with pytest.raises(UserError, match="Caltech101 keeps neither files nor pixels"):
        dataset("Caltech101", tmp_path, {}).images()
