"""Of the hot loops: a score's step does not wait for the GPU, or waits a known number of times for a known reason."""

import hashlib
from collections import Counter
from dataclasses import replace

import fakes
import pytest
import torch
import waits

from neglab.modules.scoring import ScoringBatch, ScoringModule
from neglab.score.adaneg import AdaNegScore
from neglab.score.clipscope import CLIPScopeScore
from neglab.score.debiased import DebiasedScore
from neglab.score.energy import EnergyScore
from neglab.score.entropy import EntropyScore
from neglab.score.eoe import EOEScore
from neglab.score.gen import GENScore
from neglab.score.knn import KNNScore
from neglab.score.mahalanobis import MahalanobisScore
from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.neglabel_forms import NegLabelFormScore
from neglab.score.negrefine import NegRefineScore
from neglab.score.oodd import OODDScore
from neglab.score.renyi import RenyiScore
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
    "renyi": RenyiScore(0.01, 1.2, 1.05, -0.1, 15, 0.01),
    "variance": VarianceScore(0.01),
    "vim": ViMScore(0.01, 5),
}
# What waits once it is warm, and why. Not here: TANL, InterNeg, TINS and ANTS, which make texts of what they find in a
# batch and so must know it, and the scores that take learned prompts or patches.
WAITING = {
    # Which pairs of names come up decides what the text tower must be asked.
    "negrefine": (NegRefineScore(4, 0.01, 0, 2.0, 3, 3), {"_unique2": 1, "index by a mask": 1}),
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
