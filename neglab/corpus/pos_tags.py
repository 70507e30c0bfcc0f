"""Words with part-of-speech tags, from a CSV file or from nltk's tagger; the nouns and adjectives among them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from neglab.corpus.base import Corpus, Word, counted, entries_of, lines_of, sample
from neglab.ranges import Count, CountOrZero, Seed
from neglab.types import PartOfSpeech, UserError, Words


class PosTagsCorpus(Corpus):
    """The words of one file whose tag is a noun's or an adjective's, in the order of the file; others are dropped.

    Args:
        path: a CSV file, or a plain list with one word per line; either may be a `.gz` file.
        source: what the file is and who has it, for whoever lacks it.
        columns: the columns of word and tag: names in the first line, or numbers from 0 where the file has no such
            line. None: the file is a plain list, and nltk's averaged perceptron tags each word by itself.
        nouns: tags of nouns.
        adjectives: tags of adjectives.
        num_words: nouns and adjectives drawn at random, both together; None: all.
        seed: of the draw.
        expected_count: lines of the file, without the first one if it names columns, and without empty ones. Another
            number is warned about. None: not checked.

    Raises:
        UserError: num_words below 1; no such file, not UTF-8, no such columns, a line without them, no word with one of
            the tags, or nltk lacks its tagger.

    Source: NegLabel (Jiang et al., ICLR 2024), Appendix A.4.3 and Table 11: nouns and adjectives, 70,000 drawn. CSP
        (Chen et al., NeurIPS 2024), official code at 3a7bdab, tools/obtain_corpus: the tags, the columns and the
        tagger; it draws none. InterNeg's Table 13 has both lists.
    Differs: the official code writes nouns and adjectives to two lists; here they stand as in the file. NegLabel's draw
        is not published.
    """

    def __init__(
        self,
        path: str,
        source: str,
        columns: Sequence[str | CountOrZero] | None,
        nouns: Sequence[str],
        adjectives: Sequence[str],
        num_words: Count | None,
        seed: Seed,
        expected_count: Count | None,
    ) -> None:
        if columns is not None and len(columns) != 2:
            raise UserError(f"corpus.columns must be two, of word and tag, or null; got {list(columns)}.")
        self.path, self.source, self.columns = Path(path).expanduser(), source, columns
        adjective_tags: dict[str, PartOfSpeech] = dict.fromkeys(adjectives, "adjective")
        self.kinds: dict[str, PartOfSpeech] = {**adjective_tags, **dict.fromkeys(nouns, "noun")}
        self.num_words, self.seed, self.expected_count = num_words, seed, expected_count

    def words(self, id_names: Sequence[str]) -> Words:
        what = f"a file such as {self.source}"
        if self.columns is None:
            tagged = _tag(entries_of(self.path, what))
        else:
            tagged = self._read(csv.reader(lines_of(self.path, what)), self.columns)
        rows = list(counted(tagged, self.expected_count, self.path))
        words = sample(self._known(rows), self.num_words, self.seed)
        if not len(words):
            found = sorted({tag for _, tag in rows})[:20]
            raise UserError(
                f"{self.path} must hold words tagged with one of corpus.nouns or corpus.adjectives "
                f"({', '.join(self.kinds)}); its tags are {', '.join(found) or 'none'}."
            )
        return words

    def _known(self, rows: list[tuple[str, str]]) -> Iterator[Word]:
        return ((word, self.kinds[tag], None) for word, tag in rows if word and tag in self.kinds)

    def _read(self, reader: Any, columns: Sequence[str | int]) -> Iterator[tuple[str, str]]:
        named = any(isinstance(column, str) for column in columns)
        try:
            header = [cell.strip() for cell in next(reader, [])] if named else []
            if missing := [column for column in columns if isinstance(column, str) and column not in header]:
                raise UserError(
                    f"{self.path} must have the columns {columns[0]} and {columns[1]}; its first line, {header}, lacks "
                    f"{' and '.join(missing)}. Set corpus.columns: numbers from 0 where the first line has no names."
                )
            word, tag = (column if isinstance(column, int) else header.index(column) for column in columns)
            for row in reader:
                if max(word, tag) < len(row):
                    yield row[word].strip(), row[tag].strip()
                elif "".join(row).strip():
                    raise UserError(
                        f"Each line of {self.path} must hold word and tag; line {reader.line_num} is {row}."
                    )
        except csv.Error as error:
            raise UserError(f"{self.path} must be a CSV file; near line {reader.line_num}: {error}.") from error


def _tag(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each word with the tag that nltk gives it where it stands alone."""
    words = list(entries)
    from nltk.tag.perceptron import PerceptronTagger  # slow to import

    try:
        tagger = PerceptronTagger()
    except LookupError as error:
        raise UserError(
            "nltk must have its English tagger, and lacks it. Fetch it once with "
            "`python -m nltk.downloader averaged_perceptron_tagger_eng`, or take all words as nouns: corpus=file."
        ) from error
    except (BadZipFile, OSError, ValueError) as error:
        raise UserError(
            f"nltk's English tagger must be whole; it cannot be read: {error}. Delete it and fetch it again with "
            "`python -m nltk.downloader averaged_perceptron_tagger_eng`."
        ) from error
    for word in words:
        yield from tagger.tag([word])
