"""Detection metrics: exact, with the convention in the name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neglab.metrics.detection import (
        AUROC,
        AUPRIn,
        AUPROut,
        DetectionMetrics,
        FPR95IDPositive,
        FPR95OODPositive,
        IDAccuracy,
    )

__all__ = [
    "AUROC",
    "AUPRIn",
    "AUPROut",
    "DetectionMetrics",
    "FPR95IDPositive",
    "FPR95OODPositive",
    "IDAccuracy",
]


def __getattr__(name: str) -> Any:
    """A metric, imported when it is asked for: torchmetrics brings torchvision, transformers and scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("neglab.metrics.detection"), name)
