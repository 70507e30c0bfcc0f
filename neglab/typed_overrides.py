"""Holds the keys that a person types to those that there are: `+metod=mcm` would be a new key that nothing reads."""

import re
from collections.abc import Iterable

from neglab.config_files import global_keys, group_folders, options, settings
from neglab.errors import UserError
from neglab.nearest import did_you_mean

SHOWN = 40  # options that a message lists


def check_keys(overrides: Iterable[str], command: str) -> None:
    """Raise a UserError where a key is of no config, whether it is to be changed or, with a +, to be added.

    A key below a group is left to Hydra and to the class that takes it.

    Args:
        overrides: as Hydra takes them.
        command: whose root config they change.
    """
    known = set(settings(command).values)
    groups = group_folders()
    for override in overrides:
        key = re.split("[=@]", override.lstrip("+~"), maxsplit=1)[0]
        top = re.split("[./:]", key, maxsplit=1)[0]
        if not top or top == "hydra" or top in groups or _is_known(key, known):
            continue
        known |= global_keys()  # many files: read only where a key seems to be wrong
        if not _is_known(key, known):
            tops = {other.split(".")[0] for other in known}
            wrong, candidates = (key, known) if top in tops else (top, tops | groups)
            raise UserError(
                f"neglab {command} has no key {wrong}, so {override} would change nothing."
                f"{did_you_mean(wrong, candidates)} neglab {command} --help lists the keys and groups."
            )


def _is_known(key: str, known: Iterable[str]) -> bool:
    """A key, one above keys, or one below a key whose value is a mapping."""
    return any(f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}.") for other in known)


def explained(message: str) -> str:
    """Hydra's message on an override, without its advice to add what nothing would read, and with the nearest name.

    Args:
        message: of one of Hydra's exceptions.
    """
    if found := re.search(r"Could not find '([\w/]+)/([^'/]+)'", message):
        group, option = found.groups()
        known = options(group)
        listed = ", ".join(known[:SHOWN]) + ", ..." * (len(known) > SHOWN)
        return f"There is no {group}={option}.{did_you_mean(option, known)} Options of {group}: {listed}."
    if found := re.search(r"Could not override '([^']+)'", message):
        key = found[1]
        group = key.split(".")[0]
        owners = {name: set(settings(f"{group}/{name}", group).values) for name in options(group)}
        known = set().union(*owners.values())
        if key in known:
            having = [name for name, keys in owners.items() if key in keys]
            return f"The option of {group} that is chosen has no key {key}; those with one are {', '.join(having)}."
        reason = "no such group" if "defaults list" in message else "no such key"
        return f"The config has {reason}: {key}.{did_you_mean(key, known)} --help of the command or group lists them."
    return message
