"""Processes started together. Run as a script, this file is one of them."""

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import Dataset

from neglab.cli import stop
from neglab.modules import cluster
from neglab.modules.cluster import Launch, _load, launch, several_processes, together
from neglab.modules.embedding import PartFolders
from neglab.modules.prediction import Devices
from neglab.store import merge_parts, read_parts
from neglab.types import UserError

NUM_BATCHES = 3  # for two processes: uneven


class Batches(Dataset):
    def __len__(self):
        return NUM_BATCHES

    def __getitem__(self, position):
        return torch.tensor([position])


class Rank(L.LightningModule):
    """Each row says which process made it, and with how many threads."""

    def __init__(self, mistake_of=None):
        super().__init__()
        self.mistake_of = mistake_of

    def predict_step(self, batch, batch_idx):
        rank = launch().rank
        if rank == self.mistake_of:
            raise UserError("no such picture")
        return "job", {"index": batch, "rank": torch.full_like(batch, rank), "threads": batch * 0 + threads()}


def threads():
    return torch.get_num_threads()


def job(folder, mistake_of):
    """Two passes, and the long work of the first process between them."""
    devices = Devices("cpu", 1, "ddp", progress_bar=False, shared_folder=str(folder))
    for number, mistake in enumerate((None, mistake_of)):
        parts = Path(folder, f"pass {number}")
        try:
            devices.predict(Rank(mistake), Batches(), PartFolders({"job": parts}), num_workers=0)
        except UserError as error:
            stop(f"{error}", 3)
        merged = merge_parts(read_parts(parts), NUM_BATCHES)
        found = (merged["rank"].tolist(), merged["threads"].tolist(), torch.distributed.is_initialized())
        sys.stdout.write(f"{found}\n")
        time.sleep(0.3)


def start(folder, rank, *arguments):
    """A process as srun would start it on a cluster."""
    variables = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_STEP_NUM_TASKS": 2, "SLURM_JOB_ID": os.getpid()}
    variables |= {"SLURM_STEP_NODELIST": "localhost", "OMP_NUM_THREADS": 2 - rank}
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), *arguments],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_first_process_leads_and_a_mistake_in_another_ends_both_with_one_message(tmp_path):
    processes = [start(tmp_path, rank, "1") for rank in (0, 1)]
    (first, message), (second, silence) = (process.communicate(timeout=120) for process in processes)
    assert first == "([0, 1, 0], [2, 2, 2], False)\n" and second == ""
    assert message.strip() == "no such picture" and silence == ""
    assert [process.returncode for process in processes] == [3, 3]
    assert not list(tmp_path.glob("neglab-*"))


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, None),
        ({"RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1}, Launch(3, 4, 1)),
        ({"SLURM_PROCID": 9, "SLURM_STEP_NUM_TASKS": 16, "SLURM_LOCALID": 1}, Launch(9, 16, 1)),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_LOCALID": 0}, None),  # a job script without srun
        # torchrun, started once per machine by srun
        (
            {"SLURM_PROCID": 1, "SLURM_STEP_NUM_TASKS": 2, "SLURM_LOCALID": 0, "RANK": 8, "WORLD_SIZE": 16}
            | {"LOCAL_RANK": 0},
            Launch(8, 16, 0),
        ),
    ],
)
def test_the_place_among_the_processes(monkeypatch, variables, place):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    assert launch() == place
    assert several_processes() == (place is not None)


@pytest.mark.parametrize(
    ("variables", "rank", "said"),
    [
        (("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"), 0, "srun started together waits for the others"),
        (("RANK", "WORLD_SIZE", "LOCAL_RANK"), 1, "torchrun started together waits for the first, process 0"),
    ],
)
def test_a_process_that_waits_for_others_says_so(monkeypatch, capfd, variables, rank, said):
    port = 20_000 + os.getpid() % 10_000
    values = {**dict(zip(variables, (rank, 4, rank), strict=True)), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    monkeypatch.setattr(cluster, "LATEST", timedelta(seconds=2))
    message = f"Process {rank} of the 4 that {said}, at localhost:{port}.* env -u {variables[0]} neglab"
    with pytest.raises(UserError, match=f"must all be there. {message}"):
        together(lambda: None)
    assert len(re.findall(message, capfd.readouterr().err)) == 1


def test_one_process_that_a_launcher_started_is_on_its_own(monkeypatch, tmp_path):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    together(partial(job, tmp_path, None))
    assert len(list(tmp_path.glob("pass */*.safetensors"))) == 2


def test_without_a_launcher_the_message_says_how_to_start():
    devices = Devices("cpu", 1, "ddp", progress_bar=False)
    with pytest.raises(UserError, match=r"torchrun --nproc_per_node=GPUS .* or choose trainer=gpus"):
        devices.predict(Rank(), Batches(), PartFolders({}), num_workers=0)


def test_a_store_that_is_not_shared_is_named(tmp_path):
    with pytest.raises(UserError, match=f"does not see {tmp_path}/elsewhere"):
        _load(tmp_path / "elsewhere" / "work.pickle")


def test_each_process_takes_its_own_gpu_also_where_it_sees_one_alone(monkeypatch):
    for name, value in {"RANK": 11, "WORLD_SIZE": 16, "LOCAL_RANK": 3}.items():
        monkeypatch.setenv(name, str(value))
    devices = Devices("auto", 1, "ddp", progress_bar=False)
    for num_seen, chosen in ((8, [3]), (1, [0]), (0, 1)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda num_seen=num_seen: num_seen)
        assert devices._own_device() == chosen


@pytest.mark.slow
def test_two_machines_give_what_one_process_gives(neglab, overrides, tmp_path):
    """The console script under torchrun, once per machine; scores and embeddings bit for bit."""
    mining = ["method=neglabel", "negative_selector.fraction=0.5", "score.num_groups=4", "trainer.progress_bar=false"]
    arguments = [text for text in overrides if not text.startswith(("trainer=", "paths.store="))] + mining
    one = neglab(
        *arguments,
        "trainer=cpu",
        f"paths.store={tmp_path}/one",
        "hydra.run.dir=one",
        environment={"OMP_NUM_THREADS": "1"},
    )
    assert one.returncode == 0, one.stderr
    torchrun = [
        str(Path(sys.executable).with_name("torchrun")),
        "--nnodes=2",
        "--nproc_per_node=1",
        "--rdzv_backend=c10d",
    ]
    torchrun += [f"--rdzv_endpoint=localhost:{20_000 + os.getpid() % 10_000}", "--rdzv_id=test"]
    command = [
        str(Path(sys.executable).with_name("neglab")),
        *arguments,
        "trainer=multi_node",
        "trainer.accelerator=cpu",
    ]
    command += [f"paths.store={tmp_path}/two", "hydra.run.dir=two"]
    machines = [
        subprocess.Popen(
            [*torchrun, *command],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert "".join(out for out, _ in printed).count("Everything is in") == 1
    for name in ("results.csv", "negative_labels.csv", "scores/id.csv", "scores/image_folder.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    contents = [
        {path.relative_to(tmp_path / store): path.read_bytes() for path in (tmp_path / store).rglob("*.safetensors")}
        for store in ("one", "two")
    ]
    assert contents[0] == contents[1] and contents[0]


if __name__ == "__main__":
    place, *mistake_of = sys.argv[1:]
    together(partial(job, place, *map(int, mistake_of)))
