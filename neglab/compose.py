"""Finds the YAML configs, composes them and builds what they describe. Imports no torch before it builds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from neglab.errors import UserError

if TYPE_CHECKING:
    from neglab.pipeline import Parts

PACKAGE = Path(__file__).parent
ASSETS = "${neglab.assets:}"
# What stands for a longer key, by command: Hydra refuses numbers and folders as options of a group.
SHORT_FORMS = {"seed": ("seed.value", None), "id_images": ("id_images.dataset.root", "detect")}


def configs_folder() -> Path:
    """`configs` beside the package in a checkout, inside it in a wheel.

    Looked for from the package itself: an editable install leaves a stale copy in site-packages.
    """
    beside = PACKAGE.parent / "configs"
    return beside if (beside / "evaluate.yaml").is_file() else PACKAGE / "configs"


def register_resolvers() -> None:
    """`${neglab.assets:}` in a YAML is the folder of what ships with the package."""
    OmegaConf.register_new_resolver("neglab.assets", lambda: str(PACKAGE / "assets"), replace=True)


def long_form(override: str, command: str) -> str:
    """The override as Hydra takes it: `seed=3` becomes `seed.value=3`, `detect`'s `id_images=FOLDER` names a root."""
    name, _, value = override.partition("=")
    key, only_for = SHORT_FORMS.get(name, (name, None))
    is_option = (configs_folder() / name / f"{value}.yaml").is_file()
    return f"{key}={value}" if value and not is_option and only_for in (None, command) else override


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


def build(config: DictConfig) -> "Parts":
    """The objects of a config's groups; ID images only where the method needs them.

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
    return Parts(
        backbone=_made(config.backbone),
        id_dataset=_made(config.id_dataset),
        id_images=_made(config.id_images) if needs_id_images else None,
        ood_datasets={str(name): _made(dataset) for name, dataset in config.get("ood_datasets", {}).items()},
        corpus=_made(config.corpus),
        prompts=_made(config.prompt),
        selector=selector,
        label_filter=_made(config.llm_filter),
        score=score,
        stream=_made(config.stream),
        loading=_made(config.data),
        devices=_made(config.trainer),
        store=Store(config.paths.store),
    )
