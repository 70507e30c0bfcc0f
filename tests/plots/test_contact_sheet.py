import base64
import io
import re

import pytest
from PIL import Image

from neglab.plots.contact_sheet import SIZE, Card, contact_sheet, selection, thumbnail


def card(name="a.jpg", is_ood=True, score=0.1, label="cat"):
    picture = thumbnail(Image.new("RGB", (900, 300), "red"))
    return Card(name, "file:///a.jpg", picture, score, is_ood, ((label, 0.25, True), ("rust", 0.5, False)))


def test_the_page_holds_its_pictures_and_what_decided():
    found = [card(score=0.1), card(score=0.2), card(is_ood=False, score=0.99997312)]
    page = contact_sheet(found, "Title", ["a fact"], 0.5)
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures]
    assert sizes == [(SIZE, 53)] * 3
    assert re.findall(r'class="score">([\d.]+)<', page) == ["0.1000", "0.2000", "0.9999731"]
    assert page.index("0.2000") < page.index("Threshold 0.5000") < page.index("0.9999731<")
    assert page.count(">25.0%<") == page.count(">50.0%<") == 3 and "a fact" in page
    assert page.count('alt="a.jpg"') == 3 and page.count("<main") == 1 and 'name="viewport"' in page
    assert not re.search(r'(src|href)="(?!data:|file:)', page)  # nothing is fetched


def test_names_are_escaped():
    page = contact_sheet([card(name="<s>&\"'.jpg", label="<script>alert")], "<q>", ["<u>"], None)
    assert not re.search("<s>|<script>alert|<q>|<u>", page)
    assert "&lt;script&gt;alert" in page and "&lt;s&gt;&amp;&#34;" in page


def test_without_a_threshold_nothing_is_decided():
    page = contact_sheet([card(is_ood=None)], "Title", [], None)
    assert "Threshold 0" not in page and 'value="near"' not in page and 'value="down"' in page


def test_of_many_images_those_around_the_threshold_are_shown():
    scores = [i / 1000 for i in range(1000)]
    chosen = selection(scores, 0.7, 100)
    assert len(chosen) == len(set(chosen)) == 100 and chosen == sorted(chosen)
    assert chosen[:25] == list(range(25)) and chosen[-25:] == list(range(975, 1000))
    assert chosen[25:75] == list(range(675, 725))


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.0315, 0.9985, 1.0, 2.0])
def test_a_threshold_near_an_end_leaves_no_hole(threshold):
    chosen = selection([i / 1000 for i in range(1000)], threshold, 101)
    assert len(chosen) == len(set(chosen)) == 101 and chosen == sorted(chosen) and 0 <= chosen[0] < chosen[-1] < 1000


def test_few_images_or_none_without_a_threshold():
    assert selection([0.1, 0.2], 0.15, 5) == [0, 1]
    assert selection([0.1, 0.2, 0.3], None, 2) == [0, 1]
    assert selection([0.1, 0.2, 0.3], 0.15, 0) == []


def test_a_sheet_of_many_images_stays_small():
    """Five hundred photographs, rough to a tenth of their width, in under three megabytes."""
    noise = Image.effect_noise((40, 30), 90).convert("RGB").resize((320, 240))
    one = Card("a.jpg", "", thumbnail(noise), 0.5, True, (("cat", 0.25, True),))
    assert len(contact_sheet([one] * 500, "Title", [], 0.6)) < 3e6
