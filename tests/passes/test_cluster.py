"""Processes started together. Run as a script, this file is one of them."""

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.distributed import HashStore
from torch.utils.data import Dataset

from neglab.cli import stop
from neglab.embedding.module import PartFolders
from neglab.parts import merge_parts, read_parts
from neglab.passes import processes
from neglab.passes.cluster import Outcome, _read, together
from neglab.passes.prediction import Devices
from neglab.passes.processes import Launch, Line, launch, several_processes
from neglab.types import UserError

NUM_BATCHES = 3  # for two processes: uneven


class Batches(Dataset):
    def __len__(self):
        return NUM_BATCHES

    def __getitem__(self, position):
        return torch.tensor([position])


class Rank(L.LightningModule):
    """Each row says which process made it."""

    def __init__(self, mistake_of=None):
        super().__init__()
        self.mistake_of = mistake_of

    def predict_step(self, batch, batch_idx):
        rank = launch().rank
        if rank == self.mistake_of:
            raise UserError("no such picture")
        return "job", {"index": batch, "rank": torch.full_like(batch, rank)}


def devices(folder):
    return Devices("cpu", 1, "ddp", progress_bar=False, shared_folder=str(folder))


def job(folder, mistake_of):
    """Two passes, and the long work of the first process between them."""
    for number, mistake in enumerate((None, mistake_of)):
        parts = Path(folder, f"pass {number}")
        task = json.dumps({"parts": str(parts), "mistake_of": mistake}).encode()
        try:
            devices(folder).encode(Rank(mistake), Batches(), PartFolders({"job": parts}), 0, lambda task=task: task)
        except UserError as error:
            stop(f"{error}", 3)
        merged = merge_parts(read_parts(parts), NUM_BATCHES)
        sys.stdout.write(f"{merged['rank'].tolist()}, {torch.distributed.is_initialized()}\n")
        time.sleep(0.3)


def help_with(folder, task):
    asked = json.loads(task)
    sink = PartFolders({"job": Path(asked["parts"])})
    devices(folder).run_share(Rank(asked["mistake_of"]), Batches(), sink, num_workers=0)


def start(folder, rank, *arguments, **more):
    """A process as srun would start it on a cluster."""
    variables = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_STEP_NUM_TASKS": 2, "SLURM_JOB_ID": os.getpid()}
    variables |= {"SLURM_STEP_NODELIST": "localhost", "OMP_NUM_THREADS": 1, **more}
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), *arguments],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listening(port):
    """The addresses at which something listens, as the kernel writes them."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    found = [cells[1].split(":") for cells in lines if cells[3] == "0A"]
    return [address for address, number in found if int(number, 16) == port]


def test_the_first_process_listens_at_one_address_and_does_not_wait_for_ever(tmp_path):
    """As in an interactive step of SLURM, whose variables promise a second process."""
    process = start(tmp_path, 0, "1", SLURM_STEP_NUM_NODES=1, NEGLAB_TEST_JOIN=6)
    latest = time.monotonic() + 60
    while not (found := listening(20_000 + os.getpid() % 10_000)) and time.monotonic() < latest:
        time.sleep(0.1)
    assert found == ["0100007F"]
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "All processes must come; 1 have not within 6 seconds." in message
    assert "Start all by one `srun ... neglab ...`" in message
    assert "Traceback" not in message


def test_a_lost_process_is_named(monkeypatch):
    monkeypatch.setattr(processes, "SILENCE", 0.3)
    line = Line(HashStore(), Launch(0, 2, 0))
    with pytest.raises(UserError, match="number 1 of 2 has shown none"):
        line.hear("outcome", Outcome, rank=1)
    line.store.set("outcome", b"[" * 100_000)
    with pytest.raises(UserError, match="what number 1 says is no message"):
        line.hear("outcome", Outcome, rank=1)
    line.close()


def test_the_first_process_leads_and_a_mistake_in_another_ends_both_with_one_message(tmp_path):
    started = [start(tmp_path, rank, "1") for rank in (0, 1)]
    (first, message), (second, silence) = (process.communicate(timeout=120) for process in started)
    assert first == "[0, 1, 0], False\n" and second == ""
    assert message.strip() == "no such picture" and silence == ""
    assert [process.returncode for process in started] == [3, 3]
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
    ("variables", "rank", "rule", "said"),
    [
        (
            ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
            0,
            "All processes must come; 3 have not within 2 seconds",
            "srun started together waits for the others",
        ),
        (
            ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
            1,
            "The first process must be within reach",
            "torchrun started together waits for the first, process 0",
        ),
    ],
)
def test_a_process_that_waits_for_others_says_so(monkeypatch, capfd, variables, rank, rule, said):
    port = 20_000 + (os.getpid() + rank) % 10_000
    values = {**dict(zip(variables, (rank, 4, rank), strict=True)), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(processes, "REMARK", 0.1)
    monkeypatch.setattr(processes, "JOIN", 2.0)
    message = f"Process {rank} of the 4 that {said}, at localhost:{port}.* env -u {variables[0]} neglab"
    with pytest.raises(UserError, match=f"{rule}. {message}"):
        together(lambda: None, lambda task: None)
    assert len(re.findall(message, capfd.readouterr().err)) == 1


def test_one_process_that_a_launcher_started_is_on_its_own(monkeypatch, tmp_path):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    together(partial(job, tmp_path, None), partial(help_with, tmp_path))
    assert len(list(tmp_path.glob("pass */*.safetensors"))) == 2


def test_without_a_launcher_the_message_says_how_to_start():
    devices = Devices("cpu", 1, "ddp", progress_bar=False)
    with pytest.raises(UserError, match=r"torchrun --nproc_per_node=GPUS .* or choose trainer=gpus"):
        devices.predict(Rank(), Batches(), PartFolders({}), num_workers=0)


def test_a_store_that_is_not_shared_is_named(tmp_path):
    with pytest.raises(UserError, match=f"does not see {tmp_path}/elsewhere"):
        _read(tmp_path / "elsewhere" / "task.json")


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
    import fakes  # here, since processes of these tests run this file, which do not find it

    one, two = (fakes.stored(tmp_path / name) for name in ("one", "two"))
    assert one == two and one


if __name__ == "__main__":
    place, *mistake_of = sys.argv[1:]
    processes.JOIN = float(os.environ.get("NEGLAB_TEST_JOIN", processes.JOIN))
    try:
        together(partial(job, place, *map(int, mistake_of)), partial(help_with, place))
    except UserError as error:
        stop(str(error))
