"""Render the drawings of Openclipart that are named after a thing.

A drawing's name is the longest run of words in its title that is a concrete noun of WordNet, else in its file's name,
else its first keyword that is one. Symbols, icons and shapes are left out, and so are names that say nothing.
"""

import io
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from sources import CLIP_ART, checked
from wordnet_dict import concrete_nouns

SIZE = 128  # pixels
LEFT_OUT = {"computer", "shapes", "special", "signs_and_symbols", "decorations", "logos"}  # folders
VAGUE = {
    "america", "animal", "architect", "art", "back", "beverage", "body part", "building", "card", "circle", "clip",
    "clip art", "clipart", "color", "cross", "drawing", "equipment", "europe", "eye", "face", "fauna", "female", "flat",
    "flora", "food", "foot", "fruit", "globe", "hand", "hash", "head", "house", "icon", "image", "item", "jean",
    "mammal", "map", "menu", "music", "object", "office", "ornamental", "outline", "page", "people", "person",
    "picture", "pin", "place", "plant", "rana", "recreation", "road", "set", "sign", "silhouette", "simple", "sport",
    "stain", "stick", "straight line", "thing", "tool", "toy", "transport", "tux", "vegetable", "wedge", "world",
    "bullet hole",
}  # fmt: skip
PER_NAME = 12  # most drawings of one name
LONGEST = 3_000_000  # characters of a drawing: a few hold photographs
UNITS = {"pt": 1.25, "mm": 3.5433, "cm": 35.433, "in": 90.0, "px": 1.0}  # pixels, as Inkscape counted then


def build(packages: Path, work: Path) -> None:
    """Writes WORK/clipart.npy, [N, 128, 128, 4] uint8, and WORK/clipart.json: name, tags and file of each."""
    import resvg_py

    folder = work / "openclipart"
    if not folder.is_dir():
        subprocess.run(["dpkg-deb", "-x", checked(packages, CLIP_ART), folder], check=True)
    root = folder / "usr/share/openclipart/svg"
    nouns = {noun for noun in concrete_nouns(packages) if len(noun) > 2} - VAGUE
    rows, drawings, of_name = [], [], Counter()
    for path in sorted(root.rglob("*.svg")):
        place = path.relative_to(root)
        svg = path.read_text(errors="replace")
        if place.parts[0] in LEFT_OUT or "duplicates" in place.parts or len(svg) > LONGEST:
            continue
        name, tags = naming(svg, path.stem, nouns)
        if name is None or of_name[name] >= PER_NAME:
            continue
        try:
            png = resvg_py.svg_to_bytes(svg_string=in_pixels(svg), width=160)
        except (ValueError, RuntimeError):
            continue
        drawing = square(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
        if drawing is not None:
            of_name[name] += 1
            rows.append({"name": name, "tags": tags, "file": str(place)})
            drawings.append(np.asarray(drawing))
    np.save(work / "clipart.npy", np.stack(drawings))
    (work / "clipart.json").write_text(json.dumps(rows, indent=1))
    print(f"{len(rows)} drawings of {len(of_name)} names")


def naming(svg: str, stem: str, nouns: set[str]) -> tuple[str | None, list[str]]:
    """Name and tags of a drawing, from its title, its file's name without number and author, and its keywords."""
    title = re.search(r"<dc:title[^>]*>([^<]*)", svg)
    keywords = [word.strip().lower().replace("_", " ") for word in re.findall(r"<rdf:li[^>]*>([^<]*)", svg)]
    tags = [noun for word in keywords if (noun := singular(word, nouns))]
    start = " ".join(re.sub(r"[\d_.-]+", " ", stem).split()[:2])
    name = longest_noun(title[1] if title else "", nouns) or longest_noun(start, nouns) or next(iter(tags), None)
    return name, sorted(set(tags) - {name})[:6]


def longest_noun(text: str, nouns: set[str]) -> str | None:
    """The longest run of at most three words that is a noun, the last one of equals."""
    words = re.sub(r"[^a-z ]", " ", text.lower()).split()
    runs = (" ".join(words[i : i + n]) for n in (3, 2, 1) for i in range(len(words) - n, -1, -1))
    return next((noun for run in runs if (noun := singular(run, nouns))), None)


def singular(word: str, nouns: set[str]) -> str | None:
    forms = (word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word))
    return next((form for form in forms if form in nouns), None)


def in_pixels(svg: str) -> str:
    """With the size of the whole in pixels: the renderer takes no other unit where there is no view box."""

    def plain(size: re.Match[str]) -> str:
        return f'{size[1]}{float(size[2]) * UNITS[size[3]]}"'

    unit = rf'(\s(?:width|height)=")([\d.]+)({"|".join(UNITS)})"'
    return re.sub(r"<svg[^>]*>", lambda tag: re.sub(unit, plain, tag[0]), svg, count=1, flags=re.S)


def square(image: Image.Image) -> Image.Image | None:
    """What is drawn, without its margin, in the middle of a square; None where next to nothing is."""
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox()
    if box is None or box[2] - box[0] < 8 or box[3] - box[1] < 8:
        return None
    image = image.crop(box)
    side = max(image.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
