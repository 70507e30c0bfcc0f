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


@pytest.mark.parametrize("batch_size", [1, 7, 16, 33])
def test_batches_do_not_change_scores(batch_size):
    """Bit for bit where MKL multiplies, within 1e-6 elsewhere."""
    bank, images, score = bank_with_images(), fakes.unit(50, seed=3), KNNScore(5)
    tolerance = 0 if torch.backends.mkl.is_available() else 1e-6
    split = torch.cat([score(batch, bank) for batch in images.split(batch_size)])
    assert torch.allclose(split, score(images, bank), atol=tolerance, rtol=0)


def test_chunks_do_not_change_scores(monkeypatch):
    bank, images = bank_with_images(), fakes.unit(50, seed=3)
    whole = KNNScore(5)(images, bank)
    monkeypatch.setattr("neglab.score.knn.CHUNK_ELEMENTS", 1)  # one block of rows at a time
    assert torch.allclose(KNNScore(5)(images, bank), whole, atol=1e-6, rtol=0)


def test_one_image_of_one_class_is_enough():
    bank = bank_with_images(count=1, num_classes=1)
    assert KNNScore(1)(bank.id_images.embeddings, bank).tolist() == pytest.approx([0.0], abs=1e-6)


def test_texts_and_labels_play_no_part():
    few, many, images = bank_with_images(num_classes=1), bank_with_images(), fakes.unit(9, seed=3)
    assert torch.equal(KNNScore(5)(images, few), KNNScore(5)(images, many))


def test_no_images_no_scores():
    assert KNNScore(5)(fakes.unit(0), bank_with_images()).shape == (0,)


@pytest.mark.parametrize("bank", [fakes.text_bank(), bank_with_images(count=0)])
def test_id_images_are_needed(bank):
    assert KNNScore.needs_id_images
    with pytest.raises(UserError, match=r"KNN compares with ID images; got none\. Choose id_images=\.\.\."):
        KNNScore(1).prepare(bank)


def test_more_neighbours_than_images_say_what_to_do():
    with pytest.raises(UserError, match=r"got num_neighbours=41 with 40 images\. Lower score\.num_neighbours"):
        KNNScore(41).prepare(bank_with_images())
