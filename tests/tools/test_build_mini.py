"""tools/build_mini/train.py, two steps on made-up drawings: what it writes is a model that open_clip reads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

COUNT = 300  # emoji; a step takes 144
TOOL = Path(__file__).parents[2] / "tools/build_mini/train.py"
NOUNS = "00001740 03 n 02 dog 0 domestic_dog 0 001 @ 00002000 n 0000 | a tame animal\n00002000 03 n 01 animal 0 000 | a being\n"  # noqa: E501
ADJECTIVES = "00003000 00 a 01 able 0 000 | having the power\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    styles = ("noto", "noto_v1", "fluent_flat", "fluent_modern", "fluent_high_contrast", "emojione",
              "emojione_monotone", "twemoji")  # fmt: skip
    emoji = [
        {"name": name, "concept": name, "tags": ["tag", name], "group": "objects", "hexcode": name, "held_out": "noto"}
        for name in (f"thing {i}" for i in range(COUNT))
    ]
    arrays = {style: rng.integers(0, 256, (COUNT, 72, 72, 4), dtype=np.uint8) for style in styles}
    np.savez(folder / "drawings.npz", **arrays, icons=rng.integers(0, 256, (2, 72, 72, 4), dtype=np.uint8))
    (folder / "emoji.json").write_text(json.dumps(emoji))
    (folder / "icons.json").write_text(json.dumps([{"name": "anvil", "set": "mdi"}, {"name": "thing 3", "set": "mdi"}]))
    (folder / "data.noun").write_text(NOUNS)
    (folder / "data.adj").write_text(ADJECTIVES)
    return folder


def train(work: Path, output: Path) -> str:
    finished = subprocess.run(
        [sys.executable, str(TOOL), str(work), str(work), str(output), "--steps", "2"], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def first(work, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("first")
    assert "watched accuracy" in train(work, output)
    return output


def test_it_writes_a_model_of_open_clip(first):
    model = open_clip.create_model(f"local-dir:{first}").eval()
    with torch.inference_mode():
        assert model.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, 192)
        assert model.encode_text(torch.zeros(1, 77, dtype=torch.long)).shape == (1, 192)
    weights = load_file(first / "open_clip_model.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}


@pytest.mark.slow
def test_the_seed_decides(work, first, tmp_path):
    train(work, tmp_path)
    one, two = (load_file(folder / "open_clip_model.safetensors") for folder in (first, tmp_path))
    assert all(torch.equal(one[name], two[name]) for name in one)
