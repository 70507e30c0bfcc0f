"""`neglab [command] overrides...`: picks the root config, hands over to Hydra, turns users' mistakes into messages."""

import atexit
import gc
import logging
import math
import multiprocessing
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from neglab.config_files import command_of, commands, configs_folder, long_form, with_own_folders
from neglab.errors import UserError
from neglab.help import page, version
from neglab.mistakes import users_mistake
from neglab.nearest import did_you_mean
from neglab.passes.cluster import together
from neglab.passes.processes import several_processes
from neglab.sigterm import end_on_sigterm
from neglab.typed_overrides import check_keys

DEFAULT_COMMAND = "evaluate"
MULTIRUN_FLAGS = ("-m", "--multirun")
NO_SWEEP = (
    "A sweep must not run in processes that torchrun or srun started together: a job that fails would end them all. "
    "Run one job so, which leaves every embedding in the store, and then the sweep by itself; or start it by itself "
    "with trainer=gpus, hydra/launcher=joblib, hydra/launcher=ray or hydra/launcher=submitit_slurm."
)
COMPLETION_FLAGS = ("-sc", "--shell-completion")

logger = logging.getLogger(__name__)


def rewrite(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, and the arguments as Hydra takes them.

    Hydra knows no command words and refuses numbers as options of a group: the first word that names a command is
    taken out, and `seed=3`, `seed=0,1,2`, `seed=range(0,10)` become `seed.value=...`. A flag between overrides, which
    Hydra's parser refuses, goes first.
    """
    command, rest = DEFAULT_COMMAND, []
    word_may_come = True
    for argument in arguments:
        if word_may_come and (named := command_of(argument)):
            command, word_may_come = named, False
            continue
        if "=" in argument:
            word_may_come = False
        elif word_may_come and argument[:1].isalpha() and rest[-1:] != ["--cfg"]:
            stop(
                f"`{argument}` is no command; there is {', '.join(commands())}.{did_you_mean(argument, commands())} "
                "Overrides have the form key=value.",
                2,
            )
        argument = long_form(argument, command)
        if argument in MULTIRUN_FLAGS:
            rest.insert(0, argument)
        else:
            rest.append(argument)
    return command, rest


def main() -> None:
    """The console script. Of the processes that torchrun or srun started together the first runs it."""
    try:
        together(run_command_line, help_command_line)
    except UserError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("Stopped.", 130)


def help_command_line(task: bytes) -> None:
    """Help the first process with a task of the command that was typed."""
    _helper_of_command_line()(task)


@cache
def _helper_of_command_line() -> Callable[[bytes], None]:
    from neglab.compose import compose
    from neglab.helper import Helper

    command, rest = rewrite(sys.argv[1:])
    return Helper(compose([word for word in rest if not word.startswith("-")], command))


def run_command_line() -> None:
    """What was typed."""
    typed = sys.argv[1:]
    if "--version" in typed:
        print(f"neglab {version()}")
        return
    if "--help" in typed or "-h" in typed:
        try:
            print(page(typed))
        except UserError as error:
            stop(str(error), 2)
        return
    with with_own_folders(typed):
        command, rest = rewrite(typed)
    completes = any(flag in rest for flag in COMPLETION_FLAGS)
    if completes and "COMP_LINE" in os.environ:
        command, os.environ["COMP_LINE"] = completed(os.environ["COMP_LINE"])
    if several_processes() and any(flag in rest for flag in MULTIRUN_FLAGS):
        stop(NO_SWEEP)
    with with_own_folders(rest):
        if not completes:  # its words, such as install=bash, are Hydra's own
            check_keys((word for word in rest if "=" in word and not word.startswith("-")), command)
        # In place: processes that Hydra or Lightning start read the same arguments.
        sys.argv[1:] = rest
        run_hydra(command, shlex.join(["neglab", *typed]))


def completed(line: str) -> tuple[str, str]:
    """The command of a line that a shell completes, and the line without it: Hydra completes overrides alone.

    Command words are offered here, as long as there is neither a command nor an override.
    """
    program, *words = line.split(" ")
    chosen = next((word for word in words[:-1] if word in commands()), None)
    if chosen is None and "=" not in line:
        print("\n".join(name for name in commands() if name.startswith(words[-1])))
        return DEFAULT_COMMAND, line
    return chosen or DEFAULT_COMMAND, " ".join([program, *(word for word in words if word != chosen)])


def run_hydra(command: str, line: str) -> None:
    """Compose the command's config and run its task, in one run or in a sweep.

    Args:
        command: which.
        line: as it was typed.
    """
    from hydra import main as hydra_main

    gc.disable()  # the libraries make half a million objects that stay: looking through them is a fifth of the start
    prepare_process()
    received = end_on_sigterm()
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors on instead of printing them its own way
    task = Task(command, show_traceback)
    try:
        hydra_main(version_base="1.3", config_path=str(configs_folder()), config_name=command)(task)()
    except KeyboardInterrupt:
        reason = "Stopped by SIGTERM" if received else "Stopped"
        stop(
            f"{reason}. What was finished is in the store; it goes on from there with\n  {line}",
            143 if received else 130,
        )
    except Exception as error:
        message = users_mistake(error)
        if message is None or show_traceback:
            raise
        stop(message)


def prepare_process() -> None:
    """What Hydra needs in each process that composes a config."""
    from neglab.compose import register_resolvers

    register_resolvers()
    # It is meant so: a preset of ours keeps to the plugin's keys.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


def gpu_of_job(number: int) -> str:
    """CUDA_VISIBLE_DEVICES of a sweep's job: of the GPUs seen here the one with its number, counted round.

    A process sees but one GPU from its first job on and keeps it: CUDA cannot change it any more.
    """
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return gpus[number % len(gpus)] if gpus else ""


class Task:
    """What Hydra calls with a composed config; imports the heavy libraries only then.

    Attributes:
        launched: torchrun or srun started the command itself. Otherwise they may start the jobs of its sweep.
        show_traceback: of a user's mistake too.
    """

    def __init__(self, command: str, show_traceback: bool = False) -> None:
        self.command, self.launched, self.show_traceback = command, several_processes(), show_traceback
        self.__name__ = self.__qualname__ = command

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that a launcher of jobs started."""
        self.__dict__.update(state)
        prepare_process()

    def __call__(self, config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from neglab.helper import Helper

        hydra = HydraConfig.get()
        if self.launched and hydra.mode == RunMode.MULTIRUN:  # an experiment may be a sweep by itself
            stop(NO_SWEEP)
        if hydra.mode == RunMode.MULTIRUN and hydra.runtime.choices["hydra/launcher"] == "joblib":
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu_of_job(hydra.job.num)
            multiprocessing.set_start_method(None, force=True)  # joblib's own cannot start a loader's workers
        from neglab.results.failures import forget_failure, record_failure
        from neglab.run_log import start_log

        folder, in_sweep = Path(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN
        start_log(folder, hydra.verbose, config.get("log_level", "warning"))
        try:
            forget_failure(folder)
            logger.info("neglab %s begins: %s", self.command, shlex.join(hydra.overrides.task))
            result = self.run(config) if self.launched else together(lambda: self.run(config), Helper(config))
            logger.info("neglab %s has finished", self.command)
            return result
        except Exception as error:
            if self.show_traceback and not in_sweep:
                raise
            message = users_mistake(error)
            if in_sweep:
                # Hydra would leave a sweep without its end; `AggregateSeeds` sees to the exit status.
                record_failure(folder, error, message)
                return math.nan
            with suppress(UserError, OSError):  # a full disk takes no reason either
                record_failure(folder, error, message)
            if message is not None:
                stop(message)  # now: Hydra would print a line of its own above it
            raise SystemExit(1) from None  # the traceback is on the screen

    def run(self, config: Any) -> Any:
        """The command's task, once there is one process or a trainer that uses all."""
        from neglab.compose import check_config

        strategy = config.get("trainer", {}).get("strategy", "ddp")
        if several_processes() and strategy != "ddp":
            raise UserError(
                "Several processes, as torchrun or srun start them, need trainer=multi_node; got a trainer with "
                f"strategy={strategy}, which would leave all but one idle. Choose trainer=multi_node, or start one."
            )
        with hidden("wandb"):  # timm would import it for its own training, and a run that logs with it does so later
            check_config(config)  # imports the classes of the config
            task = import_module(f"neglab.tasks.{self.command}")
        if not gc.isenabled():
            gc.freeze()  # what is there by now stays, and is never looked through again while the command runs
            atexit.register(gc.unfreeze)  # so that libraries find nothing left over at the end
            gc.enable()
        return task.run(config)


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """A package that no one has imported yet is not there for those that would take it along."""
    if package in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[package] = None
    try:
        yield
    finally:
        del modules[package]


def stop(message: str, status: int = 1) -> NoReturn:
    """Say what went wrong and leave."""
    print(f"\n{message}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
