"""The Python face: from class names to decisions about images, saved and loaded as data."""

from neglab.detector.detector import Detector

__all__ = ["Detector"]
