"""The examples run as they stand, and what they print holds."""

import re
import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_first_steps(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NEGLAB_STORE", str(tmp_path))
    runpy.run_path(str(EXAMPLES / "first_steps.py"))
    printed = capsys.readouterr().out
    assert "calibrated: it accepts 30 of 33 ID images" in printed
    assert printed.count("does not belong") == 2 and "ambulance_noto_1: belongs to ambulance" in printed
    assert float(re.search(r"auroc: ([\d.]+)", printed)[1]) > 0.98
    weights = [float(auroc) for auroc in re.findall(r"^weight .* AUROC ([\d.]+)", printed, flags=re.MULTILINE)]
    assert len(weights) == 3 and min(weights) >= 0.99
