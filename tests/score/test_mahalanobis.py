from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from reference import id_images as reference
from score_fakes import bank_with_images
from sklearn.covariance import EmpiricalCovariance, LedoitWolf, ledoit_wolf_shrinkage

from neglab.score import mahalanobis
from neglab.score.mahalanobis import MahalanobisScore
from neglab.types import LabelledEmbeddings, UserError


def numbers(bank):
    return bank.id_images.embeddings.double().numpy(), bank.id_images.labels.numpy()


def residuals(bank):
    embeddings, labels = numbers(bank)
    return embeddings - np.array([embeddings[labels == label].mean(axis=0) for label in labels])


@pytest.mark.parametrize("count", [10, 25, 80, 400])
def test_the_shrinkage_is_that_of_scikit_learn(count):
    rows = residuals(bank_with_images(count))
    expected = ledoit_wolf_shrinkage(rows, assume_centered=True)
    assert reference.ledoit_wolf(rows) == pytest.approx(expected, abs=1e-12)
    assert mahalanobis.ledoit_wolf_shrinkage(torch.from_numpy(rows)).item() == pytest.approx(expected, abs=1e-12)


def test_no_spread_needs_no_shrinkage():
    """Residuals along each axis in equal measure are a multiple of the identity already."""
    assert mahalanobis.ledoit_wolf_shrinkage(torch.cat([torch.eye(4), -torch.eye(4)]).double()).item() == 0


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", 0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_classes", [1, 5])
def test_equals_the_inverse_covariance(shrinkage, num_classes):
    """Within 1e-6 of the largest score."""
    bank, images = bank_with_images(num_classes=num_classes), fakes.unit(9, seed=3)
    number = None if shrinkage == "ledoit_wolf" else shrinkage
    expected = [reference.mahalanobis(image, *numbers(bank), number) for image in images.double().numpy()]
    assert MahalanobisScore(shrinkage)(images, bank).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("shrinkage", "estimator"), [(0.0, EmpiricalCovariance), ("ledoit_wolf", LedoitWolf)])
def test_one_class_is_the_distance_of_scikit_learn(shrinkage, estimator):
    bank, images = bank_with_images(num_classes=1), fakes.unit(9, seed=3)
    fitted = estimator(assume_centered=True).fit(residuals(bank))
    expected = -fitted.mahalanobis(images.double().numpy() - numbers(bank)[0].mean(axis=0))
    assert MahalanobisScore(shrinkage)(images, bank).tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_full_shrinkage_ranks_by_the_euclidean_distance():
    bank, images = bank_with_images(), fakes.unit(9, seed=3)
    embeddings, labels = numbers(bank)
    means = np.array([embeddings[labels == label].mean(axis=0) for label in range(5)])
    nearest = np.square(images.double().numpy()[:, None] - means).sum(axis=2).min(axis=1)
    assert np.argsort(MahalanobisScore(1.0)(images, bank).numpy()).tolist() == np.argsort(-nearest).tolist()


def test_few_shots_in_many_dimensions():
    """Two images per class, 10 in all, in 16 dimensions: S has no inverse, the shrunk covariance has."""
    bank, images = bank_with_images(count=10), fakes.unit(9, seed=3)
    expected = [reference.mahalanobis(image, *numbers(bank), None) for image in images.double().numpy()]
    assert MahalanobisScore("ledoit_wolf")(images, bank).tolist() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(UserError, match=r"10 ID images in 16 dimensions with score\.shrinkage=0\.0\. Set"):
        MahalanobisScore(0.0).prepare(bank)


def test_the_names_of_classes_and_missing_classes_do_not_matter():
    bank, images, score = bank_with_images(), fakes.unit(9, seed=3), MahalanobisScore("ledoit_wolf")
    renamed = LabelledEmbeddings(bank.id_images.embeddings, 2 + 3 * bank.id_images.labels)
    assert torch.allclose(score(images, replace(bank, id_images=renamed)), score(images, bank), atol=1e-9, rtol=1e-9)


def test_images_without_a_class_are_left_out():
    bank, images, score = bank_with_images(), fakes.unit(9, seed=3), MahalanobisScore("ledoit_wolf")
    rows = bank.id_images
    more = LabelledEmbeddings(
        torch.cat([rows.embeddings, fakes.unit(3, seed=9)]), torch.cat([rows.labels, torch.full((3,), -1)])
    )
    assert torch.equal(score(images, replace(bank, id_images=more)), score(images, bank))


def test_one_image_per_class_has_no_scatter():
    with pytest.raises(UserError, match=r"got 5 images of 5 classes\. Take more ID images per class"):
        MahalanobisScore("ledoit_wolf").prepare(bank_with_images(count=5))


def test_equal_images_have_no_scatter():
    bank = bank_with_images(num_classes=1)
    bank.id_images.embeddings[:] = bank.id_images.embeddings[0].clone()
    with pytest.raises(UserError, match=r"covariance that has an inverse"):
        MahalanobisScore("ledoit_wolf").prepare(bank)
