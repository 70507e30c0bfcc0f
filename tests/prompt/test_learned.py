import checkpoint_fakes
import fakes
import learner_fakes
import pytest
import torch
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.store import Store
from neglab.passes.prediction import Devices
from neglab.prompt.learned import LearnedPrompts
from neglab.prompt.templates import PromptTemplates
from neglab.types import UserError, Words

TEMPLATES = PromptTemplates(["the nice {}"], ["This is a {} photo"], True)


class Classes:
    """An ID dataset that is asked for its names alone."""

    def __init__(self, *names):
        self.names = names

    def class_names(self):
        return Words.nouns(self.names)


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.fixture
def make(backbone, tmp_path):
    """An embedder over one store with prompts from a new checkpoint, and the learner behind it."""

    def build(learner, words="template", names=learner_fakes.NAMES, seed=0, used_by=backbone):
        folder = tmp_path / f"prompts{len(list(tmp_path.glob('prompts*')))}"
        checkpoint_fakes.write(folder, learner, backbone, seed)
        prompts = LearnedPrompts(str(folder), TEMPLATES, Classes(*names), words)
        devices = Devices("cpu", 1, "auto", progress_bar=False)
        return Embedder(used_by, prompts, Store(tmp_path / "store"), devices, Loading(4, 8, 0, 0, 16))

    return build


def test_known_names_have_the_learned_rows_and_others_the_templates(make, backbone):
    learner = learner_fakes.lsn()
    embedder = make(learner)
    names = ["word", "dog", "not 2: cat", "rocky", "cat"]
    kinds = ["noun", "noun", "noun", "adjective", "noun"]
    _, (labels,) = embedder.embed({}, [Words(tuple(names), tuple(kinds), (None,) * 5)])
    results = learner.results(TokenTower(backbone, 100), checkpoint_fakes.IMAGES)
    assert torch.equal(labels.embeddings[1], results["class_embeddings"][2])
    assert torch.equal(labels.embeddings[2], results["negative_embeddings"][3])
    assert torch.equal(labels.embeddings[4], results["class_embeddings"][0])
    written = normalize(backbone.encode_text(["the nice word", "This is a rocky photo"]), dim=1)
    assert torch.allclose(labels.embeddings[[0, 3]], written, atol=1e-6)
    assert torch.allclose(embedder.encode_texts(["cat"]), normalize(backbone.encode_text(["cat"]), dim=1), atol=1e-6)


def test_another_checkpoint_is_another_entry_of_the_store(make):
    first, second = make(learner_fakes.coop()), make(learner_fakes.coop(), seed=1)
    kinds = ("noun",) * 3
    before = first.encode(learner_fakes.NAMES, kinds)
    assert not torch.allclose(second.encode(learner_fakes.NAMES, kinds), before)
    again = make(learner_fakes.coop())
    assert torch.equal(again.encode(learner_fakes.NAMES, kinds), before)
    assert again.num_encoded == 0


@pytest.mark.parametrize("num_sets", [1, 2])
def test_words_can_take_the_learned_context(make, backbone, num_sets):
    learner = learner_fakes.coop(num_sets=num_sets)
    embedder = make(learner, words="context")
    encoded = embedder.encode(["whale", "cat"], ["noun", "adjective"])
    alone = learner_fakes.context(num_sets=num_sets)
    alone.build(backbone, ["whale"], torch.Generator())
    with torch.no_grad():
        alone.vectors.copy_(learner.context.vectors)
        expected = normalize(alone(TokenTower(backbone, 100)).mean(dim=0), dim=1)
    assert torch.allclose(encoded[0], expected[0], atol=1e-6)
    assert torch.equal(encoded[1], learner.results(TokenTower(backbone, 100), fakes.unit(1))["class_embeddings"][0])


def test_fewer_classes_in_another_order_are_known(make):
    embedder = make(learner_fakes.coop(), names=("dog", "cat"))
    both = embedder.encode(["dog", "cat"], ["noun", "noun"])
    assert torch.equal(both, embedder.encode(learner_fakes.NAMES, ["noun"] * 3)[[2, 0]])


def test_what_does_not_fit_is_refused(make, tmp_path_factory):
    other = OpenCLIPBackbone(
        fakes.write_tiny_model(tmp_path_factory.mktemp("other"), seed=1), None, "fp32", "error", "model", False
    )
    with pytest.raises(UserError, match="backbone on which they were learned"):
        make(learner_fakes.coop(), used_by=other)
    with pytest.raises(UserError, match="'bird'"):
        make(learner_fakes.coop(), names=("cat", "bird"))
    with pytest.raises(UserError, match="template, context"):
        make(learner_fakes.coop(), words="both")
    for learner in (learner_fakes.cocoop(), learner_fakes.coop(class_specific=True)):
        with pytest.raises(UserError, match=r"prompt\.words=template"):
            make(learner, words="context")
