"""What stands beside the code says what the code says."""

import json
import re
from pathlib import Path

import pytest
import yaml

from neglab import __version__

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
RECIPES = dict(re.findall(r"^([a-z]+):.*\n\t@(.*)$", MAKEFILE, flags=re.MULTILINE))


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


def test_the_citation_is_of_this_version():
    found = read("CITATION.cff")
    assert found["version"] == __version__ and found["title"].startswith("neglab")
    assert {"cff-version", "message", "authors"} <= found.keys()


def test_the_changes_end_with_this_version():
    sections = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert __version__ in sections[:2]


def test_a_commit_is_held_to_the_checks_of_make():
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    checks = [hook["entry"].replace(".venv/bin", "$(BIN)") for hook in repository["hooks"]]
    assert " && ".join(checks) == RECIPES["check"]


def test_the_workflow_runs_what_the_integration_runs():
    steps = read(".github/workflows/ci.yml")["jobs"]["run"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_container_begins_with_the_demo():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    entry, command = (json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith(("ENTRYPOINT", "CMD")))
    assert " ".join([*entry, *command]) == RECIPES["demo"].removeprefix("$(BIN)/")
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{name}" in allowed and (ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", ["bug", "method"])
def test_a_form_for_issues_asks_for_something(name):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    assert any(part.get("validations", {}).get("required") for part in form["body"])
    identifiers = [part["id"] for part in form["body"]]
    assert len(set(identifiers)) == len(identifiers)
