"""The notebooks run as they stand, and what they print holds."""

import json
import re
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Runs a notebook's code, cell after cell; they share the store."""
    store = tmp_path_factory.mktemp("store")

    def run(name, monkeypatch, capsys):
        monkeypatch.setenv("NEGLAB_STORE", str(store))
        matplotlib.use("Agg")
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        assert not any(cell.get("outputs") for cell in cells), "outputs are made when the documentation is built"
        space = {"__name__": "notebook"}
        for cell in code:
            exec(compile(cell, name, "exec"), space)
        matplotlib.pyplot.close("all")
        return capsys.readouterr().out

    return run


def test_first_steps(printed, monkeypatch, capsys):
    found = printed("first_steps", monkeypatch, capsys)
    assert "calibrated: it accepts 30 of 33 ID images" in found
    assert found.count("does not belong") == 2 and "ambulance_noto_1: belongs to ambulance" in found
    assert float(re.search(r"auroc: ([\d.]+)", found)[1]) > 0.98


@pytest.mark.slow  # `make docs` runs it too
def test_what_does_not_belong_is_found(printed, monkeypatch, capsys):
    found = printed("which_do_not_belong", monkeypatch, capsys)
    assert "15 instruments and 9 animals" in found
    assert int(re.search(r"(\d) of 9 animals are found", found)[1]) >= 8


@pytest.mark.slow  # `make docs` runs it too
def test_a_new_method_is_measured(printed, monkeypatch, capsys):
    found = printed("new_method", monkeypatch, capsys)
    weights = [float(auroc) for auroc in re.findall(r"^weight .* AUROC ([\d.]+)", found, flags=re.MULTILINE)]
    assert len(weights) == 3 and min(weights) > 0.9
    assert float(re.search(r"NegLabel: AUROC ([\d.]+)", found)[1]) > 0.95
