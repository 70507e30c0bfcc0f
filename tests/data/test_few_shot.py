from dataclasses import replace
from pathlib import Path

import fakes
import pytest
import torch

from neglab.data.base import ImageDataset, ImageList
from neglab.data.few_shot import FewShot, for_classes
from neglab.data.view import RandomCrop
from neglab.types import LabelledEmbeddings, UserError, Words


class Given(ImageDataset):
    """Twenty images of class a, three of class b."""

    def class_names(self):
        return Words.nouns(("a", "b"))

    def images(self):
        return ImageList.of_files([Path(f"{i}.png") for i in range(23)], [0] * 20 + [1] * 3)


def test_so_many_per_class_without_repetition():
    images = FewShot(Given(), 16, 0, "plain").images()
    assert images.labels == (0,) * 16 + (1,) * 3
    assert len(set(images.sources)) == 19


def test_the_seed_draws():
    first, again, other = (FewShot(Given(), 5, seed, "plain").images().sources for seed in (0, 0, 1))
    assert first == again != other


def test_images_find_their_class_by_name():
    images = LabelledEmbeddings(fakes.unit(5), torch.tensor([0, 1, 1, 2, 0]), ("p", "q", "r", "s", "t"))
    images = replace(images, positions=torch.tensor([1, 2, 4, 5, 9]))  # in the set, of which others were unreadable
    found = for_classes(images, ("cat", "dog", "owl"), ("owl", "cat"))
    assert found.positions.tolist() == [1, 5, 9]
    assert found.labels.tolist() == [1, 0, 1]
    assert found.paths == ("p", "s", "t")
    assert torch.equal(found.embeddings, images.embeddings[[0, 3, 4]])


def test_a_class_without_images_is_named():
    images = LabelledEmbeddings(fakes.unit(2), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="'owl'"):
        for_classes(images, ("cat", "dog"), ("cat", "owl"))


def test_an_unknown_view_is_a_mistake():
    with pytest.raises(UserError, match="plain, random_crop; got 'flipped'"):
        FewShot(Given(), 5, 0, "flipped")


def test_views_follow_the_seed():
    assert FewShot(Given(), 5, 0, "plain").images().view is None
    assert FewShot(Given(), 5, 7, "random_crop").images().view == RandomCrop(7)
