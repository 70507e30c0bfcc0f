"""The blocks of a report: settings that share ID set, OOD sets and stream, their tables and their charts."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from neglab.config_check import MEAN
from neglab.plots.comparison import Bar, Chart, Scores, metric_bars, roc_panels, score_panels
from neglab.report.intervals import Resampled, interval_columns, interval_table, significance_table
from neglab.report.page import Block
from neglab.report.runs import Run, Setting, setting, whole
from neglab.results.aggregate import method_tables
from neglab.results.labels import Benchmark, blocks, short_labels, titles
from neglab.results.results import HEADINGS, METRICS, method_label

MOST_DRAWN = 12  # settings in one chart: the best by mean AUROC

Row = dict[str, Any]


def compared(
    rows: Sequence[Row], runs: Mapping[Setting, Sequence[Run]], resampled: Mapping[Setting, Resampled | None],
    level: float, damaged: list[str],
) -> list[Block]:  # fmt: skip
    """Methods against each other, where they compete.

    Args:
        rows: of `aggregate`.
        runs: of each setting.
        resampled: by setting; empty: no intervals.
        level: of the intervals.
        damaged: takes what cannot be read.
    """
    found = blocks(rows)
    named = titles(list(found))
    return [_block(place, block, named[place], runs, resampled, level, damaged) for place, block in found.items()]


def _block(
    place: Benchmark, rows: Sequence[Row], title: str, runs: Mapping[Setting, Sequence[Run]],
    resampled: Mapping[Setting, Resampled | None], level: float, damaged: list[str],
) -> Block:  # fmt: skip
    tables = method_tables(place, rows, "")
    shared, short = short_labels(rows)
    means = {short[method_label(row)]: row for row in rows if row["ood_dataset"] == MEAN}
    if resampled:
        drawn = {label: resampled[setting(row)] for label, row in means.items()}
        paired = significance_table(means, drawn, level)
        tables += [interval_table(means, drawn, level), *([paired] if paired else [])]
    best = sorted(means, key=lambda label: means[label]["auroc_mean"], reverse=True)[:MOST_DRAWN]
    shown = [label for label in means if label in best]
    scores = {label: whole(partial(first_scores, runs[setting(means[label])]), damaged) for label in shown}
    known = {label: found for label, found in scores.items() if found}
    bars = _bars(
        {label: [row for row in rows if short[method_label(row)] == label] for label in shown}, resampled, level
    )
    notes = [f"All: {shared}"] if shared else []
    if len(means) > MOST_DRAWN:
        notes.append(f"The charts show the {MOST_DRAWN} best by mean AUROC.")
    return Block(title, tables, _charts(bars, known, bool(resampled), level), notes)


def _charts(
    bars: Mapping[str, Mapping[str, Bar]], scores: Mapping[str, Scores], resampled: bool, level: float
) -> list[Chart]:
    metric = f"{HEADINGS[0]} by OOD set, in percent" + (f", with {100 * level:g}% intervals" if resampled else "")
    return [metric_bars(bars, metric), *([roc_panels(scores), score_panels(scores)] if scores else [])]


def _bars(
    rows: Mapping[str, Sequence[Row]], resampled: Mapping[Setting, Resampled | None], level: float
) -> dict[str, dict[str, Bar]]:
    """By method, and by OOD set with their mean last: AUROC with its interval over the images."""
    found: dict[str, dict[str, Bar]] = {}
    for label, own in rows.items():
        for row in own:
            value = 100 * row[f"{METRICS[0]}_mean"]
            ends = interval_columns(resampled.get(setting(row)), row["ood_dataset"], level)
            low, high = (100 * ends.get(f"{METRICS[0]}_{end}", value / 100) for end in ("low", "high"))
            found.setdefault(label, {})[row["ood_dataset"]] = Bar(value, min(low, value), max(high, value))
    return found


def first_scores(runs: Sequence[Run]) -> Scores | None:
    """By OOD set, the scores of ID images and of its own, of a setting's first seed; None: they are gone.

    Raises:
        UserError: a file of scores is damaged.
    """
    scores = runs[0].scores()
    return None if scores is None else {name: (known[1], strange[1]) for name, (known, strange) in scores.items()}
