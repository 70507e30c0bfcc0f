"""A graph scores as the detector that it was made of, with and without torch."""

import json
import subprocess
import sys
from dataclasses import replace

import fakes
import numpy as np
import onnxruntime
import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.detector import Detector
from neglab.detector import export as module
from neglab.detector.export import DESCRIPTION, export
from neglab.score.cocoop import CoCoOpScore
from neglab.score.energy import EnergyScore
from neglab.score.entropy import EntropyScore
from neglab.score.eoe import EOEScore
from neglab.score.gen import GENScore
from neglab.score.knn import KNNScore
from neglab.score.lsn import LSNScore
from neglab.score.mahalanobis import MahalanobisScore
from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.neglabel_forms import FORMS, NegLabelFormScore
from neglab.score.tins import TINSScore
from neglab.score.variance import VarianceScore
from neglab.score.vim import ViMScore
from neglab.tasks import export as task
from neglab.types import LabelledEmbeddings, UserError

ID_IMAGES = LabelledEmbeddings(fakes.unit(60, seed=9), torch.arange(60) % 5)
SCORES = {
    "neglabel": NegLabelScore(4, 0.01, 0),
    "mcm": MCMScore(1.0),
    "maxlogit": MaxLogitScore(),
    "energy": EnergyScore(0.01),
    "entropy": EntropyScore(1.0),
    "variance": VarianceScore(1.0),
    "gen": GENScore(0.01, 0.1, 3),
    **{f"eoe {form}": EOEScore(form, 0.25, 1.0) for form in ("eoe", "max", "energy")},
    **{f"form {form}": NegLabelFormScore(form, "cosine", 0.1, 0.1, 0.5, 4, None, 0) for form in FORMS},
    "kl": NegLabelFormScore("linear_sum", "kl", 0.1, 0.1, 0.5, 4, None, 0),
    "lsn": LSNScore("paper", 1.0, 1.0, 1.0, 1.0),
    "knn": KNNScore(3),
    "mahalanobis": MahalanobisScore("ledoit_wolf"),
    "vim": ViMScore(0.01, None),
}
WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = sys.modules["neglab"] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
found = session.run(None, {"pixels": numpy.load(sys.argv[2])})
print(json.dumps([[part.tolist() for part in found], session.get_modelmeta().custom_metadata_map]))
"""


def detector_of(name):
    bank = fakes.text_bank(5, 25)
    needs_images = SCORES[name].needs_id_images
    return fakes.pixel_detector(SCORES[name], replace(bank, id_images=ID_IMAGES) if needs_images else bank)


def pixels(count, size=8, seed=3):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_an_onnx_file_runs_in_a_process_without_torch(tmp_path):
    detector = detector_of("neglabel")
    detector.threshold = 0.75
    assert export(detector, tmp_path / "new" / "mine.onnx") <= 1e-4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.onnx"]
    (score, nearest_class, nearest_negative), said = without_torch(tmp_path / "new" / "mine.onnx", pixels(5), tmp_path)
    assert score == pytest.approx(detector.score(pixels(5)).tolist(), abs=1e-4)
    found = detector.predict(pixels(5))
    classes, negatives = json.loads(said["classes"]), json.loads(said["negatives"])
    assert [classes[i] for i in nearest_class] == [one.predicted_class for one in found]
    assert [negatives[i] for i in nearest_negative] == [one.negative_label for one in found]
    assert (json.loads(said["threshold"]), json.loads(said["mean"])) == (0.75, [0.5, 0.5, 0.5])
    assert (said["method"], said["model"]) == ("neglabel", "pixels") and "Resize" in said["transform"]


def without_torch(path, images, folder):
    np.save(folder / "pixels.npy", images.numpy())
    typed = [sys.executable, "-c", WITHOUT_TORCH, str(path), str(folder / "pixels.npy")]
    return json.loads(subprocess.run(typed, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_every_score_of_one_image_is_exported(name, format, tmp_path):
    """`export` itself refuses a graph that is off; here the file is read again, for a batch of another size."""
    detector = detector_of(name)
    assert export(detector, tmp_path / "file", format) <= 1e-4
    expected = detector.score(pixels(7)).numpy()
    if format == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "file")
        found = session.run(["score"], {"pixels": pixels(7).numpy()})[0]
    else:
        found = torch.export.load(tmp_path / "file").module()(pixels(7))[0].numpy()
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.slow
def test_a_real_tower_is_exported(tiny_model, tmp_path):
    detector = detector_of("neglabel")
    backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
    whole = Detector(backbone, None, detector.scorer, detector.bank, detector.recipe, "cpu")
    export(whole, tmp_path / "tower.onnx")
    found = without_torch(tmp_path / "tower.onnx", pixels(4, 32), tmp_path)[0][0]
    assert found == pytest.approx(whole.score(pixels(4, 32)).tolist(), abs=1e-4)
    export(whole, tmp_path / "tower.pt2", "torch_export")
    for name in ("tower.onnx", "tower.pt2"):  # the text tower's words alone are 49,408 x 16 x 4 bytes
        assert (tmp_path / name).stat().st_size < 1_000_000


def test_the_command_leaves_an_archive_for_torch(tmp_path, monkeypatch, capsys):
    detector = detector_of("knn")
    monkeypatch.setattr(Detector, "load", lambda *_: detector)
    task.run(compose(["detector=mine", "format=torch_export"], "export", tmp_path))
    said = {DESCRIPTION: ""}
    program = torch.export.load(tmp_path / "detector.pt2", extra_files=said)
    assert json.loads(json.loads(said[DESCRIPTION])["classes"]) == [f"class {i}" for i in range(5)]
    scores, *_ = program.module()(pixels(6))
    assert torch.allclose(scores, detector.score(pixels(6)), atol=1e-4)
    assert "detector.pt2 scores as the detector does" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("scorer", "reason"), [(TINSScore, "learns from the images"), (CoCoOpScore, "encodes texts for each image")]
)
def test_a_method_that_is_no_graph_says_why(scorer, reason, tmp_path):
    detector = detector_of("mcm")
    detector.scorer = scorer.__new__(scorer)
    with pytest.raises(UserError, match=reason):
        export(detector, tmp_path / "file.onnx")


def test_a_backbone_that_is_no_graph_says_why(tmp_path, monkeypatch):
    detector = detector_of("mcm")
    detector.backbone.precision = "fp16"
    with pytest.raises(UserError, match=r"backbone\.precision=fp32"):
        export(detector, tmp_path / "file.onnx")
    detector.backbone.precision = "fp32"
    by_hand = detector.backbone._encode_images
    monkeypatch.setattr(detector.backbone, "_encode_images", lambda images: by_hand(images * float(images.mean())))
    with pytest.raises(UserError, match="The graph of model pixels cannot be exported as onnx"):
        export(detector, tmp_path / "file.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_with_other_scores_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda graph, detector, path, format: lambda images: torch.full((1,), 9.0))
    with pytest.raises(UserError, match=r"within 0\.0001; that of method=neglabel with pixels is"):
        export(detector_of("mcm"), tmp_path / "file.onnx")
    assert not list(tmp_path.iterdir())
