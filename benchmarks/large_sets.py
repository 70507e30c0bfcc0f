"""How time and memory grow with the images of a set, before and after the towers: 10^4 to 10^6 of them, all made up.

No picture is decoded: what is measured is the list of a set's files, of those in tar shards and of those that a text
names, the look-up of these files in
their table of digests and of the pictures that two sets share, the way of the towers' rows from the parts of a pass to
the entry in the store, and that of the scores from the parts of theirs to tables and metrics. The plain way merges all
parts, and sorts all scores, in memory. Each step has a process of its own. Memory is what is the process's own
(RssAnon): files mapped into memory do not count, for the system takes them away when it needs the room.

The plot is outputs/benchmarks/large_sets.png.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save
from torch.nn.functional import normalize

import neglab.results.parquet_scores  # noqa: F401, whose import is not measured
from benchmarks.figure import FOLDER, Figure, Ratio, report
from benchmarks.scaling import draw, kibibytes
from neglab.columns import PathTexts
from neglab.data import webdataset
from neglab.data.base import ImageList
from neglab.data.image_list import ImageListFile
from neglab.data.shared import check_unshared
from neglab.data.tar import Member
from neglab.embedding import file_digests
from neglab.embedding.requests import ImageRequest
from neglab.embedding.store import Store
from neglab.metrics import DetectionMetrics
from neglab.metrics.merged import SortedScores
from neglab.parts import Rows, merge_parts, read_parts, write_part
from neglab.places import Places
from neglab.results.score_tables import read_batches, write_scores
from neglab.types import ScoredPair, ScoreTable

BATCH = 256
SEEN = (1, 2, 3, 4)  # how each file looks
DIGEST = "0f" * 32
SHARD = 10_000  # images in a tar shard
# Of memory for each image, at most.
BYTES = {"list of files": 64, "tar shards": 100, "list in a text": 160, "digests": 32, "shared pictures": 100}


class Taken(NamedTuple):
    """What a step took.

    Attributes:
        seconds: of the processor, whatever else the machine does.
        peak: MiB by which the process's own memory rose.
        outcome: a number that must not hang on the way.
    """

    seconds: float
    peak: float
    outcome: float


class Sizes(NamedTuple):
    """Of the made-up sets: images, numbers in a row, rows in a part and scores that are sorted at once."""

    num_images: int
    dim: int
    part_rows: int


@contextmanager
def watched(found: list[float]) -> Iterator[None]:
    """Note seconds of the processor, and how many MiB the process's own memory rose."""
    over, peak = Event(), [0]

    def watch() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], kibibytes("RssAnon"))

    before, begin, watcher = kibibytes("RssAnon"), time.process_time(), Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        found.append(time.process_time() - begin)
        over.set()
        watcher.join()
        found.append(max(peak[0] - before, kibibytes("RssAnon") - before, 0) / 1024)


def by_itself(step: Callable[[Path, Sizes, list[float]], float], folder: Path, sizes: Sizes) -> Taken:
    """What a step takes in a process of its own: memory that an earlier one has freed would hide its peak."""
    context: Any = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        torch.set_num_threads(1)  # those of the forking process are not here
        found: list[float] = []
        outcome = step(folder, sizes, found)
        sender.send((*found, outcome))

    process = context.Process(target=run)
    process.start()
    sender.close()
    taken = Taken(*receiver.recv())
    process.join()
    return taken


def write_pass(folder: Path, columns: Callable[[int], Rows], num_images: int, part_rows: int) -> None:
    """What a pass leaves: batches of two processes, in parts."""
    batches = torch.arange(num_images).split(BATCH)
    for own in (batches[::2], batches[1::2]):
        for index in torch.cat([*own, torch.empty(0, dtype=torch.long)]).split(part_rows):
            write_part(folder, {"index": index, **columns(len(index))})


def listed(num_images: int, folder: str = "/set") -> ImageList:
    """Files in folders of 1,000."""
    pairs = ((f"{folder}/{i // 1000:05d}", f"{i:08d}.jpg") for i in range(num_images))
    return ImageList.of_files(Places(Path, PathTexts(pairs)), (-1,) * num_images)


def list_files(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """What is kept of the files of a set."""
    with watched(found):
        images = listed(sizes.num_images)
    return float(len(images))


def list_shards(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """What is kept of a labelled set in tar shards, whose headers are made up."""
    (folder / "shards").mkdir()
    for start in range(0, sizes.num_images, SHARD):
        (folder / "shards" / f"{start:08d}.tar").write_bytes(b"01")  # the labels

    def members(shard: Path, content: mmap) -> Iterator[Member]:
        for i in range(int(shard.stem), min(int(shard.stem) + SHARD, sizes.num_images)):
            yield Member(f"{i:08d}.jpg", 1000 * i, 500)
            yield Member(f"{i:08d}.cls", i % 2, 1)

    dataset = webdataset.WebDataset(str(folder / "shards"), True, None, "cls", ["cat", "dog"], None)
    with patch.object(webdataset, "members", members), watched(found):
        images = dataset.images()
    return float(len(images))


def list_text(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """What is kept of a labelled set that a text lists."""
    with (folder / "list.txt").open("w") as file:
        file.writelines(f"{i // 1000:05d}/{i:08d}.jpg {i % 2}\n" for i in range(sizes.num_images))
    (folder / "00000").mkdir()
    (folder / "00000/00000000.jpg").touch()
    dataset = ImageListFile(str(folder), str(folder / "list.txt"), True, ["cat", "dog"], None)
    with watched(found):
        images = dataset.images()
    return float(len(images))


def look_up(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The second look at a set's files, and the set's key in the store."""
    images, store = listed(sizes.num_images), Store(folder)
    with ExitStack() as patched:
        patched.enter_context(patch.object(file_digests, "_look", lambda path: SEEN))
        patched.enter_context(patch.object(file_digests, "file_digest", lambda path: DIGEST))
        store.file_marks(images.sources.files()[0])
        with watched(found):
            request(store, images)
    return 0.0


def request(store: Store, images: ImageList, hashed: bool = True) -> ImageRequest:
    identity = {"kind": "image", "backbone": "benchmark"}
    return ImageRequest(store, identity, 64, images, hashed, lambda image: torch.empty(0), BATCH, True)


def compare(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The look for pictures that two sets share, which are told by their paths and looks."""
    store = Store(folder)
    with patch.object(file_digests, "_look", lambda path: SEEN):
        sets = {name: request(store, listed(sizes.num_images, f"/{name}"), hashed=False) for name in ("id", "ood")}
        with watched(found):
            check_unshared(sets, [("id", "ood")], allowed=False)
    return 0.0


def write_passes(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """What the passes through the towers, and over their rows, leave."""
    count, part_rows = sizes.num_images, sizes.part_rows
    with watched(found):
        write_pass(folder / "rows", lambda count: {"embeddings": torch.randn(count, sizes.dim)}, count, part_rows)
        for name in ("id", "ood"):
            write_pass(folder / name, scored, count, part_rows)
    return 0.0


def scored(count: int) -> Rows:
    return {"scores": torch.randn(count), "predicted": torch.zeros(count, dtype=torch.long)}


def normalised(parts: list[Rows]) -> Iterator[Rows]:
    for part in parts:
        yield {"index": part["index"], "embeddings": normalize(part["embeddings"], dim=1)}


def store_rows(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The rows of a pass become an entry in the store, part by part."""
    entry, shape = Store(folder).entry({"benchmark": sizes.num_images}), sizes[:2]
    with watched(found):
        entry.write_parts(normalised(read_parts(folder / "rows")), shape, {})
    stored = entry.read(*shape)
    assert stored is not None
    return float(stored[0].double().sum())


def store_rows_plainly(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The same, merged in memory."""
    with watched(found):
        merged = normalize(merge_parts(read_parts(folder / "rows"), sizes.num_images)["embeddings"], dim=1)
        (folder / "plain").write_bytes(save({"embeddings": merged}))
    return float(load_file(folder / "plain")["embeddings"].double().sum())


def tables(folder: Path, sizes: Sizes, on_disk: bool) -> list[ScoreTable]:
    """The scores of as many ID as OOD images."""
    labels, paths = torch.zeros(sizes.num_images, dtype=torch.long), listed(sizes.num_images).sources.names
    merged = {name: merge_parts(read_parts(folder / name), sizes.num_images, on_disk) for name in ("id", "ood")}
    return [ScoreTable(name, rows["scores"], labels, rows["predicted"], paths) for name, rows in merged.items()]


def write_score_tables(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The scores of a pass become tables."""
    with watched(found):
        pair = ScoredPair(*tables(folder, sizes, on_disk=True))
        write_scores(folder, [pair], ("cat",), "parquet")
    return 0.0


def measure_tables(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """Metrics from these tables, sorted on the disk."""
    (folder / "runs").mkdir()
    with watched(found):
        merged = SortedScores(folder / "runs", sizes.part_rows * 10)
        for name in ("id", "ood"):
            for batch in read_batches(folder / "scores" / f"{name}.parquet"):
                merged.add(batch, torch.full((len(batch),), name == "id"))
        metrics = merged.metrics()
    return metrics["auroc"] + metrics["fpr95_id_positive"] + metrics["fpr95_ood_positive"]


def measure_plainly(folder: Path, sizes: Sizes, found: list[float]) -> float:
    """The same, sorted in memory."""
    with watched(found):
        merged = DetectionMetrics()
        for table in tables(folder, sizes, on_disk=False):
            merged.update(table.scores, torch.full((sizes.num_images,), table.dataset == "id"))
        metrics = {name: float(value) for name, value in merged.compute().items()}
    return metrics["auroc"] + metrics["fpr95_id_positive"] + metrics["fpr95_ood_positive"]


STEPS = {
    "list of files": list_files,
    "tar shards": list_shards,
    "list in a text": list_text,
    "digests": look_up,
    "shared pictures": compare,
    "rows": store_rows,
    "plain rows": store_rows_plainly,
    "score tables": write_score_tables,
    "metrics": measure_tables,
    "plain metrics": measure_plainly,
}


def measure(sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000), dim: int = 64, part_rows: int = 20_000) -> Figure:
    """Each size in turn."""
    found: dict[int, dict[str, Taken]] = {}
    for num_images in sizes:
        size = Sizes(num_images, dim, part_rows)
        with TemporaryDirectory() as place:
            folder = Path(place)
            by_itself(write_passes, folder, size)
            found[num_images] = {name: by_itself(step, folder, size) for name, step in STEPS.items()}
    draw(
        {name: [(size, taken[name].seconds, taken[name].peak) for size, taken in found.items()] for name in STEPS},
        FOLDER / "large_sets.png",
        "images",
    )
    small, large = (found[size] for size in sizes[-2:])
    step, embeddings = sizes[-1] / sizes[-2], 4 * dim * sizes[-1] / 2**20
    bytes_each = {name: max(taken.peak * 2**20, 1) / sizes[-1] for name, taken in large.items()}
    ours = [name for name in STEPS if not name.startswith("plain")]
    times = {way: large[way].seconds / small[way].seconds for way in ours}
    pairs = [(taken[name], taken[f"plain {name}"]) for taken in found.values() for name in ("rows", "metrics")]
    return Figure(
        what=f"{' and '.join(f'{size:,}' for size in sizes)} images, D = {dim}: files, digests, rows, scores",
        plain="merges all rows, and sorts all scores, in memory",
        ratios=(
            Ratio("peak memory / embeddings", max(large["rows"].peak, 0.01) / embeddings, 0.5, at_most=True),
            Ratio("plain peak memory / embeddings", max(large["plain rows"].peak, 0.01) / embeddings),
            *(Ratio(f"{name}, peak bytes an image", bytes_each[name], BYTES.get(name), True) for name in ours),
            *(Ratio(f"time of {step:g} x N / of N, {way}", times[way], 2 * step, at_most=True) for way in ours),
        ),
        difference=max(abs(one.outcome - other.outcome) for one, other in pairs),
        tolerance=0.0,
        details={str(size): {way: one._asdict() for way, one in taken.items()} for size, taken in found.items()},
    )


if __name__ == "__main__":
    report("large_sets", measure)
