"""CLIP's tokenizer for many prompts at once."""

from collections.abc import Iterable, Sequence
from itertools import chain
from threading import Lock
from typing import Any, cast

import numpy as np
import open_clip
import torch
from jaxtyping import Int, Int64
from open_clip.tokenizer import get_clean_fn
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Split
from torch import Tensor

# CLIP's own pattern, for printable ASCII in lower case.
ASCII_TOKENS = "'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^ a-z0-9]+"
TEXT_ENDS = "\0"  # a word that no text has
LEARNING = Lock()  # what is known only grows, so that reading needs none


class WordIds:
    """The token ids of words, each made once, by the tokenizers library: many prompts repeat few words.

    CLIP's tokens never reach over a space, so a text's ids are those of its words. Broken encodings, entities, marks
    of begin and end, other white space and other alphabets are left to open_clip's own tokenizer, a whole text at once.
    """

    def __init__(self, tokenizer: open_clip.SimpleTokenizer) -> None:
        self.tokenizer = tokenizer
        merges = cast(list[tuple[str, str]], list(tokenizer.bpe_ranks))
        self._words = Tokenizer(BPE(tokenizer.encoder, merges, end_of_word_suffix="</w>"))
        self._words.normalizer = Lowercase()
        self._words.pre_tokenizer = Split(Regex(ASCII_TOKENS), "removed", invert=True)
        self._number = {TEXT_ENDS: 0}  # of each word; the mark has no ids
        self._ids = np.empty(0, dtype=np.int64)  # of all words, one after the other
        self._ends = np.zeros(2, dtype=np.int64)  # of each word's ids, behind where the first begin

    @staticmethod
    def fit(tokenizer: Any) -> bool:
        """Whether this is CLIP's tokenizer, with its own cleaning and cutting."""
        is_clips = isinstance(tokenizer, open_clip.SimpleTokenizer)
        return is_clips and tokenizer.clean_fn is get_clean_fn("lower") and tokenizer.reduction_fn is None

    def padded(self, texts: Sequence[str]) -> Int[Tensor, "N L"]:
        """Equal to open_clip's call: begin, text and end, longer texts cut, filled up with zeros."""
        words = self._words_of(texts)
        if new := {*words}.difference(self._number):
            self._learn(new)
        numbers = np.fromiter(map(self._number.__getitem__, words), np.int64, len(words))
        starts, lengths = self._ends[numbers], np.diff(self._ends)[numbers]
        flat = self._ids[np.repeat(starts, lengths) + _counted(lengths)]
        of_text = np.diff(lengths.cumsum()[numbers == self._number[TEXT_ENDS]], prepend=0)
        begin, end = self.tokenizer.all_special_ids[:2]
        longest = cast(int, self.tokenizer.context_length)
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        ids[:, 0] = begin
        row, column = np.repeat(np.arange(len(texts)), of_text), 1 + _counted(of_text)
        fits = column < longest - 1
        ids[row[fits], column[fits]] = flat[fits]
        ids[np.arange(len(texts)), 1 + of_text.clip(max=longest - 2)] = end
        return torch.from_numpy(ids)

    def _words_of(self, texts: Sequence[str]) -> list[str]:
        """Of all texts, one after the other, each with a mark behind it. What is not plain is one word."""
        if _is_plain("".join(texts)):
            return f" {TEXT_ENDS} ".join([*texts, ""]).split()
        words: list[str] = []
        for text in texts:
            words += text.split() if _is_plain(text) else [f" {text}"]
            words.append(TEXT_ENDS)
        return words

    def _learn(self, words: Iterable[str]) -> None:
        """Keep the ids of these words, each equal to open_clip's `encode`."""
        with LEARNING:
            new = [word for word in words if word not in self._number]
            plain = [word for word in new if _is_plain(word)]
            encoded = dict(zip(plain, self._words.encode_batch_fast(plain, add_special_tokens=False), strict=True))
            ids = [encoded[word].ids if word in encoded else self.tokenizer.encode(word) for word in new]
            self._ids = np.concatenate([self._ids, np.fromiter(chain.from_iterable(ids), np.int64)])
            self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum([*map(len, ids)], dtype=np.int64)])
            first = len(self._number)
            self._number.update(zip(new, range(first, first + len(new)), strict=True))


def _counted(lengths: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " K"]:
    """0, 1, ... for each length, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "&" not in text and "<" not in text
