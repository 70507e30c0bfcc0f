import fakes
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomHorizontalFlip, RandomResizedCrop

from neglab.data.view import RandomCrop


@pytest.fixture
def picture(tmp_path):
    return Image.open(fakes.write_pictures(tmp_path, 1)[0]).convert("RGB")


def same(first, second):
    return np.array_equal(np.asarray(first), np.asarray(second))


def test_a_view_is_that_of_the_training_transform(picture):
    view = RandomCrop(3)(picture, 5, 32)
    torch.manual_seed(3 * 1_000_003 + 5)
    crop = RandomResizedCrop(32, interpolation=InterpolationMode.BICUBIC)(picture)
    assert same(view, RandomHorizontalFlip()(crop))


def test_each_image_has_its_own_and_keeps_it(picture):
    views = [RandomCrop(0)(picture, position, 16) for position in range(20)]
    assert all(same(view, RandomCrop(0)(picture, i, 16)) for i, view in enumerate(views))
    assert len({view.tobytes() for view in views}) == 20
    assert not same(views[0], RandomCrop(1)(picture, 0, 16))


def test_the_global_random_state_is_untouched(picture):
    before = torch.get_rng_state()
    RandomCrop(0)(picture, 0, 16)
    assert torch.equal(torch.get_rng_state(), before)
