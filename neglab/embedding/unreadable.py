"""Images that cannot be read: a few are skipped, more stop the run."""

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.columns import texts_at
from neglab.data.base import ImageList
from neglab.embedding.store import Manifest
from neglab.mapped import rows_at
from neglab.types import LabelledEmbeddings, UserError

SHOWN = 20  # of the unreadable images, with the reason

logger = logging.getLogger(__name__)


def readable(
    name: str, images: ImageList, embeddings: Float[Tensor, "N D"], manifest: Manifest, most: int
) -> LabelledEmbeddings:
    """A set's embeddings without those of its unreadable images.

    Args:
        name: of the set.
        images: of the set.
        embeddings: a row per image. They stay on the disk until they are used; where some images cannot be read, those
            of the others lie in a file without a name.
        manifest: says which rows stand for unreadable images.
        most: unreadable images that are skipped.

    Raises:
        UserError: there are more.
    """
    unreadable, labels = manifest.unreadable, torch.tensor(images.labels)
    if not unreadable:
        return LabelledEmbeddings(embeddings, labels, images.sources.names, torch.arange(len(images)))
    listed = "\n".join(f"  {images.sources[i]}: {reason}" for i, reason in list(unreadable.items())[:SHOWN])
    message = f"{len(unreadable)} of {len(images)} images of {name} cannot be read:\n{listed}"
    if len(unreadable) > most:
        raise UserError(f"{message}\nRepair or remove them, or allow so many with data.max_unreadable.")
    logger.warning("%s\nThey are skipped.", message)
    is_readable = torch.ones(len(images), dtype=torch.bool)
    is_readable[list(unreadable)] = False
    kept = is_readable.nonzero().flatten()
    paths = texts_at(images.sources.names, map(int, kept.numpy()))  # one number at a time, where a list would be long
    return LabelledEmbeddings(rows_at(embeddings, kept), labels[kept], paths, kept)
