"""`neglab [command] overrides...`: picks the root config, hands over to Hydra, turns users' mistakes into messages."""

import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from neglab.compose import configs_folder, long_form, register_resolvers
from neglab.help import general_help, version

DEFAULT_COMMAND = "evaluate"
MULTIRUN_FLAGS = ("-m", "--multirun")
LAUNCHER_VARIABLES = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")


def commands() -> list[str]:
    """One command per root config."""
    return sorted(path.stem for path in configs_folder().glob("*.yaml"))


def rewrite(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, and the arguments as Hydra takes them.

    Hydra knows no command words and refuses numbers as options of a group: the first word that names a command is
    taken out, and `seed=3`, `seed=0,1,2`, `seed=range(0,10)` become `seed.value=...`. A flag between overrides, which
    Hydra's parser refuses, goes first.
    """
    command, rest = DEFAULT_COMMAND, []
    word_may_come = True
    for argument in arguments:
        if word_may_come and argument in commands():
            command, word_may_come = argument, False
            continue
        if "=" in argument:
            word_may_come = False
        elif word_may_come and argument[:1].isalpha() and rest[-1:] != ["--cfg"]:
            stop(f"`{argument}` is no command; there is {', '.join(commands())}. Overrides have the form key=value.", 2)
        argument = long_form(argument, command)
        if argument in MULTIRUN_FLAGS:
            rest.insert(0, argument)
        else:
            rest.append(argument)
    return command, rest


def main() -> None:
    """The console script."""
    command, rest = rewrite(sys.argv[1:])
    if "--version" in rest:
        print(f"neglab {version()}")
        return
    if "--help" in rest or "-h" in rest:
        print(general_help(commands()))
        return
    if any(flag in rest for flag in MULTIRUN_FLAGS) and any(name in os.environ for name in LAUNCHER_VARIABLES):
        stop(
            "A multirun must not run under torchrun or another launcher: each process would run the whole sweep. "
            "Start `neglab -m ...` by itself and choose the devices with trainer=gpus."
        )
    # In place: processes that Hydra or Lightning start read the same arguments.
    sys.argv[1:] = rest
    run_hydra(command)


def run_hydra(command: str) -> None:
    """Compose the command's config and run its task, in one run or in a sweep."""
    from hydra import main as hydra_main

    register_resolvers()
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors on instead of printing them its own way
    try:
        hydra_main(version_base="1.3", config_path=str(configs_folder()), config_name=command)(Task(command))()
    except KeyboardInterrupt:
        stop("Stopped. What was finished is in the store: the same command goes on from there.", 130)
    except Exception as error:
        message = users_mistake(error)
        if message is None or show_traceback:
            raise
        stop(message)


class Task:
    """What Hydra calls with a composed config; imports the heavy libraries only then."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.__name__ = self.__qualname__ = command

    def __call__(self, config: Any) -> Any:
        logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
        return import_module(f"neglab.tasks.{self.command}").run(config)


def users_mistake(error: BaseException) -> str | None:
    """The message of the mistake that the user can mend, anywhere in the chain of causes; None: it is ours."""
    from neglab.errors import UserError

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # an error that is raised out of its wrapping is its own context
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    if found := next((link for link in chain if isinstance(link, UserError)), None):
        return str(found)
    return next((message for message in map(_config_or_disk, chain) if message), None)


def _config_or_disk(error: BaseException) -> str | None:
    """A message for what Hydra, OmegaConf and the operating system find wrong."""
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, InstantiationException):
        # A key that a constructor does not know is the user's; what a constructor does wrong is ours.
        return f"The config does not fit: {error}" if isinstance(error.__cause__, TypeError) else None
    if isinstance(error, HydraException):
        return f"{error}\n{error.__cause__ or ''}".strip()
    if isinstance(error, MissingMandatoryValue):
        return f"{error}. Give it on the command line: {error.full_key}=..."
    if isinstance(error, OmegaConfBaseException):
        return f"The config cannot be resolved: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: {error}. Free some space and run the same command again."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return f"A file or folder cannot be used: {error}. Change its permissions, or choose another place."
    return None


def stop(message: str, status: int = 1) -> NoReturn:
    """Say what went wrong and leave."""
    print(f"\n{message}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
