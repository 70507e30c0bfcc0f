import checkpoint_fakes
import learner_fakes
import pytest

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.corpus.learned import LearnedCorpus
from neglab.types import UserError


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


def test_each_set_has_a_word_per_class_in_the_order_of_the_classes(backbone, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.lsn(num_sets=2), backbone)
    corpus = LearnedCorpus(str(tmp_path))
    words = corpus.words(learner_fakes.NAMES)
    assert words.names[:4] == ("not 1: cat", "not 1: tree frog", "not 1: dog", "not 2: cat")
    assert set(words.parts_of_speech) == {"noun"}
    assert corpus.words(["dog", "cat"]).names == ("not 1: dog", "not 1: cat", "not 2: dog", "not 2: cat")


def test_what_holds_no_negatives_is_refused(backbone, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.coop(), backbone)
    for checkpoint, message in ((tmp_path, "prompt_learner=lsn"), (tmp_path / "none", "must be a folder")):
        with pytest.raises(UserError, match=message):
            LearnedCorpus(str(checkpoint)).words(learner_fakes.NAMES)
    with pytest.raises(UserError, match=r"corpus.checkpoint"):
        LearnedCorpus(None).words(learner_fakes.NAMES)
