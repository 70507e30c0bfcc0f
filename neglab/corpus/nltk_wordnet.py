"""Nouns and adjectives of the WordNets that nltk reads: other versions, and other languages."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from zipfile import BadZipFile

from nltk.corpus.reader import CorpusReader
from nltk.corpus.reader.wordnet import ADJ, ADJ_SAT, NOUN, WordNetCorpusReader, WordNetError
from nltk.corpus.util import LazyCorpusLoader

from neglab.corpus.base import Corpus, Word, check_count, first_occurrences
from neglab.ranges import Count
from neglab.types import PartOfSpeech, UserError, Words

ENGLISH = "eng"
KINDS: dict[PartOfSpeech, tuple[str, ...]] = {"noun": (NOUN,), "adjective": (ADJ, ADJ_SAT)}


class Reader(WordNetCorpusReader):
    """nltk's reader, which leaves files open, with a stack that closes them.

    Args:
        root: where the WordNet is.
        languages: nltk's reader of other languages.
        english: leave out the offsets of other languages, for which nltk would read a second WordNet.
        files: takes the files that are opened.
    """

    def __init__(self, root: Any, languages: Any, english: bool, files: ExitStack) -> None:
        self.english, self.files = english, files
        super().__init__(root, languages)

    def open(self, file: str) -> Any:
        return self.files.enter_context(super().open(file))

    def map_wn(self, version: str = "wordnet") -> Any:
        return None if self.english else super().map_wn(version)


class NLTKWordNetCorpus(Corpus):
    """Every noun of a WordNet in alphabetical order, then every adjective that is no noun.

    nltk looks for its packages in the folders of NLTK_DATA and in its usual places; nothing is fetched.

    Args:
        wordnet: nltk's package, or the name of a folder of Princeton's files in `corpora/` of nltk's data.
        language: "eng", all in lower case, or another ISO 639-3 code.
        multilingual: nltk's package with the other languages; not read for "eng".
        expected_count: distinct names. Another number is warned about. None: not checked.

    Raises:
        UserError: nltk lacks a package or the language, cannot read a file, or finds no noun and no adjective.

    Source: Princeton WordNet, Open English WordNet and the Open Multilingual Wordnet, by nltk's readers.
    """

    def __init__(self, wordnet: str, language: str, multilingual: str, expected_count: Count | None) -> None:
        self.wordnet, self.language, self.multilingual = wordnet, language, multilingual
        self.expected_count = expected_count

    def words(self, id_names: Sequence[str]) -> Words:
        # Other languages stand on the offsets of WordNet 3.0.
        others = () if self.language == ENGLISH else ("wordnet", self.multilingual)
        try:
            with ExitStack() as files:
                words = first_occurrences(self._read(files))
        except LookupError as error:
            packages = tuple(dict.fromkeys((self.wordnet, *others)))
            raise UserError(
                f"nltk must find {' and '.join(packages)} in its data, and does not. Fetch what is missing with "
                f"`python -m nltk.downloader {' '.join(packages)}`, or set NLTK_DATA to the folder that has it."
            ) from error
        except (WordNetError, OSError, ValueError, AssertionError, BadZipFile, zlib.error) as error:
            raise UserError(
                f"corpus.wordnet={self.wordnet} and corpus.multilingual={self.multilingual} must be data that nltk can "
                f"read; it says: {error}. Fetch them again."
            ) from error
        if not len(words):
            raise UserError(f"{self.wordnet} must hold at least one noun or adjective of {self.language}; it has none.")
        check_count(len(words), self.expected_count, f"{self.wordnet} ({self.language})")
        return words

    def _read(self, files: ExitStack) -> Iterator[Word]:
        languages = LazyCorpusLoader(self.multilingual, CorpusReader, r".*/wn-data-.*\.tab", encoding="utf8")
        reader: Any = LazyCorpusLoader(self.wordnet, Reader, languages, self.language == ENGLISH, files)
        if self.language != ENGLISH:
            reader.add_omw()
            if self.language not in reader.langs():
                known = ", ".join(sorted(reader.langs()))
                raise UserError(f"corpus.language must be one of {known}; got {self.language!r}.")
        for part_of_speech, kinds in KINDS.items():
            # nltk hands some languages over as sets: only sorted is their order the same each time.
            for name in sorted({name for kind in kinds for name in reader.all_lemma_names(kind, self.language)}):
                yield name.replace("_", " "), part_of_speech, None
