import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from neglab.chat.answers import AnswerStore, Question, StoredAnswers, answers_by_key, parse_answers
from neglab.chat.base import Chat
from neglab.chat.replies import Reply
from neglab.types import UserError

IDENTITY = {"model": "scripted", "revision": "1", "system_prompt": "Be brief."}


def question(number):
    return Question("subcategory", f"label {number}", "class", f"Is label {number} a class?")


def proper(number):
    return Question("proper_noun", f"label {number}", None, f"Is label {number} a proper noun?")


class ScriptedChat(Chat):
    """Answers with the question's length, backwards; stops after some answers."""

    def __init__(self, stop_after=None):
        self.asked = []
        self.stop_after = stop_after

    @property
    def identity(self):
        return IDENTITY

    def ask(self, questions):
        for position in reversed(range(len(questions))):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(questions[position])
            yield position, Reply(f"Yes {len(questions[position])}")

    def complete(self, conversations, max_new_tokens):
        raise NotImplementedError


def test_a_row_says_all_about_an_answer(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    store.append(question(1), "Yes, ünd\nmore")
    store.append(proper(2), "No")
    rows = [json.loads(line) for line in store.path.read_text().splitlines()]
    assert rows == [
        {
            "kind": "subcategory",
            "label": "label 1",
            "class": "class",
            "question": "Is label 1 a class?",
            "model": "scripted",
            "revision": "1",
            "answer": "Yes, ünd\nmore",
        },
        {
            "kind": "proper_noun",
            "label": "label 2",
            "class": None,
            "question": "Is label 2 a proper noun?",
            "model": "scripted",
            "revision": "1",
            "answer": "No",
        },
    ]
    assert json.loads(store.path.with_suffix(".json").read_text()) == IDENTITY
    assert store.path.parent == tmp_path / "answers" and len(store.path.stem) == 64
    assert AnswerStore(tmp_path, IDENTITY).answers == {rows[0]["question"]: "Yes, ünd\nmore", rows[1]["question"]: "No"}


def test_each_identity_has_its_own_answers(tmp_path):
    AnswerStore(tmp_path, IDENTITY).append(question(1), "Yes")
    assert AnswerStore(tmp_path, {**IDENTITY, "revision": "2"}).answers == {}
    assert AnswerStore(tmp_path, dict(reversed(IDENTITY.items()))).answers != {}


@pytest.mark.parametrize("stop_after", [0, 1, 5, 9])
def test_a_killed_run_goes_on_without_asking_again(tmp_path, stop_after):
    questions = [question(i) for i in range(10)]
    first = ScriptedChat(stop_after)
    with pytest.raises(KeyboardInterrupt):
        StoredAnswers(first, tmp_path)(questions)
    second = ScriptedChat()
    answers = StoredAnswers(second, tmp_path)(questions)
    assert answers == {item: f"Yes {len(item.text)}" for item in questions}
    assert sorted(first.asked + second.asked) == sorted(item.text for item in questions)
    third = ScriptedChat(0)
    assert StoredAnswers(third, tmp_path)(questions) == answers


def test_equal_questions_are_asked_once(tmp_path):
    chat = ScriptedChat()
    answer = StoredAnswers(chat, tmp_path)
    answer([question(1), question(2), question(1)])
    answer([question(2), question(3)])
    assert sorted(chat.asked) == [question(i).text for i in (1, 2, 3)]


def test_a_chat_that_leaves_a_question_out_is_an_error(tmp_path):
    chat = ScriptedChat()
    chat.ask = lambda questions: iter([(0, Reply("Yes"))])
    with pytest.raises(RuntimeError, match="all but 1"):
        StoredAnswers(chat, tmp_path)([question(1), question(2)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[: len(line) // 2],
        lambda line: b"\xff\xfe" + line,
        lambda line: b"[1, 2]",
        lambda line: line.replace(b'"answer"', b'"anzwer"'),
        lambda line: line.replace(b'"subcategory"', b'"other"'),
        lambda line: line.replace(b'"class": "class"', b'"class": null'),
    ],
)
def test_a_damaged_line_costs_only_its_question(tmp_path, caplog, damage):
    questions = [question(i) for i in range(5)]
    StoredAnswers(ScriptedChat(), tmp_path)(questions)
    path = AnswerStore(tmp_path, IDENTITY).path
    lines = path.read_bytes().splitlines()
    lost = json.loads(lines[2])["question"]
    lines[2] = damage(lines[2])
    path.write_bytes(b"\n".join([*lines[:2], b"", *lines[2:]]) + b"\n")
    chat = ScriptedChat()
    with caplog.at_level(logging.WARNING):
        answers = StoredAnswers(chat, tmp_path)(questions)
    assert chat.asked == [lost]
    assert len(answers) == 5
    assert "1 damaged lines" in caplog.text


def test_a_line_cut_by_a_kill_does_not_swallow_the_next(tmp_path, caplog):
    questions = [question(i) for i in range(5)]
    StoredAnswers(ScriptedChat(), tmp_path)(questions)
    path = AnswerStore(tmp_path, IDENTITY).path
    path.write_bytes(path.read_bytes()[:-30])
    chat = ScriptedChat()
    with caplog.at_level(logging.WARNING):
        StoredAnswers(chat, tmp_path)([*questions, question(9)])
    assert len(chat.asked) == 2
    assert "1 damaged lines" in caplog.text
    again = ScriptedChat(0)
    assert len(StoredAnswers(again, tmp_path)([*questions, question(9)])) == 6


def test_an_empty_answer_of_an_older_store_is_asked_again(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    for number, answer in enumerate(("", "<think>cut", "<think>whole</think>No", "Perhaps")):
        store.append(question(number), answer)
    chat = ScriptedChat()
    StoredAnswers(chat, tmp_path)([question(number) for number in range(4)])
    assert sorted(chat.asked) == [question(0).text, question(1).text]


def test_the_first_answer_stands_for_all_who_share_the_store(tmp_path):
    one, other = AnswerStore(tmp_path, IDENTITY), AnswerStore(tmp_path, IDENTITY)
    one.append(question(1), "Yes")
    other.append(question(1), "No")
    assert other.answers == one.answers == {question(1).text: "Yes"}
    assert len(one.path.read_text().splitlines()) == 1
    other.append(question(2), "No")
    one.refresh()
    assert one.answers[question(2).text] == "No"


def test_two_processes_append_whole_lines(tmp_path):
    code = (
        "import sys; from neglab.chat.answers import AnswerStore, Question; "
        f"store = AnswerStore(sys.argv[1], {IDENTITY!r}); "
        "[store.append(Question('proper_noun', str(i), None, str(i)), sys.argv[2] * 3000) "
        "for i in range(int(sys.argv[3]), int(sys.argv[3]) + 200)]"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, name, start])
        for name, start in (("a", "0"), ("b", "100"))
    ]
    assert [worker.wait(600) for worker in workers] == [0, 0]
    store = AnswerStore(tmp_path, IDENTITY)
    rows, num_damaged = parse_answers(store.path.read_bytes())
    assert num_damaged == 0
    assert sorted(int(row["label"]) for row in rows) == list(range(300))
    assert set(store.answers.values()) <= {"a" * 3000, "b" * 3000}


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="The store must be a folder"):
        AnswerStore(tmp_path / "file", IDENTITY)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_the_users_to_mend(tmp_path, monkeypatch):
    store = AnswerStore(tmp_path, IDENTITY)
    store.path.symlink_to("/dev/full")
    monkeypatch.setattr(store, "_catch_up", lambda: None)
    with pytest.raises(UserError, match="The disk is full"):
        store.append(question(1), "Yes")


def test_answers_are_found_whatever_the_wording():
    rows = [
        {"kind": "subcategory", "label": "a", "class": "b", "question": "old", "answer": "Yes"},
        {"kind": "subcategory", "label": "a", "class": "b", "question": "new", "answer": "No"},
        {"kind": "proper_noun", "label": "a", "class": None, "question": "x", "answer": "No"},
    ]
    rows, num_damaged = parse_answers("\n".join(map(json.dumps, rows)).encode())
    assert num_damaged == 0
    assert answers_by_key(rows) == {("subcategory", "a", "b"): "Yes", ("proper_noun", "a", None): "No"}
