"""Train a small trunk from nothing on drawings at 64 pixels: it sees lines that photographs do not have.

Classes and names are the same as in image.py; every step renders its drawings anew.
"""

from pathlib import Path

import timm
import torch
from drawings import Drawings, is_black
from image import SCALE, TWINS, targets_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from training import Schedule, train
from views import placed

from neglab.weights.prototypes import DRAWING_SIZE, DRAWINGS, MEAN, STD

RATE, WARM_UP, DECAY = 2e-3, 200, 0.05


class Sketcher(nn.Module):
    """The trunk, and logits of the drawn things through a projection to their names' targets [K, D]."""

    def __init__(self, names: Tensor) -> None:
        super().__init__()
        self.trunk = timm.create_model(DRAWINGS, num_classes=0)
        self.projection = nn.Linear(self.trunk.num_features, names.shape[1], bias=False)
        self.register_buffer("names", names)

    def forward(self, images: Tensor) -> Tensor:
        """Embedding [B, D] of images [B, 3, S, S] in [0, 1]."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):  # half the time on a CPU that multiplies it by itself (AMX)
            features = self.trunk(images)
        return normalize(self.projection(features.float()), dim=1)


def build(packages: Path, work: Path, steps: int, batch: int, seed: int) -> None:
    """Writes WORK/sketch<seed>.pt, the weights; a stopped run goes on from its last checkpoint."""
    torch.manual_seed(seed)
    drawings = Drawings(work)
    names, _, _ = targets_of(work, drawings)
    model = Sketcher(names).to(memory_format=torch.channels_last)
    twins = (names @ names.T > TWINS).fill_diagonal_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    weights = drawings.weights()

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        numbers = torch.multinomial(weights, batch, replacement=True, generator=generator)
        pixels, labels = drawings.pixels(numbers, DRAWING_SIZE), drawings.labels[numbers]
        logits = SCALE / 4 * model(placed(pixels, is_black(pixels), generator, plain=False)) @ names.T
        return cross_entropy(logits.masked_fill(twins[labels], -1e4), labels)

    train(model, optimiser, Schedule(steps, WARM_UP), work / f"sketch{seed}_latest.pt", loss_of)
    torch.save(model.state_dict(), work / f"sketch{seed}.pt")
