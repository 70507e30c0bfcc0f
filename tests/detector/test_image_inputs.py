import fakes
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from neglab.detector.image_inputs import as_list, transformed
from neglab.types import UserError

SIZE = 8


def transform(image):
    return to_tensor(image.resize((SIZE, SIZE)))


@pytest.fixture
def paths(tmp_path):
    return fakes.write_pictures(tmp_path / "pictures", 3)


def stacked(images):
    return torch.stack(list(transformed(as_list(images), transform)))


def test_all_forms_of_a_picture_are_the_same(paths):
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    expected = torch.stack([transform(picture) for picture in pictures])
    forms = [paths, list(map(str, paths)), pictures, arrays, np.stack(arrays), paths[0].parent, str(paths[0].parent)]
    forms += [torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2), [expected[0], pictures[1], paths[2]], expected]
    for form in forms:
        assert torch.equal(stacked(form), expected)
    for single in (pictures[0], paths[0], str(paths[0]), arrays[0], expected[0]):
        assert torch.equal(stacked(single), expected[:1])


def test_grey_arrays_and_generators_are_taken(paths):
    grey = np.full((5, 6), 7, dtype=np.uint8)
    assert stacked(grey).shape == (1, 3, SIZE, SIZE)
    assert len(stacked(path for path in paths)) == 3


MISTAKES = [
    (np.zeros((4, 4, 3)), r"got ndarray float64 \[4, 4, 3\]"),
    (np.zeros((4, 4, 5), dtype=np.uint8), r"got ndarray uint8 \[4, 4, 5\]"),
    (torch.zeros(3, 5, 5), r"after the backbone's transform, \[3, 8, 8\]; got \[3, 5, 5\]"),
    (torch.zeros(3, 5, 5, dtype=torch.long), "got Tensor torch.int64"),
    ("/no/such/picture.png", "Images must be readable"),
]


@pytest.mark.parametrize(("images", "message"), MISTAKES, ids=[message[:20] for _, message in MISTAKES])
def test_what_is_no_image(images, message):
    with pytest.raises(UserError, match=message):
        stacked(images)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UserError, match="at least one image in a folder"):
        as_list(tmp_path)


@pytest.mark.parametrize("images", [None, 3, 2.5, [None], [3], torch.tensor(3), np.zeros((0, 0), dtype=np.uint8)])
def test_what_is_no_image_is_said(images):
    with pytest.raises(UserError, match="Images m"):
        list(transformed(as_list(images), transform))


def test_an_image_without_a_range_is_said():
    with pytest.raises(UserError, match="that in place 1 is not: floating-point pixels have no known range"):
        list(transformed([Image.new("RGB", (8, 8)), Image.new("F", (8, 8))], transform))


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b.png"])
def test_a_path_that_cannot_be_is_said(path):
    with pytest.raises(UserError, match="Images must be readable"):
        list(transformed(as_list(path), transform))
