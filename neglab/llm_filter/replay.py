"""A filter that repeats an earlier model's answers: ours, or NegRefine's released log. It needs no language model."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neglab.chat.answers import Question, answers_by_key, parse_answers
from neglab.files import read_bytes
from neglab.llm_filter.base import (
    Judgement,
    LabelFilter,
    QuestionFilter,
    clean_and_merge,
    conclude,
    settle_missing,
)
from neglab.types import FilterResult, LabelSet, PartOfSpeech, TextEncoder, UserError

logger = logging.getLogger(__name__)

LOGS: dict[PartOfSpeech, str] = {"noun": "llm_process_noun.txt", "adjective": "llm_process_adj.txt"}
# "label | proper noun ", "label | class | the same ", "label | class | subcategory ", "label | class | "
LINE = re.compile(
    r"(?P<label>.*?) \| (?:(?P<proper>proper noun) ?|(?P<class>.*) \| ?(?P<verdict>the same|subcategory|) ?)"
)
FOOTER = re.compile(r"-{10,}\s*")


@dataclass
class LoggedLabel:
    """What the log says about a label.

    Attributes:
        num_classes: ID classes that it was compared with.
        reason: the first reason to drop it, "" where there is none.
        class_name: the ID class of that reason.
    """

    num_classes: int = 0
    reason: str = ""
    class_name: str = ""


# Labels in the log's order; the part of speech is None where the file does not say which.
Log = dict[tuple[PartOfSpeech | None, str], LoggedLabel]


class ReplayFilter(LabelFilter):
    """Filters as recorded answers say.

    Our own answers (`<store>/answers/*.jsonl`) are looked up question by question, with the nearest ID classes of
    this run's backbone. An official log is taken at its verdicts: a label goes when any of its lines is a yes, and
    the labels that stay go on in the log's order, nouns first. That order is all that the authors' final order can be
    had from; labels that the log lacks and that `missing` keeps come last.

    Args:
        path: a .jsonl file of answers, an official llm_process_*.txt, or a folder that holds llm_process_noun.txt and
            llm_process_adj.txt.
        missing: what becomes of a label that no answer drops and that lacks one: "error", "keep" or "drop".
        num_nearest: n, ID classes that a label is compared with; all classes where there are fewer.
        max_unclear: largest share of unclear answers (`QuestionFilter`).

    Raises:
        UserError: the file is missing, empty or of another kind, or labels lack answers.

    Source: Ansari et al., "NegRefine", ICCV 2025; official code at 72e4b82d, neg_filter.py:74-145 and the released
        output/imagenet/seed_0.
    """

    def __init__(self, path: str, missing: str, num_nearest: int, max_unclear: int | float) -> None:
        self.path = Path(path).expanduser()
        self.questions = QuestionFilter(self._recorded, num_nearest, max_unclear, missing)
        self.num_nearest = num_nearest
        self._answers: dict[tuple[str, str, str | None], str] = {}

    def check(self) -> None:
        if self.path.suffix.lower() == ".jsonl":
            self._read_answers()
        else:
            self._read_logs()

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        if self.path.suffix.lower() == ".jsonl":
            self._answers = self._read_answers()
            return self.questions.apply(negatives, id_labels, encoder)
        return self._follow(self._read_logs(), clean_and_merge(negatives), min(self.num_nearest, len(id_labels)))

    def _recorded(self, questions: Sequence[Question]) -> dict[Question, str]:
        return {question: self._answers[question.key] for question in questions if question.key in self._answers}

    def _follow(self, log: Log, judgements: list[Judgement], num_classes: int) -> FilterResult:
        ranks = {key: rank for rank, key in enumerate(log)}
        order: dict[int, int] = {}
        unused = set(log)
        for judgement in (item for item in judgements if item.kept):
            keys = [(judgement.part_of_speech, judgement.name), (None, judgement.name)]
            key = next((key for key in keys if key in log), None)
            order[judgement.position] = len(ranks) if key is None else ranks[key]
            logged = LoggedLabel() if key is None else log[key]
            unused.discard(key or keys[0])
            if logged.reason:
                judgement.drop(logged.reason, logged.class_name)
            else:
                judgement.lacks_answer = key is None or logged.num_classes < num_classes
        if unused:
            logger.warning("%d labels of %s are not among this run's negatives", len(unused), self.path)
        settle_missing(judgements, self.questions.missing)
        kept = [judgement for judgement in judgements if judgement.kept]
        return conclude(judgements, sorted(kept, key=lambda judgement: order[judgement.position]))

    def _read_answers(self) -> dict[tuple[str, str, str | None], str]:
        rows, num_damaged = parse_answers(_read(self.path))
        if not rows:
            raise UserError(f"{self.path} must hold answers of a language model filter, one per line; it holds none.")
        if num_damaged:
            logger.warning("%d lines of %s are no answers and are skipped", num_damaged, self.path)
        return answers_by_key(rows)

    def _read_logs(self) -> Log:
        log: Log = {}
        if self.path.is_dir():
            for part_of_speech, name in LOGS.items():
                _add_log(log, self.path / name, part_of_speech)
        else:
            kinds: dict[str, PartOfSpeech] = {name: part_of_speech for part_of_speech, name in LOGS.items()}
            _add_log(log, self.path, kinds.get(self.path.name))
        if not log:
            raise UserError(f"{self.path} must be a log of NegRefine's filter; it holds no label.")
        return log


def _add_log(log: Log, path: Path, part_of_speech: PartOfSpeech | None) -> None:
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; byte {error.start} is not. Save it as UTF-8.") from error
    lines = text.split("\n")
    # What follows the last line end was cut off in the middle of writing, unless it belongs to the footer.
    unended = lines.pop()
    footer = next((number for number, line in enumerate(lines) if FOOTER.fullmatch(line)), None)
    if footer is None and unended:
        logger.warning("%s ends in the middle of a line, which is skipped", path)
    for number, line in enumerate(lines[:footer], start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise UserError(
                f"{path} must be a log of NegRefine's filter (llm_process_noun.txt, llm_process_adj.txt) or a .jsonl "
                f"file of answers; its line {number} is {line[:80]!r}."
            )
        entry = log.setdefault((part_of_speech, match["label"]), LoggedLabel())
        entry.num_classes += match["class"] is not None
        reason = match["proper"] or match["verdict"]
        if reason and not entry.reason:
            entry.reason, entry.class_name = reason, match["class"] or ""


def _read(path: Path) -> bytes:
    try:
        content = read_bytes(path)
    except OSError as error:
        raise UserError(
            f"llm_filter.path must be a file of answers, or a folder that holds {' and '.join(LOGS.values())}; "
            f"{path} cannot be read ({error.strerror})."
        ) from error
    if not content.strip():
        raise UserError(f"{path} must hold a language model's answers; it is empty.")
    return content
