from dataclasses import replace

import fakes
import pytest
import torch
from reference import id_images as reference

from neglab.score.knn import KNNScore
from neglab.types import LabelledEmbeddings, UserError


def bank_with_images(count=40, num_classes=5):
    images = LabelledEmbeddings(fakes.unit(count, seed=4), torch.arange(count) % num_classes)
    return replace(fakes.text_bank(num_classes=num_classes), id_images=images)


def test_the_reference_by_hand():
    assert reference.knn([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]], 1) == 0
    assert reference.knn([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]], 2) == -2
    assert reference.knn([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]], 3) == -4


@pytest.mark.parametrize("num_neighbours", [1, 5, 40])
def test_equals_the_sorted_distances(num_neighbours):
    """Within 1e-6, the rounding of float32 cosines near 1."""
    bank, images = bank_with_images(), fakes.unit(9, seed=3)
    expected = [reference.knn(image, bank.id_images.embeddings.tolist(), num_neighbours) for image in images.tolist()]
    assert KNNScore(num_neighbours)(images, bank).tolist() == pytest.approx(expected, abs=1e-6)


def test_an_id_image_is_its_own_nearest_neighbour():
    bank = bank_with_images()
    assert KNNScore(1)(bank.id_images.embeddings, bank).tolist() == pytest.approx([0.0] * 40, abs=1e-6)
    assert (KNNScore(2)(bank.id_images.embeddings, bank) < -1e-3).all()


def test_one_image_of_one_class_is_enough():
    bank = bank_with_images(count=1, num_classes=1)
    assert KNNScore(1)(bank.id_images.embeddings, bank).tolist() == pytest.approx([0.0], abs=1e-6)


def test_texts_and_labels_play_no_part():
    few, many, images = bank_with_images(num_classes=1), bank_with_images(), fakes.unit(9, seed=3)
    assert torch.equal(KNNScore(5)(images, few), KNNScore(5)(images, many))


def test_more_neighbours_than_images_say_what_to_do():
    with pytest.raises(UserError, match=r"got num_neighbours=41 with 40 images\. Lower score\.num_neighbours"):
        KNNScore(41).prepare(bank_with_images())
