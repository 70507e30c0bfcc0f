"""A detector as pytorch-ood's benchmarks take it; that library need not be installed."""

from contextlib import suppress
from importlib import import_module
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neglab.detector import Detector
from neglab.types import UserError


class PytorchOODDetector:
    """Outlier scores by pytorch-ood's convention: higher is more OOD, the negative of the ID score.

    Where pytorch-ood is installed, its benchmarks take this for one of its own detectors. Their datasets need
    `transform=detector.transform`.

    Args:
        detector: judges each image by itself; pytorch-ood hands over one batch after the other.

    Raises:
        UserError: a method that learns from the stream of test images.

    Source: pytorch_ood.api.Detector of Kirchheim et al., "PyTorch-OOD: A Library for Out-of-Distribution Detection
        based on PyTorch", CVPR Workshops 2022.
    """

    requires_fit = False

    def __init__(self, detector: Detector) -> None:
        if detector.scorer.order_dependent:
            raise UserError(
                f"pytorch-ood scores each batch by itself; method={detector.recipe.method} learns from one to the "
                "next. Choose a method that judges each image by itself, or measure this one with `neglab evaluate`."
            )
        self.detector = detector
        with suppress(ModuleNotFoundError):
            import_module("pytorch_ood.api").Detector.register(type(self))

    def __call__(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        return self.predict(x)

    def predict(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Outlier scores of images that went through `transform`."""
        return -self.detector.score(x)

    def predict_features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Outlier scores of the backbone's embeddings, of any norm."""
        return -self.detector.score_embeddings(normalize(x.float().cpu(), dim=1))

    def fit(self, data_loader: Any, device: Any = None) -> "PytorchOODDetector":
        """Nothing to fit: the method knows the classes by name."""
        return self

    def fit_features(self, x: Tensor, y: Tensor) -> "PytorchOODDetector":
        """Nothing to fit."""
        return self

    def to(self, device: Any) -> "PytorchOODDetector":
        """The detector computes where it was made to."""
        return self
