"""The YAML configs as files: where they are, and what a person reads in them. Imports neither Hydra nor torch."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import yaml

PACKAGE = Path(__file__).parent
# What stands for a longer key, by command: Hydra refuses numbers and folders as options of a group.
SHORT_FORMS = {"seed": ("seed.value", None), "id_images": ("id_images.dataset.root", "detect")}
SEARCH_PATH = "hydra.searchpath="
# Folders of a person's own options: what is typed as hydra.searchpath.
_own_folders: ContextVar[tuple[Path, ...]] = ContextVar("own_folders", default=())


def configs_folder() -> Path:
    """`configs` beside the package in a checkout, inside it in a wheel.

    Looked for from the package itself: an editable install leaves a stale copy in site-packages.
    """
    beside = PACKAGE.parent / "configs"
    return beside if (beside / "evaluate.yaml").is_file() else PACKAGE / "configs"


def folders() -> tuple[Path, ...]:
    """Where configs are looked for: ours, then a person's own."""
    return (configs_folder(), *_own_folders.get())


@contextmanager
def with_own_folders(words: Iterable[str]) -> Iterator[None]:
    """Look below the folders of a typed `hydra.searchpath=[file://mine]` too."""
    listed = [text for word in words if (text := word.lstrip("+")).startswith(SEARCH_PATH)]
    names = [name.strip(" '\"") for text in listed for name in text.removeprefix(SEARCH_PATH).strip("[]").split(",")]
    own = tuple(Path(name.removeprefix("file://")) for name in names if name and not name.startswith("pkg://"))
    token = _own_folders.set(own)
    try:
        yield
    finally:
        _own_folders.reset(token)


def group_folders() -> set[str]:
    """The names of all config groups."""
    return {path.name for folder in folders() if folder.is_dir() for path in folder.iterdir() if path.is_dir()}


def global_keys() -> set[str]:
    """The keys that an option of some group sets for the whole config, such as an experiment."""
    paths = [path for folder in folders() for path in folder.glob("*/*.yaml")]
    texts = ((path, path.read_text(encoding="utf-8")) for path in paths)
    return {key for path, text in texts if "@package _global_" in text for key in settings_of(path).values}


def commands() -> list[str]:
    """One command per root config."""
    return sorted(path.stem for path in configs_folder().glob("*.yaml"))


def command_of(word: str) -> str | None:
    """The command that a typed word names, `demo-page` as well as `demo_page`; None: it names none."""
    name = word.replace("-", "_")
    return name if name in commands() else None


def options(group: str) -> list[str]:
    """The options of a config group; none where there is no such group."""
    return sorted({path.stem for folder in folders() for path in (folder / group).glob("*.yaml")})


def long_form(override: str, command: str) -> str:
    """The override as Hydra takes it: `seed=3` becomes `seed.value=3`, `detect`'s `id_images=FOLDER` names a root."""
    name, _, value = override.partition("=")
    key, only_for = SHORT_FORMS.get(name, (name, None))
    is_option = any(os.path.isfile(folder / name / f"{value}.yaml") for folder in folders())  # a long value is no error
    return f"{key}={value}" if value and not is_option and only_for in (None, command) else override


@dataclass
class Settings:
    """What a YAML sets, with the comments beside it.

    Attributes:
        choices: option and comment by group, from its defaults list.
        values: value and comment by dotted key, as they are typed on the command line.
    """

    choices: dict[str, tuple[str, str]] = field(default_factory=dict)
    values: dict[str, tuple[str, str]] = field(default_factory=dict)

    def set(self, key: str, value: str, comment: str) -> None:
        """A value replaces an earlier one, whose comment stays where the new one has none."""
        self.values[key] = (value, comment or self.values.get(key, ("", ""))[1])


def header(name: str) -> list[str]:
    """The comment at the head of `configs/NAME.yaml`, line by line: what it is, and its source."""
    lines = takewhile(lambda line: line.startswith("#"), _text(name).splitlines())
    return [line[2:] for line in lines if "@package" not in line]


def settings(name: str, package: str = "") -> Settings:
    """What `configs/NAME.yaml` sets, with what it takes from others.

    Args:
        name: such as "detect" or "score/neglabel".
        package: the key that its values stand below.
    """
    return _settings(name, _text(name), package)


def settings_of(path: Path) -> Settings:
    """What a YAML file of a group sets, wherever it lies."""
    return _settings(f"{path.parent.name}/{path.stem}", path.read_text(encoding="utf-8"), "")


def _settings(name: str, text: str, package: str) -> Settings:
    found = Settings()
    if "@package _global_" in text:
        package = ""
    root = yaml.compose(text, yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    for key, value in pairs:
        if key.value == "defaults":
            for entry in value.value:
                _take(found, entry, name, package, text)
    _collect(found, [pair for pair in pairs if pair[0].value != "defaults"], package, text)
    return found


def _text(name: str) -> str:
    places = [folder / f"{name}.yaml" for folder in folders()]
    return next((path for path in places if path.is_file()), places[0]).read_text(encoding="utf-8")


def _take(found: Settings, entry: yaml.Node, name: str, package: str, text: str) -> None:
    """A line of a defaults list: `PARENT`, `GROUP: OPTION`, `override /GROUP: OPTION` or `/GROUP@KEY: OPTION`."""
    folder = name.rpartition("/")[0]
    if isinstance(entry, yaml.ScalarNode):
        if entry.value != "_self_":
            parent = settings(f"{folder}/{entry.value}".lstrip("/"), package)
            found.choices |= parent.choices
            found.values |= parent.values
        return
    ((key, option),) = entry.value
    group, _, place = key.value.removeprefix("override ").lstrip("/").partition("@")
    if place:
        found.values |= settings(f"{group}/{option.value}", f"{package}.{place}").values
    else:
        found.choices[group] = (option.value, _comment(key, option, text))


def _collect(found: Settings, pairs: list[tuple[yaml.Node, yaml.Node]], package: str, text: str) -> None:
    """The values of a mapping and of the mappings in it."""
    for key, value in pairs:
        name = f"{package}.{key.value}".lstrip(".")
        if isinstance(value, yaml.MappingNode) and value.value:
            _collect(found, value.value, name, text)
        else:
            found.set(name, _source(value, text), _comment(key, value, text))


def _source(value: yaml.Node, text: str) -> str:
    """A value as it is written; a list over several lines on one."""
    if not isinstance(value, yaml.SequenceNode) or value.flow_style:
        return text[value.start_mark.index : value.end_mark.index]
    items = (json.dumps(item.value) if item.tag.endswith(":str") else _source(item, text) for item in value.value)
    return f"[{', '.join(items)}]"


def _comment(key: yaml.Node, value: yaml.Node, text: str) -> str:
    """The comment beside a value, or else the lines above it; those at the head of the file say what it is."""
    lines, end = text.splitlines(), key.end_mark if _spans_lines(value) else value.end_mark
    if beside := re.search(r"(?:^|\s)# (.*)", lines[end.line][end.column :]):
        return beside[1]
    before = lines[: key.start_mark.line]
    above = list(takewhile(lambda line: line.strip().startswith("# "), reversed(before)))
    return "" if len(above) == len(before) else " ".join(line.strip()[2:] for line in reversed(above))


def _spans_lines(value: yaml.Node) -> bool:
    return value.start_mark.line != value.end_mark.line
