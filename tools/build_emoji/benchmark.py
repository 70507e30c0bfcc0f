"""Write the emoji benchmark: pictures of held-out drawings in ordinary folders.

    python tools/build_emoji/benchmark.py WORK OUTPUT

WORK comes from drawings.py. Python: numpy, pillow. Nothing is random: built twice, the bytes are the same.

OUTPUT/id/<class>/ and OUTPUT/{plants,food,...}/ hold pictures of drawings that never train; OUTPUT/{fx,streamline}
hold the ID classes in two styles that never train at all.
OUTPUT/class_names/<set>.txt names the class folders; OUTPUT/left_out.csv says what is not there, and why.
"""

import csv
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
from drawings import FAMILIES, UNSEEN_STYLES, slug
from PIL import Image

SIZE = 64  # pixels
ID_SUBGROUPS = ("animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug")
OOD_SETS = {
    "plants": ("plant-flower", "plant-other"),
    "food": ("food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet", "drink", "dishware"),
    "travel": (
        "place-map", "place-geographic", "place-building", "place-religious", "place-other", "transport-ground",
        "transport-water", "transport-air",
    ),
    "objects": (
        "clothing", "sound", "music", "musical-instrument", "phone", "computer", "light-video", "book-paper", "money",
        "mail", "writing", "office", "lock", "tool", "science", "medical", "household",
    ),
    "activities": ("event", "award-medal", "sport", "game", "arts-crafts"),
    "flags": ("country-flag", "subdivision-flag", "flag"),
}  # fmt: skip
# Two drawings of one animal are one class.
TWINS = {"hatching chick": "baby chick", "front-facing baby chick": "baby chick", "horse racing": "horse"}
NO_CLASS = {"paw prints", "feather", "nest with eggs", "empty nest", "wing"}  # parts of animals, not animals
SAME_DRAWING = 6.0  # mean absolute difference of 24-pixel pictures, of 255; below it a drawing has been seen
RENDERINGS = ((0, 1.0), (-14, 0.85), (12, 1.0), (0, 0.75), (20, 0.9), (-7, 1.0))  # degrees, share of the picture
BACKGROUNDS = ((255, 255, 255), (226, 232, 240), (254, 243, 199), (220, 252, 231), (30, 41, 59), (252, 231, 243))
PICTURES_PER_DRAWING = {"id": 6, "fx": 4, "streamline": 4}
OOD_PICTURES = 3


def class_name(name: str) -> str:
    return TWINS.get(name, name.removesuffix(" face"))


def on_white(drawing: np.ndarray) -> np.ndarray:
    """[24, 24, 3] float: small enough to forgive an outline."""
    picture = Image.fromarray(drawing)
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    canvas.alpha_composite(picture)
    return np.asarray(canvas.convert("RGB").resize((24, 24), Image.Resampling.BOX), dtype=np.float32)


def render(drawing: np.ndarray, k: int, shift: int) -> Image.Image:
    """The k-th picture of a drawing: turned, scaled and laid on a background."""
    degrees, share = RENDERINGS[k]
    side = round(SIZE * share)
    picture = Image.fromarray(drawing).resize((side, side), Image.Resampling.LANCZOS)
    picture = picture.rotate(degrees, Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (SIZE, SIZE), (*BACKGROUNDS[(k + shift) % len(BACKGROUNDS) if k else 0], 255))
    canvas.alpha_composite(picture, ((SIZE - side) // 2, (SIZE - side) // 2))
    return canvas.convert("RGB")


def write_pictures(folder: Path, stem: str, drawing: np.ndarray, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shift = int(hashlib.sha256(stem.encode()).hexdigest(), 16)
    for k in range(count):
        render(drawing, k, shift).save(folder / f"{stem}_{k}.webp", quality=90, method=6)


def test_style(row: dict, i: int, drawings: dict[str, np.ndarray]) -> str | None:
    """The held-out family's first style that draws this emoji."""
    styles = FAMILIES.get(row["held_out"] or "", ())
    return next((style for style in styles if drawings[style][i, ..., 3].any()), None)


def has_been_seen(i: int, held_out: str, style: str, drawings: dict[str, np.ndarray]) -> str | None:
    """A training drawing of this emoji that nearly equals the test drawing."""
    test = on_white(drawings[style][i])
    for family, styles in FAMILIES.items():
        for other in styles if family != held_out else ():
            if drawings[other][i, ..., 3].any() and np.abs(test - on_white(drawings[other][i])).mean() < SAME_DRAWING:
                return other
    return None


def names_an_id_class(row: dict, classes: list[str]) -> str | None:
    """The ID class that this emoji's name or tags mention as a word."""
    text = " ".join([row["name"], *row["tags"]]).lower()
    return next((name for name in classes if re.search(rf"\b{re.escape(name.lower())}s?\b", text)), None)


def main() -> None:
    work, output = map(Path, sys.argv[1:3])
    emoji = json.loads((work / "emoji.json").read_text())
    archive = np.load(work / "drawings.npz")
    drawings = {style: archive[style] for style in archive.files}
    for place in ("class_names", "id", *OOD_SETS, "fx", "streamline"):
        shutil.rmtree(output / place, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    left_out: list[tuple[str, str, str]] = []
    chosen: dict[str, list[tuple[int, str]]] = {}
    subgroup_set = {subgroup: name for name, subgroups in OOD_SETS.items() for subgroup in subgroups}
    subgroup_set |= dict.fromkeys(ID_SUBGROUPS, "id")
    all_classes = sorted({class_name(r["name"]) for r in emoji if r["subgroup"] in ID_SUBGROUPS} - NO_CLASS)
    for i, row in enumerate(emoji):
        place = subgroup_set.get(row["subgroup"])
        if place is None:
            continue
        style = test_style(row, i, drawings)
        if row["name"] in NO_CLASS:
            left_out.append((place, row["name"], "part of an animal"))
        elif style is None:
            left_out.append((place, row["name"], "drawn by one family alone"))
        elif other := has_been_seen(i, row["held_out"], style, drawings):
            left_out.append((place, row["name"], f"its {style} drawing nearly equals {other}'s, which trains"))
        elif place != "id" and (mentioned := names_an_id_class(row, all_classes)):
            left_out.append((place, row["name"], f"mentions the ID class {mentioned}"))
        else:
            chosen.setdefault(place, []).append((i, style))
    classes = sorted({class_name(emoji[i]["name"]) for i, _ in chosen["id"]})
    folders = {name: f"{number:03d}_{slug(name)}" for number, name in enumerate(classes)}
    for place, items in chosen.items():
        for i, style in items:
            name = emoji[i]["name"]
            folder = output / place / folders[class_name(name)] if place == "id" else output / place
            write_pictures(
                folder, f"{slug(name)}_{style}", drawings[style][i], PICTURES_PER_DRAWING.get(place, OOD_PICTURES)
            )
    for place, style in zip(("fx", "streamline"), UNSEEN_STYLES, strict=True):
        for i, row in enumerate(emoji):
            name = class_name(row["name"])
            if row["subgroup"] in ID_SUBGROUPS and name in folders and drawings[style][i, ..., 3].any():
                write_pictures(output / place / folders[name], f"{slug(row['name'])}_{style}", drawings[style][i], 4)
    (output / "class_names").mkdir()
    for place in ("id", "fx", "streamline"):
        present = [name for name in classes if (output / place / folders[name]).is_dir()]
        (output / "class_names" / f"{place}.txt").write_text("\n".join(present) + "\n")
    with (output / "left_out.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("set", "emoji", "why"), *sorted(left_out)])
    for place in ("id", *OOD_SETS, "fx", "streamline"):
        print(place, sum(1 for _ in (output / place).rglob("*.webp")))
    print(len(classes), "classes;", len(left_out), "emoji left out")


if __name__ == "__main__":
    main()
