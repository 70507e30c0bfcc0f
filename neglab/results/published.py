"""Published numbers beside ours: which row a run is compared with, and the difference in that row's convention."""

import csv
import re
import statistics
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from neglab.compose import PACKAGE
from neglab.results.results import METRICS

FOLDER = PACKAGE / "assets" / "published"
IDENTITY = tuple(f"published_{name}" for name in ("source", "table", "method", "variant", "id_dataset"))
CONVENTIONS = {"id": "ID+", "ood": "OOD+", "unknown": "unknown"}
# Overrides that say on which data and backbone a preset runs: it is still the preset.
SAME_METHOD = re.compile(r"[+~]*((backbone|id_dataset|ood_datasets)[.=@]|id_images(=|\.dataset\b))")
NONE = "no published value"
WIDTHS = {"paper": 6, "Δ": 6, "as": 4, "note": 4}
HEADINGS = ("AUROC ↑", "paper", "Δ", "FPR95 ↓", "paper", "Δ", "as", "note")

Row = dict[str, Any]


@cache
def read(name: str) -> list[dict[str, str]]:
    """The rows of published.csv, presets.csv or aggregates.csv."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def identify(block: Mapping[str, Any], choices: Mapping[str, str], overrides: Sequence[str]) -> dict[str, str]:
    """The columns of results.csv that say which published variant a run is; all empty where it is none.

    Args:
        block: the config's `published`; null stands for the preset's method and variant, and for the ID set's name.
        choices: the chosen option of each group.
        overrides: the user's, less those that do not change numbers.
    """
    preset = next((row for row in read("presets") if row["preset"] == choices["method"]), {})
    variant = block["variant"]
    if isinstance(variant, Mapping):
        ((group, variants),) = variant.items()
        variant = variants.get(choices[group], NONE)
    method = block["method"] or preset.get("method", "")
    if variant is None:
        variant = preset.get("variant", "") if method == preset.get("method") else ""
    if not method or not (block["source"] or all(map(SAME_METHOD.match, overrides))):
        return dict.fromkeys(IDENTITY, "")
    id_dataset = block["id_dataset"] or choices["id_dataset"]
    return dict(zip(IDENTITY, (block["source"] or "", block["table"] or "", method, variant, id_dataset), strict=True))


def compare(rows: Sequence[Row]) -> list[Row]:
    """Each aggregated row with the published one beside it; rows for the means that a paper prints are added.

    A setting is compared with one published table: the one that it names, or that which holds most of its OOD sets,
    of equals the first.

    Args:
        rows: of `aggregate`.

    Returns:
        The rows without those of the mean over all sets, with `published_*`, `auroc_difference`, `fpr95_convention`
        (ID+, OOD+ or unknown) and `fpr95_difference`; what there is not to compare is missing. Values are fractions.
    """
    settings: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = tuple(str(row.get(name, "")) for name in ("method", "overrides", "id_dataset", "backbone", *IDENTITY))
        settings.setdefault(key, {})[row["ood_dataset"]] = row
    return [compared for by_dataset in settings.values() for compared in _compare_setting(by_dataset)]


def _compare_setting(by_dataset: Mapping[str, Row]) -> list[Row]:
    setting = next(iter(by_dataset.values()))
    means = [mean for mean in read("aggregates") if mean["id_dataset"] in ("", setting.get("published_id_dataset"))]
    ours = {name: row for name, row in by_dataset.items() if name != "mean"}
    for mean in means:
        if all(name in by_dataset for name in mean["mean_over"].split()):
            members = [by_dataset[name] for name in mean["mean_over"].split()]
            ours[mean["ood_dataset"]] = _mean_row(members, mean["ood_dataset"])
    tables: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in filter(lambda row: _is_of(row, setting), read("published")):
        if row["ood_dataset"] in ours:
            tables.setdefault((row["source"], row["table"]), {})[row["ood_dataset"]] = row
    if not tables:
        return [{**row, "published_note": NONE} for name, row in by_dataset.items() if name != "mean"]
    (source, table), published = max(tables.items(), key=lambda item: len(item[1]))
    named = {"published_source": source, "published_table": table}
    return [
        {**row, **named, **_beside(row, published.get(name))}
        for name, row in ours.items()
        if name in published or name in by_dataset
    ]


def _is_of(published: Mapping[str, str], setting: Row) -> bool:
    """Whether a published row is of this method, variant, ID set and backbone, and in the table that is named."""
    if published["backbone"] != setting.get("backbone"):
        return False
    wanted = {name: setting.get(name, "") for name in IDENTITY}
    any_will_do = [name for name in IDENTITY[:2] if not wanted[name]]
    return all(
        published[name.removeprefix("published_")] == wanted[name] for name in IDENTITY if name not in any_will_do
    )


def _mean_row(rows: Sequence[Row], name: str) -> Row:
    """The mean over some OOD sets, as a paper prints it."""
    means = {f"{metric}_mean": statistics.fmean(row[f"{metric}_mean"] for row in rows) for metric in METRICS}
    return {**rows[0], "ood_dataset": name, **dict.fromkeys((f"{metric}_std" for metric in METRICS), ""), **means}


def _beside(row: Row, published: Mapping[str, str] | None) -> Row:
    """What stands beside one of our rows."""
    if published is None or not published["auroc"]:
        note = published["note"] if published else ""
        return {"published_note": "; ".join(filter(None, (NONE, note)))}
    numbers = ("auroc", "auroc_std", "fpr95", "fpr95_std")
    result: Row = {f"published_{name}": _fraction(published[name]) for name in numbers if published[name]}
    result["auroc_difference"] = _rounded(row["auroc_mean"]) - result["published_auroc"]
    if published["fpr95"]:
        convention = published["fpr95_positive"]
        result["fpr95_convention"] = CONVENTIONS[convention]
        if convention != "unknown":
            result["fpr95_difference"] = _rounded(_fpr95(row, convention)) - result["published_fpr95"]
    return {**result, "published_note": published["note"]}


def _fraction(printed: str) -> Decimal:
    return Decimal(printed).scaleb(-2)


def _rounded(value: float) -> Decimal:
    """As it is shown, two digits of a percent, so that a difference is that of what is shown."""
    return _fraction(f"{100 * value:.2f}")


def comparison_tables(rows: Sequence[Row]) -> list[Table]:
    """One table per published table, in percent, its notes below; the last one: settings with nothing published.

    Args:
        rows: of `compare`.
    """
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        name = f"{row.get('published_source', '')} {row.get('published_table', '')}".strip()
        blocks.setdefault(name, []).append(row)
    return [_table(name, blocks[name]) for name in sorted(blocks, key=lambda name: not name)]


def _table(name: str, rows: Sequence[Row]) -> Table:
    notes = list(dict.fromkeys(filter(None, (row["published_note"] for row in rows))))
    title = f"Against {name}, in percent" if name else "No published value, in percent"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)  # narrow enough for 80 columns
    table.caption = "\n".join(f"{number}: {escape(note)}" for number, note in enumerate(notes, start=1))
    table.caption_justify = "left"
    table.add_column("OOD set", overflow="fold")
    for heading in HEADINGS:
        # Labels of any length may stand in the first column, so the numbers must keep their width.
        table.add_column(heading, justify="right", width=6 if " " in heading else None, min_width=WIDTHS.get(heading))
    previous = ""
    for row in rows:
        label = " ".join(filter(None, (row["method"], re.sub(r"\bexperiment=\S+ ?", "", row["overrides"])))).strip()
        if label != previous:
            table.add_section()
            table.add_row(escape(label), *[""] * len(HEADINGS))
        note = str(notes.index(row["published_note"]) + 1) if row["published_note"] else ""
        table.add_row(row["ood_dataset"], *_cells(row), note)
        previous = label
    return table


def _cells(row: Row) -> list[str]:
    convention = row.get("fpr95_convention", "")
    ours = {name: f"{100 * _fpr95(row, key):.2f}" for key, name in CONVENTIONS.items() if key != "unknown"}
    return [
        f"{100 * row['auroc_mean']:.2f}",
        _published(row, "auroc"),
        _signed(row.get("auroc_difference")),
        ours.get(convention, "–"),
        _published(row, "fpr95"),
        _signed(row.get("fpr95_difference")),
        "?" if convention == "unknown" else convention or "–",
    ]


def _fpr95(row: Row, convention: str) -> float:
    return row[f"fpr95_{convention}_positive_mean"]


def _published(row: Row, name: str) -> str:
    """The digits as they were printed."""
    if f"published_{name}" not in row:
        return "–"
    deviation = row.get(f"published_{name}_std")
    return f"{row[f'published_{name}'].scaleb(2)}" + (f" ± {deviation.scaleb(2)}" if deviation is not None else "")


def _signed(value: Decimal | None) -> str:
    return "–" if value is None else f"{value.scaleb(2):+.2f}"
