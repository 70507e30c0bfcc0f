"""Requests to the embedder: names or images, their entry in the store, and how to make it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import ImageTransform
from neglab.data.base import ImageList
from neglab.embedding.file_digests import chunks, number_of
from neglab.embedding.module import ImageJob
from neglab.embedding.store import Store
from neglab.parts import Rows, not_finite
from neglab.prompt.templates import PromptTemplates
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import PartOfSpeech, TextEncoder


class TextRequest:
    """A request for the embeddings of names, which are made from the rows of their prompts.

    Args:
        store: where the entry is.
        identity: everything that the row of a text depends on.
        width: of the entry's rows.
        prompts: templates that turn names into texts.
        names: as a person writes them.
        parts_of_speech: one per name.
    """

    kind: ClassVar[str] = "text"

    def __init__(
        self,
        store: Store,
        identity: Mapping[str, Any],
        width: int,
        prompts: PromptTemplates,
        names: Sequence[str],
        parts_of_speech: Sequence[PartOfSpeech],
    ) -> None:
        self.width, self.prompts, self.names, self.parts_of_speech = width, prompts, names, parts_of_speech
        content = {"names": list(names), "parts_of_speech": list(parts_of_speech)}
        whole = {"kind": self.kind, **identity, **prompts.identity, **content}
        self.entry = store.entry(whole, kind=self.kind, num_labels=len(names))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def prompted(self) -> tuple[KeyedTexts, Int[Tensor, " P"]]:
        texts, owner = self.prompts.expand(self.names, self.parts_of_speech)
        return KeyedTexts(texts), owner

    def finish(self, stored: StoredRows, encoder: TextEncoder) -> None:
        texts, owner = self.prompted
        self.entry.write(self._made_of(stored.rows(texts), owner, encoder))

    def _made_of(
        self, raw: Float[Tensor, "P D"], owner: Int[Tensor, " P"], encoder: TextEncoder
    ) -> Float[Tensor, "N W"]:
        embeddings = self.prompts.average(raw, owner, len(self.names))
        return self.prompts.replace_known(self.names, embeddings, encoder)


class LengthRequest(TextRequest):
    """A request for the norms that the embeddings of names have before they are normalised."""

    kind: ClassVar[str] = "lengths"

    def _made_of(
        self, raw: Float[Tensor, "P D"], owner: Int[Tensor, " P"], encoder: TextEncoder
    ) -> Float[Tensor, "N W"]:
        return self.prompts.lengths(raw, owner, len(self.names))[:, None]


class ImageRequest:
    """The images of one set: their entry in the store, and the job that makes it.

    Args:
        store: where the entry is.
        identity: everything that the row of an image depends on, besides its content and view.
        width: of a row.
        images: of the set.
        hashed: files are told by their content.
        transform: of the backbone.
        batch_size: images per forward pass.
        unit: the rows are embeddings, and are brought to unit norm.
        keeps_files: JPEG files are decoded on the device.
    """

    def __init__(
        self,
        store: Store,
        identity: Mapping[str, Any],
        width: int,
        images: ImageList,
        hashed: bool,
        transform: ImageTransform,
        batch_size: int,
        unit: bool,
        keeps_files: bool = False,
    ) -> None:
        self.width, self.images, self.unit = width, images, unit
        files, self._file_of = images.sources.files()
        self._marks = store.file_marks(files, hashed)
        whole = {**identity, "images": self._contents(), "view": str(images.view)}
        self.entry = store.entry(whole, kind=identity["kind"], num_images=len(images))
        self.job = ImageJob(self.entry.folder.name, images, transform, batch_size, keeps_files)

    def _contents(self) -> Iterator[tuple[str, str]]:
        """Of each image the digest of its file, empty where there is none, and where it lies in there."""
        for start, end in chunks(len(self)):
            if self._file_of is None:
                digests = self._marks.texts(start, end)
            else:
                numbers = self._file_of[start:end].tolist()
                of = {i: self._marks.texts(i, i + 1)[0] if i >= 0 else "" for i in {*numbers}}
                digests = [of[i] for i in numbers]
            yield from zip(digests, self.images.sources.keys(start, end), strict=True)

    def numbers(self) -> Int64[np.ndarray, "N 2"]:
        """128 bits of what decides each picture; zeros for one whose file cannot be read."""
        found = self._marks.numbers()
        lacks_file = False
        if self._file_of is not None:
            found, lacks_file = np.vstack([found, [(0, 0)]])[self._file_of], self._file_of < 0
        is_unknown = ~(found.any(axis=1) | lacks_file)
        for start, end in chunks(len(self)):
            keys = self.images.sources.keys(start, end)
            of = {key: number_of(key) for key in {*keys}}
            found[start:end] ^= np.array([of[key] for key in (keys if len(of) > 1 else keys[:1])])
        found[is_unknown] = 0
        return found

    def __len__(self) -> int:
        return len(self.images)

    def finish(self, parts: Sequence[Rows]) -> None:
        reasons = self.job.unreadable(not_finite(parts))
        rows = ({"index": part["index"], "embeddings": self._kept(part["embeddings"])} for part in parts)
        self.entry.write_parts(rows, (len(self), self.width), reasons)

    def _kept(self, raw: Float[Tensor, "K W"]) -> Float[Tensor, "K W"]:
        rows = torch.nan_to_num(raw)
        return normalize(rows, dim=1) if self.unit else rows
