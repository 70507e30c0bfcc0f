import zlib

import fakes
import numpy as np
import pytest
import torch
from picture_chats import FIVE, ByPicture, SeeingChat
from PIL import Image
from reference import ants as reference
from torch.nn.functional import normalize

from neglab.chat.captions import Captioner
from neglab.compose import build, compose
from neglab.pipeline import evaluate
from neglab.score.ants import ANTSScore, adapted_gamma, first_threshold
from neglab.types import UserError

OPTIONS = {
    "temperature": 0.1,
    "group_size": 10,
    "first_gamma": 0.5,
    "quantile": 0.5,
    "max_updates": 3,
    "num_active": None,
    "prefix_step": 2,
    "gap": 0.1,
    "first_batch": 2,
    "interval": 2,
}
TEXTS = {
    "group_seed": 0,
    "picture_size": None,
    "describe": "Describe this, no {}.",
    "describe_tokens": 10,
    "suggest": "Suggest five like {}.",
    "suggest_tokens": 50,
}


def embedding(label, raw):
    return fakes.unit(1, seed=zlib.crc32(f"{label} {raw}".encode()))[0]


class Encoder(fakes.NoEncoder):
    """Gives every label a direction of its own, and every image a picture whose only pixel is its number."""

    def __init__(self, images):
        self.places = {row.numpy().tobytes(): i for i, row in enumerate(images)}
        self.gallery = self

    def pictures(self, embeddings):
        return [Image.new("L", (1, 1), self.places[row.numpy().tobytes()]) for row in embeddings]

    def encode_texts(self, texts):
        return torch.stack([embedding(text, True) for text in texts])

    def encode(self, names, parts_of_speech):
        assert set(parts_of_speech) == {"noun"}
        return torch.stack([embedding(name, False) for name in names])


def answer(question, picture):
    if question.startswith("Suggest"):
        assert picture.size == (28, 28)
        return f"Of {question}\n1. Kin of {question[18:-1]}.\n2) kin OF {question[18:-1]}\n3: other\n4- more"
    return f" thing  {picture.getpixel((0, 0)) % 40}. " if question.endswith("no class 1.") else "a class of its own"


def ours(bank, images, batch_size, tmp_path, chat=None, **changes):
    chat = chat or SeeingChat(answer)
    score = ANTSScore(captioner=Captioner(chat, None, 1.0, str(tmp_path)), **{**OPTIONS, **TEXTS, **changes})
    state, scores = score.init(bank, Encoder(images)), []
    for part in images.split(batch_size):
        (values, _), state = score.step(state, part)
        scores += values.tolist()
    return scores, state, chat


def slow(bank, images, batch_size, **changes):
    names = bank.id_labels.names
    one_by_one = reference.ANTS(
        names,
        bank.id_labels.embeddings.double().numpy(),
        list(bank.negatives.embeddings.double().numpy()),
        lambda number, name: answer(f"no {name}.", Image.new("L", (1, 1), number)),
        lambda name: answer(f"Suggest five like {name}.", Image.new("RGB", (28, 28))),
        lambda label, raw: embedding(label, raw).double().numpy(),
        **{**OPTIONS, **changes, "min_candidates": 8, "max_far": 30},
    )
    numbers, scores = range(len(images)), []
    for first in range(0, len(images), batch_size):
        part = slice(first, first + batch_size)
        scores += one_by_one.batch(images[part].double().numpy(), numbers[part])
    return scores, one_by_one


@pytest.mark.parametrize("space", ["far", "near", "adaptive"])
@pytest.mark.parametrize("num_active", [None, 6, 1000])
@pytest.mark.parametrize("batch_size", [20, 31])
def test_equals_one_label_at_a_time(space, num_active, batch_size, monkeypatch, tmp_path):
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 8)
    monkeypatch.setattr("neglab.score.ants.MAX_FAR", 30)
    bank, images = fakes.text_bank(5, 23), fakes.unit(120, seed=3)
    changes = {"space": space, "num_active": num_active}
    scores, state, _ = ours(bank, images, batch_size, tmp_path, **changes)
    expected, other = slow(bank, images, batch_size, **changes)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert (len(state.far), len(state.near)) == (len(other.far), len(other.near))
    assert (state.num_updates, len(state.candidates)) == (other.updates, len(other.waiting))
    assert state.gamma == pytest.approx(other.gamma, abs=1e-6)
    assert (state.num_updates > 0) == (space != "near") and (len(state.near) > 0) == (space != "far")


@pytest.mark.parametrize("seed", range(5))
def test_gamma_and_threshold(seed):
    scores = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** (seed + 0.5)
    for quantile in (0.0, 0.3, 0.5, 1.0):
        assert adapted_gamma(scores, quantile) == pytest.approx(reference.gamma(scores.tolist(), quantile))
    assert first_threshold(scores) == pytest.approx(reference.otsu(scores.tolist()))


def test_gamma_below_the_largest_jump():
    """Bins of 9, 1, 0, ..., 0 and 10 scores: the jump of 10 lies at 0.9, so the median of the first ten counts."""
    scores = torch.tensor([0.05] * 9 + [0.15] + [0.95] * 10, dtype=torch.float64)
    assert adapted_gamma(scores, 0.5) == pytest.approx(0.05)
    assert adapted_gamma(scores, 1.0) == pytest.approx(0.15)
    assert first_threshold(scores) == 0.16 and first_threshold(torch.full((3,), 0.4, dtype=torch.float64)) == 0.4


def test_an_image_is_asked_about_once(monkeypatch, tmp_path):
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 8)
    bank, images = fakes.text_bank(5, 23), fakes.unit(120, seed=3)
    first, _, chat = ours(bank, images, 20, tmp_path, space="adaptive")
    again, _, silent = ours(bank, images, 20, tmp_path, space="adaptive")
    assert first == again and chat.asked and not silent.asked
    assert {tokens for text, tokens in chat.asked if text.startswith("Suggest")} == {50}
    assert any(text == "Describe this, no class 3." for text, _ in chat.asked)


def test_a_kept_state_replays_to_the_bit(monkeypatch, tmp_path):
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 8)
    bank, images = fakes.text_bank(5, 23), fakes.unit(120, seed=3)
    captioner = Captioner(SeeingChat(answer), None, 0.05, str(tmp_path))
    score = ANTSScore(space="adaptive", captioner=captioner, **{**OPTIONS, **TEXTS, "num_active": 6})
    kept = score.init(bank, Encoder(images))
    for part in images[:60].split(20):
        _, kept = score.step(kept, part)
    (scores, _), _ = score.step(kept, images[60:80])
    score.step(kept, images[80:])
    assert torch.equal(score.step(kept, images[60:80])[0].scores, scores)


def test_a_whole_run_and_its_replay_without_a_model(overrides, tmp_path, monkeypatch):
    """The real pipeline finds the pictures; what was answered is enough to run it again."""
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 3)
    far = [*overrides, "method=ants_far", "negative_selector.num_labels=20", "score.first_gamma=1.0"]
    parts = build(compose(far, output=tmp_path))
    parts.score.captioner.chat = chat = ByPicture()
    (pair,) = evaluate(parts).pairs
    assert chat.asked == [("Describe this image in fewer than eight words. Answer:", 10)] * len(chat.asked)
    assert len(chat.asked) > 3
    (path,) = (tmp_path / "store" / "answers").glob("pictures-*.jsonl")
    replay = [*far, "score.captioner.chat=null", f"score.captioner.recorded={path}", f"paths.store={tmp_path}/other"]
    (again,) = evaluate(build(compose(replay, output=tmp_path))).pairs
    assert torch.equal(pair.ood_images.scores, again.ood_images.scores)
    other = [*replay, "score.describe=What is this?"]
    with pytest.raises(UserError, match=r"have no recorded answer to 'What is this\?'"):
        evaluate(build(compose(other, output=tmp_path)))


def test_true_names_of_the_ood_images_separate_what_neglabel_cannot(monkeypatch, tmp_path):
    """The oracle: OOD images are half an ID class and half a thing, and the model says which; of ID images nothing."""
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 8)
    draw, bank, kinds = torch.Generator().manual_seed(0), fakes.text_bank(5, 23), torch.arange(100) % 4
    things = torch.stack([embedding(f"thing {i}", True) for i in range(4)])
    own, mixed = bank.id_labels.embeddings[kinds], bank.id_labels.embeddings[kinds] + things[kinds]
    order = torch.randperm(200, generator=draw)
    images = normalize(torch.cat([own, mixed]) + 0.1 * torch.randn(200, 16, generator=draw), dim=1)[order]
    names = [""] * 100 + [f"thing {kind}" for kind in kinds.tolist()]
    oracle = SeeingChat(lambda _, picture: names[order[picture.getpixel((0, 0))]])
    scores, state, _ = ours(bank, images, 20, tmp_path, oracle, space="far", first_gamma=1.0)
    is_id = order < 100
    base, scores = (values[is_id, None] > values[~is_id] for values in (state.base_scores, torch.tensor(scores)))
    assert scores.double().mean() > base.double().mean() + 0.02


def test_mistakes(tmp_path):
    captioner = Captioner(SeeingChat(answer), None, 0.05, str(tmp_path))
    score = ANTSScore(space="far", captioner=captioner, **{**OPTIONS, **TEXTS})
    with pytest.raises(UserError, match="looks at the pictures"):
        score.init(fakes.text_bank(), fakes.NoEncoder())
    with pytest.raises(UserError, match=r"score\.space must be far or near or adaptive"):
        ANTSScore(space="middle", captioner=captioner, **{**OPTIONS, **TEXTS})


def test_the_reference_reads_lists_as_ours():
    from neglab.chat.captions import cleaned, numbered

    for text in (FIVE, "1. A.\n2) b\n 3: a\n4- d\n5 no\nsix", ""):
        assert numbered(text, 5) == reference.numbered(text)
    labels = ["A  dog.", "a dog", " ", "Cat..", "b\nc"]
    assert cleaned(labels) == reference.clean(labels) == ["A dog", "Cat", "b c"]
    assert np.isfinite(reference.gamma([0.5], 0.5))
