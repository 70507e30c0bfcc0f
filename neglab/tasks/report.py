"""`neglab report`: all results below a folder in one place, beside the published numbers."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from neglab.store import write_atomically
from neglab.tasks.aggregate import aggregate, collect_rows, markdown, summary_tables
from neglab.tasks.published import compare, comparison_tables
from neglab.tasks.results import write_rows
from neglab.types import UserError

FOLDERS = ("multirun", "outputs")  # where runs leave their results


def run(config: DictConfig) -> None:
    """Average the results over seeds and compare them; writes report.csv and report.md and shows the tables.

    Raises:
        UserError: no such folder, no results below it, or a damaged file.
    """
    folders = list(map(Path, FOLDERS)) if config.results is None else [Path(str(config.results)).expanduser()]
    if config.results is not None and not folders[0].is_dir():
        raise UserError(f"results must be a folder; got {folders[0]}. Give that of a run, of a sweep, or one above.")
    rows = aggregate([row for folder in folders for row in collect_rows(folder)])
    if not rows:
        raise UserError(
            f"A report needs a finished run; there is no results.csv below {' or '.join(map(str, folders))}. "
            "Run something first, or say where the results are: neglab report results=FOLDER"
        )
    compared = compare(rows)
    tables = [*summary_tables(rows), *comparison_tables(compared)]
    folder, console = Path(config.paths.output), Console()
    write_rows(folder / "report.csv", compared)
    write_atomically(folder / "report.md", "\n".join(map(markdown, tables)).encode())
    console.print(*tables, sep="\n")
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)
