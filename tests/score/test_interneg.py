import random

import fakes
import open_clip
import pytest
import torch
import yaml
from reference import interneg as reference
from score_fakes import INTERNEG as KNOBS
from score_fakes import bank_with_far_images, run

from neglab.compose import build, compose
from neglab.config_files import configs_folder
from neglab.pipeline import evaluate
from neglab.score.interneg import InterNegScore
from neglab.score.neglabel import NegLabelScore
from neglab.types import TextBank, UserError

IMAGES = fakes.unit(18, seed=3)


@pytest.fixture(scope="module")
def bank():
    return bank_with_far_images()


def score(**changes):
    return InterNegScore(**{**KNOBS, **changes})


def expected(bank, encoder, batch_size=6, **changes):
    knobs = {**KNOBS, **changes}
    means = reference.prototypes(bank.id_images.embeddings, bank.id_images.labels.tolist(), len(bank.id_labels))
    scores, sizes = reference.run(
        encoder.backbone.network,
        encoder.backbone.tokenizer,
        IMAGES.split(batch_size),
        bank.id_labels.embeddings,
        list(bank.negatives.embeddings),
        means,
        knobs["templates"],
        knobs,
    )
    return torch.tensor(scores, dtype=torch.float64).flatten(), sizes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_extras": 3, "rescore": "accepted"},
        {"num_groups": 1, "num_tokens": 2, "templates": ("a photo of {}",), "steps": 2},
        {"threshold": 1.0, "steps": 1},
    ],
    ids=str,
)
def test_equals_the_slow_version_on_a_stream(bank, encoder, changes):
    scores, states = run(score(**changes), bank, IMAGES, 6, encoder)
    wanted, sizes = expected(bank, encoder, **changes)
    assert [len(state.extras) for state in states] == sizes
    assert torch.allclose(scores, wanted, atol=1e-5, rtol=0)


def test_the_stream_of_these_tests_has_every_case(bank, encoder):
    _, states = run(score(), bank, IMAGES, 6, encoder)
    extras, inverted = [len(state.extras) for state in states], [state.num_inverted for state in states]
    assert 0 < extras[0] < extras[-1] < inverted[-1] < len(IMAGES)
    assert states[-1].num_not_finite == 0
    assert all((state.degrees.diff() <= 0).all() for state in states)


def test_one_image_at_a_time_is_algorithm_1(bank, encoder):
    changes = {"update_size": 1, "rescore": "accepted", "strict_threshold": False, "steps": 1}
    whole, states = run(score(**changes), bank, IMAGES, 18, encoder)
    parts, _ = run(score(**changes), bank, IMAGES, 7, encoder)
    wanted, sizes = expected(bank, encoder, batch_size=1, **changes)
    assert torch.equal(whole, parts)
    assert torch.allclose(whole, wanted, atol=1e-5, rtol=0)
    assert len(states[-1].extras) == sizes[-1]


def test_no_active_image_leaves_neglabel_and_the_state_alone(bank, encoder):
    method = score(threshold=0.0)
    state = method.init(bank, encoder)
    (values, _), after = method.step(state, IMAGES)
    assert after is state
    assert torch.equal(values, NegLabelScore(3, 0.2, 0)(IMAGES, bank))


def test_without_extras_it_is_neglabel(bank):
    values, states = run(score(extra="none"), bank, IMAGES, 6, fakes.NoEncoder())
    assert torch.allclose(values, NegLabelScore(3, 0.2, 0)(IMAGES, bank), atol=1e-9)
    assert len(states[-1].extras) == 0


def test_compared_with_id_names_every_text_passes(bank, encoder):
    without = TextBank(bank.id_labels, bank.negatives, 100.0)
    _, states = run(score(extra="intra"), without, IMAGES, 6, encoder)
    assert len(states[-1].extras) == states[-1].num_inverted > 0
    cosines = states[-1].extras @ bank.id_labels.embeddings.T
    assert torch.allclose(states[-1].degrees, 1 - cosines.mean(dim=1), atol=1e-6)


def test_a_replay_gives_the_same_bits_and_touches_no_global_state(bank, encoder):
    method, state = score(), score().init(bank, encoder)
    before = torch.random.get_rng_state()
    first = method.step(state, IMAGES)[0].scores
    second = method.step(state, IMAGES)[0].scores
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())
    # beartype draws from the global stream too, so the seed must not matter rather than the state stay.
    random.seed(123)
    assert torch.equal(method.step(state, IMAGES)[0].scores, first)


def test_the_seed_draws_the_templates(bank, encoder):
    first, other = run(score(), bank, IMAGES, 6, encoder)[0], run(score(seed=6), bank, IMAGES, 6, encoder)[0]
    assert not torch.equal(first, other)


def test_failed_inversions_are_dropped_and_counted(bank, encoder):
    class Broken:
        def __getattr__(self, name):
            return getattr(encoder, name)

        def encode_tokens(self, token_embeddings, end):
            embeddings = encoder.encode_tokens(token_embeddings, end)
            spoilt = torch.zeros(len(embeddings), 1)
            spoilt[0] = float("nan")
            return embeddings + spoilt

    method = score(threshold=1.0)
    state = method.init(bank, encoder)
    object.__setattr__(state, "encoder", Broken())
    (values, _), after = method.step(state, IMAGES[:6])
    assert after.num_not_finite == 1
    assert 0 < len(after.extras) < 6
    assert after.extras.isfinite().all()
    assert values.isfinite().all()


def test_it_runs_in_the_pipeline(overrides, benchmark):
    own = [
        "method=interneg",
        "negative_selector=all",
        "id_images=image_folder",
        f"id_images.dataset.root={benchmark}/id",
    ]
    knobs = ["score.threshold=1.0", "score.steps=1", "score.extra=intra"]
    found = evaluate(build(compose([*overrides, *own, *knobs])))
    assert all(table.scores.isfinite().all() for pair in found.pairs for table in (pair.id_images, pair.ood_images))


def test_the_templates_are_open_clips():
    content = yaml.safe_load((configs_folder() / "score" / "interneg.yaml").read_text())
    assert content["templates"] == [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": "both"},
        {"rescore": "none"},
        {"templates": ()},
        {"templates": "a photo of {}"},
        {"templates": ("a photo",)},
    ],
    ids=str,
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"score\."):
        score(**changes)


def test_marks_that_the_templates_hold_already(bank, encoder):
    score(templates=("a $ {}",)).init(bank, encoder)  # another mark stands in
    with pytest.raises(UserError, match="templates without them"):
        score(templates=("a $ X Z {}",)).init(bank, encoder)
