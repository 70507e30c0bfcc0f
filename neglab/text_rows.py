"""Rows of texts on disk, each found by the text itself."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.mapped import Rows
from neglab.parts import NOTHING, read_parts, write_part

LARGE_BYTES = 32 * 2**20  # of rows, in a file that is worth to be taken over


def with_digests(rows: Rows, digests: Int[Tensor, "2 N"]) -> Rows:
    """Rows in the order in which `StoredRows` finds them by the digests of their texts."""
    order = digests[0].argsort()
    return {"digests": digests[:, order]} | {name: tensor[order] for name, tensor in rows.items()}


class KeyedTexts:
    """Texts, and the digests by which their rows are found, which are made once.

    Args:
        texts: may repeat.
        digests: of each text; None: not made yet.
    """

    def __init__(self, texts: Sequence[str], digests: Int[Tensor, "2 N"] | None = None) -> None:
        self.texts = texts
        if digests is not None:
            self.digests = digests

    @classmethod
    def joined(cls, parts: Sequence["KeyedTexts"]) -> "KeyedTexts":
        """The texts of all parts, one after the other."""
        nothing = torch.empty(2, 0, dtype=torch.long)
        digests = torch.cat([nothing, *(part.digests for part in parts)], dim=1)
        return cls([text for part in parts for text in part.texts], digests)

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def digests(self) -> Int[Tensor, "2 N"]:
        """The first 128 bits of each text's SHA-256, as two numbers."""
        content = b"".join([hashlib.sha256(text.encode()).digest()[:16] for text in self.texts])
        return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.int64)).view(-1, 2).T.contiguous()

    def take(self, positions: Int[Tensor, " K"]) -> "KeyedTexts":
        chosen: list[int] = positions.tolist()
        return KeyedTexts([self.texts[i] for i in chosen], self.digests[:, positions])


class StoredRows:
    """Rows of texts, each found by the text itself, whatever list it came in first.

    A file holds the digests [2, n] of n texts, their first halves rising, and their rows [n, D]. Files are only added.
    The last bits of a row may depend on the batch in which its text was first encoded.

    Args:
        folder: of texts whose rows were made in one way.
        width: D.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width

    def lacking(self, texts: KeyedTexts) -> KeyedTexts:
        """The texts without a row, each once."""
        is_wanted = torch.ones(len(texts), dtype=torch.bool)
        for _, is_here, _ in self._matches(texts):
            is_wanted &= ~is_here
        wanted: list[int] = is_wanted.nonzero().flatten().tolist()
        first: dict[str, int] = {}
        for i in wanted:
            first.setdefault(texts.texts[i], i)
        return texts.take(torch.tensor([*first.values()], dtype=torch.long))

    def rows(self, texts: KeyedTexts) -> Float[Tensor, "N D"]:
        """The row of each text.

        Raises:
            RuntimeError: a text has none.
        """
        found = torch.zeros(len(texts), dtype=torch.bool)
        rows = torch.empty(len(texts), self.width)
        for part, is_here, place in self._matches(texts):
            rows[is_here] = part["embeddings"][place[is_here]]
            found |= is_here
        if not found.all():
            raise RuntimeError(f"{int((~found).sum())} of {len(texts)} texts have no row in {self.folder}")
        return rows

    def add(self, texts: KeyedTexts, rows: Float[Tensor, "N D"]) -> None:
        self._write(texts.digests, rows)

    def adopt(self, folder: Path, parts: Sequence[Rows]) -> None:
        """Take over the files of a pass, each with the digests of its texts, and what was read of them.

        Small ones, which a slow machine leaves by the dozen, become one.
        """
        if sum(part["embeddings"].nbytes for part in parts) < LARGE_BYTES * len(parts):
            digests = torch.cat([part["digests"] for part in parts], dim=1)
            self._write(digests, torch.cat([part["embeddings"] for part in parts]))
        else:
            known = self._parts
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in folder.glob("*.safetensors"):
                path.replace(self.folder / path.name)
            known.extend(parts)

    def _write(self, digests: Int[Tensor, "2 N"], rows: Float[Tensor, "N D"]) -> None:
        known, part = self._parts, with_digests({"embeddings": rows}, digests)
        write_part(self.folder, part)
        known.append(part)

    @cached_property
    def _parts(self) -> list[Rows]:
        return read_parts(self.folder, self._fits)

    def _fits(self, part: Rows) -> bool:
        digests, embeddings = part.get("digests", NOTHING), part.get("embeddings", NOTHING)
        if not len(embeddings) or embeddings.shape[1:] != (self.width,) or digests.shape != (2, len(embeddings)):
            return False
        types, first = (digests.dtype, embeddings.dtype), digests[0]
        return types == (torch.int64, torch.float32) and bool((first[1:] >= first[:-1]).all())  # `diff` overflows

    def _matches(self, texts: KeyedTexts) -> Iterator[tuple[Rows, Tensor, Tensor]]:
        """For each file: which of the texts it holds, and where."""
        wanted = texts.digests
        for part in self._parts:
            digests = part["digests"]
            place = torch.searchsorted(digests[0], wanted[0]).clamp(max=digests.shape[1] - 1)
            yield part, (digests[:, place] == wanted).all(dim=0), place
