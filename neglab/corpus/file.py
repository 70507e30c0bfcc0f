"""One file of labels: a plain list, or the negative_labels.csv of an earlier run."""

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from neglab.corpus.base import Corpus, Word, entries_of, first_occurrences, lines_of
from neglab.csv_cells import TableReader
from neglab.types import PartOfSpeech, UserError, Words

logger = logging.getLogger(__name__)


class FileCorpus(Corpus):
    """Labels from one file, in its order; they need not be WordNet's words.

    Args:
        path: a text file with one label per line (all nouns), or a CSV file with a header that has a column `label`
            and, if it likes, `part_of_speech` and `synset`.

    Raises:
        UserError: the file is missing, empty, not UTF-8, or a CSV without the column `label`.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()

    def words(self, id_names: Sequence[str]) -> Words:
        what = "a file of labels"
        if self.path.suffix.lower() == ".csv":
            rows = self._csv_rows(lines_of(self.path, what))
        else:
            rows: list[Word] = [(name, "noun", None) for name in entries_of(self.path, what)]
        words = first_occurrences(rows)
        if not len(words):
            raise UserError(f"{self.path} must hold at least one label; it holds none.")
        if len(words) < len(rows):
            logger.warning("%d labels stand more than once in %s and count once", len(rows) - len(words), self.path)
        return words

    def _csv_rows(self, lines: Iterator[str]) -> list[Word]:
        reader = TableReader(lines)
        try:
            return self._words(reader)
        except csv.Error as error:
            raise UserError(f"{self.path} must be a CSV file; near line {reader.line_num}: {error}.") from error

    def _words(self, reader: TableReader) -> list[Word]:
        if "label" not in (reader.fieldnames or ()):
            raise UserError(f"{self.path} must have a column `label`; its header is {reader.fieldnames}.")
        rows: list[Word] = []
        for line in reader:
            part_of_speech: Any = line.get("part_of_speech") or "noun"
            if part_of_speech not in get_args(PartOfSpeech):
                raise UserError(
                    f"part_of_speech must be noun or adjective; {self.path} line {reader.line_num} has "
                    f"{part_of_speech!r}."
                )
            if line["label"]:
                rows.append((line["label"], part_of_speech, line.get("synset") or None))
        return rows
