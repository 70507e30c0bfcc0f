"""Images that two sets of one run share: whoever learns from one, or is tested on both, finds what he put there."""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from neglab.data.base import ImageList
from neglab.types import LabelledEmbeddings, UserError

logger = logging.getLogger(__name__)

Content = tuple[str, str]  # digest of a picture's file, and which picture of it; "" where a part decides nothing
Pair = tuple[str, str]  # names of two sets

NAMES_SHOWN = 3
NEAR_COPY = 0.9999  # cosine of the embeddings of one picture that was encoded twice, or more
NUM_COMPARED = 4096  # images of each set that are held against another's: a second or less for a pair of sets


@runtime_checkable
class Pictures(Protocol):
    """A set's images, and what decides each picture."""

    images: ImageList
    contents: list[Content]


def check_unshared(sets: Mapping[str, Pictures], pairs: Sequence[Pair], allowed: bool) -> None:
    """Hold sets to have no picture in common, by the content of their files, which are not read again.

    Args:
        sets: by name.
        pairs: sets that must share none.
        allowed: a warning will do.

    Raises:
        UserError: two share a picture, and that is not allowed.
    """
    findings = [found for first, second in pairs if (found := _shared(sets, first, second))]
    if not findings:
        return
    message = f"Sets of one run must share no image; {'; '.join(findings)}."
    if not allowed:
        raise UserError(
            f"{message} Take other folders, or take them out of one set; data.allow_shared=true goes on all the same."
        )
    logger.warning("%s The figures count them.", message)


def _shared(sets: Mapping[str, Pictures], first: str, second: str) -> str:
    """How many pictures of the second set are in the first, with the names of some; empty where none is."""
    known = {content for content in sets[first].contents if any(content)}
    images = sets[second].images
    places = [i for i, content in enumerate(sets[second].contents) if content in known]
    if not places:
        return ""
    names = ", ".join(str(images.sources[i]) for i in places[:NAMES_SHOWN])
    return f"{len(places)} of {len(images)} images of {second} are in {first} too, such as {names}"


def warn_of_near_copies(sets: Mapping[str, LabelledEmbeddings], pairs: Sequence[Pair]) -> None:
    """Say where two sets show pictures that differ hardly more than by how they were encoded.

    A model that tells pictures of one class hardly apart finds such pairs within a set too; they say nothing where they
    are as frequent there. Of large sets evenly spaced images are compared, so that it costs little.
    """
    for first, second in pairs:
        own, others = (_spread(len(sets[name])) for name in (second, first))
        if not len(own) or not len(others):
            continue
        known = sets[first].embeddings[others]
        is_near = (sets[second].embeddings[own] @ known.T).amax(dim=1) > NEAR_COPY
        if not is_near.any():
            continue
        is_near_within = (known @ known.T).fill_diagonal_(-1).amax(dim=1) > NEAR_COPY
        if is_near.double().mean() > is_near_within.double().mean():
            names = ", ".join(sets[second].paths[i] for i in own[is_near].tolist()[:NAMES_SHOWN])
            logger.warning(
                "%d images of %s, of %d that were compared, look like copies of images of %s, such as %s",
                int(is_near.sum()),
                second,
                len(own),
                first,
                names,
            )


def _spread(count: int) -> Int[Tensor, " K"]:
    """Evenly spaced positions among so many images."""
    return torch.linspace(0, max(0, count - 1), min(count, NUM_COMPARED)).round().long()
