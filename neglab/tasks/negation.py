"""`neglab negation`: how often an image prefers "not a photo of a X" to "a photo of a X", as tables and pictures."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from neglab.compose import ood_nodes
from neglab.embedding.embedder import Embedder
from neglab.embedding.store import Store
from neglab.metrics.negation import Negation, negation
from neglab.plots.negation import class_counts, preference_bars
from neglab.prompt.templates import SLOT, PromptTemplates
from neglab.results.classes import write_class_table
from neglab.results.environment import write_environment
from neglab.results.results import write_csv
from neglab.types import LabelledEmbeddings, UserError, Words

ID = "id"
QUESTIONS = (
    '"not own"\nover "own"',
    '"not other"\nover "other"',
    '"not own" over\n"not other"',
    '"not" turns\na choice',
)
RIGHT = (0.0, 1.0, 0.0, 1.0)
COLUMNS = ("own", "others", "own_over_other", "turned")


def run(config: DictConfig) -> float:
    """Study "not" on a backbone; returns the share of ID images that prefer the negation of their own class's text."""
    console, folder = Console(), Path(config.paths.output)
    write_environment(folder)
    pairs = template_pairs(config)
    write_class_table(folder, instantiate(config.id_dataset), console)
    names, images, plain, negated = embed(config, pairs)
    found = {
        (i, name): negation(rows.embeddings, rows.labels, plain[i], negated[i], config.negation.seed)
        for i in range(len(pairs))
        for name, rows in images.items()
    }
    rows = [
        (*pairs[i], name, len(images[name]), *(f"{getattr(result, column):.6f}" for column in COLUMNS))
        for (i, name), result in found.items()
    ]
    write_csv(folder / "negation.csv", ("template", "negated_template", "dataset", "num_images", *COLUMNS), rows)
    write_classes(folder / "negation_classes.csv", found, pairs, names, images)
    draw(folder, found, pairs, images)
    console.print(summary(found, pairs))
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    return found[0, ID].own


def summary(found: dict[tuple[int, str], Negation], pairs: list[tuple[str, str]]) -> Table:
    """One row per pair of templates: the ID images' answers, and those of all OOD sets on average."""
    table = Table(title="How often the negated text is preferred, in percent; right answers in brackets")
    table.add_column("negated text", no_wrap=True)
    for heading in ("own class (0)", "other class (100)", "not own over not other (0)", "OOD images (100)"):
        table.add_column(heading, justify="right")
    for i, (_, negated) in enumerate(pairs):
        own = found[i, ID]
        strange = [result.others for (k, name), result in found.items() if k == i and name != ID]
        mean = sum(strange) / len(strange) if strange else float("nan")
        table.add_row(negated, *map(_percent, (own.own, own.others, own.own_over_other, mean)))
    return table


def template_pairs(config: DictConfig) -> list[tuple[str, str]]:
    """Each a template and its negation.

    Raises:
        UserError: none, or one that is no pair of templates.
    """
    listed: Any = OmegaConf.to_container(config.negation.pairs)
    for pair in listed:
        if not isinstance(pair, list) or len(pair) != 2 or any(str(one).count(SLOT) != 1 for one in pair):
            raise UserError(
                f"Each of negation.pairs must be two templates with one {SLOT} each; got {pair}. "
                f"Such as ['a photo of a {SLOT}', 'not a photo of a {SLOT}']."
            )
    if not listed:
        raise UserError("negation.pairs must hold at least one pair of templates; got none.")
    return [(str(plain), str(negated)) for plain, negated in listed]


def embed(
    config: DictConfig, pairs: list[tuple[str, str]]
) -> tuple[tuple[str, ...], dict[str, LabelledEmbeddings], torch.Tensor, torch.Tensor]:
    """Class names, every set's images, and plain and negated texts, [pairs, C, D] each; all in one pass."""
    sets = {ID: instantiate(config.id_dataset)}
    sets |= {name: instantiate(dataset) for name, dataset in ood_nodes(config).items()}
    names = sets[ID].class_names().names
    if len(names) < 3:
        raise UserError(
            f"The study compares an image with two classes that are not its own; got {len(names)} classes. "
            "Choose an ID dataset with at least three."
        )
    texts = [template.replace(SLOT, name) for pair in pairs for template in pair for name in names]
    as_given = PromptTemplates([SLOT], [SLOT], normalise_before_mean=True)
    store, devices, loading = Store(config.paths.store), instantiate(config.trainer), instantiate(config.data)
    embedder = Embedder(instantiate(config.backbone), as_given, store, devices, loading)
    images, (labels,) = embedder.embed(sets, [Words.nouns(texts)])
    embeddings = labels.embeddings.unflatten(0, (len(pairs), 2, len(names)))
    return names, images, embeddings[:, 0], embeddings[:, 1]


def write_classes(
    path: Path,
    found: dict[tuple[int, str], Negation],
    pairs: list[tuple[str, str]],
    names: tuple[str, ...],
    images: dict[str, LabelledEmbeddings],
) -> None:
    """How many images of each set prefer each class's negated text."""
    rows = [
        (pairs[i][1], name, names[c], count, len(images[name]) - count)
        for (i, name), result in found.items()
        for c, count in enumerate(result.counts.tolist())
    ]
    write_csv(path, ("negated_template", "dataset", "class", "prefer_negated", "prefer_plain"), rows)


def draw(
    folder: Path,
    found: dict[tuple[int, str], Negation],
    pairs: list[tuple[str, str]],
    images: dict[str, LabelledEmbeddings],
) -> None:
    """negation.png: the questions on the ID images; negation_classes.png: counts per class, of the first pair."""
    shares = {
        question: [getattr(found[i, ID], column) for i in range(len(pairs))]
        for question, column in zip(QUESTIONS, COLUMNS, strict=True)
    }
    listed = "\n".join(f'pair {i}: "{plain}" and "{negated}"' for i, (plain, negated) in enumerate(pairs, 1))
    preference_bars(shares, RIGHT, listed, folder / "negation.png")
    counts = {name: (found[0, name].counts.tolist(), len(rows)) for name, rows in images.items()}
    class_counts(counts, f'"{pairs[0][1]}" against "{pairs[0][0]}"', folder / "negation_classes.png")


def _percent(share: float) -> str:
    return "" if share != share else f"{100 * share:.2f}"
