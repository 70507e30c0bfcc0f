"""The help pages say what the YAMLs say, in a second, without Hydra and torch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neglab.cli import completed
from neglab.config_files import commands, configs_folder, header
from neglab.help import groups, page

EXAMPLES = [(command, line) for command in commands() for line in header(command) if line.startswith("  neglab ")]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def test_all_pages_together_need_neither_hydra_nor_torch():
    words = [*commands(), *groups(), "method=interneg", "--help"]
    code = f"import sys, neglab.cli; sys.argv = ['neglab', *{words}]; neglab.cli.main(); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: neglab detect" in printed
    assert not {"torch", "hydra", "omegaconf", "numpy"} & set(printed.splitlines()[-1].split())


def test_the_general_page_fits_a_screen():
    lines = page(["--help"]).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 120
    assert all(any(line.startswith(f"  {command} ") for line in lines) for command in commands())


@pytest.mark.parametrize("command", commands())
def test_a_command_has_its_keys_and_three_examples(command):
    shown = page([command, "-h"])
    keys = re.findall(r"^(\w+): +(\S.*?) +# (.+)$", (configs_folder() / f"{command}.yaml").read_text(), flags=re.M)
    flat = " ".join(shown.split())
    assert all(f"{key}={value} {comment}" in flat for key, value, comment in keys)
    assert 3 <= sum(command == name for name, _ in EXAMPLES) <= 5
    assert re.search(r"^Writes |nothing is written", shown, flags=re.M)


def test_detects_page():
    shown = page(["detect"])
    assert "\n  images=???                         a folder, at any depth, or one image\n" in shown
    assert "\n  trainer=auto                       devices: auto, cpu, cpu2, gpu" in shown
    assert "_target_" not in shown and "${class_names}" not in shown


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=lambda text: str(text).strip())
def test_every_example_composes(command, line, composes):
    composes(re.split(r" {2,}", line.strip())[0], command)


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=lambda text: str(text).strip())
def test_brackets_of_examples_are_quoted(command, line):
    """zsh takes them for patterns of file names."""
    assert not re.search(r"[][*?{}]", re.sub("'[^']*'", "", re.split(r" {2,}", line.strip())[0]))


def test_a_group_lists_its_options():
    shown = page(["score"])
    assert shown.startswith("score: ")
    assert "\n  mcm                                MCM (Ming et al., NeurIPS 2022), Eq. 1," in shown
    assert page(["data"]).startswith("usage: neglab data")  # a command comes first


def test_an_option_shows_its_keys():
    shown = page(["score=neglabel"])
    assert "\n  score.temperature=0.01             tau, divides the cosine\n" in shown and "_target_" not in shown
    assert "\n  score=interneg\n" in page(["method=interneg"])
    assert page(["score=neglabel", "score.num_groups=5", "-h"]) == shown


def test_an_unknown_word(neglab):
    finished = neglab("evalute", "--help")
    assert finished.returncode == 2 and "`evalute` is neither a command nor a group" in finished.stderr
    assert page(["score=nothing_like_it"]) == page(["score"])


@pytest.mark.parametrize(
    ("line", "command", "passed_on", "offered"),
    [
        ("neglab de", "evaluate", "neglab de", ["demo_page", "detect"]),
        ("neglab -m ", "evaluate", "neglab -m ", commands()),
        ("neglab learn prompt_learner=l", "learn", "neglab prompt_learner=l", []),
        ("neglab method=mcm s", "evaluate", "neglab method=mcm s", []),
        ("neglab data data=", "data", "neglab data=", []),
    ],
)
def test_what_a_shell_completes(line, command, passed_on, offered, capsys):
    assert completed(line) == (command, passed_on)
    assert capsys.readouterr().out.split() == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_as_the_readme_says(monkeypatch):
    """As readline would: it calls the registered function with the line and takes COMPREPLY."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    script = """eval "$(neglab -sc install=bash)"
    [[ $(complete -p neglab) =~ "-F "([a-z_]+) ]]
    for COMP_LINE in "neglab lea" "neglab learn prompt_learner=coc"; do
        COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_POINT=${#COMP_LINE}
        ${BASH_REMATCH[1]} neglab; echo "${COMPREPLY[@]}"
    done"""
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert finished.stdout.splitlines() == ["learn", "prompt_learner=cocoop"], finished.stderr
