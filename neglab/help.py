"""What `--help` prints: readable without knowing Hydra, read off the YAML configs, and without importing torch."""

from collections.abc import Iterable
from shutil import get_terminal_size
from textwrap import fill, shorten

from neglab import __version__
from neglab.config_files import command_of, commands, group_folders, header, options, settings, with_own_folders
from neglab.errors import UserError
from neglab.nearest import did_you_mean

WIDEST, KEY_WIDTH = 120, 34
OPTIONS_SHOWN = 110  # characters
HIDDEN_GROUPS = ("hydra", "paths", "debug")
LEGEND = "???: you must give it. null: none. ${a.b}: as the key a.b. An option's own keys: neglab GROUP=OPTION --help"


def version() -> str:
    return __version__


def groups() -> list[str]:
    """The config groups that a person chooses from."""
    return sorted(group_folders() - set(HIDDEN_GROUPS))


def page(words: Iterable[str]) -> str:
    """The help on what is named: commands, groups, `GROUP=OPTION`; where nothing is, on everything.

    Flags and values of keys, as in `neglab detect images=photos/ --help`, are passed over.

    Raises:
        UserError: there is nothing of this name.
    """
    words = list(words)
    with with_own_folders(words):
        pages = [_page_of(word) for word in words if not word.startswith("-") and not _sets_a_key(word)]
        return "\n\n".join(pages) or general_help()


def _sets_a_key(word: str) -> bool:
    name, is_override, _ = word.partition("=")
    return bool(is_override) and not options(name)


def _page_of(word: str) -> str:
    group, is_option, option = word.partition("=")
    if is_option and option in options(group):
        return option_help(group, option)
    if not is_option and (command := command_of(word)):
        return command_help(command)
    if options(group):
        return group_help(group)
    raise UserError(
        f"`{word}` is neither a command nor a group nor GROUP=OPTION.{did_you_mean(word, [*commands(), *groups()])} "
        f"Commands: {', '.join(commands())}. Groups: {', '.join(groups())}."
    )


def general_help() -> str:
    """What there is, on one screen."""
    counted = ", ".join(f"{group} ({len(options(group))})" for group in groups())
    lines = [
        "neglab: out-of-distribution detection with vision-language models and negative labels",
        "",
        "usage: neglab [command] [group=option ...] [key=value ...]",
        "       neglab -m [command] ...        a sweep: comma-separated values are run one by one",
        "",
        "commands (neglab COMMAND --help: its keys, groups and examples)",
        *(_row(name, header(name)[0], 18) for name in commands()),
        "",
        "groups and their number of options (neglab GROUP --help lists them; neglab GROUP=OPTION --help: its keys)",
        _wrapped(counted),
        "",
        "examples",
        "  neglab                                             NegLabel on the shipped benchmark",
        "  neglab -m method=mcm,neglabel seed=0,1,2           a table with mean and deviation over seeds",
        "  neglab score.num_groups=1                          any value of any YAML can be set",
        "  neglab trainer=gpus backbone=clip_vit_b16          every GPU, a real CLIP",
        "  neglab detect images=photos/ class_names=names.txt which of my images do not belong?",
        "",
        "Results lie in outputs/ (one run) and multirun/ (sweeps); embeddings in the store (NEGLAB_STORE).",
        "Completion by Tab: neglab -sc install=bash. Hydra's own options: neglab --hydra-help",
    ]
    return "\n".join(lines)


def command_help(command: str) -> str:
    """What a command does, its own keys, and the groups that it takes."""
    found = settings(command)
    chosen = {group: choice for group, choice in found.choices.items() if group not in HIDDEN_GROUPS}
    keys = {key: value for key, value in found.values.items() if value[1]}  # without a comment: no key for people
    lines = [f"usage: neglab {command} [group=option ...] [key=value ...]", "", *header(command), ""]
    if keys:
        lines += ["keys and their defaults", *_rows(keys), ""]
    if chosen:
        lines += ["groups, their defaults and their options"]
        lines += [_row(f"{group}={option}", _some(group, comment)) for group, (option, comment) in chosen.items()]
        lines += [""]
    return "\n".join([*lines, _wrapped(LEGEND, "")])


def group_help(group: str) -> str:
    """A group's options, each with what it is."""
    names = options(group)
    title = f"{group}: {len(names)} options. The keys of one: neglab {group}=OPTION --help"
    return "\n".join([title, "", *(_row(name, header(f"{group}/{name}")[0]) for name in names)])


def option_help(group: str, option: str) -> str:
    """What an option is, what it chooses of other groups, and its keys."""
    name = f"{group}/{option}"
    found = settings(name, group)
    keys = {key: value for key, value in found.values.items() if not key.endswith("_target_")}
    lines = [f"{group}={option}", "", *header(name), ""]
    if found.choices:
        lines += ["chooses", *_rows(found.choices), ""]
    if keys:
        lines += ["keys and their defaults", *_rows(keys), ""]
    return "\n".join([*lines, _wrapped(LEGEND, "")])


def _rows(settled: dict[str, tuple[str, str]]) -> list[str]:
    """A row per key, with its comment."""
    return [_row(f"{key}={value}", comment) for key, (value, comment) in settled.items()]


def _some(group: str, comment: str) -> str:
    """What a group is, and its first options."""
    names = options(group)
    shown = shorten(", ".join(names), OPTIONS_SHOWN, placeholder=f" ... {len(names)} in all") if len(names) > 1 else ""
    return ": ".join(filter(None, [comment, shown]))


def _row(name: str, text: str, name_width: int = KEY_WIDTH) -> str:
    indent = " " * (name_width + 3)
    first = f"  {name:{name_width}} "
    if len(name) <= name_width:
        return fill(text, _width(), initial_indent=first, subsequent_indent=indent) or first.rstrip()
    return "\n".join(filter(None, [_wrapped(name), _wrapped(text, indent)]))


def _wrapped(text: str, indent: str = "  ") -> str:
    return fill(text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _width() -> int:
    return min(WIDEST, get_terminal_size((WIDEST, 0)).columns)
