"""How settings are called in tables: what they share stands once above, what tells them apart beside the numbers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from neglab.config_check import MEAN
from neglab.results.results import AVERAGED, SEEDS, method_label

SETS_NAMED = 4  # OOD sets that a title lists

Row = dict[str, Any]


class Benchmark(NamedTuple):
    """What settings must share for their numbers to be compared.

    Attributes:
        id_dataset: the ID set.
        ood_datasets: the OOD sets.
        digest: of both sets' configs; empty where an older run has none.
        stream: the order that an adaptive score met; "none".
    """

    id_dataset: str
    ood_datasets: tuple[str, ...]
    digest: str
    stream: str

    def describe(self) -> str:
        """For people, in a line."""
        names = ", ".join(self.ood_datasets[:SETS_NAMED]) + ", ..." * (len(self.ood_datasets) > SETS_NAMED)
        counted = names if len(self.ood_datasets) <= SETS_NAMED else f"{len(self.ood_datasets)} OOD sets ({names})"
        learning = "" if self.stream == "none" else f", learning from the stream ({self.stream})"
        return f"{self.id_dataset or 'ID'} against {counted}{learning}"


def settled(rows: Sequence[Row]) -> list[Row]:
    """The rows with equal settings under one name: the shortest under which any of them was run.

    A setting is told by the digest of its resolved config. Two that are called alike and are not, such as runs before
    and after a YAML was changed, get the digest beside their name. Older runs have no digest and stay as they are.

    Args:
        rows: of results.csv.
    """
    named: dict[str, Row] = {}
    for row in rows:
        if digest := row.get("config", ""):
            named[digest] = min(named.get(digest, row), row, key=lambda one: (len(one["overrides"]), one["method"]))
    configs: dict[tuple[str, ...], set[str]] = {}
    for digest, row in named.items():
        configs.setdefault(_name(row), set()).add(digest)
    result = []
    for row in rows:
        own = named.get(row.get("config", ""), row)
        shared = {key: value for key, value in own.items() if key not in (*AVERAGED, *SEEDS, *OWN)}
        if len(configs.get(_name(own), ())) > 1:
            shared["overrides"] = f"{own['overrides']} config=#{own['config'][:4]}".strip()
        result.append({**row, **shared})
    return result


OWN = ("ood_dataset", "num_negatives", "num_unclear")  # what a row has for itself, whatever its setting


def _name(row: Row) -> tuple[str, ...]:
    keys = ("id_dataset", "benchmark", "backbone", "stream", "method", "overrides")
    return tuple(str(row.get(key, "")) for key in keys)


def blocks(rows: Sequence[Row]) -> dict[Benchmark, list[Row]]:
    """The rows by what makes them comparable, in order of first appearance.

    Args:
        rows: of `aggregate`.
    """
    sets: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["ood_dataset"] != MEAN:
            sets.setdefault((*_name(row), str(row.get("config", ""))), []).append(row["ood_dataset"])
    found: dict[Benchmark, list[Row]] = {}
    for row in rows:
        names = tuple(dict.fromkeys(sets.get((*_name(row), str(row.get("config", ""))), ())))
        place = Benchmark(
            str(row.get("id_dataset", "")), names, str(row.get("benchmark", "")), str(row.get("stream", "none"))
        )
        # The order in which OOD sets were listed changes nothing.
        known = next((one for one in found if one == place._replace(ood_datasets=one.ood_datasets)), place)
        found.setdefault(known if set(known.ood_datasets) == set(names) else place, []).append(row)
    return found


def titles(benchmarks: Sequence[Benchmark]) -> dict[Benchmark, str]:
    """A title for each; those that would be called alike, such as other images under one name, get their digest."""
    described = [one.describe() for one in benchmarks]
    return {
        one: text if described.count(text) == 1 else f"{text} [{one.digest[:6] or 'older runs'}]"
        for one, text in zip(benchmarks, described, strict=True)
    }


def short_labels(rows: Sequence[Row]) -> tuple[str, dict[str, str]]:
    """What the settings of a table share, and what each is called beside it.

    Args:
        rows: whose methods and overrides are compared.

    Returns:
        The words that all labels hold, and by label those that are left; long folders without what they share.
    """
    words = {label: label.split(" ") for label in dict.fromkeys(map(method_label, rows))}
    if len(words) < 2:
        return "", {label: label for label in words}
    first = next(iter(words.values()))
    shared = [word for word in first if all(word in others for others in words.values())]
    folders = _shared_folders(words)
    short = {}
    for label, own in words.items():
        left = [word for word in own if word not in shared] or own[:1]
        short[label] = " ".join(_within(word, folders) for word in left)
    return " ".join(shared), short


def _shared_folders(words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By key, the folder that all its values lie in, where it has several."""
    values: dict[str, set[str]] = {}
    for word in (word for own in words.values() for word in own):
        key, is_override, value = word.partition("=")
        if is_override and os.path.isabs(value):
            values.setdefault(key, set()).add(value)
    return {key: os.path.commonpath(found) for key, found in values.items() if len(found) > 1}


def _within(word: str, folders: Mapping[str, str]) -> str:
    key, _, value = word.partition("=")
    if key not in folders or not os.path.isabs(value):
        return word
    return f"{key}=.../{os.path.relpath(value, folders[key])}"
