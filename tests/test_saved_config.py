"""The groups of a saved detector are data: whatever stands there, only classes of their own room are built."""

import copy
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neglab import saved_config
from neglab.compose import compose, resolved
from neglab.prompt.templates import PromptTemplates
from neglab.saved_config import NAMED_IN, construct
from neglab.score.mcm import MCMScore
from neglab.types import UserError

MCM = {"_target_": "neglab.score.mcm.MCMScore", "temperature": 1.0}
LSN = "neglab.score.lsn.LSNScore"


def test_what_is_saved_is_built_again():
    assert NAMED_IN.keys() == {"backbone", "prompt", "score"}
    saved = json.loads(json.dumps(resolved(compose(["method=mcm"], "detect"), list(NAMED_IN))))
    assert saved["backbone"]["model"].startswith("local-dir:${neglab.assets:}/")
    assert construct("score", saved["score"]).temperature == 1
    assert isinstance(construct("prompt", saved["prompt"]), PromptTemplates)
    assert construct("backbone", saved["backbone"]).fingerprint


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "subprocess.Popen", "pathlib.Path.write_text", "neglab.cli.main", "neglab.embedding.store.Path",
        "neglab.embedding.store.Store", "neglab.prompt.templates.PromptTemplates", "builtins.eval", "", None, 3,
        ["os.system"], "neglab.chat.openai_api.OpenAIChat", "neglab.chat.captions.Captioner",
    ],
)  # fmt: skip
def test_no_other_class_is_built(target):
    for node in ({"_target_": target}, MCM | {"temperature": {"_target_": target, "args": "true"}}):
        with pytest.raises(UserError, match=r"(?s)the classes of neglab's own score configs alone.*Do not trust"):
            construct("score", node)


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${neglab.assets:}${oc.create:{a: 1}}", "a${", "${neglab.assets}"])
def test_no_reference_is_resolved(text, monkeypatch):
    monkeypatch.setenv("HOME", "secret")
    for node in (MCM | {"temperature": text}, MCM | {"temperature": [{"deep": text}]}):
        with pytest.raises(UserError, match="holds plain values"):
            construct("score", node)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (None, "must name a class"),
        ([MCM], "must name a class"),
        ({"temperature": 1.0}, "must name a class"),
        ({"_target_": MCM["_target_"]}, "does not fit MCMScore: missing a required argument"),
        (MCM | {"_partial_": True}, "unexpected keyword argument '_partial_'"),
        (MCM | {"_args_": [1.0]}, "unexpected keyword argument '_args_'"),
        (MCM | {"": 1}, "does not fit MCMScore"),
        (MCM | {"temperature": float("nan")}, "score.temperature must be a finite number"),
        (MCM | {"temperature": "hot"}, "score.temperature must be a valid number"),
        (MCM | {"temperature": MCM}, "score.temperature must be a valid number"),
    ],
)
def test_what_does_not_fit_is_said(node, message):
    with pytest.raises(UserError, match=message):
        construct("score", node)


def test_a_nested_object_must_be_of_the_declared_class():
    cocoop = {"_target_": "neglab.score.cocoop.CoCoOpScore", "checkpoint": None, "temperature": 1.0}
    cocoop["prompts_per_pass"] = 1
    lsn = {"_target_": LSN, "form": "paper", "temperature": 1, "negative_temperature": 5}
    lsn |= {"positive_weight": 1, "negative_weight": 1}
    assert construct("score", cocoop | {"lsn": lsn}).lsn.form == "paper"
    with pytest.raises(UserError, match=r"score\.lsn must be"):
        construct("score", cocoop | {"lsn": MCM})


def test_nesting_has_an_end():
    deep: object = 1.0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UserError, match="nested too deep"):
        construct("score", MCM | {"temperature": deep})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([LSN, "os.system", "${a}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["_target_", "temperature"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_document_is_built_or_refused(node):
    before = copy.deepcopy(node)
    for candidate in (node, MCM | {"temperature": node}, MCM | (node if isinstance(node, dict) else {})):
        with suppress(UserError):
            assert isinstance(construct("score", candidate), MCMScore)
    assert repr(before) == repr(node)


def test_nothing_else_instantiates_a_saved_config():
    text = Path(saved_config.__file__).read_text()
    assert "hydra" not in text and "omegaconf" not in text.lower()
