"""Every YAML composes, names its source, and builds an object of its own room."""

from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import MissingMandatoryValue, OmegaConf

from neglab.compose import compose, settled
from neglab.config_files import configs_folder

CONFIGS = configs_folder()
YAMLS = sorted(CONFIGS.rglob("*.yaml"))
ROOMS = {"data": "embedding", "hydra": "tasks"}
ROOMS |= dict.fromkeys(("id_dataset", "ood_datasets", "id_images"), "data")
COMMANDS = {"prompt_learner": "learn"}  # groups that `evaluate` lacks
OPTIONS = [path.relative_to(CONFIGS).with_suffix("") for path in YAMLS if path.parent != CONFIGS]
OPTIONS = [option for option in OPTIONS if option.parts[0] not in ("hydra", "experiment")]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_yaml_begins_with_its_source(path):
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    assert lines[0].startswith("# ") and len(lines[0]) > 20


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_builds(option, tmp_path):
    group, name = option.parts
    config = compose([f"{group}={name}"], COMMANDS.get(group, "evaluate"), tmp_path)
    try:
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue:
        assert OmegaConf.missing_keys(config.get(group, config))
        return
    nodes = config.ood_datasets.values() if group == "ood_datasets" else [config.get(group, {})]
    for node in nodes:
        if isinstance(node, str) or "_target_" not in node:
            continue
        room = "embedding" if name == "ray" else "passes" if group == "trainer" else ROOMS.get(group, group)
        assert node["_target_"].split(".")[:2] == ["neglab", room]
        get_class(node["_target_"])
        if group != "backbone" or name == "mini":  # others would fetch weights
            instantiate(settled(node, lambda: 100.0) if group == "score" else node)


def test_presets_name_every_method_group_that_they_need():
    for path in (CONFIGS / "method").glob("*.yaml"):
        text = path.read_text()
        for group in ("prompt", "negative_selector", "llm_filter", "score"):
            assert f"override /{group}:" in text, f"{path} leaves {group} open"


def test_the_command_line_wins_over_a_preset():
    assert compose(["method=mcm", "prompt=plain"]).prompt.noun == ["{}"]
    assert compose(["method=mcm"]).score._target_.endswith("MCMScore")
    assert Path(compose([]).paths.assets).is_dir()
