"""The adapter, against a stand-in for pytorch-ood's own base class."""

import sys
from abc import ABC, abstractmethod
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from neglab.detector import Detector
from neglab.detector.pytorch_ood import PytorchOODDetector
from neglab.types import UserError


class TheirDetector(ABC):
    @abstractmethod
    def predict(self, x): ...


class OurDetector(Detector):
    """Scores by the mean of what it gets."""

    def __init__(self, order_dependent=False):
        self.scorer = SimpleNamespace(order_dependent=order_dependent)
        self.recipe = SimpleNamespace(method="neglabel")

    def score(self, images):
        return images.flatten(1).mean(dim=1)

    def score_embeddings(self, embeddings):
        return embeddings.sum(dim=1)


@pytest.fixture
def their_library(monkeypatch):
    api = ModuleType("pytorch_ood.api")
    api.Detector = TheirDetector
    monkeypatch.setitem(sys.modules, "pytorch_ood", ModuleType("pytorch_ood"))
    monkeypatch.setitem(sys.modules, "pytorch_ood.api", api)


def test_it_is_one_of_theirs_with_their_sign(their_library):
    adapter, images = PytorchOODDetector(OurDetector()), torch.rand(4, 3, 8, 8)
    assert isinstance(adapter, TheirDetector) and not adapter.requires_fit
    assert adapter.to("cpu").fit(None).fit_features(images, images) is adapter
    scores = adapter(images)
    assert torch.equal(scores, adapter.predict(images)) and torch.equal(scores, -OurDetector().score(images))
    features = torch.rand(4, 16) * 9
    assert torch.allclose(adapter.predict_features(features), -normalize(features, dim=1).sum(dim=1))


def test_a_method_that_learns_from_the_stream_is_refused():
    with pytest.raises(UserError, match="learns from one to the next"):
        PytorchOODDetector(OurDetector(order_dependent=True))
