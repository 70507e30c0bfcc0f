"""A folder of word lists, one per lexicographer file, as NegLabel, CSP and NegRefine release them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from neglab.corpus.base import Corpus, Word, entries_of, first_occurrences
from neglab.corpus.wordnet import FILE_ORDERS
from neglab.types import PartOfSpeech, UserError, Words

KINDS: dict[str, PartOfSpeech] = {"noun": "noun", "adj": "adjective"}


class TextFilesCorpus(Corpus):
    """Word lists named `noun.act.txt`, `adj.all.txt`, ...: one word or phrase per line.

    Args:
        path: the folder.
        file_order: which list is read first decides the part of speech of a word that stands in several. "authors":
            the order that reproduces the labels NegLabel released; "negrefine_authors": NegRefine's; "nouns_first":
            InterNeg's, AdaNeg's, TANL's and TINS's; "alphabetical"; or a list of file names.
        exclude: file names without ".txt" that are not read, such as "noun.person".

    Raises:
        UserError: no such folder, no list in it, a file of the order is missing, or a file is not UTF-8.

    Source: NegLabel's official code at 3253db6, multi_modal.py; NegRefine's at 72e4b82d, create_negs.py.
    Differs: the official code reads in the file system's order; here the order is explicit.
    """

    def __init__(self, path: str, file_order: str | Sequence[str], exclude: Sequence[str]) -> None:
        if isinstance(file_order, str) and file_order not in FILE_ORDERS:
            raise UserError(f"corpus.file_order must be one of {', '.join(FILE_ORDERS)} or a list; got {file_order!r}.")
        self.path = Path(path).expanduser()
        self.file_order = file_order if isinstance(file_order, str) else tuple(file_order)
        self.exclude = frozenset(exclude)

    def words(self, id_names: Sequence[str]) -> Words:
        words = first_occurrences(word for file in self._files() for word in _read(file))
        if not len(words):
            raise UserError(f"The corpus must hold at least one word; the lists in {self.path} hold none.")
        return words

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            raise UserError(f"corpus.path must be a folder of word lists; got {self.path}, which is none.")
        found = {file.stem: file for file in sorted(self.path.glob("*.txt")) if file.stem.split(".")[0] in KINDS}
        if isinstance(self.file_order, tuple):
            names = [name.removesuffix(".txt") for name in self.file_order]
            if missing := [name for name in names if name not in found]:
                raise UserError(f"corpus.file_order names lists that {self.path} lacks: {', '.join(missing)}.")
        else:
            order = FILE_ORDERS[self.file_order]
            names = [name for name in order if name in found] + [name for name in found if name not in order]
        names = [name for name in names if name not in self.exclude]
        if not names:
            raise UserError(
                f"{self.path} must hold lists named noun.*.txt or adj.*.txt; got none that is not excluded."
            )
        return [found[name] for name in names]


def _read(file: Path) -> Iterator[Word]:
    kind = KINDS[file.stem.split(".")[0]]
    return ((name, kind, None) for name in entries_of(file, "a folder of word lists"))
