"""tools/build_emoji/benchmark.py on a handful of made-up drawings."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / "tools/build_emoji/benchmark.py"
STYLES = (
    "noto", "noto_v1", "fluent_flat", "fluent_modern", "fluent_high_contrast", "emojione", "emojione_monotone",
    "twemoji", "fxemoji", "streamline",
)  # fmt: skip
# name, concept, subgroup, held-out family, tags
EMOJI = [
    ("dog face", "dog", "food-fruit", "noto", []),
    ("dog", "dog", "food-fruit", "twemoji", []),
    ("owl", "owl", "drink", "fluent", []),
    ("swan", "swan", "transport-air", "twemoji", []),  # its test drawing is a copy of noto's
    ("wheel", "wheel", "transport-ground", "noto", []),
    ("rose", "rose", "plant-flower", "emojione", ["flower"]),
    ("mail", "mail", "mail", "noto", ["owl post"]),
    ("hammer", "hammer", "tool", "noto", []),
    ("fox", "fox", "animal-mammal", "noto", []),
    ("castle", "castle", "place-building", "noto", []),
    ("yo-yo", "yo-yo", "game", "noto", []),
    ("flag: Guam", "flag: Guam", "country-flag", "noto", []),
    ("flag: France", "flag: France", "country-flag", "twemoji", []),
    ("grinning face", "grinning", "face-smiling", "noto", []),  # in no set
    ("banjo", "banjo", "musical-instrument", None, []),  # one family alone draws it
]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    styles = {style: rng.integers(0, 256, (len(EMOJI), 72, 72, 4), dtype=np.uint8) for style in STYLES}
    styles["twemoji"][3] = styles["noto"][3]
    styles["streamline"][2] = 0  # a style that lacks an emoji
    for style in STYLES[1:]:
        styles[style][-1] = 0
    icons = rng.integers(0, 256, (2, 72, 72, 4), dtype=np.uint8)
    np.savez(folder / "drawings.npz", **styles, icons=icons)
    keys = ("name", "concept", "subgroup", "held_out", "tags")
    (folder / "emoji.json").write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in EMOJI]))
    (folder / "icons.json").write_text(json.dumps([{"name": "dog", "set": "mdi"}, {"name": "anvil", "set": "mdi"}]))
    return folder


@pytest.fixture(scope="module")
def built(work, tmp_path_factory) -> Path:
    return build(work, tmp_path_factory.mktemp("built"))


def build(work: Path, output: Path) -> Path:
    finished = subprocess.run([sys.executable, str(TOOL), str(work), str(output)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return output


def stems(folder: Path) -> set[str]:
    return {path.stem.rsplit("_", 1)[0] for path in folder.rglob("*.webp")}


def test_only_held_out_drawings_are_tested_and_only_the_others_train(built):
    assert stems(built / "id") == {"dog-face_noto", "dog_twemoji", "owl_fluent_flat"}
    assert not stems(built / "id") & stems(built / "id_train")
    assert stems(built / "id_train" / "001_owl") == {
        f"owl_{style}" for style in STYLES if style in {"noto", "noto_v1", "twemoji"} or style.startswith("emojione")
    }


def test_two_emoji_of_one_concept_are_one_class(built):
    assert (built / "class_names/id.txt").read_text().split() == ["dog", "owl"]
    assert len(list((built / "id/000_dog").iterdir())) == 12


def test_sixteen_training_pictures_per_class(built):
    assert [len(list(folder.iterdir())) for folder in sorted((built / "id_train").iterdir())] == [16, 16]


def test_the_domain_shift_sets_hold_what_their_style_draws(built):
    assert (built / "class_names/fx.txt").read_text().split() == ["dog", "owl"]
    assert (built / "class_names/streamline.txt").read_text().split() == ["dog"]


def test_what_is_left_out_is_listed_with_its_reason(built):
    with (built / "left_out.csv").open(newline="") as file:
        why = {row["emoji"]: row["why"] for row in csv.DictReader(file)}
    assert why == {
        "swan": "its twemoji drawing nearly equals noto's, which trains",
        "wheel": "no class of its own: it goes with one",
        "mail": "mentions the ID class owl",
        "flag: Guam": "shows an ID class",
        "banjo": "not drawn by every family",
    }
    assert stems(built / "flags") == {"flag-france_twemoji"}
    assert stems(built / "plants") == {"rose_emojione"}


def test_built_twice_the_bytes_are_the_same(work, built, tmp_path):
    again = build(work, tmp_path)
    files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) > 100
    assert all((built / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_a_rebuild_leaves_nothing_of_the_last_one(work, built, tmp_path):
    old = tmp_path / "id/999_old"
    old.mkdir(parents=True)
    (old / "old_noto_0.webp").write_bytes(b"")
    assert not (build(work, tmp_path) / "id/999_old").exists()


def test_pictures_are_64_pixels_on_an_opaque_background(built):
    for path in sorted((built / "id").rglob("*.webp"))[:6]:
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "RGB")
