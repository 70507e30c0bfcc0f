import fakes
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms.functional import to_tensor

from neglab.detector.image_inputs import one_by_one, readings
from neglab.types import UserError

SIZE = 8
ORIENTATION = 0x0112


def transform(image):
    return to_tensor(image.resize((SIZE, SIZE)))


@pytest.fixture
def paths(tmp_path):
    return fakes.write_pictures(tmp_path / "pictures", 3)


def stacked(images):
    return torch.stack([found.pixels for found in readings(images, transform)])


def test_all_forms_of_a_picture_are_the_same(paths):
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    expected = torch.stack([transform(picture) for picture in pictures])
    forms = [paths, list(map(str, paths)), pictures, arrays, np.stack(arrays), paths[0].parent, str(paths[0].parent)]
    forms += [torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2), [expected[0], pictures[1], paths[2]], expected]
    forms += [
        [paths[:2], [pictures[2]]],
        [(pictures, [0, 1, 2])],
        iter(paths),
        (picture for picture in pictures),
        [(picture, 7) for picture in pictures],
    ]
    forms += [DataLoader(expected, batch_size=2), DataLoader(TensorDataset(expected, torch.arange(3)), batch_size=2)]
    for form in forms:
        assert torch.equal(stacked(form), expected)
    for single in (pictures[0], paths[0], str(paths[0]), arrays[0], expected[0]):
        assert torch.equal(stacked(single), expected[:1])


def test_grey_arrays_are_taken():
    grey = np.full((5, 6), 7, dtype=np.uint8)
    assert stacked(grey).shape == (1, 3, SIZE, SIZE)


def test_pictures_stand_upright(tmp_path):
    """As a telephone leaves them: pixels on their side, and a mark that says so."""
    picture = Image.new("RGB", (40, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = transform(picture.rotate(-90, expand=True))
    assert torch.equal(stacked(tmp_path / "turned.png"), upright[None])
    assert torch.equal(stacked(Image.open(tmp_path / "turned.png")), upright[None])


MISTAKES = [
    (np.zeros((4, 4, 3)), r"got ndarray float64 \[4, 4, 3\]"),
    (np.zeros((4, 4, 5), dtype=np.uint8), r"got ndarray uint8 \[4, 4, 5\]"),
    (torch.zeros(3, 5, 5), r"after the backbone's transform, \[3, 8, 8\]; got \[3, 5, 5\]"),
    (torch.zeros(3, 5, 5, dtype=torch.long), "got Tensor torch.int64"),
]


@pytest.mark.parametrize(("images", "message"), MISTAKES, ids=[message[:20] for _, message in MISTAKES])
def test_what_is_no_image(images, message):
    with pytest.raises(UserError, match=message):
        stacked(images)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UserError, match="at least one image in a folder"):
        list(one_by_one(tmp_path))


@pytest.mark.parametrize("images", [None, 3, 2.5, [None], [3], torch.tensor(3)])
def test_what_is_no_image_is_said(images):
    with pytest.raises(UserError, match="Images m"):
        list(readings(images, transform))


def test_what_cannot_be_read_is_said_and_stops_nothing(paths, tmp_path):
    (tmp_path / "broken.jpg").write_text("no picture")
    given = [paths[0], tmp_path / "broken.jpg", "/no/such.png", "a" * 5000, "a\0b.png"]
    given += [Image.new("F", (8, 8)), np.zeros((0, 0), dtype=np.uint8), paths[1]]
    found = list(readings(given, transform))
    assert [one.pixels is None for one in found] == [False, True, True, True, True, True, True, False]
    assert found[1].path == str(tmp_path / "broken.jpg") and "cannot identify" in found[1].error
    assert "no known range" in found[5].error and all(one.error for one in found[1:7])
