"""Reads what an offline W&B run has written, without an account and without W&B's own reader."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, RECORD_HEADER = 7, 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class OfflineRun(NamedTuple):
    """A run as W&B's server would have it after `wandb sync`; nested keys are joined by "/"."""

    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]
    summary: dict[str, Any]
    exit_code: int
    media: Path
    tables: dict[str, dict[str, Path]]  # a table's name, its files' names and where they lie

    def rows(self, table: str) -> list[dict[str, Any]]:
        content = json.loads(self.tables[table][f"{table}.table.json"].read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def picture(self, name: str) -> Image.Image:
        return read_picture(self.media / self.summary[f"{name}/path"])

    def cell(self, table: str, cell: dict[str, Any]) -> Image.Image:
        return read_picture(self.tables[table][cell["path"]])


def read_picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def records(content: bytes) -> Iterator[bytes]:
    """LevelDB's log: blocks of 32 KiB; a record that does not fit goes on in the next block."""
    place, parts = HEADER, b""
    while place + RECORD_HEADER <= len(content):
        if BLOCK - place % BLOCK < RECORD_HEADER:  # too short for a record: filled with zeros
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        assert kind in (FULL, FIRST, MIDDLE, LAST)
        parts += content[place + RECORD_HEADER : place + RECORD_HEADER + length]
        if kind in (FULL, LAST):
            yield parts
            parts = b""
        place += RECORD_HEADER + length


def read_offline_run(path: Path) -> OfflineRun:
    """The run of one `.wandb` file."""
    run: Any = None
    exit_code, config, summary, tables = -1, {}, {}, {}
    for record in map(Record.FromString, records(path.read_bytes())):
        if record.HasField("run"):
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if record.HasField("artifact"):
            name = record.artifact.name.removeprefix(f"run-{run.run_id}-")
            tables[name] = {item.path: Path(item.local_path) for item in record.artifact.manifest.contents}
        if record.HasField("exit"):
            exit_code = record.exit.exit_code
    labels = (run.run_group, run.job_type, list(run.tags))
    return OfflineRun(*labels, config, summary, exit_code, path.parent / "files", tables)
