"""Answers on disk: a question that was answered once is not asked again, whatever stopped the run in between.

One JSONL file per chat identity, only ever appended to, one answer per line: it can be read by people, filtered with
standard tools, and handed on for replay. A line that is no whole answer, such as the last one of a run killed while
writing, or that holds an empty one, is skipped with a warning and costs only its own question.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from neglab.chat.base import Chat
from neglab.chat.replies import Verdict, too_many, verdict, without_thoughts
from neglab.errors import disk_full_said
from neglab.files import DamagedError, decode, digest, open_regular
from neglab.types import UserError

logger = logging.getLogger(__name__)

QuestionKind = Literal["proper_noun", "subcategory"]
SHOWN = 80  # characters of an answer in a message
QuestionKey = tuple[str, str, str | None]


@dataclass(frozen=True)
class Question:
    """A yes-no question about a label.

    Attributes:
        kind: what is asked.
        label: the cleaned negative label.
        class_name: the ID class that the label is compared with, None where there is none.
        text: the wording that the model sees.
    """

    kind: QuestionKind
    label: str
    class_name: str | None
    text: str

    @property
    def key(self) -> QuestionKey:
        """The question without its wording."""
        return self.kind, self.label, self.class_name


class AnswerStore:
    """The answers of one chat identity.

    Several processes may share it: a file lock guards each access, and the first answer to a question stands.

    Args:
        root: folder of the store; the answers lie in its `answers` folder.
        identity: everything that decides an answer (`Chat.identity`).

    Raises:
        UserError: the folder cannot be made, or the disk is full.
    """

    def __init__(self, root: str | Path, identity: Mapping[str, Any]) -> None:
        folder = Path(root).expanduser() / "answers"
        self.path = folder / f"{digest(identity)}.jsonl"
        self.answers: dict[str, str] = {}
        self._notes = {"model": identity["model"], "revision": identity["revision"]}
        self._offset = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_suffix(".lock"))
            with self._lock:
                self.path.with_suffix(".json").write_text(json.dumps(identity, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UserError(
                f"The store must be a folder that can be written; got {root} ({error.strerror}). "
                "Set paths.store or NEGLAB_STORE to another place."
            ) from error
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since the last look, by this process or another one."""
        with self._lock:
            self._catch_up()

    def append(self, question: Question, answer: str) -> None:
        """Store an answer, unless another process has stored one first: then that one stands."""
        row = {
            "kind": question.kind,
            "label": question.label,
            "class": question.class_name,
            "question": question.text,
            **self._notes,
            "answer": answer,
        }
        with self._lock:
            self._catch_up()
            if question.text not in self.answers:
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                self._write(line)
                self.answers[question.text] = answer
                self._offset += len(line)

    def _catch_up(self) -> None:
        """The lock is held: a last line without an end is what a killed process has left."""
        if not self.path.exists() or self.path.stat().st_size <= self._offset:
            return
        with open_regular(self.path) as file:
            file.seek(self._offset)
            content = file.read()
        if not content.endswith(b"\n"):
            self._write(b"\n")
            content += b"\n"
        rows, num_damaged = parse_answers(content)
        for row in rows:
            self.answers.setdefault(row["question"], row["answer"])
        if num_damaged:
            logger.warning(
                "%d damaged lines or empty answers in %s are skipped; their questions are asked again",
                num_damaged,
                self.path,
            )
        self._offset += len(content)

    def _write(self, content: bytes) -> None:
        said = disk_full_said(f"{self.path} cannot grow. The answers so far are kept.")
        with said, self.path.open("ab") as file:
            file.write(content)


class StoredAnswers:
    """Answers from the store, and from the chat where the store has none.

    Args:
        chat: asked only what is not stored.
        root: folder of the store.
    """

    def __init__(self, chat: Chat, root: str | Path) -> None:
        self.chat = chat
        self.root = Path(root)
        self._store: AnswerStore | None = None

    def __call__(self, questions: Sequence[Question]) -> dict[Question, str]:
        """The answer to each question; equal questions are asked once.

        A reply that is no answer is given with its flaw and not stored, so that the next run asks again.

        Raises:
            UserError: the chat failed; what it has answered is kept.
            RuntimeError: the chat left a question unanswered without saying why.
        """
        if self._store is None:
            self._store = AnswerStore(self.root, self.chat.identity)
        else:
            self._store.refresh()
        answers, flawed = self._store.answers, dict[str, str]()
        fresh = list({question.text: question for question in questions if question.text not in answers}.values())
        if fresh:
            with Progress(console=Console(stderr=True), transient=True, disable=not os.isatty(2)) as progress:
                task = progress.add_task(f"{fresh[0].kind.replace('_', ' ')} questions", total=len(fresh))
                for position, reply in self.chat.ask([question.text for question in fresh]):
                    if reply.is_answer:
                        self._store.append(fresh[position], reply.text)
                    else:
                        flawed[fresh[position].text] = str(reply)
                    progress.advance(task)
        found = {**flawed, **answers}
        if missing := [question.text for question in fresh if question.text not in found]:
            raise RuntimeError(f"the chat answered all but {len(missing)} questions; the first is {missing[0]!r}")
        return {question: found[question.text] for question in questions}


@dataclass
class Tally:
    """How many answers there were, and which were neither yes nor no.

    Attributes:
        max_unclear: share of them that may be.
        num_answers: so far.
        unclear: so far, in their words.
    """

    max_unclear: int | float
    num_answers: int = 0
    unclear: list[str] = field(default_factory=list)

    def counted(self, answers: Mapping[Question, str]) -> Mapping[Question, str]:
        """The same answers.

        Raises:
            UserError: too many are unclear by now.
        """
        self.num_answers += len(answers)
        self.unclear += [answer for answer in answers.values() if parse(answer) == "unclear"]
        if too_many(len(self.unclear), self.num_answers, self.max_unclear):
            examples = ", ".join(repr(answer[:SHOWN]) for answer in self.unclear[:3])
            raise UserError(
                f"The language model must answer yes or no; {len(self.unclear)} of {self.num_answers} answers are "
                f"neither, such as {examples}. A model that thinks first needs room to do so, or a switch that stops "
                "it (llm_filter.max_tokens or max_new_tokens, llm_filter.reasoning); else hold it to yes or no "
                "(llm_filter.answer_form), or take another model. "
                "Whole answers are kept. So many are borne: llm_filter.max_unclear"
            )
        return answers


def parse(answer: str) -> Verdict:
    """What a recorded answer says; those of older stores may hold thoughts."""
    return verdict(without_thoughts(answer))


def parse_answers(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The rows of a file of answers, and how many of its lines are none."""
    rows, num_damaged = [], 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            row = decode(line, dict)
        except DamagedError:
            num_damaged += 1
            continue
        if _is_answer(row):
            rows.append(row)
        else:
            num_damaged += 1
    return rows, num_damaged


def answers_by_key(rows: Iterable[Mapping[str, Any]]) -> dict[QuestionKey, str]:
    """What a file of answers says about each pair, whatever the wording; the first answer stands."""
    answers: dict[QuestionKey, str] = {}
    for row in rows:
        answers.setdefault((row["kind"], row["label"], row["class"]), row["answer"])
    return answers


def _is_answer(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and row.get("kind") in get_args(QuestionKind)
        and all(isinstance(row.get(name), str) for name in ("label", "question", "answer"))
        and bool(without_thoughts(row["answer"]))
        and ("class" in row and isinstance(row["class"], str | None))
        and (row["class"] is None) == (row["kind"] == "proper_noun")
    )
