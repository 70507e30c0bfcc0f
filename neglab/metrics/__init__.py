"""Detection metrics: exact, with the convention in the name."""

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
