"""`neglab explain`: which ID classes and negative labels decide, for each image and over the run."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neglab import digits
from neglab.columns import texts_at
from neglab.compose import build, settled
from neglab.config_check import ID
from neglab.data.base import ImageDataset
from neglab.data.photos import PHOTOS, Photos
from neglab.data.sources import ImageSource
from neglab.digits import percent
from neglab.metrics.explanation import LabelShares, error_rates, firing_negatives, label_shares, theory_curve
from neglab.pipeline import Material, gather
from neglab.plots.explanation import Curve, Example, error_rate_curves, label_examples, theory_curves
from neglab.results.classes import write_class_table
from neglab.results.environment import write_environment
from neglab.results.results import method_label, write_csv
from neglab.tasks.evaluate import describe
from neglab.types import TextBank, UserError

NUM_SHOWN = 20  # photos on the console
THRESHOLDS = torch.linspace(0, 1, 101)
SIZES = (1, 2, 5)  # of the theory's curve, times powers of ten


def run(config: DictConfig) -> float:
    """Explain a method on a benchmark; returns the share of ID images where one negative label wins."""
    console, folder, options = Console(), Path(config.paths.output), config.explain
    write_environment(folder)
    description = describe(config)
    title = method_label(description)
    parts = build(config)
    write_class_table(folder, parts.id_dataset, console)
    if not parts.selector.needs_corpus:
        raise UserError("There is nothing to explain without negative labels; choose a method that has some.")
    sets = parts.benchmark if config.images is None else {PHOTOS: Photos.below(config.images, PHOTOS)}
    material = gather(parts, sets, scored=False)
    own = 1 / material.bank.logit_scale
    temperature = settled(options, lambda: 1 / own)["temperature"] or parts.score.share_temperature or own
    shares = {
        name: label_shares(images.embeddings, material.bank, temperature, options.num_labels)
        for name, images in material.images.items()
    }
    for (name, dataset), found in zip(sets.items(), shares.values(), strict=True):
        write_image_labels(folder, name, material, found)
        draw_examples(folder, name, dataset, material, found, options.num_examples, title)
    if config.images is not None:
        return explain_photos(console, folder, material, shares[PHOTOS], temperature)
    harmful = write_firing_negatives(folder / "negative_wins.csv", material, temperature)
    one_wins = write_error_rates(folder, shares[ID], title)
    write_theory(folder, material, options, title)
    table = Table(title=f"{title}: negatives that win on most ID images", title_justify="left")
    for heading in ("negative label", "ID images it wins", "OOD images it wins"):
        table.add_column(heading)
    for _, name, id_wins, _, ood_wins, _ in harmful[:10]:
        table.add_row(escape(name), f"{100 * float(id_wins):.2f}%", f"{100 * float(ood_wins):.2f}%")
    console.print(table)
    console.print(f"One negative label outweighs every ID class on {100 * one_wins:.2f}% of the ID images.")
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
    return one_wins


def explain_photos(
    console: Console, folder: Path, material: Material, shares: LabelShares, temperature: float
) -> float:
    """Show the labels that decide photos of one's own; returns the share of them where one negative label wins."""
    table = Table(title=f"Shares of one softmax over all labels, temperature {temperature:g}", title_justify="left")
    for heading in ("image", "all classes", "nearest class", "all negatives", "nearest negative label"):
        table.add_column(heading, overflow="fold")
    bank = material.bank
    for i, path in enumerate(material.images[PHOTOS].paths[:NUM_SHOWN]):
        nearest = (
            f"{names[int(numbers[i, 0])]} {percent(float(values[i, 0]))}"
            for names, numbers, values in (
                (bank.id_labels.names, shares.classes, shares.class_shares),
                (bank.negatives.names, shares.negatives, shares.negative_shares),
            )
        )
        together = (percent(float(total[i])) for total in (shares.id_share, shares.rest_share))
        cells = [cell for pair in zip(together, nearest, strict=True) for cell in pair]
        table.add_row(*map(escape, [Path(path).name, *cells]))
    console.print(table)
    console.print(f"All of them are in {folder}", highlight=False, markup=False, soft_wrap=True)
    return float(shares.negative_wins.float().mean())


def write_image_labels(folder: Path, name: str, material: Material, shares: LabelShares) -> None:
    """image_labels/<set>.csv: the first ID classes and negatives of each image with their softmax shares."""
    (folder / "image_labels").mkdir(exist_ok=True)
    bank, images = material.bank, material.images[name]
    paths = images.paths or ("",) * len(images)
    ranked = (shares.classes, shares.class_shares, shares.negatives, shares.negative_shares)
    rows: list[list[Any]] = []
    totals = zip(shares.id_share.tolist(), shares.rest_share.tolist(), strict=True)
    for path, total, *columns in zip(paths, totals, *(part.tolist() for part in ranked), strict=True):
        classes, class_shares, negatives, negative_shares = columns
        row: list[Any] = [path, *(f"{value:.6g}" for value in total)]
        for names, numbers, values in (
            (bank.id_labels.names, classes, class_shares),
            (bank.negatives.names, negatives, negative_shares),
        ):
            for number, value in zip(numbers, values, strict=True):
                row += [names[number], f"{value:.6g}"]
        rows.append(row)
    header = ["path", "id_share", "negatives_share"]
    for kind, count in (("class", shares.classes.shape[1]), ("negative", shares.negatives.shape[1])):
        for k in range(1, count + 1):
            header += [f"{kind}_{k}", f"{kind}_{k}_share"]
    write_csv(folder / "image_labels" / f"{name}.csv", header, rows)


def draw_examples(
    folder: Path, name: str, dataset: ImageDataset, material: Material, shares: LabelShares, count: int, title: str
) -> None:
    """examples_<set>.png: of the ID set the images most like OOD, of an OOD set those most like ID."""
    images = material.images[name]
    chosen = shares.id_share.argsort(descending=name != ID)[:count].tolist()
    paths = texts_at(images.paths, chosen)
    pictures = dataset.images().sources.named(paths)
    examples = [example(i, pictures[path], shares, material.bank) for i, path in zip(chosen, paths, strict=True)]
    which = "ID images most like OOD" if name == ID else f"images of {name} most like ID"
    label_examples(examples, f"{title}: {which}", folder / f"examples_{name}.png")


def example(i: int, source: ImageSource, shares: LabelShares, bank: TextBank) -> Example:
    """One image with its first labels, ID classes and negatives in one order."""
    labels = [
        (names[number], value, known)
        for names, numbers, values, known in (
            (bank.id_labels.names, shares.classes[i], shares.class_shares[i], True),
            (bank.negatives.names, shares.negatives[i], shares.negative_shares[i], False),
        )
        for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
    ]
    labels.sort(key=lambda label: -label[1])
    count = shares.classes.shape[1]
    return Example(
        source.rgb(), f"{Path(str(source)).stem}  {digits.shown(float(shares.id_share[i]))}", tuple(labels[:count])
    )


def write_firing_negatives(path: Path, material: Material, temperature: float) -> list[tuple[Any, ...]]:
    """negative_wins.csv: how often each negative wins on ID and on OOD images, the most harmful first."""
    bank = material.bank
    ood = torch.cat([images.embeddings for name, images in material.images.items() if name != ID])
    on_id, on_ood = (firing_negatives(part, bank, temperature) for part in (material.images[ID].embeddings, ood))
    harm = list(zip(on_id.wins.tolist(), on_id.mean_share.tolist(), strict=True))
    ranked = sorted(range(len(harm)), key=harm.__getitem__, reverse=True)
    columns = (on_id.wins, on_id.mean_share, on_ood.wins, on_ood.mean_share)
    values = [[f"{value:.6f}" for value in column.tolist()] for column in columns]
    rows = [(rank, bank.negatives.names[j], *(column[j] for column in values)) for rank, j in enumerate(ranked, 1)]
    write_csv(path, ("rank", "label", "id_wins", "id_mean_share", "ood_wins", "ood_mean_share"), rows)
    return rows


def write_error_rates(folder: Path, shares: LabelShares, title: str) -> float:
    """error_rates.csv and .png; returns the share of ID images where one negative wins."""
    rates = error_rates(shares, THRESHOLDS)
    rows = list(zip(THRESHOLDS.tolist(), rates.max_ood.tolist(), rates.sum_ood.tolist(), strict=True))
    write_csv(
        folder / "error_rates.csv", ("threshold", "max_ood", "sum_ood"), [[f"{v:.6f}" for v in row] for row in rows]
    )
    curves = (rates.max_ood.tolist(), rates.sum_ood.tolist())
    error_rate_curves(THRESHOLDS.tolist(), *curves, title, folder / "error_rates.png")
    return float(shares.negative_wins.float().mean())


def write_theory(folder: Path, material: Material, options: DictConfig, title: str) -> None:
    """theory.csv and .png: FPR as the number of negatives grows, by Eq. 7 and measured."""
    count = len(material.bank.negatives)
    sizes = [size for power in range(7) for k in SIZES if (size := k * 10**power) < count] + [count]
    id_images = material.images[ID].embeddings
    curves = {
        name: theory_curve(
            id_images,
            images.embeddings,
            material.bank,
            sizes,
            options.match_threshold,
            options.recall,
            options.seed,
        )
        for name, images in material.images.items()
        if name != ID
    }
    rows = [
        (name, size, f"{predicted:.6f}", f"{measured:.6f}")
        for name, curve in curves.items()
        for size, predicted, measured in zip(curve.num_negatives, curve.predicted, curve.measured, strict=True)
    ]
    write_csv(folder / "theory.csv", ("ood_dataset", "num_negatives", "predicted_fpr", "measured_fpr"), rows)
    drawn = {name: Curve(curve.num_negatives, curve.predicted, curve.measured) for name, curve in curves.items()}
    theory_curves(drawn, options.recall, f"{title}: counting matches", folder / "theory.png")
