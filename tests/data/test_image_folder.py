import json
import os
import pickle
import re
import subprocess
import unicodedata

import fakes
import pytest
from torchvision.transforms.functional import to_tensor

from neglab.columns import PathTexts
from neglab.data.base import About, UnreadableImageError, check_apart, read_image
from neglab.data.image_folder import ImageFolder, images_below
from neglab.data.sources import ImageFile
from neglab.embedding.store import Store
from neglab.types import UserError


@pytest.fixture
def root(tmp_path):
    for name, count in (("b_bird", 2), ("a cat", 3)):
        fakes.write_pictures(tmp_path / "id" / name, count)
    (tmp_path / "id" / "a cat" / "notes.txt").write_text("no picture")
    return tmp_path / "id"


def test_each_subfolder_is_a_class(root):
    folder = ImageFolder(str(root), True, None, None, None)
    assert folder.class_names().names == ("a cat", "b bird")
    images = folder.images()
    assert images.labels == (0, 0, 0, 1, 1)
    assert [source.path.parent.name for source in images.sources] == ["a cat"] * 3 + ["b_bird"] * 2


def test_names_from_a_list_or_a_file(root, tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\nbird \n")
    assert ImageFolder(str(root), True, str(tmp_path / "names.txt"), None, None).class_names().names == ("cat", "bird")
    assert ImageFolder(str(root), True, ["cat", "bird"], None, None).class_names().names == ("cat", "bird")


def test_an_ood_set_takes_every_image_below(root):
    images = ImageFolder(str(root), False, None, None, None).images()
    assert images.labels == (-1,) * 5
    assert list(images.sources) == sorted(images.sources, key=str)


def test_duplicate_names_are_kept_and_said(root, caplog):
    assert ImageFolder(str(root), True, ["cat", "cat"], None, None).class_names().names == ("cat", "cat")
    assert "more than once and are kept: cat" in caplog.text


def test_mistakes(root, tmp_path):
    with pytest.raises(UserError, match="image folder must exist; got"):
        ImageFolder(str(tmp_path / "nowhere"), False, None, None, None).images()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"at least one image .* such as .*empty"):
        ImageFolder(str(tmp_path / "empty"), False, None, None, None).images()
    with pytest.raises(UserError, match="one subfolder per class; got none"):
        ImageFolder(str(tmp_path / "empty"), True, None, None, None).class_names()
    with pytest.raises(UserError, match="got 3 names and 2 subfolders"):
        ImageFolder(str(root), True, ["a", "b", "c"], None, None).class_names()
    with pytest.raises(UserError, match="file of names must exist"):
        ImageFolder(str(root), True, "nowhere.txt", None, None).class_names()
    (root / "c_empty").mkdir()
    with pytest.raises(UserError, match=r"at least one image .* in 1, such as .*c_empty"):
        ImageFolder(str(root), True, None, None, None).images()


def test_only_some_folders_in_the_given_order(root, tmp_path):
    fakes.write_pictures(root / "c", 1)
    folder = ImageFolder(str(root), True, None, ["c", "a cat"], None)
    assert folder.class_names().names == ("c", "a cat")
    images = folder.images()
    assert images.labels == (0, 1, 1, 1)
    assert [source.path.parent.name for source in images.sources] == ["c", "a cat", "a cat", "a cat"]
    (tmp_path / "folders.txt").write_text("c\nb_bird\n")
    assert len(ImageFolder(str(root), False, None, str(tmp_path / "folders.txt"), None).images()) == 3
    with pytest.raises(UserError, match="every subfolder that is asked for; got none of 1, such as 'd'"):
        ImageFolder(str(root), False, None, ["c", "d"], None).images()


def test_extra_files_and_hidden_folders_are_passed_over(root):
    for name in (".DS_Store", "._picture00.png", "Thumbs.db", "desktop.ini", ".hidden.png"):
        (root / "a cat" / name).write_bytes(b"no picture")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        fakes.write_pictures(root / name, 1)
    fakes.write_pictures(root / "a cat" / ".thumbnails", 1)
    (root / "checksums.txt").write_text("")
    images = ImageFolder(str(root), True, None, None, None).images()
    assert images.labels == (0, 0, 0, 1, 1)
    assert len(ImageFolder(str(root), False, None, None, None).images()) == 5


def test_names_that_no_keyboard_has_and_uppercase_endings(root):
    first, second = fakes.write_pictures(root / "crème brûlée 🍮 ", 2)
    first.rename(first.with_name("Ψ 図.PNG"))
    second.rename(second.with_name("second.JpEg"))
    folder = ImageFolder(str(root), True, None, None, None)
    assert folder.class_names().names[2] == "crème brûlée 🍮"
    names = [source.path.name for source in folder.images().sources[5:]]
    assert names == ["second.JpEg", "Ψ 図.PNG"]
    assert read_image(folder.images().sources[6], to_tensor).shape == (3, 40, 36)


def test_a_file_name_that_is_not_utf8_is_said(root):
    (root / "a cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"must be UTF-8; got b'.*caf\\xe9.png'. Rename it"):
        ImageFolder(str(root), True, None, None, None).images()


ANIMALS = ["ant", "bear", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kiwi", "lynx"]


def write_numbered(folder):
    """Folders 1 to 12, in each a picture of the animal with that number."""
    for number, name in enumerate(ANIMALS, start=1):
        (picture,) = fakes.write_pictures(folder / str(number), 1, seed=number)
        picture.rename(picture.with_stem(name))
    return folder


@pytest.mark.parametrize("given", ["list", "text", "folders.json", "indices.json"])
def test_numbered_folders_have_the_names_of_their_numbers(tmp_path, caplog, given):
    root = write_numbered(tmp_path / "numbered")
    (tmp_path / "text").write_text("\n".join(ANIMALS))
    (tmp_path / "folders.json").write_text(json.dumps({str(i + 1): name for i, name in enumerate(ANIMALS)}))
    (tmp_path / "indices.json").write_text(json.dumps({str(i): name for i, name in enumerate(ANIMALS)}))
    folder = ImageFolder(str(root), True, ANIMALS if given == "list" else str(tmp_path / given), None, None)
    names, images = folder.class_names().names, folder.images()
    assert [names[label] for label in images.labels] == [source.path.stem for source in images.sources]  # accuracy 1
    assert folder.class_keys() == [str(i) for i in range(1, 13)]
    assert "natural order: 1 = ant, 2 = bear, 3 = cat; in text order" in caplog.text
    assert caplog.text.count("natural order") == 1  # however often it is asked


def test_names_are_in_the_order_of_the_given_folders(tmp_path):
    root = write_numbered(tmp_path / "numbered")
    folder = ImageFolder(str(root), True, ["lynx", "bear"], ["12", "2"], None)
    names, images = folder.class_names().names, folder.images()
    assert [names[label] for label in images.labels] == ["lynx", "bear"]


def test_folders_named_by_wordnet_ids_get_the_names_of_their_classes(tmp_path):
    for name in ("n02084071", "n01440764"):
        fakes.write_pictures(tmp_path / name, 1)
    folder = ImageFolder(str(tmp_path), True, None, None, None)
    assert folder.class_names().names == ("tench", "dog") and folder.class_keys() == ["n01440764", "n02084071"]
    names = {"n02084071": "pet", "n01440764": "fish"}
    assert ImageFolder(str(tmp_path), True, names, None, None).class_names().names == ("fish", "pet")


@pytest.mark.parametrize("folders", [("1", "2", "10"), ("n01440764", "pets"), ("n00000000", "n01443537")])
def test_folders_that_are_no_words_need_names(tmp_path, folders):
    for name in folders:
        fakes.write_pictures(tmp_path / name, 1)
    with pytest.raises(
        UserError, match=f"must be words; got .* such as {folders[0]}, in the subfolders of .*class_names"
    ):
        ImageFolder(str(tmp_path), True, None, None, None).class_names()
    assert len(ImageFolder(str(tmp_path), False, None, None, None).images()) == len(folders)


@pytest.mark.parametrize("splits", [("train", "val"), ("Test",), ("cats", "test", "train")])
def test_splits_are_no_classes(tmp_path, caplog, splits):
    for name in splits:
        fakes.write_pictures(tmp_path / name / "cat", 1)
    ImageFolder(str(tmp_path), True, None, None, None).images()
    assert re.search("taken as a class; are .* splits of one set", caplog.text)


def test_classes_that_lie_deeper_are_said(tmp_path, caplog):
    for name in ("animals/cat", "animals/dog", "plants/oak"):
        fakes.write_pictures(tmp_path / name, 1)
    ImageFolder(str(tmp_path), True, None, None, None).images()
    assert "are their own, such as" in caplog.text and "animals/cat, the classes?" in caplog.text
    caplog.clear()
    for name in ("cat/images", "dog/images"):  # as in TinyImageNet
        fakes.write_pictures(tmp_path / "other" / name, 1)
    ImageFolder(str(tmp_path / "other"), True, None, None, None).images()
    assert not caplog.text


def test_what_is_passed_over_is_counted_in_one_line(root, caplog):
    for name in ("a cat/x.txt", "b_bird/y.MP4", "b_bird/z.mp4", "b_bird/README", "b_bird/thumbs.db"):
        (root / name).write_bytes(b"")
    ImageFolder(str(root), True, None, None, None).images()
    (record,) = caplog.records
    assert record.getMessage() == f"5 files below {root} are no images: 2 .mp4, 2 .txt, 1 without ending"


def test_what_systems_leave_beside_pictures(root):
    for name in ("@eaDir", "$RECYCLE.BIN", "lost+found"):
        fakes.write_pictures(root / name, 1)
        fakes.write_pictures(root / "a cat" / name, 1)
    assert ImageFolder(str(root), True, None, None, None).images().labels == (0, 0, 0, 1, 1)


def test_folders_whose_letters_are_composed_or_not(tmp_path):
    apart = unicodedata.normalize("NFD", "crème")
    fakes.write_pictures(tmp_path / apart, 1)
    folder = ImageFolder(str(tmp_path), True, {"crème": "custard"}, ["crème"], None)
    assert folder.class_names().names == ("custard",) and len(folder.images()) == 1
    assert ImageFolder(str(tmp_path), True, None, None, None).class_names().names == ("crème",)
    assert ImageFolder(str(tmp_path), True, {"crème": "custard"}, None, None).class_names().names == ("custard",)


def test_id_and_ood_images_come_from_different_places(root, tmp_path):
    def make(place, labelled=False, folders=None):
        return ImageFolder(str(place), labelled, None, folders, None)

    elsewhere = fakes.write_pictures(tmp_path / "elsewhere", 1)[0].parent
    (tmp_path / "link").symlink_to(root)
    own = make(root, labelled=True)
    for place in (root, root / "a cat", tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match=r"all those in .*id.* are in the ID set and in the OOD set plants"):
            check_apart(own, {"fine": make(elsewhere), "plants": make(place)})
    check_apart(make(root, True, ["a cat"]), {"birds": make(root, False, ["b_bird"]), "fine": make(elsewhere)})


def test_links_are_followed(root, tmp_path):
    elsewhere = fakes.write_pictures(tmp_path / "elsewhere", 2)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "b_bird" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "b_bird" / "one.png").symlink_to(elsewhere[0])
    images = ImageFolder(str(root), True, None, None, None).images()
    assert images.labels == (0, 0, 0, 1, 1, 1, 1, 1, 2, 2)
    (tmp_path / "root").symlink_to(root)
    assert len(ImageFolder(str(tmp_path / "root"), False, None, None, None).images()) == 10


def test_a_loop_of_links_is_left_out_and_said(root, caplog):
    (root / "b_bird" / "above").symlink_to(root.parent)
    (root / "b_bird" / "again").symlink_to(root / "b_bird")
    (root / "b_bird" / "itself").symlink_to(root / "b_bird" / "itself")
    assert len(ImageFolder(str(root), False, None, None, None).images()) == 5
    assert caplog.text.count("leads back to a folder above it and is left out") == 2


def test_a_link_to_nowhere_is_listed_and_cannot_be_read(root):
    (root / "b_bird" / "lost.png").symlink_to(root / "nowhere.png")
    lost = ImageFolder(str(root), True, None, None, None).images().sources[3]
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(lost, to_tensor)


def test_archives_that_are_still_packed_are_named(root, tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "SUN.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"It holds SUN.tar.gz: extract it\."):
        ImageFolder(str(tmp_path / "packed"), False, None, None, None).images()
    with pytest.raises(UserError, match=r"got none. It holds SUN.tar.gz: extract it\."):
        ImageFolder(str(tmp_path / "packed"), True, None, None, None).images()
    (root / "d" / "inside").mkdir(parents=True)
    (root / "d" / "n01440764.TAR").write_bytes(b"")
    with pytest.raises(UserError, match=r"got none in 1, such as .*/d. It holds n01440764.TAR: extract it\."):
        ImageFolder(str(root), True, None, None, None).images()


def test_what_is_known_of_a_set(root, tmp_path, caplog):
    (root / "a cat" / "notes.txt").unlink()
    about = About(7, "Fetch it from its authors.", "for research")
    assert len(ImageFolder(str(root), True, None, None, about).images()) == 5
    assert "must hold 7 images to be the published set; got 5" in caplog.text
    caplog.clear()
    ImageFolder(str(root), True, None, None, About(5, "", "")).images()
    ImageFolder(str(root), True, None, None, About(None, "", "")).images()
    assert not caplog.text
    missing = (
        r"got .*nowhere. Set id_dataset.root or ood_datasets.NAME.root .* NEGLAB_DATA .* Fetch it from its authors\."
    )
    with pytest.raises(UserError, match=missing):
        ImageFolder(str(tmp_path / "nowhere"), True, None, None, about).images()


def test_many_files_are_listed_without_opening_them(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2000):
            (tmp_path / name / f"{i:05d}.JPEG").touch()
    calls = []
    monkeypatch.setattr(os, "stat", lambda *args, real=os.stat, **options: calls.append(1) or real(*args, **options))
    images = ImageFolder(str(tmp_path), True, None, None, None).images()
    assert len(images) == 4000
    assert len(calls) < 100  # folders alone are looked at
    assert len(pickle.dumps(images)) < 50 * len(images)  # what a spawned process is sent


def test_folders_nested_deeper_than_calls(tmp_path):
    """Made and removed step by step: their whole path is longer than one that the system takes at once."""
    depth, here = 1500, os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        here, parent = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(parent)
    (tmp_path / "a.png").touch()
    os.close(os.open("b.png", os.O_CREAT, dir_fd=here))
    found = [path.name for path in images_below(tmp_path)]
    os.close(here)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own way down is too deep
    assert found == ["a.png", "b.png"]


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImageError, match="Not a regular file"):
        read_image(ImageFile(tmp_path / "x.jpg"), lambda image: image)
    store = Store(tmp_path / "store")
    assert store.file_marks(PathTexts.of([tmp_path / "x.jpg"])).texts(0, 1) == [""]
