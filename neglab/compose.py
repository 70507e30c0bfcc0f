"""Finds the YAML configs, composes them and builds what they describe. Imports no torch before it builds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from neglab.errors import UserError

if TYPE_CHECKING:
    from neglab.pipeline import Parts

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


def build(config: DictConfig) -> "Parts":
    """The objects of a config's groups."""
    from neglab.pipeline import Parts
    from neglab.store import Store

    if not isinstance(config.seed.value, int):
        raise UserError(f"The seed must be an integer; got seed={config.seed.value}. A sweep: -m seed=0,1,2")
    if not config.ood_datasets:
        raise UserError("At least one OOD set is needed; got none. Choose one with ood_datasets=, such as emoji.")
    return Parts(
        backbone=instantiate(config.backbone),
        id_dataset=instantiate(config.id_dataset),
        id_images=instantiate(config.id_images),
        ood_datasets={str(name): instantiate(dataset) for name, dataset in config.ood_datasets.items()},
        corpus=instantiate(config.corpus),
        prompts=instantiate(config.prompt),
        selector=instantiate(config.negative_selector),
        label_filter=instantiate(config.llm_filter),
        score=instantiate(config.score),
        stream=instantiate(config.stream),
        loading=instantiate(config.data),
        devices=instantiate(config.trainer),
        store=Store(config.paths.store),
    )
