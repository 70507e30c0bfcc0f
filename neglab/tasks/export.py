"""`neglab export`: a saved detector as one graph for other runtimes."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neglab.detector import Detector
from neglab.detector.export import ENDINGS, export


def run(config: DictConfig) -> None:
    """Write the graph.

    Raises:
        UserError: no such detector, or one that cannot be a graph.
    """
    path = Path(config.file or Path(config.paths.output) / f"detector{ENDINGS[config.format]}")
    difference = export(Detector.load(config.detector, "cpu"), path, config.format)
    Console().print(
        f"{path} scores as the detector does, within {difference:.1e}", highlight=False, markup=False, soft_wrap=True
    )
