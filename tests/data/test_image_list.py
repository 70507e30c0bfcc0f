import unicodedata

import fakes
import pytest

from neglab.data.base import About, UnreadableImageError, read_image
from neglab.data.image_list import ImageListFile
from neglab.types import UserError


@pytest.fixture
def make(tmp_path):
    fakes.write_pictures(tmp_path / "images" / "my cats", 2)
    fakes.write_pictures(tmp_path / "images" / "dogs", 1)

    def build(text, labelled=True, class_names=("cat", "dog"), about=None):
        (tmp_path / "list.txt").write_text(text)
        return ImageListFile(str(tmp_path / "images"), str(tmp_path / "list.txt"), labelled, class_names, about)

    return build


LINES = "dogs/picture00.png 1\n\nmy cats/picture01.png 0\nmy cats/picture00.png 0\n"


def test_paths_and_labels_in_the_order_of_the_list(make, tmp_path):
    dataset = make(LINES)
    images = dataset.images()
    assert images.labels == (1, 0, 0)
    assert [str(source.path.relative_to(tmp_path / "images")) for source in images.sources] == [
        "dogs/picture00.png",
        "my cats/picture01.png",
        "my cats/picture00.png",
    ]
    assert dataset.class_names().names == ("cat", "dog")


def test_of_an_ood_list_no_label_counts(make):
    assert make(LINES, labelled=False).images().labels == (-1, -1, -1)
    images = make("dogs/picture00.png\nmy cats/picture01.png -1\n", labelled=False).images()
    assert [source.path.name for source in images.sources] == ["picture00.png", "picture01.png"]


def test_a_count_that_differs_is_said(make, caplog):
    make(LINES, about=About(45000, "", "")).images()
    assert "must hold 45000 images to be the published set; got 3" in caplog.text


@pytest.mark.parametrize(
    ("line", "got"), [("dogs/picture00.png", "None"), ("dogs/picture00.png 2", "2"), ("a.png -1", "-1")]
)
def test_a_label_that_is_none(make, line, got):
    with pytest.raises(UserError, match=f"must end with a label from 0 to 1, one per class name; got {got} for"):
        make(f"{LINES}{line}").images()


def test_tabs_and_spaces(make):
    text = "dogs/picture00.png\t1\nmy cats/picture01.png  0\nmy cats/picture00.png \t0\n"
    assert make(text).images().labels == (1, 0, 0)
    assert all(source.path.is_file() for source in make(text).images().sources)
    only_paths = make("dogs/picture00.png\nmy cats/picture01.png\n", labelled=False).images()
    assert all(source.path.is_file() for source in only_paths.sources)


def test_labels_counted_from_1(make):
    with pytest.raises(UserError, match=r"counted from 0; those in .*list.txt go from 1 to 2, for 2 class names"):
        make("dogs/picture00.png 2\nmy cats/picture01.png 1\n").images()


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_composed_or_not(make, tmp_path, listed, on_disk):
    name = "crème brûlée"
    fakes.write_pictures(tmp_path / "images" / unicodedata.normalize(on_disk, name), 1)
    images = make(f"{unicodedata.normalize(listed, name)}/picture00.png 1\ndogs/nowhere.png 0\n").images()
    assert [source.path.is_file() for source in images.sources] == [True, False]


def test_mistakes(make, tmp_path):
    with pytest.raises(
        UserError, match=r"images at least must exist, which .*cats/nowhere.png does not; .* Ask for them\."
    ):
        make("cats/nowhere.png 0", about=About(1, "Ask for them.", "")).images()
    with pytest.raises(UserError, match="no class names"):
        make(LINES, class_names=None).images()
    dataset = make(LINES)
    (tmp_path / "list.txt").unlink()
    with pytest.raises(UserError, match=r"list of images must exist; got .*list.txt in .*images"):
        dataset.images()


@pytest.mark.parametrize("last", ["--3", "-", "1-", "9" * 5000, "٣"])
def test_what_looks_like_a_number_is_part_of_the_path(make, last):
    with pytest.raises(UserError, match="got None for"):
        make(f"{LINES}a.png {last}").images()


def test_a_path_that_is_too_long_or_holds_a_nul_is_not_there(make):
    images = make(f"{LINES}{'a' * 5000}.png 0\na\0b.png 1\n").images()
    for source in images.sources[3:]:
        with pytest.raises(UnreadableImageError):
            read_image(source, lambda image: image)
