"""neglab: out-of-distribution detection with vision-language models and negative labels."""

from typing import TYPE_CHECKING, Any

from neglab.moved import install

if TYPE_CHECKING:
    from neglab.detector import Detector as Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


install()


def __dir__() -> list[str]:
    return [*globals(), "Detector"]


def __getattr__(name: str) -> Any:
    """`neglab.Detector`, imported when it is asked for: `neglab --help` needs no torch."""
    if name != "Detector":
        raise AttributeError(f"module 'neglab' has no attribute {name!r}")
    from neglab.detector import Detector

    return Detector
