"""The reader of YAML files takes from them what Hydra composes, and the comments beside it."""

import pytest
import yaml
from omegaconf import OmegaConf

from neglab import config_files
from neglab.compose import compose
from neglab.config_files import commands, configs_folder, options, settings


@pytest.mark.parametrize(
    "option",
    ["score/interneg_paper", "prompt/csp", "id_images/emoji", "ood_datasets/emoji", "ood_datasets/image_folder"],
)
def test_an_option_has_the_values_that_hydra_composes(option):
    group, name = option.split("/")
    found = settings(option, group).values
    config = compose([f"{group}={name}"])
    composed = OmegaConf.to_container(config[group])
    for key, (value, _) in found.items():
        node = composed
        for part in key.split(".")[1:]:
            node = node[part]
        assert yaml.safe_load(value) == node, key


def test_every_file_can_be_read():
    assert all(settings(command).choices for command in commands())
    for folder in filter(lambda path: path.is_dir(), configs_folder().iterdir()):
        for name in options(folder.name):
            found = settings(f"{folder.name}/{name}", folder.name)
            assert all(value and key for key, (value, _) in found.values.items())


def test_where_comments_and_values_come_from(tmp_path, monkeypatch):
    (tmp_path / "evaluate.yaml").write_text("")
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "first.yaml").write_text(
        "# What it is.\nrate: 0.5 # eta\nnames: # of things\n  - a b # one\n  - c\n# Above,\n# on two.\ndepth: 2\n"
    )
    (tmp_path / "score" / "second.yaml").write_text(
        "# Another.\ndefaults:\n  - first\n  - override /corpus: file # a list\nrate: 0.7\ninner:\n  url: a#b\n"
    )
    monkeypatch.setattr(config_files, "configs_folder", lambda: tmp_path)
    found = settings("score/second", "score")
    assert found.choices == {"corpus": ("file", "a list")}
    assert found.values == {
        "score.rate": ("0.7", "eta"),
        "score.names": ('["a b", "c"]', "of things"),
        "score.depth": ("2", "Above, on two."),
        "score.inner.url": ("a#b", ""),
    }
