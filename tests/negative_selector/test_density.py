from dataclasses import replace

import fakes
import pytest
import torch
from reference import debiased as reference

from neglab.compose import build, compose
from neglab.negative_selector.density import DensitySelector
from neglab.pipeline import gather
from neglab.types import UserError

BOTH = {"noun": 0.23, "adjective": 0.13}


def corpus(count=60, num_adjectives=20, least=1.5):
    words = fakes.label_set(count, num_adjectives=num_adjectives)
    return replace(words, lengths=least + torch.rand(count, generator=torch.Generator().manual_seed(1)))


def raw(words):
    return (words.embeddings.double() * words.lengths[:, None]).tolist()


@pytest.mark.parametrize("num_neighbours", [1, 10, 59])
def test_equals_the_loop_over_pairs(num_neighbours, tmp_path):
    words, classes = corpus(), fakes.label_set(3, seed=1)
    selector = DensitySelector(BOTH, num_neighbours, str(tmp_path))
    expected = reference.sparsity(raw(words), num_neighbours)
    assert selector.sparsity(words).tolist() == pytest.approx(expected, abs=1e-5)
    nouns, adjectives = (sorted(part, key=lambda j: expected[j]) for part in (range(40), range(40, 60)))
    assert selector.select(words, classes).tolist() == nouns[: int(0.23 * 40)] + adjectives[: int(0.13 * 20)]
    assert selector.most(words.words, classes.names) == 9 + 2


def test_chunks_change_nothing(tmp_path, monkeypatch):
    whole = DensitySelector(BOTH, 5, str(tmp_path / "a")).sparsity(corpus())
    monkeypatch.setattr("neglab.negative_selector.density.CHUNK_ELEMENTS", 60 * 7)
    assert torch.allclose(DensitySelector(BOTH, 5, str(tmp_path / "b")).sparsity(corpus()), whole, atol=1e-6, rtol=0)


def test_short_embeddings_are_dense(tmp_path):
    words = corpus(least=7.0)
    sparsity = DensitySelector(BOTH, 5, str(tmp_path)).sparsity(words)
    assert torch.corrcoef(torch.stack([sparsity, words.lengths]))[0, 1] > 0.8


def test_the_distances_are_taken_once(tmp_path, monkeypatch):
    selector = DensitySelector(BOTH, 5, str(tmp_path))
    first = selector.sparsity(corpus())
    DensitySelector(BOTH, 6, str(tmp_path)).sparsity(corpus())
    monkeypatch.setattr("neglab.negative_selector.density._sparsity", None)
    assert torch.equal(DensitySelector(0.5, 5, str(tmp_path)).sparsity(corpus()), first)
    with pytest.raises(TypeError):  # other lengths, other distances
        selector.sparsity(corpus(least=2.0))


def test_a_damaged_entry_is_computed_again(tmp_path):
    selector = DensitySelector(BOTH, 5, str(tmp_path))
    first = selector.sparsity(corpus())
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"nothing")
    assert torch.equal(selector.sparsity(corpus()), first)


def test_the_pipeline_hands_on_the_lengths_of_the_towers_own_embeddings(overrides, tmp_path):
    density = ["negative_selector=density", "negative_selector.num_neighbours=5", "negative_selector.fraction=0.5"]
    parts = build(compose([*overrides, *density, "score=mcm"], output=tmp_path))
    negatives = gather(parts).bank.negatives
    names = [f"word number {i}" for i in range(40)]
    raw_rows = torch.cat([parts.backbone.encode_text([f"the nice {name}"]) for name in names]).double().tolist()
    expected = reference.sparsity(raw_rows, 5)
    assert list(negatives.names) == sorted(names, key=lambda name: expected[names.index(name)])[:20]


def test_mistakes(tmp_path):
    selector, classes = DensitySelector(BOTH, 60, str(tmp_path)), fakes.label_set(3, seed=1)
    with pytest.raises(UserError, match="less than the number of words; got 60 with 60 words"):
        selector.select(corpus(), classes)
    with pytest.raises(UserError, match=r"longer than 1 .* got 0\.\d+ for 'word \d+'"):
        DensitySelector(BOTH, 5, str(tmp_path)).select(corpus(least=0.5), classes)
    with pytest.raises(UserError, match="At least one negative label"):
        DensitySelector({"adjective": 0.01}, 5, str(tmp_path)).select(corpus(), classes)
