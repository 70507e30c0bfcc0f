"""Images that cannot be read: a few are skipped, more stop the run."""

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.data.base import ImageList
from neglab.embedding.store import Manifest
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
        embeddings: a row per image; not copied where all can be read: they stay on the disk until they are used.
        manifest: says which rows stand for unreadable images.
        most: unreadable images that are skipped.

    Raises:
        UserError: there are more.
    """
    unreadable, labels = manifest.unreadable, torch.tensor(images.labels)
    if not unreadable:
        return LabelledEmbeddings(embeddings, labels, tuple(map(str, images.sources)), torch.arange(len(images)))
    listed = "\n".join(f"  {images.sources[i]}: {reason}" for i, reason in list(unreadable.items())[:SHOWN])
    message = f"{len(unreadable)} of {len(images)} images of {name} cannot be read:\n{listed}"
    if len(unreadable) > most:
        raise UserError(f"{message}\nRepair or remove them, or allow so many with data.max_unreadable.")
    logger.warning("%s\nThey are skipped.", message)
    kept = torch.tensor([i for i in range(len(images)) if i not in unreadable], dtype=torch.long)
    paths = tuple(str(images.sources[i]) for i in kept.tolist())
    return LabelledEmbeddings(embeddings[kept], labels[kept], paths, kept)
