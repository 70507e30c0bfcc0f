"""Detectors go to the Hub and come back, through huggingface_hub's own code; a folder stands for the Hub."""

import shutil
from types import SimpleNamespace

import fakes
import pytest
from huggingface_hub import ModelCard, hub_mixin
from huggingface_hub.errors import LocalEntryNotFoundError

from neglab.detector import Detector, hub
from neglab.detector.saved import DESCRIPTION, TENSORS
from neglab.types import UserError

OWN = "someone/pets"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """Where the stand-in keeps its one repository."""
    place = tmp_path / "hub"

    class Api:
        def __init__(self, token=None):
            assert token == "of mine"

        def create_repo(self, repo_id, private, exist_ok):
            assert (repo_id, private, exist_ok) == (OWN, True, True)
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, repo_type, folder_path, **more):
            shutil.copytree(folder_path, place)
            return f"there/{repo_id}"

    def download(repo_id, allow_patterns, revision, **more):
        if repo_id != OWN:
            raise OSError(f"{repo_id} is not there\nand more")
        assert (allow_patterns, revision) == ([TENSORS, DESCRIPTION], "v1")
        return str(place)

    monkeypatch.setattr(hub, "look_for_hub", lambda: None)  # it would wait for a network
    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    monkeypatch.setattr(hub_mixin, "hf_hub_download", lambda repo_id, filename, **more: str(place / filename))
    monkeypatch.setattr(hub, "snapshot_download", download)
    return place


@pytest.fixture
def detector(tiny_model, benchmark, tmp_path):
    overrides = [f"backbone.model={tiny_model}", "corpus=file", f"corpus.path={benchmark}/words.txt"]
    overrides += ["negative_selector=all", "score.num_groups=4", "data.num_workers=0", "trainer=cpu"]
    overrides += ["trainer.progress_bar=false", f"paths.store={tmp_path}/store"]
    return Detector.create(["cat", "`dog`</pre>", "frösch"], "open_clip", overrides=overrides)


def test_a_detector_comes_back_from_the_hub(detector, remote, tmp_path, caplog):
    pictures = fakes.write_pictures(tmp_path / "pictures", 12)
    detector.threshold = 0.625
    assert detector.push_to_hub(OWN, token="of mine", private=True) == f"there/{OWN}"
    assert "who loads this detector needs them at that place" in caplog.text
    assert {path.name for path in remote.iterdir()} == {TENSORS, DESCRIPTION, "README.md", "config.json"}
    (remote / "config.json").write_text(
        '{"neglab": "0", "backbone": "other", "device": "cpu"}'
    )  # nothing is made of it
    again = Detector.from_pretrained(OWN, revision="v1")
    assert again.predict(pictures) == detector.predict(pictures) and again.threshold == 0.625
    assert Detector.from_pretrained(remote, device="cpu").predict(pictures) == detector.predict(pictures)


def test_the_card_says_what_it_is(detector, tmp_path):
    detector.save_pretrained(tmp_path / "saved")
    card = ModelCard.load(tmp_path / "saved" / "README.md")
    assert card.data.library_name == "neglab" and "out-of-distribution-detection" in card.data.tags
    text = card.text
    assert "detector of 3 classes by `neglabel` with `model0` and 40 negative labels" in " ".join(text.split())
    assert "| threshold | 0.5000 |" in text and "not calibrated on ID images" in text
    assert '\n    ["cat", "`dog`\\u003c/pre\\u003e", "frösch"]\n' in text
    assert "weights are not in this repository" in text and "word number 39" in text
    detector.recipe.groups["backbone"]["model"] = "ViT-B-16"
    assert "weights are not in this repository" not in detector.generate_model_card().text


@pytest.mark.parametrize("from_config", [True, False])
def test_what_cannot_be_had_is_said(from_config, remote, monkeypatch):
    def missing(*arguments, **more):
        raise LocalEntryNotFoundError("Please check your connection\nand more")

    if from_config:
        monkeypatch.setattr(hub_mixin, "hf_hub_download", missing)
    reason = "Please check your connection" if from_config else "some/other is not there"
    (remote / "config.json").parent.mkdir()
    (remote / "config.json").write_text("{}")
    with pytest.raises(UserError, match=f"that this machine can reach; got some/other: {reason}$"):
        Detector.from_pretrained("some/other")


def test_a_name_that_is_neither_folder_nor_repository_is_said(tmp_path):
    with pytest.raises(UserError, match="A saved detector is a folder with"):
        Detector.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="A detector is a folder, or a repository"):
        Detector.from_pretrained("no such/folder at all")
