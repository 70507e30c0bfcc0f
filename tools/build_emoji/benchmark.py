"""Write the emoji benchmark: pictures of held-out drawings in ordinary folders.

    python tools/build_emoji/benchmark.py WORK OUTPUT

WORK comes from drawings.py. Python: numpy, pillow. Nothing is random: built twice, the bytes are the same.

OUTPUT/id/<class>/ and OUTPUT/{plants,animals,...}/ hold pictures of drawings that never train; OUTPUT/{fx,streamline}
hold the ID classes in two styles that never train at all; OUTPUT/id_train/<class>/ holds 16 pictures per ID class of
drawings that do train, for methods that need a few ID images.
OUTPUT/class_names/<set>.txt names the class folders; OUTPUT/left_out.csv says what is not there, and why;
OUTPUT/sheets/<set>.webp shows one picture of every drawing.
"""

import csv
import hashlib
import json
import re
import shutil
import sys
from itertools import zip_longest
from pathlib import Path

import numpy as np
from families import FAMILIES, UNSEEN_STYLES, slug
from PIL import Image

SIZE = 64  # pixels
ID_SUBGROUPS = (
    "food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet", "drink", "transport-ground",
    "transport-water", "transport-air", "musical-instrument", "clothing",
)  # fmt: skip
OOD_SETS = {
    "plants": ("plant-flower", "plant-other"),
    "animals": (
        "animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug",
    ),
    "places": ("place-map", "place-geographic", "place-building", "place-religious", "place-other"),
    "objects": (
        "sound", "music", "phone", "computer", "light-video", "book-paper", "money", "mail", "writing", "office",
        "lock", "tool", "science", "medical", "household",
    ),
    "activities": ("event", "award-medal", "sport", "game", "arts-crafts"),
    "flags": ("country-flag", "subdivision-flag", "flag"),
}  # fmt: skip
NO_CLASS = {
    "bus stop", "station", "motorway", "railway track", "oil drum", "fuel pump", "wheel", "police car light",
    "horizontal traffic light", "vertical traffic light", "stop sign", "construction", "seat",  # beside vehicles
}  # fmt: skip
# Emoji whose drawing shows an ID class that neither name nor tags tell; looked up by hand: crowns, caps and ships on
# flags, clothes on dolls.
SHOWS_AN_ID_CLASS = {
    f"flag: {place}"
    for place in (
        "Andorra", "Bermuda", "Bolivia", "British Indian Ocean Territory", "Canary Islands", "Cayman Islands",
        "Ceuta & Melilla", "Costa Rica", "Croatia", "Ecuador", "El Salvador", "Falkland Islands", "Fiji", "Guam",
        "Haiti", "Jersey", "Lesotho", "Liechtenstein", "Montenegro", "Montserrat", "Nicaragua", "Paraguay",
        "Pitcairn Islands", "San Marino", "Serbia", "Spain", "St. Barthélemy", "St. Helena", "St. Pierre & Miquelon",
        "Tokelau", "Tristan da Cunha", "Vatican City",
    )
} | {
    "boxing glove", "diving mask", "Japanese dolls", "joker", "martial arts uniform", "mouse trap", "running shirt",
    "service dog", "skis", "Statue of Liberty",
}  # fmt: skip
# Emoji of two senses, whose families draw either: the insect and the game.
TWO_SENSES = {"cricket"}
SAME_DRAWING = 12.0  # mean absolute difference, of 255, of two drawings cut at their outline and shrunk to 24 pixels
# Degrees, share of the picture, mirrored. The first six make test pictures, all sixteen training pictures.
RENDERINGS = (
    (0, 1.0, False), (-14, 0.85, False), (12, 1.0, False), (0, 0.75, False), (20, 0.9, False), (-7, 1.0, False),
    (0, 1.0, True), (14, 0.85, True), (-12, 0.95, True), (0, 0.8, True), (-20, 0.9, True), (7, 0.75, True),
    (5, 0.9, False), (-18, 0.8, False), (-4, 0.95, True), (16, 0.8, True),
)  # fmt: skip
BACKGROUNDS = ((255, 255, 255), (226, 232, 240), (254, 243, 199), (220, 252, 231), (30, 41, 59), (252, 231, 243))
PICTURES_PER_DRAWING = {"id": 6, "fx": 4, "streamline": 4}
OOD_PICTURES = 3
SHEET_COLUMNS, SHEET_CELL = 24, 40


def on_white(drawing: np.ndarray) -> np.ndarray:
    """[24, 24, 3] float of what is drawn, without its margin: small enough to forgive an outline."""
    rows, columns = np.nonzero(drawing[..., 3] > 16)
    picture = Image.fromarray(drawing).crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    canvas.alpha_composite(picture)
    return np.asarray(canvas.convert("RGB").resize((24, 24), Image.Resampling.BOX), dtype=np.float32)


def render(drawing: np.ndarray, k: int, shift: int) -> Image.Image:
    """The k-th picture of a drawing: turned, scaled and laid on a background."""
    degrees, share, mirrored = RENDERINGS[k]
    side = round(SIZE * share)
    picture = Image.fromarray(drawing).resize((side, side), Image.Resampling.LANCZOS)
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.rotate(degrees, Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (SIZE, SIZE), (*BACKGROUNDS[(k + shift) % len(BACKGROUNDS) if k else 0], 255))
    canvas.alpha_composite(picture, ((SIZE - side) // 2, (SIZE - side) // 2))
    return canvas.convert("RGB")


def write_picture(folder: Path, stem: str, drawing: np.ndarray, k: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shift = int(hashlib.sha256(stem.encode()).hexdigest(), 16)
    render(drawing, k, shift).save(folder / f"{stem}_{k}.webp", quality=90, method=6)


class Drawings:
    """What drawings.py wrote."""

    def __init__(self, work: Path) -> None:
        archive = np.load(work / "drawings.npz")
        self.styles = {style: archive[style] for style in archive.files}
        self.emoji: list[dict] = json.loads((work / "emoji.json").read_text())
        self.icons: list[dict] = json.loads((work / "icons.json").read_text())

    def draws(self, style: str, i: int) -> bool:
        return bool(self.styles[style][i, ..., 3].any())

    def concepts_of_every_family(self) -> set[str]:
        """Concepts that each family draws, so that every class has several drawings to learn from."""
        families_of: dict[str, set[str]] = {}
        for i, row in enumerate(self.emoji):
            found = {family for family, styles in FAMILIES.items() if any(self.draws(style, i) for style in styles)}
            families_of.setdefault(row["concept"], set()).update(found)
        return {concept for concept, found in families_of.items() if found == set(FAMILIES)}

    def test_style(self, i: int) -> str | None:
        """The held-out family's first style that draws this emoji."""
        styles = FAMILIES.get(self.emoji[i]["held_out"] or "", ())
        return next((style for style in styles if self.draws(style, i)), None)

    def training(self, i: int) -> list[tuple[str, np.ndarray]]:
        """Style and drawing of all art of this emoji that trains, families in turn."""
        found = [
            [(style, self.styles[style][i]) for style in styles if self.draws(style, i)]
            for family, styles in FAMILIES.items()
            if family != self.emoji[i]["held_out"]
        ]
        return [drawing for turn in zip_longest(*found) for drawing in turn if drawing]

    def training_icons(self, i: int) -> list[tuple[str, np.ndarray]]:
        concept = self.emoji[i]["concept"].lower()
        rows = [k for k, icon in enumerate(self.icons) if icon["name"] == concept]
        return [(self.icons[k]["set"], self.styles["icons"][k]) for k in rows]

    def has_been_seen(self, i: int, style: str) -> str | None:
        """The style of a training drawing of this emoji that nearly equals the test drawing."""
        test = on_white(self.styles[style][i])
        for other, drawing in self.training(i) + self.training_icons(i):
            if np.abs(test - on_white(drawing)).mean() < SAME_DRAWING:
                return other
        return None


def names_an_id_class(row: dict, classes: list[str]) -> str | None:
    """The ID class that this emoji's name or tags mention as a word."""
    text = " ".join([row["name"], *row["tags"]]).lower()
    return next((name for name in classes if re.search(rf"\b{re.escape(name.lower())}s?\b", text)), None)


def choose(drawings: Drawings) -> tuple[dict[str, list[tuple[int, str]]], list[tuple[str, str, str]]]:
    """For each set, emoji and test style; and what is left out: set, emoji, why."""
    set_of = {subgroup: name for name, subgroups in OOD_SETS.items() for subgroup in subgroups}
    set_of |= dict.fromkeys(ID_SUBGROUPS, "id")
    id_rows = [row for row in drawings.emoji if row["subgroup"] in ID_SUBGROUPS and row["name"] not in NO_CLASS]
    all_classes = sorted({row["concept"] for row in id_rows})
    well_known = drawings.concepts_of_every_family()
    chosen: dict[str, list[tuple[int, str]]] = {}
    left_out: list[tuple[str, str, str]] = []
    for i, row in enumerate(drawings.emoji):
        place = set_of.get(row["subgroup"])
        if place is None:
            continue
        style = drawings.test_style(i)
        if row["name"] in NO_CLASS:
            left_out.append((place, row["name"], "no class of its own: it goes with one"))
        elif row["name"] in TWO_SENSES:
            left_out.append((place, row["name"], "its families draw different things"))
        elif place == "id" and row["concept"] not in well_known:
            left_out.append((place, row["name"], "not drawn by every family"))
        elif style is None:
            left_out.append((place, row["name"], "drawn by one family alone"))
        elif other := drawings.has_been_seen(i, style):
            left_out.append((place, row["name"], f"its {style} drawing nearly equals {other}'s, which trains"))
        elif place != "id" and row["name"] in SHOWS_AN_ID_CLASS:
            left_out.append((place, row["name"], "shows an ID class"))
        elif place != "id" and (mentioned := names_an_id_class(row, all_classes)):
            left_out.append((place, row["name"], f"mentions the ID class {mentioned}"))
        else:
            chosen.setdefault(place, []).append((i, style))
    return chosen, sorted(left_out)


def write_sheet(pictures: list[Path], path: Path) -> None:
    """The first picture of every drawing, side by side."""
    rows = -(-len(pictures) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_CELL, rows * SHEET_CELL), "white")
    for k, picture in enumerate(pictures):
        small = Image.open(picture).resize((SHEET_CELL, SHEET_CELL), Image.Resampling.LANCZOS)
        sheet.paste(small, (k % SHEET_COLUMNS * SHEET_CELL, k // SHEET_COLUMNS * SHEET_CELL))
    path.parent.mkdir(exist_ok=True)
    sheet.save(path, quality=80, method=6)


def main() -> None:
    drawings, output = Drawings(Path(sys.argv[1])), Path(sys.argv[2])
    chosen, left_out = choose(drawings)
    emoji = drawings.emoji
    classes = sorted({emoji[i]["concept"] for i, _ in chosen["id"]})
    folders = {name: f"{number:03d}_{slug(name)}" for number, name in enumerate(classes)}
    id_sets, ood_sets = ("id", "id_train", *UNSEEN_STYLES), tuple(OOD_SETS)
    for place in ("class_names", "sheets", *id_sets, *ood_sets):
        shutil.rmtree(output / place, ignore_errors=True)
    for place, items in chosen.items():
        for i, style in items:
            folder = output / place / folders[emoji[i]["concept"]] if place == "id" else output / place
            for k in range(PICTURES_PER_DRAWING.get(place, OOD_PICTURES)):
                write_picture(folder, f"{slug(emoji[i]['name'])}_{style}", drawings.styles[style][i], k)
    id_rows = [i for i, row in enumerate(emoji) if row["subgroup"] in ID_SUBGROUPS and row["concept"] in folders]
    id_rows = [i for i in id_rows if emoji[i]["name"] not in NO_CLASS]
    for place, style in UNSEEN_STYLES.items():
        for i in id_rows:
            if drawings.draws(style, i):
                for k in range(PICTURES_PER_DRAWING[place]):
                    folder = output / place / folders[emoji[i]["concept"]]
                    write_picture(folder, f"{slug(emoji[i]['name'])}_{style}", drawings.styles[style][i], k)
    for name, folder in folders.items():
        of_class = [
            [(f"{slug(emoji[i]['name'])}_{style}", drawing) for style, drawing in drawings.training(i)]
            for i in id_rows
            if emoji[i]["concept"] == name
        ]
        found = [drawing for turn in zip_longest(*of_class) for drawing in turn if drawing]
        for k in range(len(RENDERINGS)):
            write_picture(output / "id_train" / folder, *found[k % len(found)], k)
    (output / "class_names").mkdir(parents=True)
    for place in id_sets:
        present = [name for name in classes if (output / place / folders[name]).is_dir()]
        (output / "class_names" / f"{place}.txt").write_text("\n".join(present) + "\n")
    with (output / "left_out.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("set", "emoji", "why"), *left_out])
    for place in (*id_sets, *ood_sets):
        pictures = sorted((output / place).rglob("*.webp"))
        write_sheet([path for path in pictures if path.stem.endswith("_0")], output / "sheets" / f"{place}.webp")
        print(place, len(pictures))
    print(len(classes), "classes;", len(left_out), "emoji left out")


if __name__ == "__main__":
    main()
