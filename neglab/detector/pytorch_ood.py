"""A detector as pytorch-ood's benchmarks take it; that library need not be installed."""

from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neglab.detector.detector import Detector
from neglab.types import UserError


class PytorchOODDetector:
    """Outlier scores by pytorch-ood's convention: higher is more OOD, the negative of the ID score.

    Where pytorch-ood is installed, its benchmarks take this for one of its own detectors. Their datasets need
    `transform=detector.transform`.

    Args:
        detector: judges each image by itself; pytorch-ood hands over one batch after the other.

    Raises:
        UserError: a method that learns from the stream of test images.

    Source: pytorch_ood.api.Detector of pytorch-ood 0.4; Kirchheim et al., "PyTorch-OOD: A Library for
        Out-of-Distribution Detection based on PyTorch", CVPR Workshops 2022.
    """

    requires_fit = False
    hyperparameter_space: ClassVar[dict[str, list[Any]]] = {}  # settings are those that the detector was made with
    info: ClassVar[Any] = None  # pytorch-ood's record, once that library is found

    def __init__(self, detector: Detector) -> None:
        if detector.scorer.order_dependent:
            raise UserError(
                f"pytorch-ood scores each batch by itself; method={detector.recipe.method} learns from one to the "
                "next. Choose a method that judges each image by itself, or measure this one with `neglab evaluate`."
            )
        self.detector = detector
        with suppress(ModuleNotFoundError):
            api = import_module("pytorch_ood.api")
            api.Detector.register(PytorchOODDetector)
            if hasattr(api, "DetectorInfo"):  # since 0.4
                PytorchOODDetector.info = api.DetectorInfo(tasks={api.Task.CLASSIFICATION})

    def __call__(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        return self.predict(x)

    def predict(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Outlier scores of images that went through `transform`."""
        return -self.detector.score(x)

    def predict_features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Outlier scores of the backbone's embeddings, of any norm.

        Raises:
            UserError: the method looks at patches too, or they are not the backbone's.
        """
        return -self.detector.score_embeddings(normalize(x.float().cpu(), dim=1))

    def fit(self, data_loader: Any) -> "PytorchOODDetector":
        """Nothing to fit: the method knows the classes by name."""
        return self

    def fit_features(self, x: Tensor, y: Tensor) -> "PytorchOODDetector":
        """Nothing to fit."""
        return self

    @property
    def device(self) -> torch.device:
        """Where the detector computes."""
        return self.detector.device

    def to(self, device: str | torch.device) -> "PytorchOODDetector":
        """Let the detector compute elsewhere."""
        self.detector.to(device)
        return self

    def get_hyperparameters(self) -> dict[str, Any]:
        """None: a setting is chosen when the detector is made."""
        return {}

    def set_hyperparameters(self, **values: Any) -> "PytorchOODDetector":
        """Take no value.

        Raises:
            ValueError: one is given; pytorch-ood's own detectors raise it of unknown names.
        """
        if values:
            raise ValueError(
                f"The settings of this detector stand fixed; got {', '.join(values)}. Make another: "
                f"Detector.create(..., overrides=['score.{next(iter(values))}=...'])"
            )
        return self
