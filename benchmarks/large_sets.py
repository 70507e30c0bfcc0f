"""How time and memory grow with the images of a set, before and after the towers: 10^5 and 10^6 of them, all made up.

No picture is decoded and no file is read: what is measured is the look-up of a set's files in their table of digests,
the way of the towers' rows from the parts of a pass to the entry in the store, and that of the scores to tables and
metrics. The plain way merges all parts, and sorts all scores, in memory. Memory is what is the process's own (RssAnon):
files mapped into memory do not count, for the system takes them away when it needs the room.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from unittest.mock import patch

import torch
from safetensors.torch import save
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report
from benchmarks.scaling import kibibytes
from neglab.embedding import file_digests
from neglab.embedding.file_digests import content_digests
from neglab.embedding.store import Store
from neglab.metrics import DetectionMetrics
from neglab.metrics.merged import SortedScores
from neglab.parts import Rows, merge_parts, read_parts, write_part
from neglab.results.score_tables import read_batches, write_scores
from neglab.types import ScoredPair, ScoreTable

SECONDS, MEBIBYTES = "seconds", "peak MiB"
BATCH = 256


@contextmanager
def watched(found: dict[str, float]) -> Iterator[None]:
    """Note seconds, and how many MiB the process's own memory rose."""
    over, peak = Event(), [0]

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], kibibytes("RssAnon"))

    before, begin, watcher = kibibytes("RssAnon"), time.perf_counter(), Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        found[SECONDS] = time.perf_counter() - begin
        over.set()
        watcher.join()
        found[MEBIBYTES] = max(peak[0] - before, 0) / 1024


def write_pass(folder: Path, num_images: int, dim: int, part_rows: int) -> None:
    """What the towers leave: batches of two processes, in parts."""
    batches = torch.arange(num_images).split(BATCH)
    for own in (batches[::2], batches[1::2]):
        for index in torch.cat([*own, torch.empty(0, dtype=torch.long)]).split(part_rows):
            write_part(folder, {"index": index, "embeddings": torch.randn(len(index), dim)})


def normalised(parts: list[Rows]) -> Iterator[Rows]:
    for part in parts:
        yield {"index": part["index"], "embeddings": normalize(part["embeddings"], dim=1)}


def look_up(folder: Path, num_images: int) -> dict[str, float]:
    """The second look at a set's files."""
    paths, found = [Path(f"/set/{i % 1000}/{i}.jpg") for i in range(num_images)], {}
    with (
        patch.object(file_digests, "stamp", lambda path: (1, 2, 3, 4)),
        patch.object(file_digests, "file_digest", lambda path: "0f" * 32),
    ):
        content_digests(folder, paths)
        with watched(found):
            assert len(content_digests(folder, paths)) == num_images
    return found


def ways(folder: Path, num_images: int, dim: int, part_rows: int) -> tuple[dict[str, dict[str, float]], float]:
    """What each way takes, and the largest difference of what they leave."""
    write_pass(folder / "parts", num_images, dim, part_rows)
    entry, shape = Store(folder).entry({"benchmark": num_images}), (num_images, dim)
    streamed, plain = {}, {}
    with watched(streamed):
        entry.write_parts(normalised(read_parts(folder / "parts")), shape, {})
    with watched(plain):
        merged = normalize(merge_parts(read_parts(folder / "parts"), num_images)["embeddings"], dim=1)
        (folder / "plain").write_bytes(save({"embeddings": merged}))
    stored = entry.read(*shape)
    assert stored is not None
    return {"part by part": streamed, "plain": plain}, float((stored[0] - merged).abs().max())


def scores(folder: Path, num_images: int, rows: int) -> tuple[dict[str, dict[str, float]], float]:
    """What it takes to leave the scores of so many ID and OOD images in tables, and to measure them from there.

    Args:
        folder: for the tables.
        num_images: of each kind.
        rows: scores that are sorted at once; the plain way sorts all in memory.
    """
    classes, paths = torch.zeros(num_images, dtype=torch.long), ("/set/image.jpg",) * num_images
    tables = [ScoreTable(name, torch.randn(num_images), classes, classes, paths) for name in ("id", "ood")]
    written, sorted_on_disk, sorted_in_memory = {}, {}, {}
    with watched(written):
        write_scores(folder, [ScoredPair(*tables)], ("cat",), "parquet")
    (folder / "runs").mkdir()
    with watched(sorted_on_disk):
        merged = SortedScores(folder / "runs", rows)
        for name, is_id in (("id", True), ("ood", False)):
            for batch in read_batches(folder / "scores" / f"{name}.parquet"):
                merged.add(batch, torch.full((len(batch),), is_id))
        found = merged.metrics()
    plain = DetectionMetrics()
    with watched(sorted_in_memory):
        for table in tables:
            plain.update(table.scores, torch.full((num_images,), table.dataset == "id"))
        expected = plain.compute()
    difference = max(abs(found[name] - float(value)) for name, value in expected.items() if not name.startswith("aupr"))
    return {"score tables": written, "metrics": sorted_on_disk, "plain metrics": sorted_in_memory}, difference


def measure(sizes: tuple[int, ...] = (100_000, 1_000_000), dim: int = 64, part_rows: int = 20_000) -> Figure:
    """Each size in turn."""
    found, difference = {}, 0.0
    for num_images in sizes:
        with TemporaryDirectory() as place:
            taken, apart = ways(Path(place), num_images, dim, part_rows)
            scored, wrong = scores(Path(place), num_images, part_rows)
            found[num_images] = {**taken, **scored, "digests": look_up(Path(place), num_images)}
            difference = max(difference, apart, wrong)
    small, large = (found[size] for size in sizes[-2:])
    growth = {way: large[way][SECONDS] / small[way][SECONDS] for way in large}
    step, embeddings = sizes[-1] / sizes[-2], 4 * dim * sizes[-1] / 2**20
    memory = {way: max(taken[MEBIBYTES], 0.01) / embeddings for way, taken in large.items()}
    return Figure(
        what=f"{' and '.join(f'{size:,}' for size in sizes)} images, D = {dim}: digests, rows into the store, scores",
        plain="merges all rows in memory",
        ratios=(
            Ratio("peak memory / embeddings", memory["part by part"], 0.5, at_most=True),
            Ratio("plain peak memory / embeddings", memory["plain"]),
            Ratio(f"time of {step:g} x N / of N, rows", growth["part by part"], 2 * step, at_most=True),
            Ratio(f"time of {step:g} x N / of N, digests", growth["digests"], 2 * step, at_most=True),
            Ratio(f"time of {step:g} x N / of N, score tables", growth["score tables"], 2 * step, at_most=True),
            Ratio(f"time of {step:g} x N / of N, metrics", growth["metrics"], 2 * step, at_most=True),
        ),
        difference=difference,
        tolerance=0.0,
        details=found,
    )


if __name__ == "__main__":
    report("large_sets", measure)
