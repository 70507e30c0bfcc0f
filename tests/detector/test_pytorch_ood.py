"""The adapter, against pytorch-ood itself, and without it."""

import inspect
import sys
from types import SimpleNamespace

import fakes
import pytest
import torch
from pytorch_ood import api
from pytorch_ood.benchmark import Benchmark
from pytorch_ood.metrics import OODMetrics
from torch.nn.functional import normalize
from torch.utils.data import TensorDataset

from neglab.detector import Detector
from neglab.detector.pytorch_ood import PytorchOODDetector
from neglab.types import UserError


class OurDetector(Detector):
    """Scores by the mean of what it gets."""

    def __init__(self, order_dependent=False):
        self.scorer = SimpleNamespace(order_dependent=order_dependent)
        self.recipe = SimpleNamespace(method="neglabel")
        self._judge = SimpleNamespace(device=torch.device("cpu"), bank=fakes.text_bank())

    def to(self, device):
        self._judge = SimpleNamespace(device=torch.device(device), bank=self.bank.to(torch.device(device)))
        return self

    def score(self, images):
        return images.flatten(1).mean(dim=1).double()

    def score_embeddings(self, embeddings):
        return embeddings.sum(dim=1)


class Miniature(Benchmark):
    """Six ID images and two OOD sets of three, which are darker."""

    ood_names = ("dark", "black")
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def train_set(self):
        return TensorDataset(self.images, torch.zeros(6, dtype=torch.long))

    def test_sets(self, known=True, unknown=True):
        labels = torch.tensor([0] * 6 + [-1] * 3)
        return [TensorDataset(torch.cat([self.images, self.images[:3] * factor]), labels) for factor in (0.9, 0.0)]


def test_it_has_their_whole_interface():
    """Every public name of their base class, with parameters by the same names."""
    adapter = PytorchOODDetector(OurDetector())
    assert isinstance(adapter, api.Detector) and isinstance(adapter.info, api.DetectorInfo)
    assert adapter.info.tasks == {api.Task.CLASSIFICATION}
    for name, theirs in vars(api.Detector).items():
        if name.startswith("_") and name != "__call__":
            continue
        ours = getattr(PytorchOODDetector, name)
        if inspect.isfunction(theirs) and name != "__call__":
            kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            wanted, given = (inspect.signature(one).parameters.values() for one in (theirs, ours))
            named = [[one.name for one in part if one.kind not in kinds] for part in (wanted, given)]
            assert named[0] == named[1], name


def test_scores_have_their_sign():
    adapter, images = PytorchOODDetector(OurDetector()), torch.rand(4, 3, 8, 8)
    assert not adapter.requires_fit and adapter.fit(None).fit_features(images, images) is adapter
    scores = adapter(images)
    assert torch.equal(scores, adapter.predict(images)) and torch.equal(scores, -OurDetector().score(images))
    features = torch.rand(4, 16) * 9
    assert torch.allclose(adapter.predict_features(features), -normalize(features, dim=1).sum(dim=1))


def test_it_moves():
    adapter = PytorchOODDetector(OurDetector())
    assert adapter.device == torch.device("cpu")
    assert adapter.to("meta") is adapter
    assert adapter.device.type == adapter.detector.bank.negatives.embeddings.device.type == "meta"


def test_hyper_parameters_stand_fixed():
    adapter = PytorchOODDetector(OurDetector())
    assert adapter.hyperparameter_space == adapter.get_hyperparameters() == {}
    assert adapter.set_hyperparameters() is adapter
    with pytest.raises(ValueError, match="stand fixed; got temperature"):
        adapter.set_hyperparameters(temperature=1.0)


def test_their_benchmark_takes_it():
    """With their own metrics of the scores, computed apart."""
    adapter = PytorchOODDetector(OurDetector())
    found = Miniature().evaluate([adapter], loader_kwargs={"batch_size": 4})
    assert [row["Dataset"] for row in found] == ["dark", "black"]
    for row, data in zip(found, Miniature().test_sets(), strict=True):
        images, labels = data.tensors
        expected = OODMetrics()
        expected.update(-images.flatten(1).mean(dim=1), labels)
        assert row["AUROC"] == pytest.approx(expected.compute()["AUROC"])
    assert found[1]["AUROC"] == 1.0 != found[0]["AUROC"]


def test_it_works_without_their_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_ood.api", None)
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(PytorchOODDetector(OurDetector())(images), -OurDetector().score(images))


def test_a_method_that_learns_from_the_stream_is_refused():
    with pytest.raises(UserError, match="learns from one to the next"):
        PytorchOODDetector(OurDetector(order_dependent=True))
