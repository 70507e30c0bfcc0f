"""The pictures behind embeddings, for scores that look at an image again."""

import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from neglab.data.base import ImageList
from neglab.data.sources import JoinedSources
from neglab.types import LabelledEmbeddings


class Gallery:
    """Finds an image by its embedding. Each is computed once and never changed, so equal bits mean the same image.

    Args:
        embedded: embeddings of each set, with the positions of the images that could be read.
        images: of each set.
    """

    def __init__(self, embedded: Mapping[str, LabelledEmbeddings], images: Mapping[str, ImageList]) -> None:
        keys = np.concatenate([_keys(rows.embeddings) for rows in embedded.values()])
        order = keys.argsort(kind="stable")
        self._keys = keys[order]
        places = [map(int, rows.positions.numpy()) for rows in embedded.values()]  # pyright: ignore[reportOptionalMemberAccess]
        own = [images[name].sources.take(positions) for name, positions in zip(embedded, places, strict=True)]
        self._sources = JoinedSources(own).take(map(int, order))

    def pictures(self, embeddings: Float[Tensor, "K D"]) -> list[Image.Image]:
        """The picture of each row, in RGB.

        Raises:
            KeyError: a row is of no image.
        """
        keys = _keys(embeddings)
        places = self._keys.searchsorted(keys, "right") - 1
        if (self._keys[places] != keys).any():
            raise KeyError("an embedding of no image of the run")
        return [self._sources.at(place).rgb() for place in places.tolist()]


def _keys(embeddings: Float[Tensor, "K D"]) -> Shaped[np.ndarray, " K"]:
    rows = embeddings.cpu().contiguous().numpy()
    return np.fromiter((hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows), "S16", len(rows))
