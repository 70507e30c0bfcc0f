"""A key that nothing reads is refused, whether it is changed or added, with the nearest one."""

import pytest

from neglab.compose import compose
from neglab.config_files import commands, with_own_folders
from neglab.help import page
from neglab.typed_overrides import check_keys
from neglab.types import UserError


@pytest.mark.parametrize(
    ("override", "command", "nearest"),
    [
        ("metod=mcm", "evaluate", "method"),
        ("+metod=mcm", "evaluate", "method"),
        ("++plot=false", "evaluate", "plots"),
        ("treshold=0.5", "detect", "threshold"),
        ("+bootstrap.resample=5", "report", "bootstrap.resamples"),
        ("explain.num_label=5", "explain", "explain.num_labels"),
    ],
)
def test_an_unknown_key(override, command, nearest):
    with pytest.raises(UserError, match=rf"has no key .* Did you mean {nearest}\?"):
        check_keys([override], command)


def test_known_keys_of_all_kinds():
    check_keys(["method=mcm", "score.anything=1", "+id_dataset@known.x=cifar10", "hydra.run.dir=x"], "evaluate")
    check_keys(["published.table=T1", "hydra/launcher=joblib", "~plots", "seed.value=0,1"], "evaluate")
    for command in commands():
        check_keys(["paths.store=x"], command)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("score.num_group=5", "no such key: score.num_group. Did you mean score.num_groups"),
        (["method=mcm", "negative_selector.fraction=0.5"], "chosen has no key negative_selector.fraction; those with"),
        ("method=negabel", "There is no method=negabel. Did you mean neglabel"),
    ],
)
def test_what_hydra_misses_is_said_without_its_advice(override, message):
    with pytest.raises(UserError, match=message) as raised:
        compose([override] if isinstance(override, str) else override)
    assert "append to your config" not in str(raised.value)


def test_options_of_ones_own_stand_in_the_help(tmp_path):
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "gap.yaml").write_text("# The gap of my own.\n_target_: mine.Gap\nweight: 1.0 # of it\n")
    typed = f"hydra.searchpath=[file://{tmp_path}]"
    shown = page(["score", typed, "--help"])
    assert "gap" in shown and "The gap of my own." in shown
    assert "score.weight=1.0" in page(["score=gap", typed])
    assert "gap" not in page(["score"])
    with with_own_folders([typed]):
        check_keys(["score=gap"], "evaluate")
