"""The contract of a label filter, and the questions that language model filters ask about labels.

A filter may drop, clean, merge and reorder the selected negatives.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch

from neglab.chat.answers import Question, StoredAnswers, Tally, parse
from neglab.chat.base import Chat
from neglab.types import FilterResult, LabelSet, PartOfSpeech, TextEncoder, UserError

logger = logging.getLogger(__name__)

SYSTEM_PROMPT = "You sort words for a vocabulary. Your whole reply is a single word, Yes or No."
PROPER_NOUN_QUESTION = (
    'Here is one term: "{label}". Does it name a single particular thing, such as one country, town, lake, '
    "organisation or work, and so count as a proper noun?"
)
SUBCATEGORY_QUESTION = (
    'Here are two terms: "{class_name}" and "{label}". Is everything called "{label}" also a kind of "{class_name}"?'
)

MissingRule = Literal["error", "keep", "drop"]
Answers = Callable[[Sequence[Question]], Mapping[Question, str]]  # a question without an answer is left out
MIN_LENGTH = 3  # characters of a cleaned label
ROWS_AT_ONCE = 8192  # bounds the similarities held in memory
FIRST_LOOK = 100  # questions asked by themselves first, so that a model that does not answer is found out soon


class LabelFilter(ABC):
    """Judges negative labels by their meaning."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise a UserError where what the filter reads cannot be read; asked before anything is embedded."""

    @abstractmethod
    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        """Which negatives go on, under which names, and why the others do not."""


@dataclass
class Judgement:
    """What becomes of one negative label.

    Attributes:
        position: among the negatives.
        label: as it came.
        name: cleaned.
        part_of_speech: nouns and adjectives are judged separately.
        reason: "too short", "merged", "proper noun", "the same", "subcategory", "no answer", or "" where it goes on.
        class_name: the ID class that the reason names.
        num_unclear: answers that were neither yes nor no.
        lacks_answer: some question about it has no answer.
        kept: it goes on.
    """

    position: int
    label: str
    name: str
    part_of_speech: PartOfSpeech
    reason: str = ""
    class_name: str = ""
    num_unclear: int = 0
    lacks_answer: bool = False
    kept: bool = True

    def drop(self, reason: str, class_name: str = "") -> None:
        self.kept, self.reason, self.class_name = False, reason, class_name

    def row(self) -> dict[str, str]:
        """Its line of filter_verdicts.csv."""
        return {
            "label": self.label,
            "name": self.name,
            "verdict": "kept" if self.kept else "dropped",
            "reason": self.reason,
            "class": self.class_name,
            "unclear": str(self.num_unclear),
        }


class QuestionFilter:
    """NegRefine's procedure: a label goes when it is a proper noun or a kind of one of its nearest ID classes.

    Labels are cleaned and merged first. All labels get the proper noun question, then those still alive are compared
    with their nearest ID class, then with the second nearest, and so on. The first yes drops a label, and one that
    equals a class name is dropped without a question. An answer that is neither yes nor no counts as no, and is
    counted; where more than a few are, the answers say nothing and the filter stops. A round's questions go to the
    model together, but the first of all for a look at the answers.

    Args:
        answer: gives the answers to a round's questions.
        num_nearest: n, ID classes that a label is compared with; all classes where there are fewer.
        max_unclear: share of the answers, 0 to 1, that may be neither yes nor no.
        missing: what becomes of a label that no answer drops and that lacks one: "error", "keep" or "drop".

    Raises:
        UserError: an argument is out of range; every label was dropped; too many answers are unclear, or some missing.

    Source: Ansari et al., "NegRefine", ICCV 2025, section 3.2; official code at 72e4b82d, neg_filter.py:25-145.
    Differs: labels keep their order, which in the official code depends on Python's hash seed; the wording of the
        questions is ours; equal questions are asked once; an answer may stand in marks, behind "Answer:", in JSON or
        in its own last line (`verdict`), where the official code asks how it begins.
    """

    def __init__(self, answer: Answers, num_nearest: int, max_unclear: int | float, missing: str = "error") -> None:
        if not isinstance(num_nearest, int) or num_nearest < 1:
            raise UserError(f"llm_filter.num_nearest must be a whole number, at least 1; got {num_nearest!r}.")
        if isinstance(max_unclear, bool) or not isinstance(max_unclear, int | float) or not 0 <= max_unclear <= 1:
            raise UserError(f"llm_filter.max_unclear must be a share, 0 to 1; got {max_unclear!r}.")
        if missing not in get_args(MissingRule):
            raise UserError(f"llm_filter.missing must be one of {', '.join(get_args(MissingRule))}; got {missing!r}.")
        self.answer = answer
        self.num_nearest = num_nearest
        self.max_unclear = max_unclear
        self.missing: MissingRule = cast(MissingRule, missing)

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        """Which negatives go on, cleaned and in their order."""
        judgements = clean_and_merge(negatives)
        tally = Tally(self.max_unclear)
        alive = [judgement for judgement in judgements if judgement.kept]
        self._round(alive, {item.position: proper_noun_question(item.name) for item in alive}, tally)
        # All names, not only those still alive: the stored embeddings then serve every language model.
        nearest = nearest_names([item.name for item in alive], id_labels.names, encoder, self.num_nearest)
        classes = {item.position: names for item, names in zip(alive, nearest, strict=True)}
        alive = [judgement for judgement in alive if judgement.kept]
        for k in range(min(self.num_nearest, len(id_labels))):
            for judgement in alive:
                if judgement.name == classes[judgement.position][k]:
                    judgement.drop("the same", judgement.name)
            alive = [judgement for judgement in alive if judgement.kept]
            questions = {item.position: subcategory_question(item.name, classes[item.position][k]) for item in alive}
            self._round(alive, questions, tally)
            alive = [judgement for judgement in alive if judgement.kept]
        if tally.unclear:
            logger.warning(
                "%d answers of the language model were neither yes nor no and count as no; the first is %r",
                len(tally.unclear),
                tally.unclear[0],
            )
        settle_missing(judgements, self.missing)
        return conclude(judgements, [judgement for judgement in judgements if judgement.kept])

    def _round(self, alive: Sequence[Judgement], questions: Mapping[int, Question], tally: Tally) -> None:
        """One question about each label that is alive."""
        asked = list(dict.fromkeys(questions.values()))
        first = 0 if tally.num_answers else FIRST_LOOK
        answers: dict[Question, str] = {}
        for part in filter(None, (asked[:first], asked[first:])):
            answers |= tally.counted(self.answer(part))
        for judgement in alive:
            question = questions[judgement.position]
            answer = answers.get(question)
            if answer is None:
                judgement.lacks_answer = True
                continue
            match parse(answer):
                case "yes":
                    judgement.drop(question.kind.replace("_", " "), question.class_name or "")
                case "unclear":
                    judgement.num_unclear += 1


class ChatFilter(LabelFilter):
    """NegRefine's filter, whose questions a language model answers; the answers are stored.

    Args:
        chat: who is asked.
        num_nearest, max_unclear: see `QuestionFilter`.
        store: folder of the store.
    """

    def __init__(self, chat: Chat, num_nearest: int, max_unclear: int | float, store: str) -> None:
        self.chat = chat
        self.questions = QuestionFilter(StoredAnswers(chat, store), num_nearest, max_unclear)

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        return self.questions.apply(negatives, id_labels, encoder)


def clean(label: str) -> str:
    """Letters of any script, "_", "-" and " "; nothing is stripped. Source: neg_filter.py:25-36."""
    return "".join(character for character in label if character.isalpha() or character in "_- ")


def clean_and_merge(negatives: LabelSet) -> list[Judgement]:
    """Labels cleaned; those too short are dropped, and of equal nouns, or equal adjectives, the first stands."""
    judgements, seen = [], set()
    for position, (label, part_of_speech) in enumerate(zip(negatives.names, negatives.parts_of_speech, strict=True)):
        judgement = Judgement(position, label, clean(label), part_of_speech)
        if len(judgement.name) < MIN_LENGTH:
            judgement.drop("too short")
        elif (part_of_speech, judgement.name) in seen:
            judgement.drop("merged")
        seen.add((part_of_speech, judgement.name))
        judgements.append(judgement)
    return judgements


def nearest_names(
    names: Sequence[str], id_names: Sequence[str], encoder: TextEncoder, num_nearest: int
) -> list[list[str]]:
    """The ID classes most similar to each name, the nearest first, by cosine of the texts without a prompt."""
    if not names:
        return []
    classes = encoder.encode_texts(id_names)
    embeddings = encoder.encode_texts(names)
    count = min(num_nearest, len(id_names))
    positions: list[list[int]] = []
    for rows in embeddings.split(ROWS_AT_ONCE):
        positions += torch.topk(rows @ classes.T, count, dim=1).indices.tolist()
    return [[id_names[i] for i in row] for row in positions]


def proper_noun_question(label: str) -> Question:
    """Is the label a proper noun?"""
    return Question("proper_noun", label, None, PROPER_NOUN_QUESTION.format(label=label))


def subcategory_question(label: str, class_name: str) -> Question:
    """Is the label a kind of the class?"""
    text = SUBCATEGORY_QUESTION.format(label=label, class_name=class_name)
    return Question("subcategory", label, class_name, text)


def settle_missing(judgements: Sequence[Judgement], missing: MissingRule) -> None:
    """Decide the labels that no answer drops and that lack one.

    Raises:
        UserError: there are such labels and the rule is "error".
    """
    lacking = [judgement for judgement in judgements if judgement.kept and judgement.lacks_answer]
    if not lacking:
        return
    examples = ", ".join(repr(judgement.name) for judgement in lacking[:5])
    if missing == "error":
        raise UserError(
            f"Every label needs its answers; {len(lacking)} labels lack some, such as {examples}. Replay answers "
            "that were given for this corpus, selection and ID set, or set llm_filter.missing to keep or drop."
        )
    logger.warning("%d labels lack an answer (%s): %s", len(lacking), missing, examples)
    for judgement in lacking:
        if missing == "drop":
            judgement.drop("no answer")
        else:
            judgement.reason = "no answer"


def conclude(judgements: Sequence[Judgement], kept: Sequence[Judgement]) -> FilterResult:
    """The result, with the kept labels in this order and one verdict per judged label in theirs.

    Raises:
        UserError: nothing is left.
    """
    if not kept:
        raise UserError(
            f"A label filter must leave at least one negative label; it dropped all {len(judgements)}. Choose another "
            "llm_filter, or select more labels (negative_selector.fraction or num_labels)."
        )
    return FilterResult(
        torch.tensor([judgement.position for judgement in kept]),
        tuple(judgement.name for judgement in kept),
        tuple(judgement.row() for judgement in judgements),
    )
