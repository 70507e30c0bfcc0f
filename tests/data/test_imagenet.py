import layouts
import numpy as np
import pytest
from layouts import WNIDS, put
from scipy.io import savemat

from neglab.data.imagenet import ImageNetFolder
from neglab.types import UserError
from neglab.wordnet import synset

TENCH, GOLDFISH, SHARK = WNIDS[:3]


def folder(root, wnids=None, label_list=None, labelled=True):
    return ImageNetFolder(str(root), wnids, label_list, labelled, None)


def stems(images):
    return [source.path.stem for source in images.sources]


@pytest.fixture
def by_class(tmp_path):
    for wnid, count in ((TENCH, 2), (GOLDFISH, 1), (SHARK, 1)):
        for i in range(count):
            put(tmp_path / f"val/{wnid}/{wnid}_{i}.JPEG")
    return tmp_path / "val"


def test_classes_bring_their_synsets(by_class):
    words = folder(by_class, [SHARK, TENCH]).class_names()
    assert [synset(one).lemmas[0] for one in words.synsets] == ["great white shark", "tench"]
    everything = folder("anywhere").class_names()
    found = [synset(one) for one in everything.synsets]
    assert len(set(everything.synsets)) == 1000 and None not in found
    cranes = {name: one.lexname for name, one in zip(everything.names, found, strict=True) if "crane" in name}
    assert cranes == {"crane bird": "noun.animal", "construction crane": "noun.artifact"}


@pytest.fixture
def in_one_folder(tmp_path):
    for i in range(1, 4):
        put(tmp_path / f"val/ILSVRC2012_val_{i:08d}.JPEG")
    return tmp_path / "val"


def test_a_subset_keeps_the_given_order_and_copies_nothing(by_class):
    subset = folder(by_class, [SHARK, TENCH])
    images = subset.images()
    assert images.labels == (0, 1, 1)
    assert stems(images) == [f"{SHARK}_0", f"{TENCH}_0", f"{TENCH}_1"]
    assert subset.class_names().names == ("great white shark", "tench")


def test_all_classes_have_open_clips_names():
    names = folder("anywhere").class_names().names
    assert len(names) == 1000 and len(set(names)) == 998
    assert names[0] == "tench" and names[-1] == "toilet paper"
    assert {name for name in names if names.count(name) > 1} == {"missile", "sunglasses"}


def test_unlabelled_images_are_of_no_class(by_class):
    assert set(folder(by_class, [TENCH, SHARK], labelled=False).images().labels) == {-1}


def test_subfolders_may_be_class_indices_and_are_not_sorted_as_text(tmp_path):
    for i in (0, 2, 10):
        put(tmp_path / f"{i}/{i}.jpeg")
    images = folder(tmp_path, [WNIDS[2], WNIDS[10], WNIDS[0]]).images()
    assert stems(images) == ["2", "10", "0"] and images.labels == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "ILSVRC2012_val_00000001.JPEG 2\nILSVRC2012_val_00000002.JPEG 0\nILSVRC2012_val_00000003.JPEG 2\n"),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n"
            f"ILSVRC2012_val_00000003,{SHARK} 85 1 499 272 \n"
            f"ILSVRC2012_val_00000001,{SHARK} 85 1 499 272 {SHARK} 3 4 5 6 \n"
            f"ILSVRC2012_val_00000002,{TENCH} 131 0 499 254 \n",
        ),
    ],
)
def test_images_in_one_folder_take_their_class_from_a_list_beside_it(in_one_folder, name, text):
    put(in_one_folder.parent / name, text)
    images = folder(in_one_folder, [TENCH, SHARK]).images()
    assert stems(images) == [f"ILSVRC2012_val_0000000{i}" for i in (2, 1, 3)] and images.labels == (0, 1, 1)


def test_the_development_kit_numbers_the_classes_in_its_own_order(in_one_folder):
    kit = in_one_folder.parent / "ILSVRC2012_devkit_t12/data"
    put(kit / "ILSVRC2012_validation_ground_truth.txt", "1\n2\n1\n")
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    rows = [(1, SHARK, "great white shark", "a shark", 0), (2, TENCH, "tench", "a fish", 0), (1001, "n1", "x", "y", 5)]
    synsets = np.array(rows, dtype=[(name, object) for name in fields])
    savemat(kit / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    images = folder(in_one_folder, [TENCH, SHARK]).images()
    assert stems(images) == [f"ILSVRC2012_val_0000000{i}" for i in (2, 1, 3)] and images.labels == (0, 1, 1)


def test_a_given_list_says_which_images_are_taken(by_class, tmp_path):
    put(tmp_path / "list.txt", f"imagenet_1k/val/{TENCH}_1.JPEG 0\nimagenet_1k/val/{SHARK}_0.JPEG 2\n")
    images = folder(by_class, [TENCH, SHARK], str(tmp_path / "list.txt")).images()
    assert stems(images) == [f"{TENCH}_1", f"{SHARK}_0"] and images.labels == (0, 1)


def test_what_does_not_fit_is_a_users_mistake(by_class, in_one_folder, tmp_path):
    with pytest.raises(UserError, match="must exist"):
        folder(tmp_path / "nowhere").images()
    with pytest.raises(UserError, match="997 of 1000 have none"):
        folder(by_class).images()
    with pytest.raises(UserError, match="'n1'"):
        folder(by_class, ["n1"]).images()


def test_images_in_one_folder_without_a_usable_list_are_a_users_mistake(in_one_folder):
    with pytest.raises(UserError, match=r"val\.txt"):
        folder(in_one_folder).images()
    listed = put(in_one_folder.parent / "val.txt", "ILSVRC2012_val_00000001.JPEG 1000\n")
    with pytest.raises(UserError, match="0 to 999"):
        folder(in_one_folder).images()
    listed.write_text("ILSVRC2012_val_00000001.JPEG 0\n")
    with pytest.raises(UserError, match="1 of 2 have none"):
        folder(in_one_folder, [TENCH, SHARK]).images()


def test_the_shipped_subsets_are_classes_of_imagenet(pytestconfig):
    lists = {
        path.stem: path.read_text().split() for path in (pytestconfig.rootpath / "neglab/assets/datasets").iterdir()
    }
    sizes = {f"imagenet{n}": n for n in (10, 20, 99, 100)} | {"imagenet_a": 200, "imagenet_r": 200}
    assert {name: len(set(wnids)) for name, wnids in lists.items()} == sizes
    assert all(set(wnids) <= set(layouts.WNIDS) for wnids in lists.values())
    assert set(lists["imagenet100"]) - set(lists["imagenet99"]) == {"n04037443"}  # the race car
    assert not set(lists["imagenet10"]) & set(lists["imagenet20"] + lists["imagenet100"])
    assert set(lists["imagenet20"]) & set(lists["imagenet100"]) == {"n01632458", "n04147183"}


def test_a_damaged_development_kit_is_a_users_mistake(in_one_folder):
    kit = in_one_folder.parent / "ILSVRC2012_devkit_t12/data"
    put(kit / "ILSVRC2012_validation_ground_truth.txt", "1\n2\n1\n")
    for content in (None, "no MATLAB file"):
        if content:
            put(kit / "meta.mat", content)
        with pytest.raises(UserError, match="must be whole"):
            folder(in_one_folder, [TENCH]).images()
