"""Titles of Wikipedia's articles, in any language, drawn at random."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from neglab.corpus.base import Corpus, counted, lines_of, sample
from neglab.ranges import Count, Seed
from neglab.types import UserError, Words

DUMP_HEADER = "page_title"  # the first line of Wikimedia's lists
EXPECTED = (
    "a list of titles, such as enwiki-latest-all-titles-in-ns0.gz of Wikimedia's dumps (or set "
    "corpus.dataset=wikimedia/wikipedia)"
)
DISAMBIGUATION = re.compile(r" \([^()]*\)$")


class WikipediaTitlesCorpus(Corpus):
    """Titles, all nouns, in the order of their file or dataset; read in one pass that keeps the drawn ones alone.

    Args:
        path: a text file with one title per line, plain or `.gz`, such as Wikimedia's lists; underscores are spaces.
        dataset: a Hugging Face dataset of Parquet files that is read instead, such as "wikimedia/wikipedia"; of its
            columns the titles alone are fetched. None: the file.
        subset: of the dataset, such as "20231101.en"; None: its only one.
        split: of the dataset.
        column: of the dataset, that of the titles.
        drop_disambiguation: "Mercury (planet)" becomes "Mercury".
        num_words: distinct titles drawn at random; None: all.
        seed: of the draw.
        expected_count: titles in the file or dataset. Another number is warned about. None: not checked.

    Raises:
        UserError: num_words below 1; no such file, not UTF-8, damaged or empty; the package `datasets` is missing, or
            cannot read the dataset.

    Source: NegLabel (Jiang et al., ICLR 2024), Appendix A.4.3 and Table 11: the titles of a dataset of Wikipedia's
        articles, English and French, 70,000 drawn.
    Differs: their dump and their draw are not published. Wikimedia's lists hold redirects too; the dataset does not.
    """

    def __init__(
        self,
        path: str,
        dataset: str | None,
        subset: str | None,
        split: str,
        column: str,
        drop_disambiguation: bool,
        num_words: Count | None,
        seed: Seed,
        expected_count: Count | None,
    ) -> None:
        self.path, self.dataset = Path(path).expanduser(), dataset
        self.subset, self.split, self.column = subset, split, column
        self.drop_disambiguation = drop_disambiguation
        self.num_words, self.seed, self.expected_count = num_words, seed, expected_count

    def words(self, id_names: Sequence[str]) -> Words:
        titles, source = (self._file(), self.path) if self.dataset is None else (self._dataset(), self.dataset)
        names = map(self._name, counted(titles, self.expected_count, source))
        words = sample(((name, "noun", None) for name in names if name), self.num_words, self.seed)
        if not len(words):
            raise UserError(f"{source} must hold at least one title; it holds none.")
        return words

    def _name(self, title: str) -> str:
        name = title.replace("_", " ").strip()
        return DISAMBIGUATION.sub("", name) if self.drop_disambiguation else name

    def _file(self) -> Iterator[str]:
        lines = lines_of(self.path, EXPECTED)
        return (line for number, line in enumerate(lines) if line.strip() and (number or line != DUMP_HEADER))

    def _dataset(self) -> Iterator[str]:
        try:
            datasets = import_module("datasets")
        except ImportError as error:
            raise UserError("corpus.dataset needs the package datasets: pip install datasets.") from error
        try:
            rows = datasets.load_dataset(
                self.dataset, self.subset, split=self.split, streaming=True, columns=[self.column]
            )
            for row in rows:
                yield row[self.column]
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"corpus.dataset, subset, split and column must name titles in Parquet files; got {self.dataset}, "
                f"{self.subset}, {self.split} and {self.column}. The package datasets says: {reason}"
            ) from error
