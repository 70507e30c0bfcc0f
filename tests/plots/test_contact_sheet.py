import base64
import io
import re

from PIL import Image

from neglab.plots.contact_sheet import SIZE, Card, contact_sheet, thumbnail


def card(name="a.jpg", is_ood=True, score=0.1, label="cat"):
    picture = thumbnail(Image.new("RGB", (900, 300), "red"))
    return Card(name, "file:///a.jpg", picture, score, is_ood, ((label, 0.25, True), ("rust", 0.5, False)))


def test_the_page_holds_its_pictures_and_what_decided():
    page = contact_sheet([card(score=0.1), card(score=0.2), card(is_ood=False, score=0.9)], "Title", ["a fact"])
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures]
    assert sizes == [(SIZE, 53)] * 3
    assert [float(score) for score in re.findall(r'"score">([\d.]+)<', page)] == [0.1, 0.2, 0.9]
    assert page.index("Out of distribution") < page.index("0.2000") < page.index(">In distribution") < page.index("0.9")
    assert page.count("25.0%") == page.count("50.0%") == 6 and "a fact" in page
    assert not re.search(r'(src|href)="(?!data:|file:)', page)  # nothing is fetched


def test_names_are_escaped():
    page = contact_sheet([card(name="<s>&\"'.jpg", label="<script>")], "<i>", ["<u>"])
    assert not re.search("<s>|<script>|<i>|<u>", page)
    assert "&lt;script&gt;" in page and "&lt;s&gt;&amp;" in page


def test_without_a_decision_there_is_one_section():
    page = contact_sheet([card(is_ood=None)], "Title", [])
    assert "In distribution" not in page and "Most out of distribution first" in page
