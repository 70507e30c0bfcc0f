"""Files of labels: plain lists, or the negative_labels.csv of an earlier run."""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from neglab.corpus.base import Corpus, Word, entries_of, first_occurrences, lines_of
from neglab.csv_cells import TableReader
from neglab.types import PartOfSpeech, UserError, Words

logger = logging.getLogger(__name__)

# adj.all.txt, initial_neg_labels_adj.txt, adjectives.txt
ADJECTIVES = re.compile(r"(^|[\W_])adj(ectives?)?($|[\W_])", re.IGNORECASE)
SYNSET = re.compile(r"\d{8}-[a-z]")


PROMPTED = 0.9  # share of the labels from which a list is one of prompts
# Those that the official codes of NegLabel, CSP and MCM put around a name.
PROMPTS: tuple[tuple[re.Pattern[str], PartOfSpeech], ...] = (
    (re.compile(r"(?:the nice|a photo of (?:an?|the)) (.+?)\.?", re.IGNORECASE), "noun"),
    (re.compile(r"this is an? (.+?) photo\.?", re.IGNORECASE), "adjective"),
)


class FileCorpus(Corpus):
    """Labels from files, in their order; they need not be WordNet's words.

    A list whose labels hold their prompts ("the nice kite"), as some are released, is taken without them.

    Args:
        path: a text file with one label per line, all nouns, or all adjectives where its name says so (adj.all.txt,
            neg_labels_adj.txt); or a CSV file with a header that has a column `label` and, if it likes,
            `part_of_speech` and `synset`; or a list of such files.

    Raises:
        UserError: a file is missing, not UTF-8, or a CSV without the column `label` or with a row that is not of its
            header; or there is no label.
    """

    def __init__(self, path: str | Sequence[str]) -> None:
        self.paths = [Path(one).expanduser() for one in ([path] if isinstance(path, str) else path)]

    def words(self, id_names: Sequence[str]) -> Words:
        rows = _bare([row for path in self.paths for row in _rows(path)])
        words = first_occurrences(rows)
        if not len(words):
            places = ", ".join(map(str, self.paths)) or "corpus.path, an empty list,"
            raise UserError(f"{places} must hold at least one label; it holds none.")
        if len(words) < len(rows):
            logger.warning("%d labels of corpus.path are repeated and count once", len(rows) - len(words))
        return words


def _rows(path: Path) -> list[Word]:
    what = "a file of labels"
    if path.suffix.lower() == ".csv":
        rows = _csv_rows(path, lines_of(path, what))
    else:
        kind: PartOfSpeech = "adjective" if ADJECTIVES.search(path.stem) else "noun"
        rows: list[Word] = [(name, kind, None) for name in entries_of(path, what)]
        # Said, since the file's name alone decides it.
        logger.warning("%s: %d labels, all taken as %ss", path, len(rows), kind)
    return rows


def _csv_rows(path: Path, lines: Iterator[str]) -> list[Word]:
    reader = TableReader(lines, strict=True)
    try:
        if "label" not in (reader.fieldnames or ()):
            raise UserError(f"{path} must have a column `label`; its header is {reader.fieldnames}.")
        return [_word(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path} must be a CSV file; near line {reader.line_num}: {error}.") from error


def _word(path: Path, number: int, row: dict[str | Any, Any]) -> Word:
    if None in row or None in row.values():
        raise UserError(
            f"Each row must have as many cells as the header; line {number} of {path} has not. A label that holds a "
            "comma stands in quotes."
        )
    part_of_speech: Any = row.get("part_of_speech") or "noun"
    if part_of_speech not in get_args(PartOfSpeech):
        raise UserError(f"part_of_speech must be noun or adjective; {path} line {number} has {part_of_speech!r}.")
    synset = row.get("synset") or None
    if synset is not None and not SYNSET.fullmatch(synset):
        raise UserError(
            f"synset must be an id of WordNet 3.1, such as 02086723-n, or empty; {path} line {number} has {synset!r}."
        )
    if not row["label"].strip():
        raise UserError(f"Each row must have a label; line {number} of {path} has none. Take it out.")
    return row["label"], part_of_speech, synset


def _bare(rows: list[Word]) -> list[Word]:
    """Labels as names: a released list may hold each within its prompt, and would be prompted twice."""
    found = [_without_prompt(row) for row in rows]
    changed = sum(bare is not None for bare in found)
    if not changed or changed < PROMPTED * len(rows):
        return rows
    logger.warning(
        "%d of %d labels of corpus.path hold their prompt, such as %r: they are taken without it, as prompt= adds its "
        "own",
        changed,
        len(rows),
        next(row[0] for row, bare in zip(rows, found, strict=True) if bare is not None),
    )
    return [row if bare is None else bare for row, bare in zip(rows, found, strict=True)]


def _without_prompt(row: Word) -> Word | None:
    """The name in a prompt, with its part of speech; None: the label is no prompt."""
    label, _, synset = row
    for form, part_of_speech in PROMPTS:
        if match := form.fullmatch(label):
            return match[1], part_of_speech, synset
    return None
