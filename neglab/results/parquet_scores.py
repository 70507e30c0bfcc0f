"""A table of scores as Parquet: columns, in groups of rows, with a checksum for each page. Slow to import."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
from jaxtyping import Float
from pyarrow import parquet
from torch import Tensor

from neglab.files import DamagedError, open_regular, written_atomically

Chunk = tuple[Sequence[str], Tensor, Tensor, Tensor]  # of a `ScoreTable`: paths, scores, labels, predicted


def write_table(path: Path, columns: Sequence[str], chunks: Iterable[Chunk], id_names: Sequence[str]) -> None:
    """Write path, score, class and predicted class, a group of rows for each chunk.

    Raises:
        UserError: the disk is full.
    """
    name, names = pyarrow.string(), pyarrow.array([*id_names, ""])
    kinds = (name, pyarrow.float64(), *2 * [pyarrow.dictionary(pyarrow.int32(), name)])
    schema = pyarrow.schema(list(zip(columns, kinds, strict=True)))
    with written_atomically(path, None) as file, _writer(file, schema) as writer:
        for paths, scores, labels, predicted in chunks:
            places = (labels.where(labels >= 0, len(id_names)), predicted)
            classes = [pyarrow.DictionaryArray.from_arrays(place.int().numpy(), names) for place in places]
            cells = [pyarrow.array(paths, name), pyarrow.array(scores.double().numpy()), *classes]
            writer.write_table(pyarrow.table(cells, schema=schema))


def read_columns(path: Path, columns: Sequence[str]) -> list[list[Any]]:
    """Whole columns. Errors are those of `_opened`."""
    with _opened(path) as table:
        return [table.read(columns=[name])[name].to_pylist() for name in columns]


def read_batches(path: Path, size: int) -> Iterator[Float[Tensor, " _"]]:
    """The scores, so many at a time. Errors are those of `_opened`."""
    with _opened(path) as table:
        for batch in table.iter_batches(size, columns=["id_score"]):
            yield torch.from_numpy(np.array(batch.column(0)))


def _writer(file: Any, schema: pyarrow.Schema) -> parquet.ParquetWriter:
    return parquet.ParquetWriter(file, schema, write_page_checksum=True)


@contextmanager
def _opened(path: Path) -> Iterator[parquet.ParquetFile]:
    """A table of scores, looked at before anything of it is read.

    Raises:
        OSError: there is none.
        DamagedError: it is none, has other columns, or more rows than it can hold.
    """
    try:
        with open_regular(path) as file:
            table = parquet.ParquetFile(file, page_checksum_verification=True)
            schema, size = table.schema_arrow, path.stat().st_size
            if table.metadata.num_rows > size:
                raise DamagedError(f"{table.metadata.num_rows} rows in {size} bytes")
            if schema.field("path").type != pyarrow.string() or schema.field("id_score").type != pyarrow.float64():
                raise DamagedError("its columns are others")
            yield table
    except (pyarrow.ArrowException, KeyError) as error:
        raise DamagedError(str(error)) from error
