"""Of the hot loops: a score's step does not wait for the GPU, or waits a known number of times for a known reason."""

import hashlib
from collections import Counter
from dataclasses import replace

import checkpoint_fakes
import fakes
import learner_fakes
import pytest
import score_fakes
import torch
import waits
from picture_chats import SeeingChat
from score import test_ants, test_cocoop

from neglab.chat.captions import Captioner
from neglab.modules.scoring import ScoringBatch, ScoringModule
from neglab.score.adaneg import AdaNegScore
from neglab.score.ants import ANTSScore
from neglab.score.base import local_column
from neglab.score.clipscope import CLIPScopeScore
from neglab.score.cocoop import CoCoOpScore
from neglab.score.debiased import DebiasedScore
from neglab.score.energy import EnergyScore
from neglab.score.entropy import EntropyScore
from neglab.score.eoe import EOEScore
from neglab.score.gen import GENScore
from neglab.score.glmcm import GLMCMScore
from neglab.score.interneg import InterNegScore
from neglab.score.knn import KNNScore
from neglab.score.lsn import LSNScore
from neglab.score.mahalanobis import MahalanobisScore
from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.neglabel_forms import NegLabelFormScore
from neglab.score.negrefine import NegRefineScore
from neglab.score.oodd import OODDScore
from neglab.score.renyi import RenyiScore
from neglab.score.tanl import TANLScore
from neglab.score.tins import TINSScore
from neglab.score.variance import VarianceScore
from neglab.score.vim import ViMScore
from neglab.types import LabelledEmbeddings

NEGLABEL = NegLabelScore(4, 0.01, 0)
SCORES = {
    "clipscope": CLIPScopeScore(0.01),
    "debiased": DebiasedScore(12, 0.01, 0, 0.5),
    "energy": EnergyScore(0.01),
    "entropy": EntropyScore(0.01),
    "eoe": EOEScore("eoe", 0.25, 1.0),
    "gen": GENScore(0.01, 0.1, 100),
    "knn": KNNScore(5),
    "mahalanobis": MahalanobisScore(0.5),
    "maxlogit": MaxLogitScore(),
    "mcm": MCMScore(1.0),
    "neglabel": NEGLABEL,
    "neglabel_forms": NegLabelFormScore("sum_softmax", "cosine", 0.01, 0.0, 1.0, 4, None, 0),
    "oodd": OODDScore(NEGLABEL, 20, 5, 1.0),
    "oodd_mcm": OODDScore(MCMScore(1.0), 20, 5, 1.0),
    "renyi": RenyiScore(0.01, 1.2, 1.05, -0.1, 15, 0.01),
    "variance": VarianceScore(0.01),
    "vim": ViMScore(0.01, 5),
}
LOCAL = {"glmcm": GLMCMScore(MCMScore(1.0), 1.0), "neglabel_patches": GLMCMScore(NEGLABEL, 0.5)}
# What waits once it is warm, and why. On a CPU a call counts too where the tensor would lie there beside a GPU.
WAITING = {
    # Which pairs of names come up decides what the text tower must be asked.
    "negrefine": (NegRefineScore(4, 0.01, 0, 2.0, 3, 3), {"_unique2": 1, "index by a mask": 1}),
    # The threshold is found on the CPU, among the gate scores of many batches. What follows the first `cpu` lies there:
    # Otsu's own `cpu`, the best threshold and its place among equals, and which images are sure of either side.
    "tanl": (
        TANLScore(**score_fakes.TANL),
        {"cpu": 2, "nonzero": 3, "_local_scalar_dense": 2},
    ),
    # Which images are sure decides how many come into which slots of the memory.
    "adaneg": (
        AdaNegScore(4, 0.1, 0, "task", False, 0.5, 0.1, 4, 5.0, 0.1),
        {"nonzero": 4, "_unique2": 1, "index by a mask": 1, "bincount": 2, "tolist": 1},
    ),
}


class NamesHaveDirections(fakes.NoEncoder):
    def encode(self, names, parts_of_speech):
        seeds = [int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) for name in names]
        return torch.stack([fakes.unit(1, seed=seed)[0] for seed in seeds])


def warm(score, device="cpu"):
    """The score within its pass, behind its first batch, and the next one."""
    images = LabelledEmbeddings(fakes.unit(40, seed=4), torch.arange(40) % 5)
    bank = replace(fakes.text_bank(), id_images=images)
    module = ScoringModule(score, bank, NamesHaveDirections()).to(device)
    with torch.no_grad():
        module.on_predict_start()
        module.predict_step(batch(device), 0)
    return module, batch(device)


def batch(device):
    return ScoringBatch("near", torch.arange(9), fakes.unit(9, seed=3).to(device))


@pytest.mark.parametrize("name", SCORES)
def test_a_step_waits_nowhere(name):
    module, images = warm(SCORES[name])
    with torch.no_grad(), waits.Waits() as found:
        module.predict_step(images, 1)
    assert found.calls == []


@pytest.mark.parametrize("name", WAITING)
def test_a_step_waits_no_more_than_it_must(name):
    score, expected = WAITING[name]
    module, images = warm(score)
    with torch.no_grad(), waits.Waits() as found:
        module.predict_step(images, 1)
    assert Counter(found.calls) == expected


def test_what_waits_is_counted():
    numbers = torch.arange(4.0)
    with waits.Waits() as found:
        numbers[numbers > 1]
        numbers[0].item()
        bool(numbers[0] > 1)
        numbers.tolist()
        numbers.cpu()
        numbers.unique()
        (numbers > 1).nonzero()
        torch.repeat_interleave(numbers, torch.tensor([1, 2, 0, 1]))
    kinds = ["index by a mask", "_local_scalar_dense", "tolist", "cpu", "_unique2", "nonzero", "repeat_interleave"]
    assert [kind for kind in dict.fromkeys(found.calls) if kind in kinds] == kinds


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCORES)
def test_on_a_gpu_a_step_waits_nowhere(name):
    module, images = warm(SCORES[name], "cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            module.predict_step(images, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Scores that make texts of what they find in a batch, and so must know it.


def counted(score, bank, images, encoder, size):
    """The waits of each step."""
    state, found = score.init(bank, encoder), []
    for part in images.split(size):
        with torch.no_grad(), waits.Waits() as calls:
            _, state = score.step(state, part)
        found.append(Counter(calls.calls))
    return found


# Which images are active; the length of the longest prompt of each step; which texts are accepted. The optimiser counts
# its steps on the CPU.
INVERSION = {"nonzero": 1, "tolist": 1, "cpu": 1}
AFTER_IT = {"nonzero": 1, "_local_scalar_dense": 1}  # on the CPU: what is accepted, and how many failed


@pytest.mark.parametrize("rescore", ["batch", "accepted"])
def test_interneg_waits_for_its_pseudo_words(encoder, rescore):
    score = InterNegScore(**{**score_fakes.INTERNEG, "rescore": rescore})
    steps = Counter({"_local_scalar_dense": score.descent.steps})
    for found in counted(score, score_fakes.bank_with_far_images(), fakes.unit(36, seed=3), encoder, 12):
        assert found == Counter(INVERSION) + Counter(AFTER_IT) + steps


def test_tins_waits_for_its_words_too(encoder):
    score = TINSScore(**score_fakes.TINS)
    steps = Counter({"_local_scalar_dense": score.descent.steps})
    # Which words are nearest; the rest is the tokenizer's, on the CPU: two calls.
    words = Counter({"_unique2": 1, "tolist": 1}) + Counter({"_local_scalar_dense": 2, "nonzero": 2, "tolist": 2})
    for found in counted(score, score_fakes.bank_with_far_images(), fakes.unit(36, seed=3), encoder, 12):
        assert found == Counter(INVERSION) + Counter(AFTER_IT) + words + steps


@pytest.mark.parametrize("space", ["far", "near", "adaptive"])
def test_ants_waits_for_what_it_asks_of(space, tmp_path, monkeypatch):
    monkeypatch.setattr("neglab.score.ants.MIN_CANDIDATES", 8)
    options = {**test_ants.OPTIONS, **test_ants.TEXTS, "space": space, "num_active": 6, "max_updates": 1}
    score = ANTSScore(captioner=Captioner(SeeingChat(test_ants.answer), None, 1.0, str(tmp_path)), **options)
    images = fakes.unit(120, seed=3)
    found = counted(score, fakes.text_bank(5, 23), images, test_ants.Encoder(images), 20)
    # The base scores and classes go to the CPU. For the far space its scores do, for Otsu's threshold there; that is
    # found by one `cpu` more, two questions and two choices on the CPU. The balance is a number of both spaces.
    of_far = Counter({"cpu": 2, "_local_scalar_dense": 3, "nonzero": 2})
    expected = Counter({"cpu": 2}) + (of_far if space != "near" else Counter())
    assert found[4] == expected + Counter({"tolist": 1} if space == "adaptive" else {})
    # Every `interval` batches, the most frequent classes: a list of what lies on the CPU.
    assert found[5] - found[4] == Counter({"tolist": 1} if space != "far" else {})


def test_cocoop_and_lsn_wait_nowhere(tiny_model, encoder, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.cocoop(initial_words="a photo of a"), encoder.backbone)
    score = CoCoOpScore(str(tmp_path), 0.5, 100, LSNScore(**score_fakes.LSN))
    # How prompts are packed is worked out on the CPU.
    for found in counted(score, test_cocoop.bank(), fakes.unit(24, seed=3), encoder, 12):
        assert found == Counter({"repeat_interleave": 1})
    for found in counted(LSNScore(**score_fakes.LSN), fakes.text_bank(5, 15), fakes.unit(24, seed=3), None, 12):
        assert not found


@pytest.mark.parametrize("name", LOCAL)
def test_scores_of_patches_wait_nowhere(name):
    score, bank, images = LOCAL[name], fakes.text_bank(), fakes.unit(9, seed=3)
    prepared = score.prepare(bank)
    with torch.no_grad(), waits.Waits() as found:
        column = local_column(score, fakes.unit(45, seed=4).unflatten(0, (9, 5)), prepared)
        score.step(prepared, torch.cat([images, column], dim=1))
    assert found.calls == []
