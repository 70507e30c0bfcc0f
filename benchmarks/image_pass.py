"""A folder of JPEGs through the embedder into the store, against the loader that the official codes use.

The bare limits are decoding alone, in as many processes, and the forward pass alone. Where both want every core, as on
a CPU, no pipeline takes less time than their CPU seconds together over the number of cores: that bound is given too.
"""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder as TorchvisionFolder

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.base import Backbone
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.image_folder import ImageFolder
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.store import Store
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates

WIDTH, HEIGHT = 500, 375  # of ImageNet's median image
BATCH = 256
NUM_WORKERS = 2
PROMPTS = PromptTemplates(["a photo of a {}"], ["a photo of a {}"], True)
DEVICES = Devices("auto", 1, "auto", progress_bar=False)


def write_jpegs(folder: Path, count: int) -> None:
    """Smooth colours with some noise: about as large and as costly to decode as photographs."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        colours = Image.fromarray(draw.integers(0, 256, (25, 34, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + draw.integers(-10, 11, smooth.shape, dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=90)


class DecodedOnly(TorchvisionFolder):
    """Decodes and transforms, and hands on nothing but the label."""

    def __getitem__(self, index: int) -> tuple[int, int]:
        _, label = super().__getitem__(index)
        return label, label


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ours(backbone: Backbone, folder: Path) -> torch.Tensor:
    with TemporaryDirectory() as store:
        loading = Loading(BATCH, BATCH, NUM_WORKERS, 0, BATCH)
        embedder = Embedder(backbone, PROMPTS, Store(store), DEVICES, loading)
        images = ImageFolder(str(folder), labelled=True, class_names=None, folders=None, about=None)
        return embedder.embed({"images": images}, [])[0]["images"].embeddings


@torch.inference_mode()
def official(backbone: Backbone, folder: Path) -> torch.Tensor:
    """The plain way: torchvision's folder of PIL images, batches of 256, features kept in memory."""
    images = TorchvisionFolder(str(folder), backbone.image_transform())
    loader = DataLoader(images, batch_size=BATCH, num_workers=NUM_WORKERS, pin_memory=torch.cuda.is_available())
    backbone = backbone.to(device())
    found = [normalize(backbone.encode_image(batch.to(device())), dim=1).cpu() for batch, _ in loader]
    return torch.cat(found)


def decode(backbone: Backbone, folder: Path) -> None:
    images = DecodedOnly(str(folder), backbone.image_transform())
    for _ in DataLoader(images, batch_size=BATCH, num_workers=NUM_WORKERS):
        pass


@torch.inference_mode()
def forward(backbone: Backbone, num_images: int, pixels: torch.Tensor) -> None:
    backbone = backbone.to(device())
    for batch in pixels.expand(num_images, -1, -1, -1).split(BATCH):
        backbone.encode_image(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cpu_seconds() -> float:
    """Of this process and of the workers that it has waited for, so far."""
    return sum(os.times()[:4])


def measure(num_images: int = 320, model: str = "ViT-B-32") -> Figure:
    """On random weights and JPEGs made here."""
    found: dict[str, torch.Tensor] = {}
    used: dict[str, float] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_jpegs(folder / "few" / "class", 2)
        write_jpegs(folder / "all" / "class", num_images)
        backbone = OpenCLIPBackbone(model, None, precision="fp32", long_texts="error", transform="model", compile=False)
        pixels = backbone.image_transform()(Image.new("RGB", (WIDTH, HEIGHT)))[None].to(device())
        ours(backbone, folder / "few")  # what is imported and started once does not count
        forward(backbone, 2, pixels)

        def ways(name: str) -> None:
            begin, images = cpu_seconds(), folder / "all"
            match name:
                case "ours":
                    found[name] = ours(backbone, images)
                case "plain":
                    found[name] = official(backbone, images)
                case "decoding":
                    decode(backbone, images)
                case "forward":
                    forward(backbone, num_images, pixels)
            used[name] = cpu_seconds() - begin

        names = ("ours", "plain", "decoding", "forward")
        times = seconds({name: partial(ways, name) for name in names}, repeats=1)
    slower = max(times["decoding"], times["forward"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = max(slower, (used["decoding"] + used["forward"]) / cores)
    return Figure(
        what=f"{num_images:,} JPEGs of {WIDTH} x {HEIGHT} into the store, {model}",
        plain=f"PIL loader, batches of {BATCH}, {NUM_WORKERS} workers",
        ratios=(
            Ratio("ours / slower of decoding and forward pass", times["ours"] / slower, 1.1, at_most=True),
            Ratio("ours / bound where both share the cores", times["ours"] / shared),
            Ratio("ours / both together, in CPU seconds", used["ours"] / (used["decoding"] + used["forward"])),
            Ratio("plain way / ours", times["plain"] / times["ours"]),
        ),
        difference=float((found["ours"] - found["plain"]).abs().max()),
        tolerance=1e-6,
        details={"seconds": times, "CPU seconds": used, "images per second": num_images / times["ours"]},
    )


if __name__ == "__main__":
    report("image_pass", measure)
