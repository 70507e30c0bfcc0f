"""The pictures behind embeddings, for scores that look at an image again."""

import hashlib
from collections.abc import Mapping

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from neglab.data.base import ImageList, ImageSource
from neglab.types import LabelledEmbeddings


class Gallery:
    """Finds an image by its embedding. Each is computed once and never changed, so equal bits mean the same image.

    Args:
        embedded: embeddings of each set, with the names of the images that could be read.
        images: of each set.
    """

    def __init__(self, embedded: Mapping[str, LabelledEmbeddings], images: Mapping[str, ImageList]) -> None:
        self._sources: dict[bytes, ImageSource] = {}
        for name, rows in embedded.items():
            by_name = {str(source): source for source in images[name].sources}
            for key, path in zip(_keys(rows.embeddings), rows.paths, strict=True):
                self._sources[key] = by_name[path]

    def pictures(self, embeddings: Float[Tensor, "K D"]) -> list[Image.Image]:
        """The picture of each row, in RGB."""
        return [self._sources[key].rgb() for key in _keys(embeddings)]


def _keys(embeddings: Float[Tensor, "K D"]) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in embeddings.cpu().contiguous().numpy()]
