"""Finds the YAML configs and composes them, with or without a command line. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

PACKAGE = Path(__file__).parent


def configs_folder() -> Path:
    """`configs` beside the package in a checkout, inside it in a wheel.

    Looked for from the package itself: an editable install leaves a stale copy in site-packages.
    """
    beside = PACKAGE.parent / "configs"
    return beside if (beside / "evaluate.yaml").is_file() else PACKAGE / "configs"


def register_resolvers() -> None:
    """`${neglab.assets:}` in a YAML is the folder of what ships with the package."""
    OmegaConf.register_new_resolver("neglab.assets", lambda: str(PACKAGE / "assets"), replace=True)


def compose(overrides: Sequence[str] = (), command: str = "evaluate", output: str | Path = ".") -> DictConfig:
    """The config that `neglab COMMAND OVERRIDES...` would run with; `run` stands for Hydra's own part.

    Args:
        overrides: as on the command line, such as "method=mcm".
        command: which root config.
        output: stands for Hydra's run folder.
    """
    register_resolvers()
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        config = hydra_compose(command, overrides=list(overrides), return_hydra_config=True)
    with open_dict(config):
        config["run"] = {"choices": dict(config.hydra.runtime.choices), "overrides": list(config.hydra.overrides.task)}
        config["paths"]["output"] = str(output)
        del config["hydra"]
    return config
