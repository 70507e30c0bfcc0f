"""Images that two sets of one run share: whoever learns from one, or is tested on both, finds what he put there."""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from neglab.columns import texts_at
from neglab.data.base import ImageList
from neglab.types import LabelledEmbeddings, UserError

logger = logging.getLogger(__name__)

Pair = tuple[str, str]  # names of two sets

NAMES_SHOWN = 3
NEAR_COPY = 0.9999  # cosine of the embeddings of one picture that was encoded twice, or more
NUM_COMPARED = 4096  # images of each set that are held against another's: a second or less for a pair of sets


@runtime_checkable
class Pictures(Protocol):
    """A set's images, and what decides each picture."""

    images: ImageList

    def numbers(self) -> Int64[np.ndarray, "N 2"]:
        """128 bits of what decides each picture; zeros where that is not known."""
        ...


def check_unshared(sets: Mapping[str, Pictures], pairs: Sequence[Pair], allowed: bool) -> None:
    """Hold sets to have no picture in common, by the content of their files, which are not read again.

    Args:
        sets: by name.
        pairs: sets that must share none.
        allowed: a warning will do.

    Raises:
        UserError: two share a picture, and that is not allowed.
    """
    numbers = {name: sets[name].numbers() for name in {name for pair in pairs for name in pair}}
    findings = []
    for first, second in pairs:
        if len(places := _places_shared(numbers[first], numbers[second])):
            images = sets[second].images
            names = ", ".join(str(images.sources[i]) for i in places[:NAMES_SHOWN].tolist())
            findings.append(f"{len(places)} of {len(images)} images of {second} are in {first} too, such as {names}")
    if not findings:
        return
    message = f"Sets of one run must share no image; {'; '.join(findings)}."
    if not allowed:
        raise UserError(
            f"{message} Take other folders, or take them out of one set; data.allow_shared=true goes on all the same."
        )
    logger.warning("%s The figures count them.", message)


def _places_shared(first: Int64[np.ndarray, "K 2"], second: Int64[np.ndarray, "N 2"]) -> Int64[np.ndarray, " _"]:
    """The positions of the second set's pictures that the first has too."""
    alike = _places_in(first[:, 0], second[:, 0])
    alike = alike[second[alike].any(axis=1)]
    known = {*map(tuple, first[_places_in(second[alike, 0], first[:, 0])].tolist())}
    return alike[[tuple(pair) in known for pair in second[alike].tolist()]]


def _places_in(known: Int64[np.ndarray, " K"], numbers: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " _"]:
    """The positions of those numbers that are known."""
    if not len(known):
        return np.empty(0, dtype=np.int64)
    ordered = np.sort(known)
    return (ordered[np.searchsorted(ordered, numbers).clip(max=len(known) - 1)] == numbers).nonzero()[0]


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
            names = ", ".join(texts_at(sets[second].paths, own[is_near].tolist()[:NAMES_SHOWN]))
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
