"""SIGKILL at random moments: the same command goes on, and leaves what an uninterrupted run leaves, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest

KILLS = 4
MINING = ["negative_selector.fraction=0.5", "score.num_groups=2"]
FEW = ["id_images=image_folder", "id_images.num_per_class=3"]
LEARNING = ["prompt_learner=lsn", "prompt_learner.context.num_tokens=4", "prompt_learner.positive.context.num_tokens=4"]
LEARNING += ["prompt_learner.recipe.num_epochs=6", "prompt_learner.positive.recipe.num_epochs=6"]
TABLES = ["results.csv", "negative_labels.csv", "scores/id.csv", "scores/image_folder.csv"]
STREAMS = ["results.csv", "scores/id_image_folder.csv", "scores/image_folder.csv"]
WORKLOADS = {
    "embedding": (["method=neglabel", *MINING], TABLES),
    "two processes": (["method=neglabel", *MINING, "trainer=cpu2"], TABLES),
    "stream": (["method=adaneg", "negative_selector.num_labels=20", "score.num_groups=2"], STREAMS),
    "learning": (["learn", *LEARNING, *FEW], ["prompts.safetensors", "prompts.json", "curves.csv"]),
}


def start(folder, arguments):
    script = Path(sys.executable).with_name("neglab")
    command = [str(script), *arguments, f"paths.store={folder}/store", f"hydra.run.dir={folder}/run"]
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def finish(folder, arguments):
    process = start(folder, arguments)
    assert process.wait(timeout=600) == 0, (folder / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_killed_run_goes_on(overrides, benchmark, tmp_path, workload):
    arguments, files = WORKLOADS[workload]
    common = [text for text in overrides if not text.startswith(("paths.store=", "trainer=cpu"))]
    trainer = [] if "trainer=cpu2" in arguments else ["trainer=cpu"]
    if arguments[0] == "learn":
        common = [text for text in common if not text.startswith(("ood_datasets", "corpus"))]
        arguments = [*arguments, f"id_images.dataset.root={benchmark}/id", "data.allow_shared=true"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    began = time.monotonic()
    finish(whole, [*arguments, *common, *trainer])
    duration, draw = time.monotonic() - began, random.Random(workload)
    for _ in range(KILLS):
        process = start(killed, [*arguments, *common, *trainer])
        time.sleep(duration * draw.uniform(0.2, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish(killed, [*arguments, *common, *trainer])
    for name in files:
        assert (killed / "run" / name).read_bytes() == (whole / "run" / name).read_bytes(), name
    stored = [fakes.stored(folder / "store/embeddings") for folder in (whole, killed)]
    assert stored[0] == stored[1] and stored[0]
