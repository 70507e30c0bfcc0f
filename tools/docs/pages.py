"""Pages of the documentation that are read off the code: methods, configuration, Python reference, leaderboard.

Run by mkdocs (`make docs`); nothing is written beside the site.
"""

import csv
import re
from collections import defaultdict
from pathlib import Path

import mkdocs_gen_files

from neglab.config_files import commands, header, options, settings
from neglab.help import HIDDEN_GROUPS, groups

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "neglab/assets/published"
CARD = (ROOT / "neglab/assets/README.md").read_text()
PARTS = ("corpus", "prompt", "negative_selector", "llm_filter", "score")
CONVENTIONS = {"id": "ID+", "ood": "OOD+"}
API = {
    "Detector": ("neglab.detector.detector.Detector", "neglab.detector.pytorch_ood.PytorchOODDetector"),
    "Contracts": (
        "neglab.score.base", "neglab.negative_selector.base", "neglab.llm_filter.base", "neglab.corpus.base",
        "neglab.prompt.templates", "neglab.backbone.base", "neglab.data.base", "neglab.stream.base",
    ),
    "What flows": ("neglab.types",),
    "Metrics": ("neglab.metrics.detection", "neglab.metrics.curves", "neglab.metrics.intervals"),
}  # fmt: skip


def write(name: str, *blocks: str) -> None:
    with mkdocs_gen_files.open(name, "w") as file:
        file.write("\n\n".join(filter(None, blocks)) + "\n")


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in lines)


def prose(text: str) -> str:
    """Comment lines as Markdown, which has signs that plain text does not."""
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)


def with_head(name: str) -> str:
    return prose(" ".join(header(name)))


def keys(name: str, group: str = "") -> str:
    found = settings(name, group).values.items()
    rows = [
        (f"`{key}`", f"`{value}`", prose(comment)) for key, (value, comment) in found if not key.endswith("_target_")
    ]
    return table(("key", "default", "what"), rows) if rows else ""


def configuration() -> None:
    """A page per command and one per group of options."""
    listed = []
    for name in commands():
        found = settings(name)
        chosen = [
            (f"[`{group}`](../configuration/{group}.md)", f"`{option}`", prose(comment))
            for group, (option, comment) in found.choices.items()
            if group not in HIDDEN_GROUPS
        ]
        shown = {key: value for key, value in found.values.items() if value[1]}
        rows = [(f"`{key}`", f"`{value}`", prose(comment)) for key, (value, comment) in shown.items()]
        write(
            f"commands/{name}.md",
            f"# neglab {name}" if name != "evaluate" else "# neglab (evaluate)",
            prose(header(name)[0]),
            "```text\n" + "\n".join(header(name)[1:]) + "\n```" if header(name)[1:] else "",
            "## Keys" if rows else "",
            table(("key", "default", "what"), rows) if rows else "",
            "## Groups" if chosen else "",
            table(("group", "default", "what"), chosen) if chosen else "",
        )
        listed.append(f"- [`neglab {name}`]({name}.md): {prose(header(name)[0])}")
    write("commands/index.md", "# Commands", "\n".join(listed))
    listed = []
    for group in groups():
        blocks = []
        for option in options(group):
            blocks += [f"## {option} {{ #{option} }}", f"`{group}={option}`", with_head(f"{group}/{option}")]
            chosen = settings(f"{group}/{option}", group).choices
            if chosen:
                blocks.append("Chooses " + ", ".join(f"`{key}={value}`" for key, (value, _) in chosen.items()) + ".")
            blocks.append(keys(f"{group}/{option}", group))
        write(f"configuration/{group}.md", f"# {group}", *blocks)
        listed.append(f"- [`{group}`]({group}.md): {len(options(group))} options")
    write(
        "configuration/index.md",
        "# Configuration",
        "Every group, option and key of `configs/`. On the command line `neglab GROUP --help` lists a group's options "
        "and `neglab GROUP=OPTION --help` an option's keys; any key can be set and swept. `???` must be given, `null` "
        "is none, `${a.b}` is the value of the key `a.b`.",
        "\n".join(listed),
    )


def published_rows() -> list[dict[str, str]]:
    with (PUBLISHED / "published.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def card_figures(method: str) -> str:
    """The rows of the shipped model's card that are a method's."""
    found = []
    for heading, rule, rows in re.findall(r"^(\| .*\|)\n(\|[-|: ]+\|)\n((?:\|.*\|\n)+)", CARD, flags=re.MULTILINE):
        mine = [row for row in rows.splitlines() if row.startswith(f"| `{method}` |")]
        if mine:
            found.append("\n".join([heading, rule, *mine]))
    return "\n\n".join(found)


def target_of(score: str) -> str:
    """The class that a score's YAML or one of its parents calls."""
    found = settings(f"score/{score}").values
    return found["_target_"][0] if "_target_" in found else ""


def method_page(method: str, rows: list[dict[str, str]], presets: dict[str, dict[str, str]]) -> None:
    chosen = {group: option for group, (option, _) in settings(f"method/{method}").choices.items()}
    parts = [
        (
            f"[`{group}`](../configuration/{group}.md)",
            f"[`{chosen[group]}`](../configuration/{group}.md#{chosen[group]})",
        )
        for group in PARTS
        if group in chosen
    ]
    of_score = keys(f"score/{chosen['score']}", "score") if "score" in chosen else ""
    target = target_of(chosen["score"]) if "score" in chosen else ""
    known = presets.get(method)
    mine = [
        row
        for row in rows
        if known and (row["method"], row["variant"]) == (known["method"], known["variant"]) and row["auroc"]
    ]
    mine = [row for row in mine if row["ood_dataset"] in ("average", "near_mean", "far_mean")] or mine
    published = [
        (
            row["id_dataset"], row["ood_dataset"], row["backbone"], row["auroc"], row["fpr95"],
            CONVENTIONS.get(row["fpr95_positive"], "unknown"), f"{row['source']} {row['table']}", prose(row["note"]),
        )
        for row in mine
    ]  # fmt: skip
    figures = card_figures(method)
    write(
        f"methods/{method}.md",
        f"# {method}",
        with_head(f"method/{method}"),
        f"```bash\nneglab method={method}\n```" if not needs_more(method) else "",
        "## Parts",
        table(("group", "option"), parts),
        "## Constants of its score" if of_score else "",
        of_score,
        "## The score" if target else "",
        f"::: {target}\n    options:\n      heading_level: 3\n      members: []\n      skip_local_inventory: true"
        if target
        else "",
        "## On the shipped benchmark" if figures else "",
        "With the shipped model, which is no stand-in for CLIP; in percent." if figures else "",
        figures,
        "## Published" if published else "",
        "AUROC and FPR95 in percent, as they were printed." if published else "",
        table(("ID set", "OOD set", "backbone", "AUROC ↑", "FPR95 ↓", "as", "source", "note"), published)
        if published
        else "",
    )


def needs_more(method: str) -> bool:
    """Whether a method asks for something before it runs, such as a checkpoint."""
    chosen = settings(f"method/{method}").choices
    wanted = [settings(f"{group}/{option}", group).values for group, (option, _) in chosen.items()]
    return any(value == "???" for values in wanted for value, _ in values.values())


def methods() -> None:
    """A page per preset."""
    rows = published_rows()
    with (PUBLISHED / "presets.csv").open(newline="") as file:
        presets = {row["preset"]: row for row in csv.DictReader(file)}
    for method in options("method"):
        method_page(method, rows, presets)


def leaderboard() -> None:
    """Published means under one convention each, best first."""
    means: dict[tuple[str, str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in published_rows():
        if row["ood_dataset"] in ("average", "near_mean", "far_mean") and row["auroc"] and not row["variant"]:
            convention = CONVENTIONS.get(row["fpr95_positive"], "unknown")
            means[row["id_dataset"], row["ood_dataset"], row["backbone"], convention].append(row)
    blocks = []
    for (id_dataset, ood, backbone, convention), rows in sorted(means.items(), key=lambda item: -len(item[1])):
        if len(rows) < 3:
            continue
        ordered = sorted(rows, key=lambda row: -float(row["auroc"]))
        cells = [
            (
                row["method"],
                row["auroc"],
                row["fpr95"],
                row["trained"],
                f"{row['source']} {row['table']}",
                prose(row["note"]),
            )
            for row in ordered
        ]
        blocks += [
            f"## {id_dataset}, {ood.replace('_', ' ')}, {backbone}, FPR95 ({convention})",
            table(("method", "AUROC ↑", "FPR95 ↓", "kind", "source", "note"), cells),
        ]
    write(
        "leaderboard.md",
        "# Published numbers",
        "What papers printed, in percent; none of it was measured by us. A table holds one ID set, one list of OOD "
        "sets, one backbone and one convention of FPR95, so that its rows can be compared. Where neither paper nor "
        "code says which convention was used, it is `unknown`. The same baseline differs between papers.",
        *blocks,
    )


def reference() -> None:
    """The Python reference, read off the docstrings."""
    for title, names in API.items():
        write(f"api/{title.lower().replace(' ', '-')}.md", f"# {title}", *(f"::: {name}" for name in names))
    write("api/index.md", "# Python", "\n".join(f"- [{title}]({title.lower().replace(' ', '-')}.md)" for title in API))


def card() -> None:
    """The shipped model's card, with its sheets of pictures."""
    for path in sorted((ROOT / "neglab/assets/emoji/sheets").glob("*.webp")):
        with mkdocs_gen_files.open(f"emoji/sheets/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    write("card.md", CARD)


card()
configuration()
methods()
leaderboard()
reference()
