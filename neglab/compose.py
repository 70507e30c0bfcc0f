"""Composes the YAML configs and builds what they describe. Imports no torch before it builds."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from neglab.config_check import FOLDERS, OWN_TEMPERATURE, check_values
from neglab.config_files import PACKAGE, configs_folder, long_form, with_own_folders
from neglab.errors import UserError
from neglab.saved_config import portable
from neglab.typed_overrides import check_keys, explained
from neglab.typed_secrets import check_secrets

if TYPE_CHECKING:
    from neglab.modules.products import KeptProducts
    from neglab.pipeline import Embedded, Parts


def register_resolvers() -> None:
    """`${neglab.assets:}` in a YAML is the folder of what ships with the package."""
    OmegaConf.register_new_resolver("neglab.assets", lambda: str(PACKAGE / "assets"), replace=True)


def compose(overrides: Sequence[str] = (), command: str = "evaluate", output: str | Path = ".") -> DictConfig:
    """The config that `neglab COMMAND OVERRIDES...` would run with; `run` stands for Hydra's own part.

    Args:
        overrides: as on the command line, such as "method=mcm" or "seed=3".
        command: which root config.
        output: stands for Hydra's run folder.

    Raises:
        UserError: there is no such key or option, or a value is not what its key takes.
    """
    register_resolvers()
    with initialize_config_dir(str(configs_folder()), version_base="1.3"), with_own_folders(overrides):
        longer = [long_form(override, command) for override in overrides]
        check_keys(longer, command)
        try:
            config = hydra_compose(command, overrides=longer, return_hydra_config=True)
        except HydraException as error:
            raise UserError(explained(f"{error}\n{error.__cause__ or ''}".strip())) from error
    with open_dict(config):
        config["run"] = {"choices": dict(config.hydra.runtime.choices), "overrides": list(config.hydra.overrides.task)}
        config["paths"]["output"] = str(output)
        del config["hydra"]
    check_config(config)
    return config


def resolved(config: DictConfig, groups: Sequence[str]) -> dict[str, Any]:
    """These groups as plain values for a file; `neglab.saved_config.construct` builds them again."""
    return {group: portable(OmegaConf.to_container(config[group], resolve=True)) for group in groups}


def check_config(config: DictConfig) -> None:
    """Raise a UserError where a value is not what is declared of its key, or a secret, before anything is built."""
    settings = plain(config)
    check_secrets(settings)
    check_values(settings)


def plain(node: Any) -> Any:
    """Plain values. A key without one, or one that hangs on another's, is left out: it is missed where it is needed."""
    if isinstance(node, ListConfig):
        return OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, DictConfig):
        return node
    found = {}
    for key in node:
        with suppress(MissingMandatoryValue, InterpolationResolutionError):
            found[str(key)] = plain(node[key])
    return found


def make(node: Any) -> Any:
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


def settled(node: Any, logit_scale: Callable[[], float]) -> Any:
    """A config as plain values, with the model's own temperature, 1 / logit scale, where `backbone` stands for it.

    The rule: a score that is defined on a model's logits (`msp`, `energy`, `gen`, `vim`) takes the model's temperature;
    one that was published with a number for cosines takes that number. Either is an override away.

    Args:
        node: of a score, at any depth.
        logit_scale: of the backbone, asked for only where it is needed.
    """
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, dict):
        return node
    own = {"temperature": 1 / logit_scale()} if node.get("temperature") == OWN_TEMPERATURE else {}
    return {str(name): settled(value, logit_scale) for name, value in node.items()} | own


def ood_nodes(config: DictConfig) -> dict[str, Any]:
    """The config of each OOD set, by its name; of `ood_datasets=image_folders`, of each folder in `roots`.

    Raises:
        UserError: `roots` is no mapping from names to folders.
    """
    names = list(config.get("ood_datasets") or {})  # a key without a value counts here
    nodes = {str(name): config.ood_datasets[name] for name in names if name != FOLDERS}
    if FOLDERS in names:
        roots = plain(config.ood_datasets).get(FOLDERS)
        if not isinstance(roots, dict) or not all(isinstance(root, str) for root in roots.values()):
            raise UserError(
                f"ood_datasets.{FOLDERS} must name a folder for each set; got {roots}. For example: "
                f"'ood_datasets.{FOLDERS}={{animals: photos/animals, plants: photos/plants}}'"
            )
        alike = {"labelled": False, "class_names": None, "folders": None, "about": None}
        for name, root in roots.items():
            nodes[name] = OmegaConf.create({"_target_": "neglab.data.image_folder.ImageFolder", "root": root, **alike})
    return nodes


@dataclass
class Kept:
    """What one job of a sweep leaves to the next, so that a hundred settings load and read once.

    Attributes:
        made: the last object of each group, behind the resolved config that it was made from.
        embedded: what the towers made of the last job's images and names.
        products: of these images with the labels of earlier jobs; None: there are no others.
    """

    made: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    embedded: "Embedded | None" = None
    products: "KeptProducts | None" = None

    def make(self, group: str, node: DictConfig) -> Any:
        """The group's object: the last one where its config is the same, otherwise a new one."""
        setting = OmegaConf.to_container(node, resolve=True)
        if group not in self.made or self.made[group][0] != setting:
            self.made.pop(group, None)  # first, since two backbones may not fit into memory
            self.made[group] = (setting, make(node))
        return self.made[group][1]


def build(config: DictConfig, kept: Kept | None = None) -> "Parts":
    """The objects of a config's groups; ID images only where the method needs them.

    Args:
        config: of the job.
        kept: of the sweep's earlier jobs: where a group's config is the same, its object is the same.

    Raises:
        UserError: a value is not what its key takes, a benchmark has no OOD set, or the ID images that the method needs
            are not named.
    """
    from neglab.embedding.store import Store
    from neglab.pipeline import Parts

    check_config(config)
    if "ood_datasets" in config and not config.ood_datasets:
        raise UserError("At least one OOD set is needed; got none. Choose one with ood_datasets=, such as emoji.")
    kept = kept or Kept()
    once, is_first = kept.make, "backbone" not in kept.made
    id_dataset = once("id_dataset", config.id_dataset)
    ood_sets = {name: once(f"ood_datasets.{name}", node) for name, node in ood_nodes(config).items()}
    if is_first:  # before weights are loaded or fetched
        for dataset in (id_dataset, *ood_sets.values()):
            dataset.look()
    selector = once("negative_selector", config.negative_selector)
    score = make(settled(config.score, lambda: once("backbone", config.backbone).logit_scale))
    needs_id_images = selector.needs_id_images or score.needs_id_images
    if needs_id_images and OmegaConf.missing_keys(config.id_images):
        raise UserError(
            "This method learns the classes from a few ID images; got none. Give a folder with one subfolder per "
            "class, named as the class: id_images=image_folder id_images.dataset.root=FOLDER"
        )
    id_images = once("id_images", config.id_images) if needs_id_images else None
    if is_first and id_images is not None:
        id_images.look()
    return Parts(
        backbone=once("backbone", config.backbone),
        id_dataset=id_dataset,
        id_images=id_images,
        ood_datasets=ood_sets,
        corpus=once("corpus", config.corpus),
        prompts=once("prompt", config.prompt),
        selector=selector,
        label_filter=make(config.llm_filter),
        score=score,
        stream=make(config.stream),
        loading=make(config.data),
        devices=make(config.trainer),
        store=Store(config.paths.store),
    )
