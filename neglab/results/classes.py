"""Which class name belongs to which folder or label of the ID set: where this is wrong, all numbers are."""

from pathlib import Path

from rich.console import Console

from neglab.data.base import ImageDataset
from neglab.results.results import write_csv

NUM_SHOWN = 5  # classes on the console
COLUMNS = ("index", "key", "class_name")


def write_class_table(folder: Path, dataset: ImageDataset, console: Console) -> None:
    """Write classes.csv and print its first rows."""
    names = dataset.class_names().names
    keys = dataset.class_keys() or [str(i) for i in range(len(names))]
    rows = list(zip(range(len(names)), keys, names, strict=True))
    write_csv(folder / "classes.csv", COLUMNS, rows)
    shown = ", ".join(f"{key} = {name}" for _, key, name in rows[:NUM_SHOWN])
    more = f", ... {len(rows)} in all (classes.csv)" if len(rows) > NUM_SHOWN else ""
    console.print(f"ID classes: {shown}{more}", highlight=False, markup=False, soft_wrap=True)
