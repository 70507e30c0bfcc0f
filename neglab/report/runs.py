"""The runs below a folder: what each left, with which command it was started, and which never finished."""

import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Float
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor
from yaml import YAMLError

from neglab.files import read_bytes, read_json
from neglab.results.aggregate import read_results, result_files
from neglab.results.examples import Example, read_examples
from neglab.results.labels import settled
from neglab.results.results import SEEDS, method_label, unreadable
from neglab.results.score_tables import find_table, read_scores
from neglab.types import UserError

PICTURES = {"score_histograms.png": "Histograms of the scores", "roc_curves.png": "ROC curves"}
UNKNOWN = "unknown: the run's folder holds no .hydra/overrides.yaml"

Result = TypeVar("Result")
Row = dict[str, Any]
Setting = tuple[str, str, str, str, str]
Scores = tuple[tuple[str, ...], Float[Tensor, " _"]]  # paths and ID scores, by path


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        rows: of its results.csv.
    """

    folder: Path
    rows: tuple[Row, ...]

    @property
    def setting(self) -> Setting:
        return setting(self.rows[0])

    @property
    def seeds(self) -> tuple[str, ...]:
        return tuple(str(self.rows[0].get(name, "")) for name in SEEDS)

    @property
    def ood_datasets(self) -> list[str]:
        return [row["ood_dataset"] for row in self.rows if row["ood_dataset"] != "mean"]

    @property
    def title(self) -> str:
        return f"{method_label(self.rows[0])} seed {self.seeds[0]}"

    def pictures(self) -> list[tuple[bytes, str]]:
        """Those that the run drew, each with what it shows.

        Raises:
            UserError: one is damaged.
        """
        paths = {self.folder / name: f"{what} of {self.title}" for name, what in PICTURES.items()}
        # A link in a run folder of someone else may lead to any picture of this machine.
        own = {path: text for path, text in paths.items() if path.is_file() and not path.is_symlink()}
        return [(_read_picture(path), text) for path, text in own.items()]

    def examples(self) -> list[Example]:
        """The images whose score is most wrong; none where the run left none.

        Raises:
            UserError: the file is damaged.
        """
        path = self.folder / "examples.csv"
        return read_examples(path) if path.is_file() else []

    def environment(self) -> dict[str, str]:
        """What computed it, with the command as it was typed; empty where the run left no environment.json.

        Raises:
            UserError: the file is damaged.
        """
        path = self.folder / "environment.json"
        return _read_environment(path) if path.is_file() else {}

    def scores(self) -> dict[str, tuple[Scores, Scores]] | None:
        """By OOD set, the scores of the ID images and of its own; None: the run's folder has lost some.

        Raises:
            UserError: a file is damaged.
        """
        found: dict[str, tuple[Scores, Scores]] = {}
        read = cache(read_scores)
        for name in self.ood_datasets:
            # Where each OOD set's stream scores the ID images anew, they stand beside that set's.
            known = find_table(self.folder, f"id_{name}") or find_table(self.folder, "id")
            strange = find_table(self.folder, name)
            if known is None or strange is None:
                return None
            found[name] = read(known), read(strange)
        return found


def setting(row: Mapping[str, Any]) -> Setting:
    """What a row of the report's tables stands for: ID set, benchmark, stream, resolved config and method."""
    id_dataset, benchmark, config = (str(row.get(name, "")) for name in ("id_dataset", "benchmark", "config"))
    return id_dataset, benchmark, str(row.get("stream", "none")), config, method_label(row)


def settled_runs(runs: Sequence[Run]) -> list[Run]:
    """The same runs, those of equal settings under one name."""
    rows = iter(settled([row for run in runs for row in run.rows]))
    return [replace(run, rows=tuple(next(rows) for _ in run.rows)) for run in runs]


def whole(read: Callable[[], Result], damaged: list[str]) -> Result | None:
    """What a run's file says. None where it is damaged: one line more in `damaged`, and the report goes on."""
    try:
        return read()
    except UserError as error:
        if str(error) not in damaged:
            damaged.append(str(error))
        return None


def find_runs(folder: Path, damaged: list[str]) -> list[Run]:
    """The finished runs below a folder; those whose results cannot be read go to `damaged`."""
    found = ((path.parent, whole(partial(read_results, path), damaged)) for path in result_files(folder))
    return [Run(path, tuple(rows)) for path, rows in found if rows is not None]


def unfinished_runs(folder: Path) -> list[Path]:
    """Folders where a benchmark was to be scored and no result lies: killed, failed or still running."""
    started = (path.parent.parent for path in sorted(folder.rglob(".hydra/hydra.yaml")))
    return [path for path in started if not (path / "results.csv").is_file() and _command_word(path) == "evaluate"]


def command(folder: Path) -> str:
    """As it would be typed in a shell."""
    overrides = _load(folder / ".hydra/overrides.yaml")
    if not isinstance(overrides, list):
        return UNKNOWN
    word = _command_word(folder)
    return shlex.join(["neglab", *([] if word == "evaluate" else [word]), *map(str, overrides)])


def _command_word(folder: Path) -> str:
    """A command's word is the name of its root config."""
    found = _load(folder / ".hydra/hydra.yaml")
    for key in ("hydra", "job", "config_name"):
        found = found.get(key) if isinstance(found, dict) else None
    return str(found or "evaluate")


def _load(path: Path) -> Any:
    """A YAML file as plain values; None where a killed run left none, or half of one."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
        return None


def _read_environment(path: Path) -> dict[str, str]:
    try:
        found = read_json(path, dict)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return {str(name): str(value) for name, value in found.items()}


def _read_picture(path: Path) -> bytes:
    try:
        content = read_bytes(path)
        Image.open(io.BytesIO(content)).verify()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's decoders raise more than OSError
        raise unreadable(path, error) from error
    return content


def by_setting(runs: Sequence[Run]) -> dict[Setting, list[Run]]:
    """The runs of each setting, one per seed: the same seed twice is one observation."""
    found: dict[Setting, dict[tuple[str, ...], Run]] = {}
    for run in runs:
        found.setdefault(run.setting, {})[run.seeds] = run
    return {key: list(members.values()) for key, members in found.items()}
