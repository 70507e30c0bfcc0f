"""Every numeric key of every YAML refuses what is no number of its range, by name and before anything is built."""

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from neglab.compose import compose, plain
from neglab.config_check import OPTIONS, TYPED, check_set_name, check_values, declared
from neglab.config_files import commands, configs_folder
from neglab.types import UserError

CONFIGS = configs_folder()
GROUPS = sorted({path.parent.name for path in CONFIGS.glob("*/*.yaml")} - {"experiment", "hydra", "method"})
COMMANDS = {"prompt_learner": "learn"}  # groups that `evaluate` lacks
# Any finite number: in units of a score, or of a similarity that may be a negated distance.
UNBOUNDED = {"threshold", "NegLabelFormScore.threshold"}
# Their constructors check the ranges, or a number does no harm.
CHECKED_LATER = ("neglab.chat.", "neglab.llm_filter.", "neglab.data.base.About")


class Place:
    """A key of a config: its node among the plain values, and the node that it stands in."""

    def __init__(self, settings, key):
        *path, self.name = key.split(".")
        self.settings, self.key, self.node = settings, key, settings
        for step in path:
            self.node = self.node[step]
        self.target = self.node.get("_target_", "")

    def message(self, value):
        """What is said of another value; None: it is accepted."""
        before, self.node[self.name] = self.node[self.name], value
        try:
            check_values(self.settings)
        except UserError as error:
            return str(error)
        finally:
            self.node[self.name] = before
        return None

    def is_refused(self, value):
        return (self.message(value) or "").startswith(f"{TYPED.get(self.key, self.key)} must be ")

    def is_numeric(self):
        return None in (self.message(1), self.message(0.5)) and self.message(object()) is not None


def numeric_places(settings):
    return [place for key, _, _ in declared("", settings) if (place := Place(settings, key)).is_numeric()]


def options(group):
    """The options of a group, one for each set of classes and keys."""
    found = {}
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        text = path.read_text()
        content = yaml.safe_load(text)
        if group == "ood_datasets":  # below the set's name
            content = [value for name, value in content.items() if name != "defaults"]
        shape = (*sorted(keys(content)), *(line for line in text.splitlines() if "_target_" in line))
        found.setdefault(shape, path.stem)
    return found.values()


def keys(node):
    if isinstance(node, dict):
        return [key for name, value in node.items() for key in [str(name), *keys(value)]]
    return [key for value in node for key in keys(value)] if isinstance(node, list) else []


def check_places(settings):
    places = numeric_places(settings)
    for place in places:
        for value in (math.nan, math.inf, -math.inf, "abc", [], {"a": 1}, True):
            assert place.is_refused(value), (place.key, value)
        kind = f"{place.target.rpartition('.')[2]}.{place.name}".lstrip(".")
        if kind not in UNBOUNDED and not place.target.startswith(CHECKED_LATER):
            assert place.is_refused(-(10**9)), f"{place.key} has no lower end"
            assert place.is_refused(2.0**70) or place.message(0.5) is None, f"{place.key} takes what torch cannot hold"
    return places


@pytest.mark.parametrize("group", GROUPS)
def test_every_number_of_a_group_is_checked(group):
    for option in options(group):
        settings = plain(compose([f"{group}={option}"], COMMANDS.get(group, "evaluate")))
        check_places({group: settings.get(group)})
        known = {key for key, _, _ in declared("", settings)}  # a mapping's numbers are declared with it
        undeclared = {key for key in numbers(settings.get(group), group) if not {key, key.rpartition(".")[0]} & known}
        assert not undeclared, f"{group}={option}: nothing is declared of {undeclared}"


@pytest.mark.parametrize("command", commands())
def test_every_number_of_a_command_is_checked(command):
    settings = plain(compose([], command))
    own = {key: value for key, value in settings.items() if key not in GROUPS or key == "seed"}
    found = {place.key for place in check_places(own)}
    assert set(numbers(own, "")) <= found, f"add it to {OPTIONS.keys()}"


def numbers(node, key):
    """The keys that a YAML gives a number to."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from numbers(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SCORE = plain(compose(["score=adaneg"]))["score"]


@given(key=st.sampled_from(sorted(SCORE.keys() - {"_target_"})), value=JSON)
def test_whatever_stands_in_place_of_a_value_is_refused_by_name_or_fits(key, value):
    message = Place({"score": dict(SCORE)}, f"score.{key}").message(value)
    if message is None:
        assert isinstance(value, type(SCORE[key])) or (isinstance(SCORE[key], float) and type(value) is int)
    else:
        assert message.startswith(f"score.{key} must be ")


def test_the_message_has_rule_value_and_advice():
    with pytest.raises(UserError, match=r"^seed must be a valid integer; got 'abc'\. The command's --help"):
        compose(["seed=abc"])
    with pytest.raises(UserError, match=r"^score\.temperature must be greater than 0; got -1\. "):
        compose(["score.temperature=-1"])
    with pytest.raises(UserError, match=r"^learn\.prompts_per_pass must be greater than or equal to 1; got 0\. "):
        compose(["learn.prompts_per_pass=0"], "learn")
    with pytest.raises(UserError, match=r"^pictures must be a valid string or a list; got 3\. "):
        compose(["pictures=3"], "report")
    with pytest.raises(UserError, match=r"^score\.shrinkage must be a valid number or 'ledoit_wolf'; got 'oas'\. "):
        compose(["score=mahalanobis", "score.shrinkage=oas"])


BAD_NAMES = [
    "../../evil",
    "a/b",
    "a\\b",
    ".hidden",
    "",
    " ",
    "-x",
    "=x",
    "id",
    "mean",
    "id images",
    "id_near",
    "a" * 51,
]
BAD_NAMES += ["a\nb", "a\n", "<script>", "a|b", "nul\0", "con:", "a*"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_set_name_is_that_of_a_file_and_of_a_column(name):
    with pytest.raises(UserError, match="An OOD set's name, its key in ood_datasets"):
        check_values({"ood_datasets": {name: {}}})


@pytest.mark.parametrize("name", ["near", "Größe 2", "ssb_hard", "C-10.1", "idea", "means", "猫", "a+b"])
def test_other_set_names_are_welcome(name):
    check_values({"ood_datasets": {name: {}}})


def test_every_shipped_set_has_such_a_name():
    texts = [path.read_text() for path in (CONFIGS / "ood_datasets").glob("*.yaml")]
    names = {name for text in texts for name in [*yaml.safe_load(text), *re.findall(r"@(\w+):", text)]} - {"defaults"}
    assert len(names) > 20
    for name in names:
        check_set_name(name)


def test_a_class_of_the_users_own_is_held_to_its_annotations(tmp_path, monkeypatch):
    (tmp_path / "own_scores.py").write_text("class Own:\n    def __init__(self, weight: float, name) -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"score": {"_target_": "own_scores.Own", "weight": 0.5, "name": math.nan}}
    check_values(settings)
    settings["score"]["weight"] = "heavy"
    with pytest.raises(UserError, match=r"score\.weight must be a valid number"):
        check_values(settings)
    check_values({"score": {"_target_": "not_there.Own", "weight": "heavy"}})  # said when it is built
