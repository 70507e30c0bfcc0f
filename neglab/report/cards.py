"""The examples of a report's runs as cards: small pictures, where their files still lie there, and what decided."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from neglab.config_check import ID
from neglab.data.pictures import as_rgb
from neglab.data.sources import ImageFile
from neglab.plots.contact_sheet import SIZE, Card, thumbnail
from neglab.results.examples import Example


def cards(examples: Sequence[Example], count: int, picture: Callable[[str], bytes]) -> dict[str, list[Card]]:
    """By heading, the first cards of each set.

    Args:
        examples: of one run.
        count: cards of each set.
        picture: `small_picture`, or one that remembers what it has read.
    """
    found: dict[str, list[Card]] = {}
    for example in examples:
        heading = f"{example.dataset}: {'least' if example.dataset == ID else 'most'} like ID"
        shown = found.setdefault(heading, [])
        if len(shown) < count:
            name = ": ".join(filter(None, (example.own_class, Path(example.path).name)))
            labels = [(example.predicted_class, example.class_share, True)]
            labels += [(label, share, False) for label, share in example.negatives]
            if example.together is not None:
                both = zip(("all classes", "all negatives"), example.together, (True, False), strict=True)
                labels += list(both) if example.negatives else []
            shown.append(Card(name, "", picture(example.path), example.score, None, tuple(labels)))
    return found


def small_picture(path: str, folders: Sequence[Path]) -> bytes:
    """A WebP of an image file; empty: it is no file, or no picture any more, or lies in none of these folders.

    Args:
        path: as a run that may be someone else's names it.
        folders: absolute. Links below them are the owner's, so that they may lead elsewhere.
    """
    place = Path(os.path.abspath(path))
    if not any(place.is_relative_to(folder) for folder in folders):
        return b""
    try:
        with ImageFile(place).open() as image:
            image.draft("RGB", (SIZE, SIZE))  # of a large JPEG only what a thumbnail needs is decoded
            return thumbnail(as_rgb(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what Pillow's decoders raise
        return b""
