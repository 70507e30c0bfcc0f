"""The console script, as a user types it."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest
from hydra.errors import InstantiationException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from neglab.cli import Task, gpu_of_job, rewrite, users_mistake
from neglab.config_files import commands, configs_folder
from neglab.types import UserError


@pytest.mark.parametrize(
    ("typed", "command", "passed_on"),
    [
        (["seed=3"], "evaluate", ["seed.value=3"]),
        (["-m", "seed=0,1,2", "method=mcm"], "evaluate", ["-m", "seed.value=0,1,2", "method=mcm"]),
        (["method=mcm", "-m", "seed=0,1"], "evaluate", ["-m", "method=mcm", "seed.value=0,1"]),
        (["seed=range(0,10)"], "evaluate", ["seed.value=range(0,10)"]),
        (["seed=-7"], "evaluate", ["seed.value=-7"]),
        (["detect", "id_images=mine/"], "detect", ["id_images.dataset.root=mine/"]),
        (["id_images=emoji"], "evaluate", ["id_images=emoji"]),
        (["seed=fixed"], "evaluate", ["seed=fixed"]),
        (["seed.value=4"], "evaluate", ["seed.value=4"]),
        (["evaluate", "method=mcm"], "evaluate", ["method=mcm"]),
        (["demo-page", "detector=mine"], "demo_page", ["detector=mine"]),
        (["-m", "evaluate", "seed=1"], "evaluate", ["-m", "seed.value=1"]),
    ],
)
def test_the_command_word_and_the_seed(typed, command, passed_on):
    assert rewrite(typed) == (command, passed_on)


def test_a_missing_plugin_names_its_extra():
    error = MissingConfigException("In 'evaluate': Could not find 'hydra/sweeper/optuna'\n\nAvailable options:", None)
    assert users_mistake(error).endswith("pip install 'neglab[optuna]'")


def test_an_unknown_command_word(neglab):
    finished = neglab("evalute")
    assert finished.returncode == 2
    known = ", ".join(commands())
    assert f"`evalute` is no command; there is {known}" in finished.stderr


def test_a_mistake_raised_out_of_its_wrapping_is_found():
    """Such a chain of causes leads back to itself."""
    mistake = UserError("mend it")
    with pytest.raises(UserError) as raised:
        try:
            raise RuntimeError from mistake
        except RuntimeError:
            raise mistake from None
    assert users_mistake(raised.value) == "mend it"
    mistake.__context__ = RuntimeError()
    mistake.__context__.__cause__ = mistake
    assert users_mistake(mistake.__context__) == "mend it"


def test_a_class_that_cannot_be_imported():
    with pytest.raises(InstantiationException) as raised:
        instantiate({"_target_": "my_methods.GapScore"})
    assert "No module named 'my_methods'" in users_mistake(raised.value)
    assert "PYTHONPATH=FOLDER" in users_mistake(raised.value)


def test_version(neglab):
    assert neglab("--version").stdout.startswith("neglab 0.")


MISTAKES = [
    (["metod=mcm"], "Did you mean method?"),
    (["+metod=mcm"], "Did you mean method?"),
    (["score.num_group=5"], "num_group"),
    (["method=nothing_like_it"], "neglabel"),  # Hydra lists the choices
    (["seed=three"], "seed must be a valid integer; got 'three'"),
    (["id_dataset=image_folder", "id_dataset.root=/no/such/folder", "method=mcm"], "image folder must exist"),
    (["id_dataset=image_folder", "method=mcm"], "id_dataset.root"),
    (["negative_selector.fraction=2"], "negative_selector.fraction must be less than or equal to 1; got 2"),
    (["negative_selector.num_labels=5"], "Exactly one of"),
    (["trainer=gpus", "trainer.devices=99", "method=mcm"], "trainer.accelerator=gpu"),
    (["corpus=file", "corpus.path=/no/such/file"], "corpus.path must be a file"),
    (["backbone=open_clip", "backbone.model=nothing"], "backbone.model=nothing"),
    (["method=mcm", "paths.store=/proc/nowhere"], "store must be a folder"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[mistake[0][0] for mistake in MISTAKES])
def test_a_users_mistake_gets_a_message_and_no_traceback(neglab, tmp_path, arguments, message):
    finished = neglab(*arguments, "logger=csv", "data.num_workers=0")
    assert finished.returncode != 0
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr + finished.stdout
    assert "Error executing job" not in finished.stderr
    if reason := list(tmp_path.glob("outputs/*/*/failed.txt")):  # the job had begun
        assert message in reason[0].read_text()


def test_sigterm_says_how_to_go_on(tmp_path):
    """As a cluster sends it before a time limit, while the command loads."""
    code = (
        "import os, signal, neglab.cli as cli; "
        "cli.Task.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM); "
        "cli.main()"
    )
    arguments = ["method=mcm", "logger=csv"]
    finished = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 143
    assert finished.stderr.strip() == (
        "Stopped by SIGTERM. What was finished is in the store; it goes on from there with\n"
        "  neglab method=mcm logger=csv"
    )


LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


@pytest.mark.parametrize("sweep", [["-m", "seed=0,1"], ["experiment=neglabel_table8_number_of_negatives"]])
def test_a_sweep_under_another_launcher_is_refused(sweep, tmp_path):
    """Also that of an experiment which is one by itself."""
    code = "from neglab.cli import run_command_line; run_command_line()"
    finished = subprocess.run(
        [sys.executable, "-c", code, *sweep],
        env={**os.environ, **LAUNCHED},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert finished.stderr.strip().startswith(
        "A sweep must not run in processes that torchrun or srun started together"
    )


def test_processes_started_together_need_a_trainer_that_uses_them(monkeypatch):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="need trainer=multi_node; got a trainer with strategy=ddp_spawn"):
        Task("evaluate").run(OmegaConf.create({"trainer": {"strategy": "ddp_spawn"}}))


def test_each_job_at_once_takes_a_gpu_by_its_number(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    assert [gpu_of_job(number) for number in range(3)] == ["4", "GPU-7", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert gpu_of_job(11) == "3"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert gpu_of_job(11) == ""


def test_a_launcher_that_is_not_installed_names_its_extra(tmp_path):
    code = "import sys; sys.modules['hydra_plugins'] = None; import neglab.cli; neglab.cli.main()"
    arguments = ["-m", "seed=0,1", "hydra/launcher=joblib"]
    finished = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "pip install 'neglab[joblib]'" in finished.stderr and "Traceback" not in finished.stderr
    for launcher, extra in (("submitit_slurm", "slurm"), ("ray", "ray")):
        preset = OmegaConf.load(configs_folder() / f"hydra/launcher/{launcher}.yaml")
        assert f"neglab[{extra}]" in str(users_mistake(RuntimeError(f"Unknown plugin class : '{preset._target_}'")))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_jobs_at_once_share_the_store_and_one_table(neglab, overrides, tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    mining = ["negative_selector.fraction=0.5", "score.num_groups=4"]
    sweep = [
        "-m",
        "method=random_negatives,neglabel",
        *overrides,
        *mining,
        "data.num_workers=1",
        f"hydra/launcher={launcher}",
    ]
    finished = neglab(*sweep)
    assert finished.returncode == 0, finished.stderr
    (table,) = tmp_path.glob("multirun/*/*/aggregate.csv")
    with table.open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"random_negatives", "neglabel"}
    assert len(list(tmp_path.glob("store/embeddings/*/*/parts"))) == 1  # the rows of texts; no pass is unfinished
    assert "ConfigStore" not in finished.stderr
    finished = neglab(*sweep, "negative_selector.fraction=2")
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "negative_selector.fraction must be less than or equal to 1" in finished.stderr


def test_a_sweep_over_seeds_encodes_once_and_averages(neglab, overrides, tmp_path):
    finished = neglab("-m", "seed=0,1,2", "method=mcm,random_negatives", *overrides, "+score.unused=1")
    assert finished.returncode != 0 and "Traceback" not in finished.stderr  # an unknown key stops it at once
    mining = ["negative_selector.fraction=0.5", "score.num_groups=4"]
    finished = neglab("-m", "seed=0,1,2", "method=random_negatives,neglabel", *overrides, *mining)
    assert finished.returncode == 0, finished.stderr
    assert "Mean over the OOD sets" in finished.stdout
    (sweep,) = tmp_path.glob("multirun/*/*/aggregate.csv")
    with sweep.open(newline="") as file:
        rows = {(row["method"], row["ood_dataset"]): row for row in csv.DictReader(file)}
    assert rows["neglabel", "mean"]["num_seeds"] == "3"
    assert float(rows["neglabel", "mean"]["auroc_std"]) == 0  # nothing in it is random
    assert float(rows["random_negatives", "mean"]["auroc_std"]) > 0
    jobs = sorted(sweep.parent.glob("*/metrics.json"), key=lambda path: int(path.parent.name.split("_")[0]))
    encoded = [json.loads(path.read_text())["time/num_encoded"] for path in jobs]
    assert len(jobs) == 6 and encoded[0] > 0 and sum(encoded[1:]) == 0


def test_one_failed_job_leaves_the_others_their_table(neglab, overrides, tmp_path):
    mining = ["negative_selector.fraction=0.5", "hydra.sweep.dir=sweep"]
    sweep = ["-m", "method=neglabel", "score.num_groups=1,1000,2,0.5", *overrides, *mining]
    finished = neglab(*sweep)
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert "2 jobs failed" in finished.stderr
    assert re.search(r"1_neglabel_seed0: num_groups must be at most the number of negatives", finished.stderr)
    assert re.search(r"3_neglabel_seed0: score\.num_groups must be a valid integer; got 0\.5", finished.stderr)
    with (tmp_path / "sweep" / "aggregate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["overrides"].split("score.num_groups=")[1].split()[0] for row in rows} == {"1", "2"}
    assert "Mean over the OOD sets" in finished.stdout
    # Mended, the same folder has no failed job any more.
    finished = neglab("-m", "method=neglabel", "score.num_groups=1,4,2,5", *overrides, *mining)
    assert finished.returncode == 0, finished.stderr
    assert not list(tmp_path.glob("sweep/*/failed.txt"))


def test_wandb_without_an_account_is_offline_and_asks_nothing(neglab, overrides, tmp_path):
    quiet = {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "nothing")}
    arguments = [text for text in overrides if text != "logger=csv"]
    finished = neglab("method=mcm", *arguments, environment=quiet)
    assert finished.returncode == 0, finished.stderr
    (run,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/run-*.wandb")
    content = run.read_bytes()
    assert b"ood/mean/auroc" in content and b"id_dataset" in content
