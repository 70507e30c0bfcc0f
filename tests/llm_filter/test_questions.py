"""The questions' procedure, against the slow reference and case by case."""

import logging
import random

import pytest
import torch
from fakes import NoEncoder
from reference import negrefine_filter
from torch.nn.functional import normalize

from neglab.chat.answers import StoredAnswers
from neglab.chat.base import Chat
from neglab.chat.replies import Reply
from neglab.llm_filter import base
from neglab.llm_filter.base import QuestionFilter
from neglab.types import LabelSet, UserError

DIM = 24


def vector(text):
    generator = torch.Generator().manual_seed(int.from_bytes(text.encode()[-7:], "big"))
    return normalize(torch.randn(DIM, generator=generator, dtype=torch.float64), dim=0)


class TextVectors(NoEncoder):
    """An encoder whose embeddings depend on the text alone."""

    def encode_texts(self, texts):
        return torch.stack([vector(text) for text in texts]).float()


def labels(names, num_adjectives=0):
    kinds = ("noun",) * (len(names) - num_adjectives) + ("adjective",) * num_adjectives
    return LabelSet(tuple(names), kinds, torch.zeros(len(names), DIM), (None,) * len(names))


class Script:
    """Answers by kind, label and class; keeps what it was asked, round by round."""

    def __init__(self, answer):
        self.answer = answer
        self.rounds = []

    def __call__(self, questions):
        self.rounds.append([question.key for question in questions])
        found = {question: self.answer(*question.key) for question in questions}
        return {question: text for question, text in found.items() if text is not None}


def apply(script, names, classes, num_nearest=10, num_adjectives=0, missing="error", max_unclear=1.0):
    procedure = QuestionFilter(script, num_nearest, max_unclear, missing)
    return procedure.apply(labels(names, num_adjectives), labels(classes), TextVectors())


def reasons(result):
    return [row["reason"] for row in result.verdicts]


def no(kind, label, class_name):
    return "No."


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_nearest", [1, 4, 10])
def test_equals_the_reference_on_random_answers(seed, num_nearest):
    draw = random.Random(seed)
    syllables = ["ka", "lo", "Mi", "te", "-", " ", "'", "7", "é", "_", "x"]
    names = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(120)]
    classes = [draw.choice(names) if draw.random() < 0.3 else f"class {i}" for i in range(draw.randint(3, 20))]
    classes[-1] = classes[0]  # ImageNet names a class twice, too
    says = ["Yes", " yes, it is", "YES.", "No", "no way", "\nNo", "maybe", "", "Nope", "I think yes"]

    def answer(kind, label, class_name):
        chance = random.Random(f"{seed}{kind}{label}{class_name}")
        return chance.choice(says[:3] if chance.random() < 0.12 else says[3:])

    script = Script(answer)
    result = apply(script, names, classes, num_nearest, num_adjectives=50)
    kinds = ["noun"] * 70 + ["adjective"] * 50
    id_vectors = [vector(name).tolist() for name in classes]
    expected = negrefine_filter.judge(
        names, kinds, classes, id_vectors, lambda name: vector(name).tolist(), num_nearest, answer
    )
    assert (result.positions.tolist(), list(result.names), reasons(result)) == expected
    assert {"too short", "merged", "proper noun", "subcategory", ""} <= set(reasons(result))
    asked = [key for keys in script.rounds for key in keys]
    in_turn = set()

    def watched(*key):
        in_turn.add(key)
        return answer(*key)

    negrefine_filter.judge(names, kinds, classes, id_vectors, lambda n: vector(n).tolist(), num_nearest, watched)
    assert set(asked) == in_turn  # no question more than the official code asks
    for keys in script.rounds:
        assert len(keys) == len(set(keys))


def test_a_round_asks_all_who_are_alive_at_once():
    classes = ["red deer", "oak", "ship"]

    def answer(kind, label, class_name):
        return "Yes" if (label, class_name) in {("Paris", None), ("holm oak", "oak")} else "No"

    script = Script(answer)
    result = apply(script, ["Paris", "holm oak", "sand", "sand"], classes, num_adjectives=1)
    assert result.names == ("sand", "sand")  # one noun, one adjective
    assert script.rounds[0] == [("proper_noun", name, None) for name in ("Paris", "holm oak", "sand")]
    assert len(script.rounds) == 4
    assert [row["class"] for row in result.verdicts] == ["", "oak", "", ""]
    for keys in script.rounds[1:]:
        assert [label for _, label, _ in keys] in (["holm oak", "sand"], ["sand"])


def test_cleaning_keeps_order_and_names_the_change():
    names = ["shepherd's purse", "biosafety level 4", "ab1", "biosafety level 3", "A-1 b_c", "été"]
    result = apply(Script(no), names, ["cat", "dog"])
    assert result.names == ("shepherds purse", "biosafety level ", "A- b_c", "été")
    assert result.positions.tolist() == [0, 1, 4, 5]
    assert result.verdicts[2] == {
        "label": "ab1",
        "name": "ab",
        "verdict": "dropped",
        "reason": "too short",
        "class": "",
        "unclear": "0",
    }
    assert result.verdicts[3]["reason"] == "merged"
    assert result.verdicts[0] == {
        "label": "shepherd's purse",
        "name": "shepherds purse",
        "verdict": "kept",
        "reason": "",
        "class": "",
        "unclear": "0",
    }


def test_a_label_that_is_a_class_goes_without_a_question_by_case():
    script = Script(no)
    result = apply(script, ["tabby cat", "Tabby cat"], ["tabby cat", "dog"])
    assert reasons(result) == ["the same", ""]
    assert ("subcategory", "tabby cat", "tabby cat") not in {key for keys in script.rounds for key in keys}
    assert result.verdicts[0]["class"] == "tabby cat"


def test_a_class_that_stands_twice_is_asked_about_once(tmp_path):
    chat = CountingChat()
    QuestionFilter(StoredAnswers(chat, tmp_path), 10, 0.05).apply(
        labels(["sand", "glass"]), labels(["missile", "missile", "dog"]), TextVectors()
    )
    assert len(chat.asked) == len(set(chat.asked)) == 2 + 2 * 2


def test_unclear_answers_are_counted_and_count_as_no(caplog):
    def answer(kind, label, class_name):
        return "Perhaps." if label == "sand" else "no"

    with caplog.at_level(logging.WARNING):
        result = apply(Script(answer), ["sand", "glass"], ["cat", "dog"])
    assert result.names == ("sand", "glass")
    assert [row["unclear"] for row in result.verdicts] == ["3", "0"]
    (record,) = caplog.records
    assert "3 answers" in record.getMessage() and "'Perhaps.'" in record.getMessage()


def test_too_many_unclear_answers_stop_the_filter_before_the_rest_is_asked():
    script = Script(lambda kind, label, class_name: "Oui" if label.endswith("a") else "Non")
    names = [f"word {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(250)]
    with pytest.raises(UserError, match=r"100 of 100 answers are neither, such as '.*max_unclear") as caught:
        apply(script, names, ["cat", "dog"], max_unclear=0.05)
    assert str(caught.value).count("'Non'") + str(caught.value).count("'Oui'") == 3
    assert list(map(len, script.rounds)) == [base.FIRST_LOOK]


def test_a_few_unclear_answers_are_borne():
    names = [f"word {chr(97 + i)}" for i in range(20)]
    script = Script(lambda kind, label, class_name: "Perhaps." if label in names[:3] else "No")
    result = apply(script, names, ["cat", "dog", "oak"], max_unclear=0.15)
    assert result.names == tuple(names) and sum(int(row["unclear"]) for row in result.verdicts) == 3 * 4
    with pytest.raises(UserError, match=r"3 of 20 answers are neither, such as 'Perhaps.', 'Perhaps.', 'Perhaps.'"):
        apply(script, names, ["cat", "dog", "oak"], max_unclear=0.1)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", "yes"),
        (" yes.", "yes"),
        ("YES", "yes"),
        ("\n\nNo", "no"),
        ("not at all", "no"),
        ("", "unclear"),
        ("I say yes", "unclear"),
        ("<think>yes", "unclear"),
        ("<think>yes</think>No", "no"),
    ],
)
def test_parsing(text, verdict):
    assert base.parse(text) == verdict


def test_everything_dropped_is_an_error():
    with pytest.raises(UserError, match="it dropped all 2"):
        apply(Script(lambda *key: "Yes"), ["sand", "glass"], ["cat"])
    with pytest.raises(UserError, match="it dropped all 1"):
        apply(Script(no), ["a1"], ["cat"])


def test_arguments():
    with pytest.raises(UserError, match=r"llm_filter\.num_nearest must be a whole number, at least 1"):
        QuestionFilter(Script(no), 0, 0.05)
    for share in (-0.1, 1.1, True):
        with pytest.raises(UserError, match=r"llm_filter\.max_unclear must be a share, 0 to 1"):
            QuestionFilter(Script(no), 10, share)
    with pytest.raises(UserError, match=r"llm_filter\.missing must be one of error, keep, drop"):
        QuestionFilter(Script(no), 10, 0.05, "guess")


def test_missing_answers(caplog):
    def answer(kind, label, class_name):
        if (label, class_name) in {("sand", "cat"), ("glass", None)}:
            return None
        return "Yes" if (label, class_name) == ("glass", "dog") else "No"

    names, classes = ["sand", "glass", "stone"], ["cat", "dog"]
    with pytest.raises(UserError, match="1 labels lack some, such as 'sand'"):
        apply(Script(answer), names, classes)
    with caplog.at_level(logging.WARNING):
        kept = apply(Script(answer), names, classes, missing="keep")
        dropped = apply(Script(answer), names, classes, missing="drop")
    assert kept.names == ("sand", "stone") and dropped.names == ("stone",)
    # A yes drops whatever else is missing.
    assert reasons(kept) == reasons(dropped) == ["no answer", "subcategory", ""]
    assert [row["verdict"] for row in kept.verdicts] == ["kept", "dropped", "kept"]
    assert len(caplog.records) == 2


def test_many_names_at_once_find_the_same_classes(monkeypatch):
    names, classes = [f"name {i}" for i in range(30)], [f"class {i}" for i in range(7)]
    whole = base.nearest_names(names, classes, TextVectors(), 3)
    monkeypatch.setattr(base, "ROWS_AT_ONCE", 4)
    assert base.nearest_names(names, classes, TextVectors(), 3) == whole
    vectors = [vector(name).tolist() for name in classes]
    assert whole[5] == negrefine_filter.nearest(vector("name 5").tolist(), classes, vectors, 3)


class CountingChat(Chat):
    """Answers No, but Yes where a text of the script stands in the question; stops after some answers."""

    def __init__(self, yes=(), stop_after=None):
        self.yes = yes
        self.asked = []
        self.stop_after = stop_after

    @property
    def identity(self):
        return {"model": "counting", "revision": None}

    def ask(self, questions):
        for position, question in enumerate(questions):
            if len(self.asked) == self.stop_after:
                raise UserError("The server is gone.")
            self.asked.append(question)
            yield position, Reply("Yes" if any(text in question for text in self.yes) else "No")

    def complete(self, conversations, max_new_tokens):
        raise NotImplementedError


@pytest.mark.parametrize("stop_after", [0, 3, 20, 41])
def test_a_stopped_filter_goes_on_where_it_was(tmp_path, stop_after):
    names, classes = [f"word {chr(97 + i)}" for i in range(12)], ["cat", "dog", "oak"]
    yes = ("word c", "word g")
    arguments = labels(names), labels(classes), TextVectors()
    expected = QuestionFilter(StoredAnswers(CountingChat(yes), tmp_path / "other"), 10, 0.05).apply(*arguments)
    first, second = CountingChat(yes, stop_after), CountingChat(yes)
    with pytest.raises(UserError, match="gone"):
        QuestionFilter(StoredAnswers(first, tmp_path), 10, 0.05).apply(*arguments)
    result = QuestionFilter(StoredAnswers(second, tmp_path), 10, 0.05).apply(*arguments)
    assert result.names == expected.names == tuple(name for name in names if name not in yes)
    assert result.verdicts == expected.verdicts
    assert len(first.asked) == stop_after
    assert len(set(first.asked + second.asked)) == len(first.asked + second.asked) == 12 + 10 * 3
