"""The config of a group as a saved detector keeps it: data, which may come from anyone and runs no code of its own."""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import yaml

from neglab.config_check import checked_parameters
from neglab.config_files import PACKAGE, configs_folder
from neglab.errors import UserError

ASSETS = "${neglab.assets:}"  # what ships with the package; the one reference that a saved config may hold
# The YAMLs that name the classes which a saved group may build. Learned prompts keep their class names beside them.
NAMED_IN = {"backbone": ("backbone/*",), "prompt": ("prompt/*", "detect"), "score": ("score/*",)}
ASKS_OTHERS = "neglab.chat."  # a language model behind a server, which a file of unknown origin must not name


def portable(value: Any) -> Any:
    """Plain values in which what ships with the package stands by `ASSETS`, not by its place on this machine."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    return value.replace(str(PACKAGE / "assets"), ASSETS) if isinstance(value, str) else value


def construct(group: str, node: Any) -> Any:
    """The object of a saved group.

    Args:
        group: a key of `NAMED_IN`.
        node: its config as `portable` has left it, or whatever stands in its place in a file.

    Raises:
        UserError: it names another class than those of its group, refers to anything but the shipped assets, or does
            not fit its class.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"The {group} of a saved detector must name a class; got {node!r:.100}. Save it again.")
    try:
        return _built(group, node, group)
    except RecursionError:
        raise UserError(f"The {group} of a saved detector is nested too deep. Do not trust its file.") from None


def _built(group: str, node: Any, key: str) -> Any:
    if isinstance(node, list):
        return [_built(group, item, f"{key}.{number}") for number, item in enumerate(node)]
    if isinstance(node, str):
        return _without_reference(node, key)
    if not isinstance(node, Mapping):
        return node
    values = {name: _built(group, item, f"{key}.{name}") for name, item in node.items() if name != "_target_"}
    if "_target_" not in node:
        return values
    target = node["_target_"]
    if not isinstance(target, str) or target not in _targets(group):
        raise UserError(
            f"A saved detector may build the classes of neglab's own {group} configs alone; got {target!r:.100}. Do "
            "not trust its file; a detector with a class of your own must be created anew."
        )
    module, _, name = target.rpartition(".")
    constructed = getattr(import_module(module), name)
    try:
        inspect.signature(constructed).bind(**values)
    except TypeError as error:
        raise UserError(f"The saved {key} does not fit {name}: {error}. Save the detector again.") from None
    return constructed(**checked_parameters(target, values, key))


def _without_reference(text: str, key: str) -> str:
    """A path or name, with the place of the shipped assets put in by hand."""
    found = text.replace(ASSETS, str(PACKAGE / "assets"))
    if "${" in found:
        raise UserError(f"A saved detector holds plain values; got {key}={text!r:.100}. Do not trust its file.")
    return found


@cache
def _targets(group: str) -> frozenset[str]:
    """The classes that this group's YAMLs name, at any depth."""
    files = [path for pattern in NAMED_IN[group] for path in configs_folder().glob(f"{pattern}.yaml")]
    named = (target for path in files for target in _named(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return frozenset(target for target in named if not target.startswith(ASKS_OTHERS))


def _named(node: Any) -> list[str]:
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [str(node["_target_"])] if isinstance(node, dict) and "_target_" in node else []
    return own + [target for item in items for target in _named(item)]
