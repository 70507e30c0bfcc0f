"""Banks, streams and one instance of each score, for the tests of scores."""

from dataclasses import dataclass, replace
from typing import Any

import fakes
import torch
from torch.nn.functional import normalize

from neglab.score.adaneg import AdaNegScore
from neglab.score.clipscope import CLIPScopeScore
from neglab.score.debiased import DebiasedScore
from neglab.score.energy import EnergyScore
from neglab.score.entropy import EntropyScore
from neglab.score.eoe import FORMS, EOEScore
from neglab.score.gen import GENScore
from neglab.score.interneg import InterNegScore
from neglab.score.knn import KNNScore
from neglab.score.lsn import LSNScore
from neglab.score.mahalanobis import MahalanobisScore
from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore
from neglab.score.neglabel_forms import COSINE_FORMS, SIMILARITIES, NegLabelFormScore
from neglab.score.neglabel_forms import FORMS as NEGLABEL_FORMS
from neglab.score.negrefine import NegRefineScore
from neglab.score.oodd import OODDScore
from neglab.score.renyi import RenyiScore
from neglab.score.tanl import TANLScore
from neglab.score.tins import TINSScore
from neglab.score.variance import VarianceScore
from neglab.score.vim import ViMScore
from neglab.types import LabelledEmbeddings, TextBank

ADANEG = {
    "num_groups": 4,
    "temperature": 0.1,
    "group_seed": 0,
    "proxies": "task",
    "adaptive_gap": False,
    "threshold": 0.5,
    "gap": 0.1,
    "memory_length": 4,
    "beta": 5.0,
    "static_weight": 0.1,
}
INTERNEG = {
    "num_groups": 3,
    "temperature": 0.2,
    "group_seed": 0,
    "threshold": 0.45,
    "strict_threshold": True,
    "extra": "inter",
    "templates": ("a bad photo of a {}.", "itap of my {}.", "{}", "a photo of the hard to see {}."),
    "num_tokens": 1,
    "initial_std": 0.02,
    "token_seed": 0,
    "steps": 3,
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "num_extras": 100,
    "rescore": "batch",
    "update_size": None,
    "seed": 5,
}
LSN = {
    "form": "paper",
    "temperature": 1.0,
    "negative_temperature": 5.0,
    "positive_weight": 1.0,
    "negative_weight": 1.0,
}
NEGREFINE = {
    "num_groups": 4,
    "temperature": 0.01,
    "group_seed": 0,
    "pair_weight": 2.0,
    "num_classes": 5,
    "num_negatives": 5,
}
RENYI = {"temperature": 0.01, "eta": 1.2, "order": 1.05, "start": -0.1, "steps": 15, "step_size": 0.01}
TANL = {
    "temperature": 0.1,
    "num_active": 10,
    "prefix_step": 1,
    "weighting": "none",
    "history_weight": 0.0,
    "gap": 0.5,
    "memory_length": 20,
    "noise": "text",
    "num_noise": 4,
    "seed": 0,
}
TINS = {
    "num_groups": 3,
    "temperature": 0.2,
    "group_seed": 0,
    "threshold": 0.45,
    "template": "a photo of a {}.",
    "repulsion_weight": 0.3,
    "steps": 3,
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "num_extras": 100,
    "buffer_size": None,
}
FORM_THRESHOLDS = {"cosine": 0.25, "l1": -4.0, "kl": -0.05}  # about the similarities of random directions
FORM_PAIRS = [
    (form, kind) for form in NEGLABEL_FORMS for kind in SIMILARITIES if kind == "cosine" or form not in COSINE_FORMS
]


def neglabel_form(form="sum_softmax", similarity="cosine", **changes):
    knobs = {
        "temperature": 0.1,
        "threshold": FORM_THRESHOLDS.get(similarity, 0.25),
        "negative_weight": 0.1,
        "num_groups": 1,
        "num_fused_groups": None,
        "group_seed": 0,
    }
    return NegLabelFormScore(form, similarity, **{**knobs, **changes})


def bank_of_axes(num_classes=4, num_negatives=0):
    """Labels along the axes: an image's coordinates are its similarities."""
    width = num_classes + num_negatives
    bank = fakes.text_bank(num_classes, num_negatives, width)
    bank.id_labels.embeddings[:], bank.negatives.embeddings[:] = torch.eye(width).split([num_classes, num_negatives])
    return bank


def bank_with_images(count=80, num_classes=5, dim=16):
    """ID images around their class name's embedding."""
    bank, labels = fakes.text_bank(num_classes=num_classes, dim=dim), torch.arange(count) % num_classes
    embeddings = normalize(bank.id_labels.embeddings[labels] + 0.5 * fakes.unit(count, dim, seed=4), dim=1)
    return replace(bank, id_images=LabelledEmbeddings(embeddings, labels))


def bank_with_far_images():
    """Few classes with three ID images each, so far from their names that some texts come nearer."""
    plain, labels = fakes.text_bank(4, 23), torch.tensor([0, 1, 2, 3] * 3 + [-1])
    images = normalize(plain.id_labels.embeddings[labels] * 0.35 + fakes.unit(13, seed=8), dim=1)
    return replace(plain, id_images=LabelledEmbeddings(images, labels))


def stream(bank, count, seed=5):
    """Images around the labels, in random order, half of them around ID classes."""
    draw = torch.Generator().manual_seed(seed)
    sides = (bank.id_labels.embeddings, bank.negatives.embeddings)
    centres = torch.cat([side[torch.randint(len(side), (count // 2,), generator=draw)] for side in sides])
    images = normalize(centres + 0.25 * torch.randn(centres.shape, generator=draw), dim=1)
    return images[torch.randperm(len(images), generator=draw)]


def run(score, bank, images, sizes, encoder=None):
    """The scores of a stream, and the states after each of its batches."""
    state, scores, states = score.init(bank, encoder), [], []
    for part in images.split(sizes):
        (values, _), state = score.step(state, part)
        scores.append(values)
        states.append(state)
    score.finish(state)
    return torch.cat(scores), states


@dataclass(frozen=True)
class Case:
    """A score to be held to the contract.

    Attributes:
        name: of the case.
        score: with small constants.
        bank: makes the bank.
        dtype: of the scores.
        exact: False: last bits hang on the batch, since torch's powers of a vector hang on its length.
        chunks: module, number of elements and tolerance: where the score goes through large batches in chunks.
    """

    name: str
    score: Any
    bank: Any = fakes.text_bank
    dtype: torch.dtype = torch.float64
    exact: bool = True
    chunks: tuple[str, int, dict[str, float]] | None = None


def _forms(similarity, chunks):
    return [
        Case(f"{form}-{kind}", neglabel_form(form, kind, num_groups=4), chunks=chunks if kind == similarity else None)
        for form, kind in FORM_PAIRS
        if kind == similarity
    ]


def _chunks(module, elements=1, atol=1e-6, rtol=0.0):
    """One block of rows at a time, unless another number of elements is given."""
    return module, elements, {"atol": atol, "rtol": rtol}


ID_LOGIT_CASES = [
    Case("mcm", MCMScore(0.01)),
    Case("mcm-flat", MCMScore(1.0)),
    Case("entropy", EntropyScore(0.01)),
    Case("variance", VarianceScore(0.01)),
    Case("energy", EnergyScore(0.01)),
    Case("gen", GENScore(0.01, 0.1, 100)),
]
PURE_CASES = [
    *ID_LOGIT_CASES,
    Case("maxlogit", MaxLogitScore(), dtype=torch.float32),
    Case("neglabel", NegLabelScore(4, 0.01, 0), chunks=_chunks("neglabel")),
    Case("neglabel-ungrouped", NegLabelScore(1, 0.1, 0)),
    *(Case(f"eoe-{form}", EOEScore(form, 0.25, 1.0), chunks=_chunks("eoe")) for form in FORMS),
    *(case for kind in SIMILARITIES for case in _forms(kind, _chunks("neglabel_forms", atol=1e-5))),
    Case("debiased", DebiasedScore(4, 0.01, 50, 0.95)),
    Case("renyi", RenyiScore(**RENYI), exact=False, chunks=_chunks("renyi", 70, 1e-5)),
    Case("lsn", LSNScore(**LSN), lambda: fakes.text_bank(5, 15)),
    Case("lsn-official", LSNScore(**{**LSN, "form": "official"}), lambda: fakes.text_bank(5, 15)),
    Case("knn", KNNScore(5), bank_with_images, chunks=_chunks("knn")),
    Case("mahalanobis", MahalanobisScore("ledoit_wolf"), bank_with_images, chunks=_chunks("mahalanobis", rtol=1e-9)),
    Case("vim", ViMScore(0.01, 5), bank_with_images, chunks=_chunks("vim", atol=1e-4)),
]


def _few():
    return fakes.text_bank(3, 7)


def _many():
    return fakes.text_bank(6, 60)


def _tanl(**changes):
    return TANLScore(**{**TANL, "history_weight": 0.5, **changes})


STREAM_CASES = [
    Case("clipscope", CLIPScopeScore(0.01), chunks=_chunks("clipscope", 28 * 7, 1e-5, 1e-5)),
    Case("adaneg", AdaNegScore(**ADANEG), _few, chunks=_chunks("adaneg", 80)),
    Case("adaneg-sample", AdaNegScore(**{**ADANEG, "proxies": "sample"}), _few, chunks=_chunks("adaneg", 80)),
    Case("adaneg-gap", AdaNegScore(**{**ADANEG, "proxies": "sample", "adaptive_gap": True}), _few),
    Case("tanl", _tanl(), _many, chunks=_chunks("tanl", 60 * 3, 1e-5)),
    Case("tanl-short", _tanl(memory_length=2), _many, chunks=_chunks("tanl", 60 * 3, 1e-5)),
    Case("tanl-outside", _tanl(weighting="outside"), _many),
    Case("tanl-random", _tanl(noise="random"), _many),
    Case("oodd", OODDScore(NegLabelScore(4, 0.01, 0), 20, 5, 1.0)),
]
ENCODER_CASES = [
    Case("interneg", InterNegScore(**INTERNEG), bank_with_far_images),
    Case("tins", TINSScore(**TINS), bank_with_far_images),
]
GROUPED = {
    "neglabel": lambda groups: NegLabelScore(groups, 0.01, 0),
    "neglabel_forms": lambda groups: neglabel_form(num_groups=groups),
    "debiased": lambda groups: DebiasedScore(groups, 0.01, 50, 0.95),
    "negrefine": lambda groups: NegRefineScore(**{**NEGREFINE, "num_groups": groups}),
    "adaneg": lambda groups: AdaNegScore(**{**ADANEG, "num_groups": groups}),
    "interneg": lambda groups: InterNegScore(**{**INTERNEG, "num_groups": groups}),
    "tins": lambda groups: TINSScore(**{**TINS, "num_groups": groups}),
}


def without_id_images(bank):
    return TextBank(bank.id_labels, bank.negatives, bank.logit_scale)
