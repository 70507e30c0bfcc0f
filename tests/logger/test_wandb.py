import csv
import json
import os
import socket
import time
from pathlib import Path

import pytest
import wandb
import yaml
from offline_runs import read_offline_run, read_picture
from PIL import Image
from wandb_server import WandbServer

from neglab.compose import build, compose
from neglab.logger.base import Job
from neglab.logger.wandb import WandbRunLogger, mode_of_this_user
from neglab.pipeline import evaluate, gather
from neglab.results.examples import most_wrong, sample_rows
from neglab.tasks import detect
from neglab.tasks.evaluate import job
from neglab.types import UserError

ROOT = Path(__file__).parents[2]
KEY = "0" * 40


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def wandb_logger(group=None, tags=(), mode="offline"):
    return WandbRunLogger("neglab", group, None, tags, mode, False)


def the_run(folder):
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return read_offline_run(path)


@pytest.fixture
def server():
    """Something listens there, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_who_is_logged_in_is_online(monkeypatch, nobody, server):
    """wandb's own login writes the file, whatever host it takes for it."""
    monkeypatch.setenv("WANDB_BASE_URL", server)
    wandb.teardown()
    assert mode_of_this_user() == "offline"
    wandb.login(key=KEY, verify=False)
    wandb.teardown()  # the session that has just logged in is over
    assert KEY in nobody.read_text()
    assert mode_of_this_user() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", server.replace("127.0.0.1", "127.0.0.2"))
    wandb.teardown()
    assert mode_of_this_user() == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    nobody.unlink()
    wandb.teardown()
    assert mode_of_this_user() == "online"


def test_a_run_arrives_at_the_server(monkeypatch, tmp_path):
    """Over HTTP, by wandb's own client; a finished run has sent all."""
    monkeypatch.setattr("neglab.logger.wandb.INIT_PATIENCE", 120.0)  # the machine may be busy
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    metrics = {"ood/mean/auroc": 0.75, "ood/mean/fpr95_id_positive": 0.25, "ood/sun/fpr95_ood_positive": 0.5}
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        wandb.teardown()
        logger = wandb_logger("pairs", ["own"], "auto")
        logger.start({"seed": {"value": 3}}, Job("evaluate", tmp_path, "sweep", ("mcm", "mini")))
        logger.log_metrics(metrics)
        logger.finish()
        wandb.teardown()
    assert (server.known("project"), server.known("groupName")) == ("neglab", "pairs")
    assert (server.known("jobType"), server.known("tags")) == ("evaluate", ["mcm", "mini", "own"])
    assert json.loads(server.known("config"))["seed"] == {"value": {"value": 3}}
    assert {name: server.summary[name] for name in metrics} == metrics
    assert server.finished == [0]


@pytest.mark.parametrize("written", ["nonsense", "machine api.wandb.ai login user password short"])
def test_a_broken_login_is_none(nobody, written):
    nobody.write_text(written)
    wandb.teardown()
    assert mode_of_this_user() == "offline"


def test_without_a_network_the_run_is_offline_and_that_is_said_once(monkeypatch, caplog, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody_there:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{nobody_there.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    start = time.monotonic()
    for name in ("one", "two"):
        logger = wandb_logger(mode="auto", tags=["long" * 20])
        logger.start({}, Job("evaluate", tmp_path / name, None, ()))
        logger.log_metrics({"id/accuracy": 0.5})
        logger.finish()
    assert time.monotonic() - start < 30
    assert caplog.text.count("cannot be reached") == 1
    wandb.teardown()
    assert the_run(tmp_path / "two").tags == [f"{'long' * 15}l..."]


def test_an_unknown_mode():
    with pytest.raises(UserError, match=r"logger\.mode must be one of"):
        wandb_logger(mode="sometimes")


def test_finishing_before_the_start_is_safe():
    wandb_logger().finish()


def test_what_is_logged_lies_in_the_runs_folder(tmp_path):
    logger, red = wandb_logger(group="mine", tags=["own", "mini"]), Image.new("RGB", (9, 7), "red")
    red.save(tmp_path / "plot.png")
    logger.start({"seed": {"value": 3}}, Job("learn", tmp_path, "sweep", ("coop", "mini")))
    logger.log_metrics({"id/accuracy": 0.5})
    logger.log_table("results", ["image", "score", "note"], [[red, 0.25, None], [red, 1.0, "x"]])
    logger.log_image("plot", tmp_path / "plot.png")
    logger.finish()
    assert "WANDB_DATA_DIR" not in os.environ
    wandb.teardown()  # in a run this is the end of the process: only now is the file whole
    run = the_run(tmp_path)
    assert (run.group, run.job_type, run.tags) == ("mine", "learn", ["coop", "mini", "own"])
    assert run.config["seed"] == {"value": 3}
    assert run.summary["id/accuracy"] == 0.5
    assert run.exit_code == 0
    assert [(row["score"], row["note"]) for row in run.rows("results")] == [(0.25, None), (1.0, "x")]
    assert all(path.is_relative_to(tmp_path) for path in run.tables["results"].values())
    assert run.cell("results", run.rows("results")[0]["image"]).tobytes() == red.tobytes()
    assert run.picture("plot").size == (9, 7)
    assert not list(tmp_path.rglob("requirements.txt"))  # a list of all packages, which takes a seventh of a second
    table = json.loads(run.tables["results"]["results.table.json"].read_text())
    types = table["column_types"]["params"]["type_map"]
    assert types["score"] == {"wb_type": "number"}  # where None may come, each cell takes three times as long
    assert types["note"]["wb_type"] == "union"


def test_a_run_that_fails_is_marked(tmp_path):
    logger = wandb_logger()
    with pytest.raises(ValueError, match="broken"):
        try:
            logger.start({}, Job("evaluate", tmp_path, None, ()))
            raise ValueError("broken")
        finally:
            logger.finish()
    wandb.teardown()
    assert (the_run(tmp_path).group, the_run(tmp_path).exit_code) == ("", 1)


def test_a_sweep_is_whole_offline(neglab, overrides, tmp_path):
    """Two jobs and their aggregate, by an account that does not exist."""
    arguments = ["negative_selector.fraction=0.5", "score.num_groups=4", "logger=wandb", "logger.log_images=true"]
    quiet = {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "nothing")}
    finished = neglab("-m", "seed=0,1", "method=random_negatives", *overrides, *arguments, environment=quiet)
    assert finished.returncode == 0, finished.stderr
    (sweep,) = tmp_path.glob("multirun/*/*")
    jobs = sorted(path for path in sweep.iterdir() if (path / "metrics.json").is_file())
    assert len(jobs) == 2
    for seed, folder in enumerate(jobs):
        check_job(folder, seed)
    assert [the_run(folder).group for folder in jobs] == [f"{sweep.parent.name}-{sweep.name}"] * 2
    run = the_run(sweep)
    assert (run.group, run.job_type, run.exit_code) == (f"{sweep.parent.name}-{sweep.name}", "aggregate", 0)
    assert {"method=random_negatives", "seed.value=0,1"} <= set(run.config["overrides"])
    with (sweep / "aggregate.csv").open(newline="") as file:
        expected = [float(row["auroc_std"]) for row in csv.DictReader(file)]
    assert [row["auroc_std"] for row in run.rows("aggregate")] == pytest.approx(expected)
    assert expected[0] > 0
    assert not list((tmp_path / "home").rglob("*.table.json*"))


def check_job(folder, seed):
    """Config, labels, metrics, tables and pictures of one job."""
    run = the_run(folder)
    assert (run.job_type, run.exit_code) == ("evaluate", 0)
    assert run.tags == ["random_negatives", "open_clip", "image_folder"]
    assert run.config["seed"] == {"value": seed}
    assert run.config["negative_selector"]["fraction"] == 0.5
    assert run.config["environment"] == json.loads((folder / "environment.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {name: run.summary[name] for name in metrics} == pytest.approx(metrics)
    assert [row["ood_dataset"] for row in run.rows("results")] == ["image_folder", "mean"]
    assert run.rows("results")[1]["auroc"] == pytest.approx(metrics["ood/mean/auroc"])
    for name in ("score_histograms", "roc_curves"):
        assert min(run.picture(name).size) > 100
    with (folder / "negative_labels.csv").open(newline="") as file:
        negatives = [row["label"] for row in csv.DictReader(file)]
    assert [row["label"] for row in run.rows("negative_labels")] == negatives
    for name, most_ood_first, count in (("id", True, 8), ("image_folder", False, 5)):
        check_samples(run, folder, name, most_ood_first, count)
        samples = [row for row in run.rows("sample_images") if row["dataset"] == name]
        assert {row["negative_label"] for row in samples} <= set(negatives)


def check_samples(run, folder, name, most_ood_first, count):
    """The images whose score is most wrong, each with its picture."""
    samples = [row for row in run.rows("sample_images") if row["dataset"] == name]
    with (folder / "scores" / f"{name}.csv").open(newline="") as file:
        scored = sorted(csv.DictReader(file), key=lambda row: float(row["id_score"]), reverse=not most_ood_first)
    assert [row["path"] for row in samples] == [row["path"] for row in scored[:count]]
    assert [row["predicted_class"] for row in samples] == [row["predicted_class"] for row in scored[:count]]
    for row in samples:
        logged = run.cell("sample_images", row["image"])
        assert logged.tobytes() == read_picture(Path(row["path"])).tobytes()


@pytest.mark.parametrize("log_images", [False, True])
def test_photos_leave_the_machine_only_when_told_so(overrides, benchmark, tmp_path, log_images):
    foreign = ("id_dataset", "ood_datasets", "logger=")
    own = [f"images={benchmark}/near", "class_names=[cat,dog]", "logger=wandb", "logger.mode=offline", "method=mcm"]
    overrides = [text for text in overrides if not text.startswith(foreign)] + own
    detect.run(compose([*overrides, f"logger.log_images={log_images}"], "detect", tmp_path))
    wandb.teardown()
    run = the_run(tmp_path)
    assert (run.job_type, run.tags, run.summary["num_images"]) == ("detect", ["mcm", "open_clip"], 5)
    assert set(run.tables) == ({"sample_images"} if log_images else set())
    assert log_images or not (run.media / "media").exists()
    if log_images:
        scores = [row["id_score"] for row in run.rows("sample_images")]
        assert len(scores) == 5 and scores == sorted(scores)


def test_samples_of_a_stream_that_leaves_images_out(overrides, tmp_path):
    mining = ["method=adaneg", "stream.id_per_ood=1.0", "negative_selector.num_labels=20"]
    parts = build(compose([*overrides, *mining], output=tmp_path))
    evaluation, images = evaluate(parts), gather(parts).images["id"]
    assert len(evaluation.pairs[0].id_images.scores) == 5 < len(images)
    rows = [row for row in sample_rows(parts, most_wrong(parts, evaluation)) if row[0] == "id"]
    assert len(rows) == 5
    for _, picture, path, _, _, negative in rows:
        nearest = (evaluation.negatives.embeddings @ images.embeddings[images.paths.index(path)]).argmax()
        assert negative == evaluation.negatives.names[nearest]
        assert picture.tobytes() == read_picture(Path(path)).tobytes()


def test_the_command_of_the_sweep_example_composes(neglab):
    sweep = yaml.safe_load((ROOT / "examples" / "wandb_sweep.yaml").read_text())
    first = [f"{name}={choices['values'][0]}" for name, choices in sweep["parameters"].items()]
    words = {"${program}": [], "${args_no_hyphens}": first}
    finished = neglab(*(word for part in sweep["command"] for word in words.get(part, [part])), "--cfg", "job")
    assert finished.returncode == 0, finished.stderr
    assert "WandbRunLogger" in finished.stdout and "value: 0" in finished.stdout
    assert sweep["program"] == "neglab" and sweep["metric"]["name"] == "ood/mean/auroc"


def test_what_a_run_is_called_by_command(tmp_path):
    learning = job(compose(["prompt_learner=coop"], "learn", tmp_path), "learn")
    assert learning == Job("learn", tmp_path, None, ("coop", "mini", "emoji"))
    assert job(compose(["method=mcm"], output=tmp_path), "evaluate").tags == ("mcm", "mini", "emoji")
