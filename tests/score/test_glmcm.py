import fakes
import pytest
import torch
from reference import mcm as reference
from torch.nn.functional import normalize

from neglab.score.base import local_column
from neglab.score.glmcm import GLMCMScore
from neglab.score.knn import KNNScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.types import UserError

IMAGES = fakes.unit(7, seed=3)
PATCHES = 3 * fakes.unit(7 * 5, seed=4).unflatten(0, (7, 5))  # as a tower gives them, of any norm


def rows(score, bank, patches=PATCHES):
    """The images as the score takes them: embeddings and the number of the patches."""
    return torch.cat([IMAGES, local_column(score, patches, score.prepare(bank))], dim=1)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
@pytest.mark.parametrize("local_weight", [0.5, 1.0])
def test_it_adds_the_best_share_of_any_patch_and_class(temperature, local_weight):
    bank = fakes.text_bank()
    score = GLMCMScore(MCMScore(temperature), local_weight)
    expected = []
    for image, patches in zip(IMAGES, normalize(PATCHES, dim=2), strict=True):
        shares = [reference.score(patch, bank.id_labels.embeddings, temperature) for patch in patches]
        expected.append(reference.score(image, bank.id_labels.embeddings, temperature) + local_weight * max(shares))
    found = score(rows(score, bank), bank)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_patch_that_shows_a_class_makes_an_image_in_distribution():
    bank = fakes.text_bank()
    score, patches = GLMCMScore(MCMScore(0.3), 1.0), PATCHES.clone()
    patches[2, 4] = bank.id_labels.embeddings[3]
    change = score(rows(score, bank, patches), bank) - score(rows(score, bank), bank)
    assert change[2] > 0.01 and change.count_nonzero() == 1


def test_without_weight_it_is_the_inner_score():
    bank, score = fakes.text_bank(), GLMCMScore(MCMScore(1.0), 0.0)
    assert torch.equal(score(rows(score, bank), bank), MCMScore(1.0)(IMAGES, bank))


def test_with_neglabel_each_patch_has_its_share():
    bank, inner = fakes.text_bank(), NegLabelScore(2, 0.1, 0)
    score = GLMCMScore(inner, 1.0)
    best = inner(normalize(PATCHES, dim=2).flatten(0, 1), bank).unflatten(0, (7, 5)).amax(dim=1)
    assert torch.allclose(score(rows(score, bank), bank), inner(IMAGES, bank) + best, atol=1e-6)
    with pytest.raises(UserError, match="num_groups=50 with 23"):
        GLMCMScore(NegLabelScore(50, 0.1, 0), 1.0).prepare(bank)


def test_neither_batches_nor_chunks_change_an_image(monkeypatch):
    bank, score = fakes.text_bank(), GLMCMScore(MCMScore(1.0), 1.0)
    whole = score(rows(score, bank), bank)
    monkeypatch.setattr("neglab.score.glmcm.ROWS", 16)
    state, parts = score.prepare(bank), rows(score, bank).split(3)
    assert torch.allclose(torch.cat([score.step(state, part)[0].scores for part in parts]), whole, atol=1e-6, rtol=0)


def test_images_without_the_column_fail():
    bank = fakes.text_bank()
    with pytest.raises(UserError, match=r"behind the embedding.*these have none"):
        GLMCMScore(MCMScore(1.0), 1.0)(IMAGES, bank)


def test_what_decides_the_local_numbers():
    identities = [
        dict(GLMCMScore(score, 1.0).local_identity)
        for score in (MCMScore(1.0), MCMScore(0.5), NegLabelScore(2, 0.5, 0), NegLabelScore(2, 0.5, 1))
    ]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert GLMCMScore(MCMScore(1.0), 0.5).local_identity == identities[0]  # the weight comes later


def test_an_inner_score_must_be_plain():
    with pytest.raises(UserError, match="score of whole images"):
        GLMCMScore(GLMCMScore(MCMScore(1.0), 1.0), 1.0)
    strange = MCMScore(1.0)
    strange.table = torch.ones(2)
    with pytest.raises(UserError, match="its table is none"):
        GLMCMScore(strange, 1.0)
    with pytest.raises(UserError, match="id_images"):
        GLMCMScore(KNNScore(1), 1.0).prepare(fakes.text_bank())
