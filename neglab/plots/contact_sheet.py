"""A contact sheet: thumbnails with the labels that decided, in one HTML page that needs no other file."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from neglab.pages.render import render

SIZE = 160  # pixels of a thumbnail's longer edge
QUALITY = 60  # of its WebP: about 3 KB
LEGEND = (
    "Bars are shares of one softmax over all labels, at the score's temperature: ID classes blue, negative labels "
    "orange. A score that deals the negatives out to groups, as NegLabel's, is higher than the share of all classes."
)


class Card(NamedTuple):
    """One image on the sheet.

    Attributes:
        name: shown below the thumbnail.
        link: where the whole picture lies; empty: nowhere to go.
        thumbnail: a WebP; empty: the picture is gone, or must not be shown.
        score: the ID score.
        is_ood: the decision; None: there is none.
        labels: name, share of the softmax, and whether it is of ID classes.
    """

    name: str
    link: str
    thumbnail: bytes
    score: float
    is_ood: bool | None
    labels: tuple[tuple[str, float, bool], ...]


def thumbnail(image: Image.Image) -> bytes:
    """A small WebP of an RGB picture."""
    small, content = image.copy(), io.BytesIO()
    small.thumbnail((SIZE, SIZE))
    small.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def selection(scores: Sequence[float], threshold: float | None, count: int) -> list[int]:
    """Which images to show where there are too many: the ends, and most of them where the decision turns.

    Args:
        scores: ascending.
        threshold: None: there is none, and the most OOD are shown.
        count: at most so many.

    Returns:
        Their positions, ascending: a quarter from either end, the rest from around the threshold.
    """
    if len(scores) <= count or threshold is None:
        return list(range(min(count, len(scores))))
    turn = sum(score < threshold for score in scores)
    quarter = count // 4
    start = min(max(turn - (count - 2 * quarter) // 2, quarter), len(scores) - count + quarter)
    middle = range(start, start + count - 2 * quarter)
    return [*range(quarter), *middle, *range(len(scores) - quarter, len(scores))]


def contact_sheet(cards: Sequence[Card], title: str, facts: Sequence[str], threshold: float | None) -> str:
    """The page, with the cards in the order in which they come; it can be sorted, filtered and searched.

    Args:
        cards: sorted from most OOD to most ID.
        title: of the page.
        facts: lines below the title.
        threshold: an image is OOD where its score is below; None: there is none.
    """
    first_id = next((i for i, card in enumerate(cards) if card.is_ood is False), len(cards))
    values = {"cards": cards, "first_id": first_id if threshold is not None else None, "threshold": threshold}
    return render("contact_sheet.html.j2", title=title, facts=[*facts, LEGEND], **values)
