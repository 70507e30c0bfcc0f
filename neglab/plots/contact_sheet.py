"""A contact sheet: thumbnails with the labels that decided, in one HTML page that needs no other file."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from PIL import Image

from neglab.plots.detection import ID_COLOUR, OOD_COLOURS

SIZE = 160  # pixels of a thumbnail's longer edge
QUALITY = 80  # of its JPEG

STYLE = f"""
:root {{ color-scheme: light dark; --id: {ID_COLOUR}; --ood: {OOD_COLOURS[0]};
  --line: color-mix(in srgb, currentColor 18%, transparent); }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0 0 .5rem; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }}
header p {{ margin: .15rem 0; max-width: 75ch; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(178px, 1fr)); gap: .8rem; }}
figure {{ margin: 0; padding: .5rem; border: 1px solid var(--line); border-top: 4px solid var(--line);
  border-radius: 4px; overflow-wrap: anywhere; }}
figure.ood {{ border-top-color: var(--ood); }}
figure.id {{ border-top-color: var(--id); }}
figure img {{ display: block; height: {SIZE}px; max-width: 100%; margin: 0 auto .4rem; object-fit: contain; }}
figure .absent {{ display: grid; place-items: center; height: {SIZE}px; margin: 0 auto .4rem; opacity: .6;
  border: 1px dashed var(--line); }}
figcaption {{ font-size: 12px; }}
figcaption a {{ color: inherit; }}
.score {{ display: block; font-size: 15px; font-weight: 600; font-variant-numeric: tabular-nums; }}
.label {{ position: relative; margin-top: 3px; padding: 1px 4px; }}
.label i {{ position: absolute; inset: 0 auto 0 0; opacity: .3; border-radius: 2px; }}
.label span {{ position: relative; display: flex; justify-content: space-between; gap: .5rem; }}
.label em {{ font-style: normal; white-space: nowrap; }}
"""
LEGEND = "Bars are shares of the softmax over all labels: the nearest class blue, the nearest negatives orange."


class Card(NamedTuple):
    """One image on the sheet.

    Attributes:
        name: shown below the thumbnail.
        link: where the whole picture lies; empty: nowhere to go.
        thumbnail: a JPEG; empty: the picture is gone, or must not be shown.
        score: the ID score.
        is_ood: the decision; None: there is none.
        labels: name, share of the softmax, and whether it is an ID class.
    """

    name: str
    link: str
    thumbnail: bytes
    score: float
    is_ood: bool | None
    labels: tuple[tuple[str, float, bool], ...]


def thumbnail(image: Image.Image) -> bytes:
    """A small JPEG of an RGB picture."""
    small, content = image.copy(), io.BytesIO()
    small.thumbnail((SIZE, SIZE))
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def contact_sheet(cards: Iterable[Card], title: str, facts: Sequence[str]) -> str:
    """The page, with the cards in the order in which they come.

    Args:
        cards: sorted from most OOD to most ID.
        title: of the page.
        facts: lines below the title.
    """
    sections: dict[str, list[str]] = {}
    for card in cards:
        heading = {True: "Out of distribution", False: "In distribution", None: "Most out of distribution first"}
        sections.setdefault(heading[card.is_ood], []).append(figure(card))
    body = "".join(f"<h2>{heading}</h2><main>{''.join(found)}</main>" for heading, found in sections.items())
    return whole_page(title, [*facts, LEGEND], body)


def whole_page(title: str, facts: Sequence[str], body: str, style: str = "") -> str:
    """An HTML page that needs no other file.

    Args:
        title: of the page, not escaped.
        facts: lines below it, not escaped.
        body: the rest, as HTML.
        style: more of it, as CSS.
    """
    lines = "".join(f"<p>{escape(fact)}</p>" for fact in facts)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
        f"{STYLE}{style}</style></head><body><header><h1>{escape(title)}</h1>{lines}</header>{body}</body></html>\n"
    )


def figure(card: Card) -> str:
    """A card as HTML."""
    kind = {True: "ood", False: "id", None: ""}[card.is_ood]
    picture, name = '<div class="absent">not shown</div>', escape(card.name)
    if card.thumbnail:
        content = base64.b64encode(card.thumbnail).decode()
        picture = f'<img src="data:image/jpeg;base64,{content}" alt="" loading="lazy">'
    if card.link:
        name = f'<a href="{escape(card.link)}">{name}</a>'
    labels = "".join(
        f'<div class="label"><i style="width:{100 * share:.1f}%;background:var(--{"id" if known else "ood"})"></i>'
        f"<span><b>{escape(name)}</b><em>{100 * share:.1f}%</em></span></div>"
        for name, share, known in card.labels
    )
    return (
        f'<figure class="{kind}">{picture}<figcaption><span class="score">{card.score:.4f}</span>{name}'
        f"{labels}</figcaption></figure>\n"
    )
