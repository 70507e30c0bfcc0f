import checkpoint_fakes
import fakes
import learner_fakes
import pytest
import torch
from reference import coop, lsn

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.prompt.templates import PromptTemplates
from neglab.score.cocoop import CoCoOpScore
from neglab.score.lsn import LSNScore
from neglab.types import LabelSet, TextBank, UserError

IMAGES = fakes.unit(12, seed=3)


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.fixture(scope="module")
def encoder(backbone, tmp_path_factory):
    return DirectTextEncoder(backbone, PromptTemplates(["{}"], ["{}"], True), tmp_path_factory.mktemp("store"), 64)


def bank(names=learner_fakes.NAMES):
    ids = LabelSet(tuple(names), ("noun",) * len(names), fakes.unit(len(names), seed=1), (None,) * len(names))
    return TextBank(ids, fakes.label_set(2 * len(names), seed=2), 100.0)


def scores(score, encoder, images=IMAGES, text_bank=None):
    return score.step(score.init(text_bank or bank(), encoder), images)[0].scores


@pytest.fixture
def learner(backbone, tmp_path):
    return checkpoint_fakes.write(tmp_path, learner_fakes.cocoop(initial_words="a photo of a"), backbone)


def test_it_is_mcm_on_the_texts_of_each_image(learner, backbone, encoder, tmp_path):
    with torch.no_grad():
        cosines = learner.similarities(TokenTower(backbone, 100), IMAGES)
    expected = [max(coop.softmax([cosine / 0.5 for cosine in row])) for row in cosines.tolist()]
    assert scores(CoCoOpScore(str(tmp_path), 0.5, 100, None), encoder).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_predicted_class_is_that_of_the_texts_of_each_image(learner, backbone, encoder, tmp_path):
    with torch.no_grad():
        expected = learner.similarities(TokenTower(backbone, 100), IMAGES).argmax(dim=1)
    score = CoCoOpScore(str(tmp_path), 1.0, 7, None)
    (_, predicted), _ = score.step(score.init(bank(), encoder), IMAGES)
    assert torch.equal(predicted, expected)
    assert not torch.equal(predicted, (IMAGES @ bank().id_labels.embeddings.T).argmax(dim=1))


@pytest.mark.parametrize("form", ["paper", "official"])
def test_lsns_negatives_join_in(learner, backbone, encoder, tmp_path, form):
    with torch.no_grad():
        cosines = learner.similarities(TokenTower(backbone, 100), IMAGES)
    negatives = bank().negatives.embeddings.tolist()
    negative = {"paper": lsn.paper_score, "official": lsn.official_score}[form]
    expected = [
        max(coop.softmax(row)) + negative(image, [image], [negatives[:3], negatives[3:]]) - 1
        for row, image in zip(cosines.tolist(), IMAGES.tolist(), strict=True)
    ]  # one class has a share of 1
    score = CoCoOpScore(str(tmp_path), 1.0, 100, LSNScore(form, 1.0, 5.0, 1.0, 1.0))
    assert scores(score, encoder).tolist() == pytest.approx(expected, abs=1e-6)


def test_neither_batches_nor_passes_change_an_image(learner, encoder, tmp_path):
    whole = scores(CoCoOpScore(str(tmp_path), 1.0, 100, None), encoder)
    for prompts_per_pass in (1, 7):
        score = CoCoOpScore(str(tmp_path), 1.0, prompts_per_pass, None)
        state = score.init(bank(), encoder)
        parts = [score.step(state, part)[0].scores for part in IMAGES.split(5)]
        assert torch.allclose(torch.cat(parts), whole, atol=1e-6, rtol=0)


def test_fewer_classes_in_another_order_are_known(learner, encoder, tmp_path):
    score = CoCoOpScore(str(tmp_path), 1.0, 100, None)
    both = [scores(score, encoder, text_bank=bank(names)) for names in (("dog", "cat"), ("cat", "dog"))]
    assert torch.allclose(*both, atol=1e-6)


def test_it_must_be_coco_op_that_learned(backbone, encoder, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.coop(), backbone)
    for checkpoint, message in ((str(tmp_path), "no meta-net"), (None, "score.checkpoint")):
        with pytest.raises(UserError, match=message):
            CoCoOpScore(checkpoint, 1.0, 100, None).init(bank(), encoder)


def test_unknown_classes_are_refused(learner, encoder, tmp_path):
    with pytest.raises(UserError, match="'bird'"):
        CoCoOpScore(str(tmp_path), 1.0, 100, None).init(bank(("cat", "bird")), encoder)
