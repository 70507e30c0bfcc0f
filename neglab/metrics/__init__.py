"""Detection metrics: exact, with the convention in the name."""

from neglab.metrics.detection import (
    AUROC,
    AUPRIn,
    AUPROut,
    FPR95IDPositive,
    FPR95OODPositive,
    IDAccuracy,
    detection_metrics,
)

__all__ = ["AUROC", "AUPRIn", "AUPROut", "FPR95IDPositive", "FPR95OODPositive", "IDAccuracy", "detection_metrics"]
