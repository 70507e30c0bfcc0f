"""The filter on a tiny model whose weights were set by hand (tests/chat/tiny_chat.py), loaded by the real road."""

import csv
import io
import json

import pytest
from chat import tiny_chat
from fakes import TextVectors, named
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.llm_filter.base import LabelFilter
from neglab.llm_filter.huggingface import HuggingFaceFilter
from neglab.types import UserError

# The model says Yes about every zork, and about a blib that is compared with a blab.
NAMES = ("green blib", "zork mountain", "sand", "sand", "12", "cold stone", "blib", "red blab", "zork's", "old chair")
CLASSES = ("cat", "red blab", "dog")
KEPT = (2, 5, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_chat.write_scripted(tmp_path_factory.mktemp("scripted"))


def build(folder, store, **changed):
    return HuggingFaceFilter(
        **tiny_chat.settings(folder, **changed), num_nearest=10, max_unclear=0.05, store=str(store)
    )


@pytest.mark.parametrize("answer", ["logits", "generate"])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_scripted_answers_give_the_known_labels(folder, tmp_path, answer, batch_size):
    judge = build(folder, tmp_path, answer=answer, batch_size=batch_size)
    result = judge.apply(named(NAMES), named(CLASSES), TextVectors())
    assert tuple(result.positions.tolist()) == KEPT
    assert result.names == tuple(NAMES[i] for i in KEPT)
    assert [row["reason"] for row in result.verdicts] == [
        "subcategory",
        "proper noun",
        "",
        "merged",
        "too short",
        "",
        "subcategory",
        "the same",
        "proper noun",
        "",
    ]
    assert result.verdicts[0]["class"] == "red blab"
    assert {row["unclear"] for row in result.verdicts} == {"0"}


def test_stored_answers_need_no_model(folder, tmp_path, monkeypatch):
    first = build(folder, tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", None)
    again = build(folder, tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
    assert again.names == first.names and again.verdicts == first.verdicts
    with pytest.raises(UserError, match="could not be loaded"):
        build(folder, tmp_path).apply(named([*NAMES, "new"]), named(CLASSES), TextVectors())


def test_both_answer_rules_keep_their_own_answers(folder, tmp_path):
    for answer in ("logits", "generate"):
        build(folder, tmp_path, answer=answer).apply(named(NAMES), named(CLASSES), TextVectors())
    files = sorted((tmp_path / "answers").glob("*.jsonl"))
    assert len(files) == 2
    rows = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert {row["label"] for row in rows} == {name.replace("'", "") for name in NAMES if name != "12"}
    assert all(row["revision"].startswith("sha256:") for row in rows)


def test_the_verdicts_fit_a_table(folder, tmp_path):
    result = build(folder, tmp_path).apply(named(NAMES), named(CLASSES), TextVectors())
    file = io.StringIO()
    writer = csv.DictWriter(file, ["label", "name", "verdict", "reason", "class", "unclear"])
    writer.writerows(result.verdicts)
    assert len(file.getvalue().splitlines()) == len(NAMES)


def test_the_shipped_config_builds_without_loading(tmp_path):
    config = compose(["llm_filter=qwen2_5_14b", f"paths.store={tmp_path}", "seed.value=3"])
    judge = instantiate(config.llm_filter)
    assert isinstance(judge, LabelFilter) and isinstance(judge, HuggingFaceFilter)
    assert judge.chat.answer == "logits" and judge.chat.seed == 3 and judge.questions.num_nearest == 10
    assert judge.chat.identity["model"] == "Qwen/Qwen2.5-14B-Instruct-1M"
    assert not list(tmp_path.iterdir())
