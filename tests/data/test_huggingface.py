import pickle
import sys
from importlib import import_module
from importlib.util import find_spec

import fake_datasets
import fakes
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import to_tensor

from neglab.data.base import UnreadableImageError, read_image
from neglab.data.huggingface import HuggingFaceDataset
from neglab.types import UserError


@pytest.fixture(params=["stand-in", "real"] if find_spec("datasets") else ["stand-in"])
def library(request, monkeypatch):
    if request.param == "real":
        return import_module("datasets")
    monkeypatch.setitem(sys.modules, "datasets", fake_datasets)
    return fake_datasets


@pytest.fixture
def pictures(tmp_path):
    return fakes.write_pictures(tmp_path / "pictures", 3)


@pytest.fixture
def folder(library, pictures, tmp_path):
    """A dataset on disk: pictures, class numbers with names, numbers without, names."""
    kinds = {
        "image": library.Image(),
        "label": library.ClassLabel(names=["barn_cat", "owl"]),
        "number": library.Value("int64"),
        "name": library.Value("string"),
    }
    images = [{"bytes": path.read_bytes(), "path": None} for path in pictures]
    images[2] = {"bytes": None, "path": str(pictures[2])}
    columns = {"image": images, "label": [1, 0, 1], "number": [1, 0, 1], "name": ["owl", "cat", "owl"]}
    library.Dataset.from_dict(columns, features=library.Features(kinds)).save_to_disk(str(tmp_path / "set"))
    return tmp_path / "set"


def dataset(folder, image="image", label="label", labelled=True, class_names=None, split="test"):
    return HuggingFaceDataset(str(folder), None, split, image, label, labelled, class_names, None)


def test_pictures_are_those_of_the_files(folder, pictures):
    images = pickle.loads(pickle.dumps(dataset(folder).images()))
    assert images.labels == (1, 0, 1)
    assert str(images.sources[2]) == f"{folder}/test/2"
    for source, path in zip(images.sources, pictures, strict=True):
        with source.open() as read, Image.open(path) as written:
            assert np.array_equal(np.asarray(read), np.asarray(written))


def test_a_row_of_another_content_has_another_key(library, pictures, tmp_path):
    """Also where the same place holds a new export, whatever the library calls it."""

    def keys(paths):
        column = {"image": [{"bytes": path.read_bytes(), "path": None} for path in paths]}
        made = library.Dataset.from_dict(column, features=library.Features({"image": library.Image()}))
        made.save_to_disk(str(tmp_path / "set"))
        return [source.key for source in dataset(tmp_path / "set", labelled=False).images().sources]

    assert keys(pictures) == keys(pictures[::-1])[::-1]
    assert len(set(keys(pictures))) == 3


def test_a_row_has_one_key_in_every_run(folder):
    keys = [[(source.origin, source.key) for source in dataset(folder).images().sources] for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3


def test_names_of_the_classes(folder):
    assert dataset(folder).class_names().names == ("barn cat", "owl")
    assert dataset(folder, class_names=["cat", "bird"]).class_names().names == ("cat", "bird")
    named = dataset(folder, label="name")
    assert named.class_names().names == ("cat", "owl")
    assert named.images().labels == (1, 0, 1)
    with pytest.raises(UserError, match="Labels that are no names need names; got 1 in column number"):
        dataset(folder, label="number").class_names()
    assert dataset(folder, label="number", class_names=["cat", "owl"]).images().labels == (1, 0, 1)


def test_an_ood_set_needs_no_labels(folder):
    assert dataset(folder, label=None, labelled=False).images().labels == (-1,) * 3


def test_a_split_of_several(library, folder, tmp_path):
    rows = library.load_from_disk(str(folder))
    library.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "both"))
    assert len(dataset(tmp_path / "both").images()) == 3
    with pytest.raises(UserError, match=r"can load; got .*both, split val: KeyError"):
        dataset(tmp_path / "both", split="val").images()


def test_a_column_that_is_not_there(folder):
    with pytest.raises(UserError, match="got picture, and it has image, label, number, name"):
        dataset(folder, image="picture").images()
    with pytest.raises(UserError, match="got None, and it has image"):
        dataset(folder, label=None).images()


def test_a_set_that_cannot_be_loaded(library, monkeypatch):
    class GenerationError(Exception):
        """Of no common kind, as some of the library's are."""

    for kind in (FileNotFoundError, GenerationError, NotImplementedError, AttributeError):

        def load_dataset(name, subset, split, kind=kind):
            raise kind(f"{name} does not exist")

        monkeypatch.setattr(library, "load_dataset", load_dataset)
        with pytest.raises(UserError, match=f"got nobody/nothing, split test: {kind.__name__}: nobody/nothing"):
            dataset("nobody/nothing").images()


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'neglab\[huggingface\]'"):
        dataset("a/b").images()


def test_a_row_without_an_image_is_unreadable(library, pictures, tmp_path):
    columns = {"image": [None, {"bytes": pictures[0].read_bytes(), "path": None}]}
    features = library.Features({"image": library.Image()})
    library.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "holes"))
    sources = dataset(tmp_path / "holes", labelled=False).images().sources
    with pytest.raises(UnreadableImageError, match="the row has no image"):
        read_image(sources[0], to_tensor)
    assert read_image(sources[1], to_tensor).shape == (3, 40, 36)


def test_several_labels_per_row(library, pictures, tmp_path):
    if library is not fake_datasets:
        kinds = {"image": library.Image(), "label": library.Sequence(library.Value("int64"))}
    else:
        kinds = {"image": library.Image(), "label": None}
    columns = {"image": [{"bytes": pictures[0].read_bytes(), "path": None}], "label": [[0, 1]]}
    library.Dataset.from_dict(columns, features=library.Features(kinds)).save_to_disk(str(tmp_path / "many"))
    with pytest.raises(UserError, match=r"must have one label; got \[0, 1\] in column label of"):
        dataset(tmp_path / "many", class_names=["a", "b"]).images()


def test_a_set_saved_for_torch_gives_the_same(library, folder, pictures, tmp_path):
    library.load_from_disk(str(folder)).with_format("torch").save_to_disk(str(tmp_path / "torch"))
    images = dataset(tmp_path / "torch").images()
    assert images.labels == (1, 0, 1) and dataset(tmp_path / "torch").class_names().names == ("barn cat", "owl")
    with images.sources[0].open() as read, Image.open(pictures[0]) as written:
        assert np.array_equal(np.asarray(read), np.asarray(written))


def test_classes_named_by_wordnet_ids_get_their_names(library, pictures, tmp_path):
    kinds = {"image": library.Image(), "label": library.ClassLabel(names=["n01443537", "n01440764"])}
    columns = {"image": [{"bytes": pictures[0].read_bytes(), "path": None}] * 2, "label": [1, 0]}
    library.Dataset.from_dict(columns, features=library.Features(kinds)).save_to_disk(str(tmp_path / "ids"))
    assert dataset(tmp_path / "ids").class_names().names == ("goldfish", "tench")
    assert dataset(tmp_path / "ids").images().labels == (1, 0)
    assert dataset(tmp_path / "ids", class_names=["a fish", "b"]).class_names().names == ("a fish", "b")


def test_a_column_without_pictures(folder):
    with pytest.raises(UserError, match="image_column must hold pictures; got number of"):
        dataset(folder, image="number", labelled=False).images()
