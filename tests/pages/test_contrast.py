"""Text on the pages can be read by day and by night: contrast as WCAG 2.2 computes it, at least 4.5."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "neglab/pages"


def schemes(name):
    """The colours of a style sheet, by day and by night."""
    blocks = (PAGES / name).read_text().split("prefers-color-scheme: dark")
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks]


SCHEMES = schemes("page.css")


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "card"])
@pytest.mark.parametrize("ink", ["text", "quiet", "id", "ood"])
def test_text_stands_out(scheme, ground, ink):
    assert contrast(scheme[ink], scheme[ground]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_the_best_value_stands_out_where_it_is_marked(scheme):
    assert contrast(scheme["text"], scheme["mark"]) >= 4.5


@pytest.mark.parametrize("night", [0, 1], ids=["light", "dark"])
def test_curves_stand_out(night):
    """Graphics need a contrast of 3."""
    inks = schemes("chart.css")[night]
    assert len(set(inks.values())) == 8
    assert all(contrast(ink, SCHEMES[night]["card"]) >= 3 for ink in inks.values())
