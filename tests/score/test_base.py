"""What holds for every score: the contract of `neglab.score.base`, case by case.

What is special to a method stands in its own test, beside the comparison with its reference.
"""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import fakes
import pytest
import score_fakes
import torch
from score_fakes import ENCODER_CASES, GROUPED, ID_LOGIT_CASES, PURE_CASES, STREAM_CASES, run

from neglab.score import base
from neglab.score.knn import KNNScore
from neglab.score.mahalanobis import MahalanobisScore
from neglab.score.vim import ViMScore
from neglab.types import LabelledEmbeddings, Outline, UserError

IMAGES = fakes.unit(50, seed=3)


# Their encoders or images are of a kind of their own, and so are their tests.
APART = {"ants", "cocoop", "glmcm", "negrefine"}


def test_every_score_is_held_to_the_contract():
    held = {type(case.score).__module__ for case in (*PURE_CASES, *STREAM_CASES, *ENCODER_CASES)}
    known = {path.stem for path in Path(base.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert {name.rpartition(".")[2] for name in held} == known - APART


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def chunked(cases):
    return each([case for case in cases if case.chunks])


def tensors(state):
    """Every tensor of a state, by where it stands."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    if not is_dataclass(state):
        return {}
    parts = ((field.name, tensors(getattr(state, field.name))) for field in fields(state))
    return {f"{name}.{place}": tensor for name, found in parts for place, tensor in found.items()}


def assert_untouched(bank, made_anew):
    for name, tensor in tensors(made_anew).items():
        assert torch.equal(tensors(bank)[name], tensor), name


@each(PURE_CASES)
def test_batches_do_not_change_scores(case):
    """Bit for bit where MKL multiplies, within 1e-6 of the largest score elsewhere."""
    bank = case.bank()
    whole = case.score(IMAGES, bank)
    tolerance = 0 if case.exact and torch.backends.mkl.is_available() else 1e-6 * whole.abs().max().item()
    for sizes in ([1] * 3 + [7] * 5 + [12], 16, 33):
        scores, _ = run(case.score, bank, IMAGES, sizes, fakes.NoEncoder())
        assert torch.allclose(scores, whole, atol=tolerance, rtol=0)


@chunked(PURE_CASES)
def test_chunks_do_not_change_scores(case, monkeypatch):
    module, elements, tolerance = case.chunks
    bank, images = case.bank(), fakes.unit(100, seed=3)
    whole = case.score(images, bank)
    monkeypatch.setattr(f"neglab.score.{module}.CHUNK_ELEMENTS", elements)
    assert torch.allclose(case.score(images, bank), whole, **tolerance)


@each(PURE_CASES)
def test_the_order_of_images_does_not_matter(case):
    bank, order = case.bank(), torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(case.score(IMAGES[order], bank), case.score(IMAGES, bank)[order], atol=1e-6, rtol=1e-5)


@each(PURE_CASES)
def test_images_near_a_class_score_higher(case):
    bank = case.bank()
    on_classes, on_negatives = bank.id_labels.embeddings, bank.negatives.embeddings
    assert case.score(on_classes, bank).mean() > case.score(on_negatives, bank).mean()


@each(PURE_CASES)
def test_one_number_in_float64_for_each_image(case):
    for images in (IMAGES[:3], IMAGES[:0]):
        scores = case.score(images, case.bank())
        assert scores.shape == (len(images),) and scores.dtype == case.dtype


@each(PURE_CASES)
def test_the_global_random_state_and_the_bank_are_untouched(case):
    bank, before = case.bank(), torch.random.get_rng_state()
    case.score(IMAGES, bank)
    assert torch.equal(before, torch.random.get_rng_state())
    assert_untouched(bank, case.bank())


@each(PURE_CASES)
def test_names_do_not_matter(case):
    bank = case.bank()
    ids, negatives = (
        replace(labels, names=tuple(f"{i}" for i in range(len(labels)))) for labels in (bank.id_labels, bank.negatives)
    )
    renamed = replace(bank, id_labels=ids, negatives=negatives)
    assert torch.equal(case.score(IMAGES, bank), case.score(IMAGES, renamed))


@each(ID_LOGIT_CASES)
@pytest.mark.parametrize("size", [1e-30, 1e-4, 1e4, 1e30])
def test_tiny_and_huge_similarities_give_numbers(case, size):
    images = torch.tensor([[3.0, 1.0, 0.5, -1.0], [1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]])
    for sign in (1, -1):
        assert case.score(images * sign * size, score_fakes.bank_of_axes()).isfinite().all()


@each(ID_LOGIT_CASES)
def test_negatives_play_no_part(case):
    few, many = fakes.text_bank(num_negatives=1), fakes.text_bank(num_negatives=50)
    assert torch.equal(case.score(IMAGES, few), case.score(IMAGES, many))


# Scores that learn from the stream


@each(STREAM_CASES)
def test_a_kept_state_replays_to_the_bit_and_the_future_changes_nothing(case):
    bank, score = case.bank(), case.score
    first, second, third = score_fakes.stream(bank, 120).split(40)
    _, kept = score.step(score.init(bank, None), first)
    copy = {name: tensor.clone() for name, tensor in tensors(kept).items()}
    (scores, _), after = score.step(kept, second)
    score.step(score.step(kept, fakes.unit(500, seed=9))[1], third)
    (again, _), again_after = score.step(kept, second)
    assert torch.equal(scores, again)
    assert copy and tensors(kept).keys() == copy.keys()
    assert all(torch.equal(tensor, copy[name]) for name, tensor in tensors(kept).items())
    assert all(torch.equal(tensor, tensors(after)[name]) for name, tensor in tensors(again_after).items())
    assert torch.equal(score.step(after, third)[0].scores, score.step(again_after, third)[0].scores)


@chunked(STREAM_CASES)
def test_chunks_do_not_change_the_scores_of_a_stream(case, monkeypatch):
    module, elements, tolerance = case.chunks
    bank = case.bank()
    images = score_fakes.stream(bank, 90)
    whole, states = run(case.score, bank, images, 30)
    monkeypatch.setattr(f"neglab.score.{module}.CHUNK_ELEMENTS", elements)
    scores, chunked_states = run(case.score, bank, images, 30)
    assert torch.allclose(scores, whole, **tolerance)
    for name, tensor in tensors(states[-1]).items():
        assert torch.allclose(tensors(chunked_states[-1])[name].double(), tensor.double(), **tolerance), name


@each(STREAM_CASES)
def test_no_images_change_nothing(case):
    state = case.score.init(case.bank(), None)
    (scores, _), after = case.score.step(state, fakes.unit(0))
    assert scores.shape == (0,) and scores.dtype == case.dtype
    assert all(torch.equal(tensor, tensors(after)[name]) for name, tensor in tensors(state).items())


@each(STREAM_CASES)
def test_names_the_global_random_state_and_the_bank_are_untouched_by_a_stream(case):
    bank, before = case.bank(), torch.random.get_rng_state()
    images = score_fakes.stream(bank, 40)
    scores, _ = run(case.score, bank, images, 10)
    renamed = replace(bank, negatives=fakes.label_set(len(bank.negatives), seed=2, prefix="other"))
    assert torch.equal(scores, run(case.score, renamed, images, 10)[0])
    assert torch.equal(before, torch.random.get_rng_state())
    assert_untouched(bank, case.bank())


@each(ENCODER_CASES)
def test_later_batches_change_no_earlier_score_and_old_states_stay_usable(case, encoder):
    bank, images = case.bank(), fakes.unit(18, seed=3)
    clean, states = run(case.score, bank, images, 6, encoder)
    poisoned = torch.cat([images[:12], torch.full((6, 16), float("nan"))])
    assert torch.equal(run(case.score, bank, poisoned, 6, encoder)[0][:12], clean[:12])
    assert torch.equal(case.score.step(states[1], images[12:])[0].scores, clean[12:])


@each(ENCODER_CASES)
def test_inference_mode_and_replays_give_the_same_bits_and_touch_no_global_state(case, encoder):
    bank, images, before = case.bank(), fakes.unit(18, seed=3), torch.random.get_rng_state()
    outside, _ = run(case.score, bank, images, 6, encoder)
    with torch.inference_mode():
        inside, _ = run(case.score, bank, images.clone(), 6, encoder)
    assert torch.equal(inside, outside)
    assert torch.equal(before, torch.random.get_rng_state())


# What a bank lacks


@pytest.mark.parametrize("name", GROUPED)
def test_fewer_negatives_than_groups_say_what_to_do(name, encoder):
    score, bank = GROUPED[name](100), score_fakes.bank_with_far_images()
    rule = r"num_groups must be at most .* num_groups=100 with 23 negatives\. Lower score\.num_groups or select more"
    with pytest.raises(UserError, match=rule):
        score.check(Outline.of(bank))
    with pytest.raises(UserError, match=rule):
        score.init(bank, encoder)


@pytest.mark.parametrize(
    ("score", "name"),
    [(KNNScore(1), "KNN"), (MahalanobisScore("ledoit_wolf"), "Mahalanobis"), (ViMScore(0.01, None), "ViM")],
)
@pytest.mark.parametrize("images", [None, LabelledEmbeddings(fakes.unit(0), torch.empty(0, dtype=torch.long))])
def test_id_images_are_needed(score, name, images):
    assert score.needs_id_images
    with pytest.raises(UserError, match=rf"{name} compares with ID images; got none\. Choose id_images=\.\.\."):
        score.prepare(replace(fakes.text_bank(), id_images=images))


@each(ENCODER_CASES)
def test_a_stream_that_needs_id_images_says_so(case):
    with pytest.raises(UserError, match="got none"):
        case.score.init(score_fakes.without_id_images(case.bank()), fakes.NoEncoder())
