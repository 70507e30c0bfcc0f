"""What ships is what the model card says: whole, licensed, free of contamination, and no test drawing trains."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "neglab/assets"
EMOJI = ASSETS / "emoji"
CARD = (ASSETS / "README.md").read_text()
ID_SETS = ("id", "id_train", "fx", "streamline")
OOD_SETS = ("plants", "animals", "places", "objects", "activities", "flags")
# Families whose art is akin, as tools/build_emoji/families.py has them; the last part of a picture's stem before `_k`.
FAMILY = {
    "noto": "noto", "noto_v1": "noto", "fluent_flat": "fluent", "fluent_modern": "fluent",
    "fluent_high_contrast": "fluent", "emojione": "emojione", "emojione_monotone": "emojione", "twemoji": "twemoji",
    "fxemoji": "fx", "streamline": "streamline",
}  # fmt: skip


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[’'.]", "", name.lower())).strip("-")


def pictures(name):
    return sorted((EMOJI / name).rglob("*.webp"))


def parts(path):
    """Emoji and style of a picture named <emoji>_<style>_<rendering>."""
    emoji, style = re.fullmatch(r"([^_]+)_(.+)_\d+", path.stem).groups()
    return emoji, style


def class_names(name):
    return (EMOJI / f"class_names/{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("name", ID_SETS)
def test_class_names_fit_the_folders(name):
    folders = sorted(path.name for path in (EMOJI / name).iterdir())
    names = class_names(name)
    assert len(folders) == len(names) == len(set(names))
    assert set(names) <= set(class_names("id"))
    for folder, class_name in zip(folders, names, strict=True):
        assert folder.split("_", 1)[1] == slug(class_name)


@pytest.mark.parametrize("name", [*ID_SETS, *OOD_SETS])
def test_the_card_states_the_number_of_pictures(name):
    assert f"| `{name}` | {len(pictures(name)):,} |" in CARD


def test_sixteen_training_pictures_per_class():
    assert {len(list(folder.iterdir())) for folder in (EMOJI / "id_train").iterdir()} == {16}


def test_no_test_drawing_is_of_a_family_that_trains_on_its_emoji():
    trained = {(emoji, FAMILY[style]) for emoji, style in map(parts, pictures("id_train"))}
    for name in ("id", "fx", "streamline"):
        assert not trained & {(emoji, FAMILY[style]) for emoji, style in map(parts, pictures(name))}
    assert {FAMILY[style] for _, style in map(parts, pictures("id"))} == {"noto", "fluent", "emojione", "twemoji"}


def test_unseen_styles_are_in_no_other_set():
    for name in ("id", "id_train", *OOD_SETS):
        assert not {"fx", "streamline"} & {FAMILY[style] for _, style in map(parts, pictures(name))}


@pytest.mark.parametrize("name", OOD_SETS)
def test_no_ood_picture_names_an_id_class(name):
    classes = {slug(known) for known in class_names("id")}
    for emoji, _ in map(parts, pictures(name)):
        words = f"-{emoji}-"
        assert not [known for known in classes if f"-{known}-" in words or f"-{known}s-" in words], emoji


def test_what_was_left_out_is_listed():
    with (EMOJI / "left_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["set"] for row in rows} <= {"id", *OOD_SETS}
    assert all(row["why"] for row in rows)
    shown = {emoji for name in OOD_SETS for emoji, _ in map(parts, pictures(name))}
    assert "flag-guam" not in shown and "flag: Guam" in {row["emoji"] for row in rows}
    assert len(rows) == int(re.search(r"lists the ([\d,]+) emoji", CARD)[1].replace(",", ""))


def test_pictures_are_64_pixels():
    for name in (*ID_SETS, *OOD_SETS):
        with Image.open(pictures(name)[0]) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "RGB")


def test_a_sheet_shows_each_set():
    for name in (*ID_SETS, *OOD_SETS):
        assert (EMOJI / f"sheets/{name}.webp").is_file()


def test_each_family_has_its_licence():
    licences = " ".join(path.read_text() for path in (EMOJI / "LICENSES").iterdir())
    for mark in ("Noto", "Fluent", "Twemoji", "EmojiOne", "FxEmoji", "Streamline"):
        assert mark.lower() in licences.lower(), mark
    tool = (ROOT / "tools/build_emoji/drawings.py").read_text()
    for icon_set in re.findall(r"\"([\w-]+)\": \"[\d.]+\"", tool):
        assert f"`{icon_set}`" in CARD, icon_set


def test_the_model_fits_its_size():
    weights = ASSETS / "mini/open_clip_model.safetensors"
    assert weights.stat().st_size < 60e6
    assert sum(path.stat().st_size for path in EMOJI.rglob("*") if path.is_file()) < 16e6
