from unittest.mock import Mock

import lightning as L
import pytest
import torch

from neglab.passes import progress
from neglab.passes.progress import ItemProgress

MODULE = Mock(spec=L.LightningModule)


@pytest.fixture
def trainer():
    return Mock(spec=L.Trainer, is_global_zero=True, world_size=2)


def test_a_log_gets_lines_with_counts_and_rates(trainer, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = ItemProgress({"a": ("images", 30), "b": ("texts", 5)})
    shown.on_predict_start(trainer, MODULE)
    for job, size, at in (("a", 10, 10.0), ("a", 4, 40.0), ("b", 3, 41.0)):
        now[0] = at
        shown.on_predict_batch_end(trainer, MODULE, (job, {"embeddings": torch.zeros(size, 2)}), None, 0)
    shown.on_predict_end(trainer, MODULE)
    assert capsys.readouterr().err.splitlines() == [
        "28 of 30 images, 1/s",  # two processes, each as far as this one
        "28 of 30 images, 1/s; 5 of 5 texts, 0/s",  # no more than there are
    ]


def test_a_short_pass_says_nothing_in_a_log(trainer, capsys):
    shown = ItemProgress({"a": ("images", 30)})
    shown.on_predict_start(trainer, MODULE)
    shown.on_predict_batch_end(trainer, MODULE, ("a", {"embeddings": torch.zeros(15, 2)}), None, 0)
    shown.on_predict_end(trainer, MODULE)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_in_items(trainer, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    shown = ItemProgress({"a": ("images", 30)})
    shown.on_predict_start(trainer, MODULE)
    shown.on_predict_batch_end(trainer, MODULE, ("a", {"embeddings": torch.zeros(15, 2)}), None, 0)
    shown.on_predict_end(trainer, MODULE)
    text = capsys.readouterr().err
    assert "images" in text and "30/30" in text and "/s" in text
