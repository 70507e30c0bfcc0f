"""`neglab data`: each image set, where it is looked for, whether it is there, and what to do; no image is opened."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import compose as hydra_compose
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neglab.compose import compose, make, ood_nodes, settled
from neglab.config_files import configs_folder
from neglab.data.base import ImageDataset
from neglab.data.few_shot import FewShot
from neglab.data.listed import is_there
from neglab.data.sources import ImageFile, ImageSource
from neglab.tasks.evaluate import run_choices
from neglab.types import UserError

GROUPS = ("id_dataset", "ood_datasets")
CHOICES = (
    *GROUPS,
    "id_images",
    "experiment",
    "method",
    "negative_selector",
    "score",
)  # what says which sets are needed


@dataclass(frozen=True)
class Finding:
    """What lies where a set is looked for.

    Attributes:
        name: config group, and option or name in the results.
        place: where it is looked for.
        num_images: how many of its images are there; None: it cannot be used.
        expected: how many the published set holds, if that is fixed.
        advice: what to do; empty: nothing.
    """

    name: str
    place: str
    num_images: int | None
    expected: int | None
    advice: str

    @property
    def group(self) -> str:
        return self.name.partition("=")[0]


def run(config: DictConfig) -> None:
    """Print the table of the sets that a run needs, or, where no run is described, of all known ones.

    Raises:
        UserError: a set that the described run needs is missing.
    """
    overrides = run_choices(config)[1]
    described = any(override.lstrip("+~").split("=")[0].split(".")[0] in CHOICES for override in overrides)
    nodes = needed(config) if described else known(overrides)
    with _silent("neglab.data"):
        findings = [inspect(name, instantiate(node)) for name, node in nodes.items()]
    console = Console()
    console.print(table(findings), *advices(findings), sep="\n", highlight=False)
    if described and (missing := [finding.name for finding in findings if finding.num_images is None]):
        raise UserError(
            f"All sets of a run must be there; {len(missing)} of {len(findings)} are not: {', '.join(missing)}. Above "
            "stands where each comes from; data.download=true fetches those that can be fetched."
        )


def needed(config: DictConfig) -> dict[str, Any]:
    """The configs of the sets that a run reads, by group and name."""
    nodes = {f"id_dataset={run_choices(config)[0]['id_dataset']}": config.id_dataset}
    nodes |= {f"ood_datasets={name}": node for name, node in ood_nodes(config).items()}
    # Any temperature will do: no backbone is loaded here.
    if any(make(part).needs_id_images for part in (config.negative_selector, settled(config.score, lambda: 1.0))):
        nodes["id_images"] = config.id_images
    return nodes


def known(overrides: Sequence[str]) -> dict[str, Any]:
    """The configs of every option that is one set and needs no path from the user, by group and name."""
    options = [(group, path.stem) for group in GROUPS for path in sorted((configs_folder() / group).glob("*.yaml"))]
    wanted = [*overrides, *(f"+{group}@known.{group}.{name}={name}" for group, name in options)]
    # Within Hydra's own run its search path is set up and must not be set up again.
    config = hydra_compose("data", wanted) if GlobalHydra.instance().is_initialized() else compose(wanted, "data")
    nodes = {}
    for group, name in options:
        node = config.known[group][name]
        if OmegaConf.missing_keys(node):
            continue
        if group == "ood_datasets":
            if len(node) > 1:  # a suite, whose sets have options of their own
                continue
            (node,) = node.values()
        nodes[f"{group}={name}"] = node
    return nodes


def inspect(name: str, dataset: ImageDataset) -> Finding:
    """List a set's images, without opening them, and compare with what is known of it."""
    dataset = dataset.dataset if isinstance(dataset, FewShot) else dataset  # all images to draw from
    about = dataset.about
    expected = about.num_images if about else None
    try:
        sources = dataset.images().sources
        if not name.startswith("ood_datasets"):
            dataset.class_names()
    except UserError as error:
        # `ImageDataset.missing` says where a set comes from; the table has the rest of it.
        absent = about is not None and about.obtain in str(error)
        advice = f"{about.obtain} Licence: {about.licence}." if about and absent else str(error)
        return Finding(name, dataset.place, None, expected, advice)
    found = sum(map(_is_there, sources))
    if found < len(sources):
        advice = f"{len(sources) - found} listed images are missing. Extract the archive again."
    elif expected not in (None, found):
        advice = "Is it another split, or extracted in part?"
    else:
        advice = ""
    return Finding(name, dataset.place, found, expected, advice)


def _is_there(source: ImageSource) -> bool:
    if isinstance(source, ImageFile):
        return is_there(source.path)
    return source.origin is None or source.origin.is_file()


def table(findings: Sequence[Finding]) -> Table:
    """One row per set, the groups apart."""
    result = Table(title="Image sets", title_justify="left")
    for heading in ("set", "looked for in", "images", "expected"):
        result.add_column(heading, justify="right" if heading in ("images", "expected") else "left", overflow="fold")
    for i, finding in enumerate(findings):
        if i and finding.group != findings[i - 1].group:
            result.add_section()
        found = "[red]missing[/red]" if finding.num_images is None else f"{finding.num_images:,}"
        expected = "" if finding.expected is None else f"{finding.expected:,}"
        result.add_row(escape(finding.name), escape(finding.place), found, expected)
    return result


def advices(findings: Sequence[Finding]) -> list[str]:
    """What is to be done, each thing once, after the sets for which it is."""
    names: dict[str, list[str]] = {}
    for finding in findings:
        names.setdefault(finding.advice, []).append(finding.name)
    return [f"[bold]{escape(', '.join(of))}[/bold]: {escape(advice)}" for advice, of in names.items() if advice]


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """No warnings of a part of the package: the table says the same."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
