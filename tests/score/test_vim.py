from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from reference import id_images as reference
from score_fakes import bank_with_images
from sklearn.covariance import EmpiricalCovariance

from neglab.score.vim import ViMScore
from neglab.types import UserError


def numbers(bank):
    weights = bank.id_labels.embeddings.double().numpy() * 100.0
    return bank.id_images.embeddings.double().numpy(), weights


@pytest.mark.parametrize("num_dimensions", [1, 5, 15])
@pytest.mark.parametrize("num_classes", [1, 5])
def test_equals_the_projection_by_singular_vectors(num_dimensions, num_classes):
    """Within 1e-5 of the largest score: the products are float32, times alpha."""
    bank, images = bank_with_images(num_classes=num_classes), fakes.unit(9, seed=3)
    expected = [reference.vim(image, *numbers(bank), num_dimensions) for image in images.double().numpy()]
    tolerance = 1e-5 * max(map(abs, expected))
    assert ViMScore(0.01, num_dimensions)(images, bank).tolist() == pytest.approx(expected, abs=tolerance)


def test_the_reference_is_the_null_space_of_scikit_learn_s_covariance():
    """The definition of OpenOOD: eigenvectors of the covariance about the origin u = 0, largest first."""
    bank, image = bank_with_images(), fakes.unit(1, seed=3)[0].double().numpy()
    id_images, weights = numbers(bank)
    values, vectors = np.linalg.eigh(EmpiricalCovariance(assume_centered=True).fit(id_images).covariance_)
    null_space = vectors[:, np.argsort(-values)[6:]]
    scale = (id_images @ weights.T).max(axis=1).mean() / np.linalg.norm(id_images @ null_space, axis=1).mean()
    expected = np.log(np.exp(weights @ image).sum()) - scale * np.linalg.norm(image @ null_space)
    assert reference.vim(image, id_images, weights, 6) == pytest.approx(expected, rel=1e-9)


def test_null_is_half_of_the_width():
    bank, images = bank_with_images(), fakes.unit(9, seed=3)
    assert torch.equal(ViMScore(0.01, None)(images, bank), ViMScore(0.01, 8)(images, bank))


def test_the_virtual_logit_of_id_images_is_their_largest_logit_on_average():
    bank = bank_with_images()
    id_images = bank.id_images.embeddings
    energy = (100 * id_images @ bank.id_labels.embeddings.T).double().logsumexp(dim=1)
    virtual = energy - ViMScore(0.01, 5)(id_images, bank)
    largest = (100 * id_images @ bank.id_labels.embeddings.T).amax(dim=1).mean().item()
    assert virtual.mean().item() == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize("logit_scale", [1e-6, 1e6])
def test_tiny_and_huge_logits_give_numbers(logit_scale):
    bank = replace(bank_with_images(), logit_scale=logit_scale)
    assert ViMScore(0.01, 5)(fakes.unit(9, seed=3), bank).isfinite().all()


@pytest.mark.parametrize(("num_dimensions", "count"), [(16, 80), (17, 80), (8, 8), (None, 7)])
def test_the_principal_space_leaves_room(num_dimensions, count):
    with pytest.raises(UserError, match=rf"with width 16 and {count} images\. Change score\.num_dimensions"):
        ViMScore(0.01, num_dimensions).prepare(bank_with_images(count))


def test_equal_images_leave_no_residual():
    bank = bank_with_images(num_classes=1)
    bank.id_images.embeddings[:] = bank.id_images.embeddings[0].clone()
    with pytest.raises(UserError, match=r"got 80 images that lie in num_dimensions=5\. Lower"):
        ViMScore(0.01, 5).prepare(bank)
