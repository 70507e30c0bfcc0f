"""The wheel holds configs and assets, and runs from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_the_wheel_runs_elsewhere(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert (site / "neglab/configs/evaluate.yaml").is_file()
    # From another folder, with the unpacked wheel first on the path: the dependencies are those already installed.
    code = "import neglab, neglab.cli, sys; assert neglab.__file__.startswith(sys.path[0]), neglab.__file__; "
    environment = {**os.environ, "PYTHONPATH": str(site), "NEGLAB_STORE": str(tmp_path / "store")}
    arguments = ["method=maxlogit", "logger=csv", "data.num_workers=0", "trainer.progress_bar=false", "plots=false"]
    arguments += ["id_dataset=emoji_streamline", "ood_datasets=emoji_plants"]  # few images
    run = f"import sys; sys.path.insert(0, {str(site)!r}); {code}sys.argv[1:] = {arguments!r}; neglab.cli.main()"
    finished = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    assert "AUROC" in finished.stdout
