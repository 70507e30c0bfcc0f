"""How time and memory grow: NegLabel's score as C, M and N grow by 10 each, the embedding pass on 1 and 2 processes.

The plot is outputs/benchmarks/scaling.png. Scoring is linear in N (C + M); its memory is the bank, the embeddings
and a chunk of logits that does not grow. A billion images, by this arithmetic: 1e9 x 512 x 4 bytes are 2.0 TB of
embeddings; at 1,000 + 10,000 labels their products are 1e9 x 2 x 11,000 x 512 = 1.1e16 operations, about 20 minutes
at 10 TFLOP/s, and ViT-B/16's forward pass is 3.5e19, 3,000 times more.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure as Picture
from torch.nn.functional import normalize

from benchmarks.figure import FOLDER, Figure, Ratio, report, seconds
from benchmarks.image_pass import PROMPTS, write_jpegs
from benchmarks.labels import DIM, random_labels
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import PACKAGE
from neglab.data.image_folder import ImageFolder
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.store import Store
from neglab.passes.prediction import Devices
from neglab.plots.detection import save_figure
from neglab.score.neglabel import NegLabelScore
from neglab.types import TextBank

LETTERS = ("C", "M", "N")


def kibibytes(field: str) -> int:
    """Of this process's memory, by Linux's account; 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def score(num_classes: int, num_negatives: int, num_images: int) -> tuple[float, float]:
    """Seconds, and how many MiB the process's memory rose above what bank and images take."""
    torch.manual_seed(0)
    bank = TextBank(random_labels(num_classes), random_labels(num_negatives), 100.0)
    images = normalize(torch.randn(num_images, DIM), dim=1)
    neglabel = NegLabelScore(num_groups=10, temperature=0.01, group_seed=0)
    if kibibytes("VmHWM"):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, begin = kibibytes("VmRSS"), time.perf_counter()
    neglabel.step(neglabel.prepare(bank), images)
    return time.perf_counter() - begin, (kibibytes("VmHWM") - before) / 1024


def embed(folder: Path, num_processes: int) -> torch.Tensor:
    """The shipped model's embeddings of a folder of JPEGs."""
    model = f"local-dir:{PACKAGE / 'assets' / 'mini'}"
    backbone = OpenCLIPBackbone(model, None, precision="fp32", long_texts="error", transform="model", compile=False)
    strategy = "ddp_spawn" if num_processes > 1 else "auto"
    devices = Devices("cpu", num_processes, strategy, progress_bar=False)
    with TemporaryDirectory() as store:
        embedder = Embedder(backbone, PROMPTS, Store(store), devices, Loading(16, 16, 0, 0, 16))
        images = ImageFolder(str(folder), labelled=True, class_names=None, folders=None, about=None)
        return embedder.embed({"images": images}, [])[0]["images"].embeddings


def draw(found: dict[str, list[tuple[int, float, float]]], path: Path, growing: str) -> None:
    """Seconds and memory against what grows, both on log axes."""
    picture = Picture(figsize=(8, 3.4), layout="constrained")
    panels = picture.subplots(1, 2)
    for letter, points in found.items():
        factors, times, peaks = zip(*points, strict=True)
        panels[0].loglog(factors, times, marker="o", label=letter)
        panels[1].loglog(factors, [max(peak, 1.0) for peak in peaks], marker="o", label=letter)
    for panel, heading in zip(panels, ("seconds", "peak memory, MiB"), strict=True):
        panel.set(xlabel=growing, title=heading)
    picture.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_figure(picture, path)


def measure(
    smallest: tuple[int, int, int] = (100, 1_000, 1_000),
    factors: tuple[int, ...] = (1, 10, 100),
    num_jpegs: int = 512,
    processes: tuple[int, ...] = (1, 2),
) -> Figure:
    """Each of C, M, N grows alone; the other two keep their smallest size."""
    score(*smallest)  # what is started once does not count
    found: dict[str, list[tuple[int, float, float]]] = {}
    for place, letter in enumerate(LETTERS):
        found[letter] = []
        for factor in factors:
            sizes = tuple(size * factor if i == place else size for i, size in enumerate(smallest))
            found[letter].append((factor, *score(*sizes)))
    draw(found, FOLDER / "scaling.png", "times as large")
    embedded: dict[int, torch.Tensor] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_jpegs(folder / "class", num_jpegs)
        ways = {
            f"{count} process(es)": lambda count=count: embedded.update({count: embed(folder, count)})
            for count in processes
        }
        times = seconds(ways, repeats=1)
    one, *more = times.values()
    growth = {letter: points[-1][1] / points[-2][1] for letter, points in found.items()}
    step = factors[-1] / factors[-2]
    return Figure(
        what=f"NegLabel score from C, M, N = {smallest} up to {factors[-1]} times one of them",
        plain="the same work at the size before, and in one process",
        ratios=(
            *(Ratio(f"time of {step:g} x {letter} / of 1 x", value) for letter, value in growth.items()),
            *(Ratio("embedding pass, 1 process / several, with their start", one / other) for other in more),
        ),
        difference=max(float((found - embedded[processes[0]]).abs().max()) for found in embedded.values()),
        tolerance=0.0,
        details={"factor, seconds, peak MiB": found, "seconds of the embedding pass": times},
    )


if __name__ == "__main__":
    report("scaling", measure)
