"""A sweep over a score's settings on stored embeddings, in one process, against encoding the images for each setting.

The sweep is a real `neglab -m`: every job composes its config, loads ViT-B/32, reads the store, selects, scores,
measures, and writes its files. It runs a sample of the settings; the rest is counted at the time of a later job.
"""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.base import ImageTransform
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import build, compose
from neglab.pipeline import evaluate
from neglab.weights.loading import fixed_random_weights
from neglab.wordnet import synsets

SIDE = 8  # pixels: the pictures are noise, small enough to write 50,000
NUM_SETTINGS = 100
OOD_SETS = ("first", "second", "third")
BACKBONE = {"precision": "fp32", "long_texts": "error", "transform": "model", "compile": False}


class TowerlessBackbone(OpenCLIPBackbone):
    """ViT-B/32 with its weights and fingerprint, whose towers are replaced by one product, to fill the store soon."""

    def loading_transform(self, resize: bool = True) -> ImageTransform:
        return lambda image: pil_to_tensor(image) / 255 - 0.5

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return self._project(images.flatten(1))

    def encode_token_ids(self, ids: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        inside = torch.arange(ids.shape[1]) < end[:, None]
        return self._project((self.embed_tokens(ids) * inside[:, :, None]).sum(dim=1))

    def _project(self, rows: torch.Tensor) -> torch.Tensor:
        with fixed_random_weights():
            return rows @ torch.randn(rows.shape[1], self.embedding_dim)


def write_pictures(folder: Path, count: int, draw: torch.Generator) -> None:
    folder.mkdir(parents=True)
    for i, pixels in enumerate(torch.randint(256, (count, SIDE, SIDE, 3), generator=draw, dtype=torch.uint8)):
        Image.fromarray(pixels.numpy()).save(folder / f"{i}.ppm")


def run(folder: Path, overrides: Sequence[str]) -> None:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "neglab.cli", *overrides]
    places = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": places}, check=True, stdout=subprocess.PIPE)


def write_data(folder: Path, num_images: int, num_classes: int, num_words: int) -> None:
    """Half of the images are ID, the rest three OOD sets; the corpus is the first words of WordNet."""
    draw = torch.Generator().manual_seed(0)
    for i in range(num_classes):
        write_pictures(folder / "id" / f"class {i}", num_images // (2 * num_classes), draw)
    for name in OOD_SETS:
        write_pictures(folder / name, num_images // 6, draw)
    words = dict.fromkeys(synset.lemmas[0] for synset in synsets())
    (folder / "words.txt").write_text("\n".join(list(words)[:num_words]))


def overrides(folder: Path, model: str) -> list[str]:
    """A whole run on that data."""
    first, *others = OOD_SETS
    rest = "labelled:false,class_names:null,folders:null,about:null"
    folders = [
        f"+ood_datasets.{name}={{_target_:neglab.data.image_folder.ImageFolder,root:{folder}/{name},{rest}}}"
        for name in others
    ]
    return [
        "backbone=open_clip",
        f"backbone.model={model}",
        "backbone._target_=benchmarks.sweep.TowerlessBackbone",
        "id_dataset=image_folder",
        f"id_dataset.root={folder}/id",
        "ood_datasets=image_folder",
        f"ood_datasets.image_folder.root={folder}/{first}",
        *folders,
        "corpus=file",
        f"corpus.path={folder}/words.txt",
        "negative_selector.fraction=null",
        "trainer=cpu",
        "trainer.progress_bar=false",
        "logger=csv",
        f"paths.store={folder}/store",
    ]


def ends_of_jobs(folder: Path) -> list[float]:
    """When each job of the sweep in this folder wrote its last file, in the order of the jobs."""
    jobs = sorted((path.parent for path in folder.rglob("metrics.json")), key=lambda job: int(job.name.split("_")[0]))
    return [max(path.stat().st_mtime for path in job.rglob("*")) for job in jobs]


def scores(folder: Path) -> torch.Tensor:
    """The ID images' scores of the run in this folder."""
    with (folder / "scores" / "id.csv").open(newline="") as file:
        return torch.tensor([float(row["id_score"]) for row in csv.DictReader(file)], dtype=torch.float64)


def forward_seconds(model: str, count: int) -> float:
    """Of one image through the real tower, in batches of 32."""
    backbone = OpenCLIPBackbone(model, None, **BACKBONE)
    pixels = backbone.loading_transform()(Image.new("RGB", (SIDE, SIDE))).expand(32, -1, -1, -1)
    with torch.inference_mode():
        backbone.encode_image(pixels)
        return seconds({"forward": lambda: backbone.encode_image(pixels)}, repeats=-(-count // 32))["forward"] / 32


def measure(
    num_images: int = 50_000,
    num_classes: int = 200,
    num_words: int = 70_000,
    num_negatives: tuple[int, int] = (1_000, 10_000),
    model: str = "ViT-B-32",
    num_forward: int = 96,
    groups: tuple[int, ...] = (1, 10, 100),
) -> Figure:
    """On noise; what a job costs depends on the sizes alone."""
    small, large = num_negatives
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_data(folder, num_images, num_classes, num_words)
        settings = overrides(folder, model)
        fixed = [f"negative_selector.num_labels={small}", f"score.num_groups={groups[0]}"]
        alone = evaluate(build(compose([*settings, *fixed])))  # fills the store
        swept = [f"score.num_groups={','.join(map(str, groups))}", f"negative_selector.num_labels={small},{large}"]
        begin = time.time()
        run(folder, ["-m", *settings, "plots=true,false", *swept, "hydra.sweep.dir=."])
        ends = ends_of_jobs(folder)
        # In the order of the jobs: plots, then groups, then the size of the bank.
        later = torch.tensor([begin, *ends], dtype=torch.float64).diff().view(2, len(groups), 2)
        difference = float(
            (scores(folder / f"{2 * len(groups)}_neglabel_seed0") - alone.pairs[0].id_images.scores).abs().max()
        )
    per_job = later[:, 1:].median(dim=1).values  # [plots, bank]
    start = float(later[0, 0, 0])
    whole = start + (NUM_SETTINGS - 1) * per_job  # [plots, bank]
    encoding = num_images * forward_seconds(model, num_forward)
    return Figure(
        what=f"sweep of {NUM_SETTINGS} settings on {num_images:,} stored embeddings, {num_classes} classes and "
        f"{small:,} negatives",
        plain=f"encode again each time: {model}'s forward pass alone, on {num_forward} images",
        ratios=(
            Ratio("whole sweep / encoding once", float(whole[0, 0]) / encoding, 1 / 50, at_most=True),
            Ratio("whole sweep without pictures / encoding once", float(whole[1, 0]) / encoding),
            Ratio(f"whole sweep with {large:,} negatives / encoding once", float(whole[0, 1]) / encoding),
            Ratio("encoding each time / whole sweep", NUM_SETTINGS * encoding / float(whole[0, 0])),
        ),
        difference=difference,
        tolerance=0.0,
        details={
            "seconds": {"first job, with the start": start, "encoding once": encoding},
            "seconds of a later job": {
                f"{count:,} negatives, plots={plots}": float(per_job[row, column])
                for row, plots in enumerate(("true", "false"))
                for column, count in enumerate(num_negatives)
            },
            "settings run": later.numel(),
        },
    )


if __name__ == "__main__":
    report("sweep", measure)
