"""The contract of a corpus: the words among which negative labels are looked for; and what the corpora share."""

import logging
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from gzip import GzipFile
from hashlib import blake2b
from heapq import heappush, heapreplace
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from neglab.files import open_regular
from neglab.types import PartOfSpeech, UserError, Words

Word = tuple[str, PartOfSpeech, str | None]
Item = TypeVar("Item")

logger = logging.getLogger(__name__)


class Corpus(ABC):
    """A list of words in a fixed, explicit order."""

    @abstractmethod
    def words(self, id_names: Sequence[str]) -> Words:
        """The candidates, after exclusions; each name once.

        Args:
            id_names: the ID classes, for corpora that depend on them.

        Raises:
            UserError: the corpus cannot be read, or is empty.
        """


def first_occurrences(words: Iterable[Word]) -> Words:
    """Each name once, over nouns and adjectives together; the first occurrence decides its part of speech."""
    distinct: dict[str, Word] = {}
    for word in words:
        distinct.setdefault(word[0], word)
    names, parts_of_speech, synsets = zip(*distinct.values(), strict=True) if distinct else ((), (), ())
    return Words(names, parts_of_speech, synsets)


def sample(words: Iterable[Word], num_words: int | None, seed: int) -> Words:
    """Distinct names drawn without replacement, in the order of their first occurrence.

    The names with the lowest keyed hash are drawn: one pass, no more memory than the sample needs, and neither the
    order of the words nor a repeated one changes the draw. A smaller sample is a part of a larger one.

    Args:
        num_words: names to draw; all, with a warning, where there are fewer. None: all.
        seed: the hash's key.
    """
    if num_words is None:
        return first_occurrences(words)
    key = str(seed).encode()
    drawn: dict[str, Word] = {}
    highest_first: list[tuple[int, str]] = []  # the negated hash of each drawn name, a heap
    for word in words:
        name = word[0]
        entry = (-int.from_bytes(blake2b(name.encode(), digest_size=8, key=key).digest()), name)
        if name in drawn or (len(drawn) == num_words and entry <= highest_first[0]):
            continue
        if len(drawn) < num_words:
            heappush(highest_first, entry)
        else:
            del drawn[heapreplace(highest_first, entry)[1]]
        drawn[name] = word
    if len(drawn) < num_words:
        logger.warning("corpus.num_words asks for %d words; there are %d, and all are taken", num_words, len(drawn))
    return first_occurrences(drawn.values())


def counted(items: Iterable[Item], expected: int | None, source: object) -> Iterator[Item]:
    """Hands the items on, and checks their number at the end."""
    count = 0
    for item in items:
        count += 1
        yield item
    check_count(count, expected, source)


def check_count(count: int, expected: int | None, source: object) -> None:
    """Warns where a source does not hold what is expected. None: it is not checked."""
    if expected is not None and count != expected:
        logger.warning("%s holds %d words; corpus.expected_count is %d", source, count, expected)


def lines_of(path: Path, what: str) -> Iterator[str]:
    """The lines of a UTF-8 text file, one at a time, without line ends and byte order mark; `.gz` is read as it is.

    Args:
        what: what the file should be, for the message where there is none.

    Raises:
        UserError: no such file, or one that is not UTF-8 or cannot be read whole.
    """
    with _text(path, what) as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def entries_of(path: Path, what: str) -> Iterator[str]:
    """The lines without spaces around them, empty ones left out, as `lines_of` reads them.

    Nothing of Python's own runs per line: a file may hold millions of empty ones.
    """
    with _text(path, what) as lines:
        yield from filter(None, map(str.strip, lines))


@contextmanager
def _text(path: Path, what: str) -> Iterator[TextIOWrapper]:
    if not os.path.isfile(path):
        raise UserError(f"corpus.path must be {what}; got {path}, which is none.")
    try:
        with _content(path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="\n") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; line {_strange_line(path)} is not. Save it as UTF-8.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} must be a readable, whole file; {error}. Fetch it again.") from error


@contextmanager
def _content(path: Path) -> Iterator[BinaryIO]:
    with open_regular(path) as raw:
        yield cast(BinaryIO, GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw


def _strange_line(path: Path) -> int | None:
    """The number of the first line that is not UTF-8."""
    with _content(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
