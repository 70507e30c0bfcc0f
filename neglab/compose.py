"""Composes the YAML configs and builds what they describe. Imports no torch before it builds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from neglab.config_files import PACKAGE, configs_folder, long_form
from neglab.errors import UserError

if TYPE_CHECKING:
    from neglab.pipeline import Embedded, Parts

ASSETS = "${neglab.assets:}"


def register_resolvers() -> None:
    """`${neglab.assets:}` in a YAML is the folder of what ships with the package."""
    OmegaConf.register_new_resolver("neglab.assets", lambda: str(PACKAGE / "assets"), replace=True)


def compose(overrides: Sequence[str] = (), command: str = "evaluate", output: str | Path = ".") -> DictConfig:
    """The config that `neglab COMMAND OVERRIDES...` would run with; `run` stands for Hydra's own part.

    Args:
        overrides: as on the command line, such as "method=mcm" or "seed=3".
        command: which root config.
        output: stands for Hydra's run folder.
    """
    register_resolvers()
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        longer = [long_form(override, command) for override in overrides]
        config = hydra_compose(command, overrides=longer, return_hydra_config=True)
    with open_dict(config):
        config["run"] = {"choices": dict(config.hydra.runtime.choices), "overrides": list(config.hydra.overrides.task)}
        config["paths"]["output"] = str(output)
        del config["hydra"]
    return config


def resolved(config: DictConfig, groups: Sequence[str]) -> dict[str, Any]:
    """These groups as plain values, what ships with the package by its place there: `construct` builds them again."""
    return {group: _portable(OmegaConf.to_container(config[group], resolve=True)) for group in groups}


def construct(node: dict[str, Any]) -> Any:
    """The object of a group that `resolved` has written down.

    Raises:
        UserError: it would run other code than that of a class of neglab; the file may come from anyone.
    """
    for target in _targets(node):
        if not target.startswith("neglab.") or get_class(target).__module__ != target.rpartition(".")[0]:
            raise UserError(f"A saved config may build classes of neglab alone; got {target}. Do not trust its file.")
    register_resolvers()
    return _made(node)


def _made(node: Any) -> Any:
    """The object of a config. A user's mistake comes as it was raised, not in Hydra's wrapping."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _targets(value: Any) -> list[str]:
    """What a config would build, at any depth."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [str(value["_target_"])] if isinstance(value, dict) and "_target_" in value else []
    return own + [target for item in items for target in _targets(item)]


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return value.replace(str(PACKAGE / "assets"), ASSETS) if isinstance(value, str) else value


def check_seed(config: DictConfig) -> None:
    """Raise a UserError where the seed is no integer."""
    if not isinstance(config.seed.value, int):
        raise UserError(f"The seed must be an integer; got seed={config.seed.value}. A sweep: -m seed=0,1,2")


@dataclass
class Kept:
    """What one job of a sweep leaves to the next, so that a hundred settings load and read once.

    Attributes:
        made: the last object of each group, behind the resolved config that it was made from.
        embedded: what the towers made of the last job's images and names.
    """

    made: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    embedded: "Embedded | None" = None

    def make(self, group: str, node: DictConfig) -> Any:
        """The group's object: the last one where its config is the same, otherwise a new one."""
        setting = OmegaConf.to_container(node, resolve=True)
        if group not in self.made or self.made[group][0] != setting:
            self.made.pop(group, None)  # first, since two backbones may not fit into memory
            self.made[group] = (setting, _made(node))
        return self.made[group][1]


def build(config: DictConfig, kept: Kept | None = None) -> "Parts":
    """The objects of a config's groups; ID images only where the method needs them.

    Args:
        config: of the job.
        kept: of the sweep's earlier jobs: where a group's config is the same, its object is the same.

    Raises:
        UserError: the seed is no integer, a benchmark has no OOD set, or ID images are needed and none are named.
    """
    from neglab.pipeline import Parts
    from neglab.store import Store

    check_seed(config)
    if "ood_datasets" in config and not config.ood_datasets:
        raise UserError("At least one OOD set is needed; got none. Choose one with ood_datasets=, such as emoji.")
    selector, score = _made(config.negative_selector), _made(config.score)
    needs_id_images = selector.needs_id_images or score.needs_id_images
    if needs_id_images and OmegaConf.missing_keys(config.id_images):
        raise UserError(
            "This method learns the classes from a few ID images; got none. Give a folder with one subfolder per "
            "class, named as the class: id_images=image_folder id_images.dataset.root=FOLDER"
        )
    make = (kept or Kept()).make
    ood_datasets = config.get("ood_datasets", {})
    return Parts(
        backbone=make("backbone", config.backbone),
        id_dataset=make("id_dataset", config.id_dataset),
        id_images=make("id_images", config.id_images) if needs_id_images else None,
        ood_datasets={str(name): make(f"ood_datasets.{name}", ood_datasets[name]) for name in ood_datasets},
        corpus=make("corpus", config.corpus),
        prompts=make("prompt", config.prompt),
        selector=selector,
        label_filter=_made(config.llm_filter),
        score=score,
        stream=_made(config.stream),
        loading=_made(config.data),
        devices=_made(config.trainer),
        store=Store(config.paths.store),
    )
