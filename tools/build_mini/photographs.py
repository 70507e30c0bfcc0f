"""Photographs that keep the classifier in its place: crops with what it says of them at its own 224 pixels.

None of them has a label, none is of a benchmark: monuments, animals and landscapes of a children's game and of desktop
backgrounds. Nearly half the crops are cut out along a blob and laid on a plain ground.
"""

import random
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_tensor
from views import FROZEN_BLOCKS, SIZE, classifier, normalised

OWN_SIZE = 224
CROPS, CUT_OUT, WHITE = 5, 0.45, 0.6  # crops of a photograph; shares that are cut out, and of those on white
SMALLEST = 0.35  # of the shorter side
BATCH = 32
ENDINGS = {".jpg", ".png", ".webp"}


@torch.inference_mode()
def build(packages: Path, work: Path, seed: int) -> None:
    """From WORK/photographs/: writes WORK/photographs.pt, maps [N, 112, 8, 8] and ImageNet's logits [N, 1000]."""
    paths = sorted(path for path in (work / "photographs").rglob("*") if path.suffix in ENDINGS)
    if not paths:
        raise SystemExit(
            f"{work}/photographs holds no photograph; tools/build_mini/__main__.py says what belongs there."
        )
    network, rng = classifier(packages), random.Random(seed)
    crops = (crop for path in paths for crop in crops_of(path, rng))
    maps, logits = [], []
    while batch := [crop for crop, _ in zip(crops, range(BATCH), strict=False)]:
        images = torch.stack(batch)
        logits.append(network(normalised(images)).half())
        small = interpolate(images, size=(SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
        hidden = network.bn1(network.conv_stem(normalised(small)))
        for block in network.blocks[:FROZEN_BLOCKS]:
            hidden = block(hidden)
        maps.append(hidden.half())
    torch.save({"maps": torch.cat(maps), "logits": torch.cat(logits)}, work / "photographs.pt")
    print(f"{len(paths)} photographs")


def crops_of(path: Path, rng: random.Random) -> list[Tensor]:
    """Crops [3, 224, 224] in [0, 1], the first one as large as can be."""
    picture = Image.open(path).convert("RGBA")
    canvas = Image.new("RGBA", picture.size, "white")
    canvas.alpha_composite(picture)
    image, found = canvas.convert("RGB"), []
    image.thumbnail((1000, 1000))
    for k in range(CROPS):
        side = min(image.size) * (rng.uniform(SMALLEST, 1) if k else 1)
        left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
        box = (left, top, left + side, top + side)
        crop = to_tensor(image.resize((OWN_SIZE, OWN_SIZE), Image.Resampling.BICUBIC, box=box))
        if rng.random() < 0.5:
            crop = crop.flip(2)
        if rng.random() < 0.5:
            crop = (crop * rng.uniform(0.7, 1.3) + rng.uniform(-0.1, 0.1)).clamp(0, 1)
        found.append(cut_out(crop, rng) if rng.random() < CUT_OUT else crop)
    return found


def cut_out(image: Tensor, rng: random.Random) -> Tensor:
    """A blob of the picture on a plain ground."""
    axis = torch.linspace(-1, 1, image.shape[-1])
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, edge = torch.atan2(y, x), torch.full_like(x, rng.uniform(0.55, 0.9))
    for waves in (1, 2, 3, 5):
        edge = edge + rng.uniform(-0.12, 0.12) * torch.sin(waves * angle + rng.uniform(0, 6.3))
    ground = [1.0] * 3 if rng.random() < WHITE else [rng.random() for _ in range(3)]
    return torch.where((x.hypot(y) < edge)[None], image, torch.tensor(ground).view(3, 1, 1))
