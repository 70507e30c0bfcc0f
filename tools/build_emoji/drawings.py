"""Render every emoji in every art style, and hold one family's drawing of each emoji out for testing.

Inputs, unpacked side by side in one folder, each as `<name>-<version>/package`:
    npm pack emojibase-data@17.0.0 @twemoji/svg@15.0.0 fluentui-emoji@1.3.0 @iconify-json/emojione@1.2.3 \
        @iconify-json/emojione-monotone@1.2.1 @iconify-json/fxemoji@1.2.2 @iconify-json/noto-v1@1.2.5 \
        @iconify-json/streamline-emojis@1.2.4
and the font of Debian's `fonts-noto-color-emoji`. Python: numpy, pillow, resvg-py.

    python tools/build_emoji/drawings.py PACKAGES NOTO_FONT WORK

writes WORK/drawings.npz (one [E, 72, 72, 4] uint8 array per style; all zeros where a style lacks an emoji) and
WORK/emoji.json (name, tags, group, subgroup, hexcode, held-out family), and WORK/families.json. Nothing is random.
"""

import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image, ImageDraw, ImageFont

SIZE = 72  # pixels
# Families whose art is akin count as one: a drawing held out in one style is held out in its relatives.
FAMILIES = {
    "noto": ("noto", "noto_v1"),
    "fluent": ("fluent_flat", "fluent_modern", "fluent_high_contrast"),
    "emojione": ("emojione", "emojione_monotone"),
    "twemoji": ("twemoji",),
}
UNSEEN_STYLES = ("fxemoji", "streamline")  # never train: the domain shift
ICONIFY = {
    "emojione": "iconify-json-emojione-1.2.3",
    "emojione_monotone": "iconify-json-emojione-monotone-1.2.1",
    "fxemoji": "iconify-json-fxemoji-1.2.2",
    "noto_v1": "iconify-json-noto-v1-1.2.5",
    "streamline": "iconify-json-streamline-emojis-1.2.4",
}
COMPONENT_GROUP = 2  # skin tones and hair: parts of emoji, not emoji
EMPTY = np.zeros((SIZE, SIZE, 4), np.uint8)


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


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[’'.]", "", name.lower())).strip("-")


def iconify_svgs(packages: Path, package: str) -> dict[str, str]:
    """SVG text by plain name, aliases included."""
    table = json.loads((packages / package / "package/icons.json").read_text())
    width, height = table.get("width", 16), table.get("height", 16)
    svgs = {}
    for name, icon in table["icons"].items():
        box = (icon.get("left", 0), icon.get("top", 0), icon.get("width", width), icon.get("height", height))
        svgs[plain(name)] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#222" '
            f'viewBox="{box[0]} {box[1]} {box[2]} {box[3]}" width="{SIZE}" height="{SIZE}">{icon["body"]}</svg>'
        )
    for alias, target in sorted(table.get("aliases", {}).items()):
        if plain(target["parent"]) in svgs:
            svgs.setdefault(plain(alias), svgs[plain(target["parent"])])
    return svgs


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
    np.savez_compressed(work / "drawings.npz", **drawings)
    (work / "families.json").write_text(json.dumps(FAMILIES))
    (work / "emoji.json").write_text(json.dumps(emoji, indent=1, ensure_ascii=False))
    print(f"{len(emoji)} emoji, {sum(row['held_out'] is not None for row in emoji)} with a held-out family")


if __name__ == "__main__":
    main()
