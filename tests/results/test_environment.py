import json
import re
import subprocess
import sys

import torch

from neglab.results import environment
from neglab.results.environment import CALLED, commit, typed_command, write_environment


def test_what_computes_is_written_and_not_who_or_where(tmp_path, monkeypatch):
    for name in ("LOGNAME", "USER", "HOSTNAME", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sesame")
    found = write_environment(tmp_path)
    assert json.loads((tmp_path / "environment.json").read_text()) == found
    assert "sesame" not in str(found) and set(found) == {
        *("command", "neglab", "commit", "python", "system", "processors", "gpus", "threads"),
        *("torch", "lightning", "torchmetrics", "open_clip_torch", "transformers", "numpy"),
    }
    assert found["torch"] == torch.__version__.split("+")[0]
    assert found["threads"] == str(torch.get_num_threads()) and re.match(r"\d+ x .", found["processors"])


def test_gpus_are_counted_by_name(monkeypatch, tmp_path):
    def name(i):
        if i == 3:
            raise RuntimeError("old driver")
        return "H100" if i else "A100"

    monkeypatch.setattr(torch.cuda, "get_device_name", name)
    for count, shown in ((0, "none"), (3, "1 x A100, 2 x H100"), (4, "unknown: old driver")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        environment._machine.cache_clear()
        assert write_environment(tmp_path)["gpus"] == shown
    environment._machine.cache_clear()


def test_the_command_is_the_typed_one(monkeypatch):
    assert typed_command() == CALLED
    monkeypatch.setattr(sys, "argv", ["/bin/neglab", "--multirun", "seed.value=0,1"])
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python", "/bin/neglab", "-m", "seed=0,1", "prompt.text=a b"])
    assert typed_command() == "neglab -m seed=0,1 'prompt.text=a b'"


def test_a_checkout_names_its_commit(tmp_path, monkeypatch):
    assert commit(tmp_path).startswith("none")
    (tmp_path / "file").write_text("first")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(tmp_path)]
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    assert re.fullmatch("[0-9a-f]{40}", commit(tmp_path))
    (tmp_path / "file").write_text("second")
    assert re.fullmatch("[0-9a-f]{40}-dirty", commit(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path).startswith("unknown")
