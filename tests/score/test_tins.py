import fakes
import pytest
import torch
from reference import interneg as interneg_reference
from reference import tins as reference
from score_fakes import TINS as KNOBS
from score_fakes import bank_with_far_images, run

from neglab.compose import build, compose
from neglab.pipeline import evaluate
from neglab.score.neglabel import GroupedBank, NegLabelScore
from neglab.score.tins import RankedTexts, TINSScore, balanced_share
from neglab.types import TextBank, UserError

IMAGES = fakes.unit(18, seed=3)


@pytest.fixture(scope="module")
def bank():
    return bank_with_far_images()


def score(**changes):
    return TINSScore(**{**KNOBS, **changes})


@pytest.mark.parametrize("changes", [{}, {"num_extras": 2, "buffer_size": 3, "threshold": 1.0, "steps": 1}], ids=str)
def test_equals_the_slow_version_on_a_stream(bank, encoder, changes):
    knobs = {**KNOBS, **changes}
    scores, states = run(score(**changes), bank, IMAGES, 6, encoder)
    means = interneg_reference.prototypes(bank.id_images.embeddings, bank.id_images.labels.tolist(), 4)
    wanted, sizes = reference.run(
        encoder.backbone.network,
        encoder.backbone.tokenizer,
        IMAGES.split(6),
        list(bank.id_labels.embeddings),
        list(bank.negatives.embeddings),
        bank.negatives.names,
        means,
        knobs,
    )
    assert [(len(state.extras), len(state.buffer)) for state in states] == sizes
    assert torch.allclose(scores, torch.tensor(wanted, dtype=torch.float64).flatten(), atol=1e-5, rtol=0)


def test_the_stream_of_these_tests_has_every_case(bank, encoder):
    _, states = run(score(), bank, IMAGES, 6, encoder)
    assert 0 < len(states[-1].extras) < states[-1].num_inverted < len(IMAGES)
    assert states[-1].num_not_finite == 0
    _, states = run(score(num_extras=2, buffer_size=3, threshold=1.0), bank, IMAGES, 6, encoder)
    assert 0 in [len(state.buffer) for state in states]


FIXTURE = ([[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.6, 0.8]], [[0.0, 1.0], [-1.0, 0.0], [1.0, 0.0], [0.6, -0.8]])


def test_the_shares_of_the_specification():
    """Two groups in the order given, scale 5: measured on the official code."""
    images, names, negatives = map(torch.tensor, FIXTURE)
    ours = balanced_share(images, GroupedBank(5 * names, 5 * negatives), 2)
    slow = [reference.shares(image, list(names), list(negatives), 5.0, 2, permute=False) for image in images]
    for found in (ours.tolist(), slow):
        assert found == pytest.approx([0.6469045, 0.6599067], abs=1e-6)


def test_groups_as_large_as_the_classes_are_neglabels(bank):
    few = TextBank(bank.id_labels, fakes.label_set(12, seed=2), 100.0)
    neglabel = NegLabelScore(3, 0.2, 0)
    ours = balanced_share(IMAGES, neglabel.prepare(few), 3)
    assert torch.allclose(ours, neglabel(IMAGES, few), atol=1e-6)


def test_the_buffer_draw_of_the_specification(bank, encoder):
    """2,000 extras and a buffer of 2,000: 1,334 extras and 666 of the buffer's better half, in a fixed order."""
    method = score(num_extras=2000, buffer_size=2000)
    degrees = torch.linspace(1, 0, 4000)
    texts = RankedTexts(torch.ones(4000, 16), degrees)
    state = method.init(bank, encoder)
    assert len(method._with_extras(state, texts[:3999]).buffer) == 1999
    after = method._with_extras(state, texts)
    assert len(after.buffer) == 0
    assert torch.equal(after.extras.degrees[:4], degrees[[44, 1272, 111, 2484]])
    assert (after.extras.degrees >= degrees[1999]).sum() == 1334
    assert (after.extras.degrees < degrees[1999]).sum() == 666
    assert after.extras.degrees.min() >= degrees[2999]


@pytest.mark.parametrize("buffer_size", [None, 1, 2, 5])
def test_bank_and_buffer_equal_the_slow_version(bank, encoder, buffer_size):
    method, extras, buffer = score(num_extras=4, buffer_size=buffer_size), [], []
    state, generator = method.init(bank, encoder), torch.Generator().manual_seed(1)
    for _ in range(8):
        degrees = torch.randint(0, 20, (3,), generator=generator).float()  # with ties
        embeddings = torch.randn(3, 16, generator=generator)
        state = method._with_extras(state, RankedTexts(embeddings, degrees))
        new = list(zip(degrees.tolist(), embeddings, strict=True))
        extras, buffer = reference.update(extras, buffer, new, 4, buffer_size)
        assert state.extras.degrees.tolist() == [degree for degree, _ in extras]
        assert torch.equal(state.extras.embeddings, torch.stack([embedding for _, embedding in extras]))
        assert state.buffer.degrees.tolist() == [degree for degree, _ in buffer]


def test_the_first_word_is_the_best_negative(bank, encoder):
    means = interneg_reference.prototypes(bank.id_images.embeddings, bank.id_images.labels.tolist(), 4)
    state = score().init(bank, encoder)
    ours = (state.word_costs - IMAGES @ state.words.T).argmin(dim=1)
    assert ours.tolist() == [reference.best_word(image, list(state.words), means, 0.3) for image in IMAGES]


def test_no_active_image_leaves_the_state_alone(bank, encoder):
    method = score(threshold=0.0)
    state = method.init(bank, encoder)
    (values, _), after = method.step(state, IMAGES)
    assert after is state
    assert torch.equal(values, balanced_share(IMAGES, state.grouped, 3))


def test_it_runs_in_the_pipeline(overrides, benchmark):
    own = ["method=tins", "negative_selector=all", "id_images=image_folder", f"id_images.dataset.root={benchmark}/id"]
    own.append("data.allow_shared=true")  # what is found is not judged
    found = evaluate(build(compose([*overrides, *own, "score.threshold=1.0", "score.steps=1"])))
    assert all(table.scores.isfinite().all() for pair in found.pairs for table in (pair.id_images, pair.ood_images))


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "a photo"},
    ],
    ids=str,
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"score\."):
        score(**changes)
