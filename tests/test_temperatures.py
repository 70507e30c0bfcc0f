"""One rule for temperatures: a number stays, `backbone` stands for the model's own."""

import pytest
import torch
import yaml

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import build, compose, settled
from neglab.config_check import check_values
from neglab.config_files import configs_folder
from neglab.detector import Detector
from neglab.pipeline import evaluate
from neglab.types import UserError

ON_LOGITS = {"msp", "energy", "gen", "vim"}
PUBLISHED = {
    "mcm": 1.0, "entropy": 1.0, "variance": 1.0, "eoe": 1.0, "lsn": 1.0, "cocoop": 1.0, "interneg_paper": 1.0,
    "neglabel": 0.01, "neglabel_forms": 0.01, "negrefine": 0.01, "interneg": 0.01, "tins": 0.01, "tanl": 0.01,
    "adaneg": 0.01, "clipscope": 0.01,
}  # fmt: skip


@pytest.fixture
def scale(tiny_model):
    """The tiny model's, which is not CLIP's."""
    found = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False).logit_scale
    assert 14 < found < 15
    return found


@pytest.mark.parametrize("name", sorted(ON_LOGITS | PUBLISHED.keys()))
def test_what_is_defined_on_logits_takes_the_models_and_what_was_published_keeps_its_number(name):
    config = compose([f"score={name}"])
    assert config.score.temperature == ("backbone" if name in ON_LOGITS else PUBLISHED[name])
    assert settled(config.score, lambda: 40.0)["temperature"] == (1 / 40 if name in ON_LOGITS else PUBLISHED[name])


def test_every_score_with_a_temperature_may_take_the_models():
    for path in sorted((configs_folder() / "score").glob("*.yaml")):
        score = yaml.safe_load(path.read_text())
        if "temperature" in score and "_target_" in score:  # others are these with other constants
            check_values({"score": {"_target_": score["_target_"], "temperature": "backbone"}})
            found = settled({**score, "temperature": "backbone"}, lambda: 8.0)
            assert found == {**score, "temperature": 0.125}
    explained = compose(["explain.temperature=backbone"], "explain").explain
    assert settled(explained, lambda: 8.0)["temperature"] == 0.125
    nested = compose(["score=lsn_cocoop", "score.checkpoint=x", "score.lsn.temperature=backbone"])
    assert settled(nested.score, lambda: 8.0)["lsn"]["temperature"] == 0.125


def test_the_models_own_is_its_logit_scale(overrides, scale):
    alike = ["method=msp", *overrides]
    own, number = (evaluate(build(compose([*alike, *more]))) for more in ([], [f"score.temperature={1 / scale}"]))
    assert torch.equal(own.pairs[0].ood_images.scores, number.pairs[0].ood_images.scores)
    other = evaluate(build(compose([*alike, "score.temperature=0.01"])))
    assert not torch.allclose(own.pairs[0].ood_images.scores, other.pairs[0].ood_images.scores)


def test_a_saved_detector_holds_the_number(overrides, scale, tmp_path):
    settings = [one for one in overrides if not one.startswith(("id_dataset", "ood_datasets", "backbone=", "logger"))]
    detector = Detector.create(["cat", "dog"], "open_clip", "msp", overrides=settings)
    assert detector.recipe.groups["score"]["temperature"] == 1 / scale == detector.scorer.temperature
    detector.save(tmp_path / "saved")
    assert Detector.load(tmp_path / "saved").scorer.temperature == 1 / scale


@pytest.mark.parametrize("key", ["score.temperature=model", "score.num_groups=backbone", "data.num_workers=backbone"])
def test_another_word_is_refused(key):
    with pytest.raises(UserError, match=f"{key.split('=')[0]} must"):
        compose([key])
