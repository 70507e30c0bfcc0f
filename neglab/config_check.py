"""Holds the values of a config to what is declared of them, before anything is built.

A constructor declares its group's keys by the annotations of its parameters, ranges included. The keys of root configs,
which no constructor takes, stand in `OPTIONS`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from neglab.config_files import SHORT_FORMS
from neglab.errors import UserError
from neglab.ranges import Cosine, Count, CountOrZero, OpenShare, Port, Positive, Seed

Validator = Callable[[Any], Any]  # returns the value, or raises a ValidationError

OPTIONS: dict[str, Any] = {
    "seed.value": Seed,
    "plots": bool,
    "score_tables": Literal["csv", "parquet"],
    "threshold": float | None,
    "id_acceptance": OpenShare,
    "confidence": OpenShare,
    "margin": OpenShare,
    "num_thumbnails": CountOrZero,
    "decent": bool,
    "upright": bool,
    "explain.num_labels": Count,
    "explain.num_examples": Count,
    "explain.temperature": Positive | None,  # pyright: ignore[reportOperatorIssue]
    "explain.match_threshold": Cosine | None,  # pyright: ignore[reportOperatorIssue]
    "explain.recall": OpenShare,
    "explain.seed": Seed,
    "learn.precision": Literal["32-true", "16-mixed", "bf16-mixed"],
    "learn.prompts_per_pass": Count,
    "learn.allow_fewer_images": bool,
    "learn.test": bool,
    "negation.seed": Seed,
    "negation.pairs": Sequence[Sequence[str]],
    "num_examples": CountOrZero,
    "pictures": str | Sequence[str],
    "bootstrap.resamples": Count | None,  # pyright: ignore[reportOperatorIssue]
    "bootstrap.level": OpenShare,
    "bootstrap.seed": Seed,
    "device": str | None,
    "host": str,
    "port": Port,
    "num_negatives": CountOrZero,
    "url_hosts": Sequence[str],
    "log_level": Literal["debug", "info", "warning", "error"],
    "file": str | None,
    "format": Literal["onnx", "torch_export"],
}
# A number is no text, a whole one no truth value, and neither NaN nor infinite.
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
TYPED = {long: short for short, (long, command) in SHORT_FORMS.items() if command is None}
ID = "id"  # the ID set's name among the embedded sets and in scores/
ID_IMAGES = "id images"  # the few ID images' name among the embedded sets
MEAN = "mean"  # over the OOD sets, in tables and metrics
SET_NAME = re.compile(rf"(?!({ID}|{MEAN}|{ID_IMAGES})$)[^\W_][\w .+-]{{0,49}}")
RESERVED = "id_"  # scores/id_SET.csv holds the ID images as the stream of that set meets them
OWN_TEMPERATURE = "backbone"  # what stands for the model's own, in the place of a number
WITH_OWN_TEMPERATURE = ("score", "explain")
FOLDERS = "roots"  # of `ood_datasets=image_folders`: a folder by the name of each set
LIST_ERRORS = ("is_instance_of", "sequence_str")  # pydantic's, where a list was expected


def check_values(settings: Mapping[str, Any]) -> None:
    """Raise a UserError, with the key's name, where a value is not of the declared type and range.

    Args:
        settings: a config as plain values; keys without a value are left out.
    """
    sets = settings.get("ood_datasets") or {}
    roots = sets.get(FOLDERS)
    for name in (*sets, *(roots if isinstance(roots, Mapping) else ())):
        check_set_name(str(name))
    for key, value, validate in declared("", settings):
        _checked(key, value, validate)


def checked_parameters(target: str, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The arguments of a constructor, whole numbers as floats where it takes those.

    Args:
        target: the class, by its dotted name.
        values: the arguments, objects among them.
        key: of the config that the values stand below.

    Raises:
        UserError: one is not what the class declares.
    """
    known = parameters(target)
    return {
        name: _checked(f"{key}.{name}", value, known[name]) if name in known else value
        for name, value in values.items()
    }


def _checked(key: str, value: Any, validate: Validator) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise UserError(
            f"{TYPED.get(key, key)} must {_rule(error)}; got {value!r:.100}. The command's --help page shows its usual "
            "value."
        ) from None


def check_set_name(name: str) -> None:
    """Raise a UserError where an OOD set's name cannot be that of a file, of a column and of one set alone."""
    if not SET_NAME.fullmatch(name) or name.startswith(RESERVED):
        raise UserError(
            "An OOD set's name, its key in ood_datasets, must be at most 50 letters, digits, spaces and . _ + -, "
            f"begin with a letter or digit, and be neither id nor mean nor begin with id_; got {name!r:.100}. Rename "
            "it."
        )


@cache
def parameters(target: str) -> dict[str, Validator]:
    """What a class's constructor takes, by name; empty where none can be found, which is said when it is built."""
    module, _, name = target.rpartition(".")
    try:
        constructed = getattr(import_module(module), name)
        made_by = constructed.__init__ if isinstance(constructed, type) else constructed
        hints = get_type_hints(made_by, include_extras=True)
    except (ImportError, AttributeError, ValueError, NameError, TypeError):
        return {}
    found = {name: _validator(hint) for name, hint in hints.items() if name != "return"}
    return {name: validate for name, validate in found.items() if validate is not None}


def _validator(hint: Any) -> Validator | None:
    try:
        return TypeAdapter(hint, config=STRICT).validate_python
    except PydanticUserError:  # no type of a config's values, such as a tensor
        return None


def declared(place: str, node: Any) -> Iterator[tuple[str, Any, Validator]]:
    """Each value of which something is declared, with its dotted key."""
    if isinstance(node, Mapping):
        known = parameters(str(node["_target_"])) if "_target_" in node else {}
        for name, value in node.items():
            key = f"{place}.{name}".lstrip(".")
            validate = known.get(name) or (_validator_of_option(key) if key in OPTIONS else None)
            if validate is not None and not _builds(value) and not is_own_temperature(key, value):
                yield key, value, validate
            yield from declared(key, value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from declared(f"{place}.{number}", value)


def is_own_temperature(key: str, value: Any) -> bool:
    """A score's temperature is to be the model's; `neglab.compose.settled` puts the number in."""
    return value == OWN_TEMPERATURE and key.endswith(".temperature") and key.split(".")[0] in WITH_OWN_TEMPERATURE


@cache
def _validator_of_option(key: str) -> Validator:
    return TypeAdapter(OPTIONS[key], config=STRICT).validate_python


def _builds(value: Any) -> bool:
    """It stands for an object, or for a list or mapping of some."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_builds, value.values()))
    return isinstance(value, list) and any(map(_builds, value))


def _rule(error: ValidationError) -> str:
    """What the value must be, as pydantic says it."""
    errors = error.errors()
    # Who gave a number is told of numbers, though a mapping would do as well.
    errors = [found for found in errors if found["type"] != "dict_type"] or errors
    rules = ["be a list" if found["type"] in LIST_ERRORS else found["msg"] for found in errors]
    return " or ".join(dict.fromkeys(re.sub(r"^\w+ should ", "", rule) for rule in rules)).replace(" or be ", " or ")
