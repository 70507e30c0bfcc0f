"""What the classifier's frozen first blocks make of several views of every drawing: computed once, kept on disk."""

from pathlib import Path

import numpy as np
import timm
import torch
from drawings import Drawings, is_black
from sources import CLASSIFIER, member
from timm.models.efficientnet import EfficientNet
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

SIZE = 128  # pixels of a view
FROZEN_BLOCKS = 5  # of seven stages
BATCH = 64


def classifier(packages: Path) -> EfficientNet:
    """EfficientNet-Lite0 with its ImageNet weights: names differ from timm's, order and shapes do not."""
    given = torch.load(member(packages, CLASSIFIER), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    values = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    network.load_state_dict(dict(zip(own, values, strict=True)), strict=False)
    return network.eval().to(memory_format=torch.channels_last)


def normalised(images: Tensor) -> Tensor:
    return ((images - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def build(packages: Path, work: Path, num_views: int, seed: int) -> None:
    """Writes WORK/view<k>.npy, [N, 112, 8, 8] float16, and WORK/pooled<k>.npy, [N, 1280] float16; view 0 is plain."""
    drawings, network = Drawings(work), classifier(packages)
    black = torch.cat([is_black(part) for part in (*drawings.small.split(999), *drawings.large.split(999))])
    for k in range(num_views):
        path = work / f"view{k}.npy"
        if path.is_file():
            continue
        generator = torch.Generator().manual_seed(1000 * seed + k)
        features, pooled = [], []
        for numbers in torch.arange(len(drawings)).split(BATCH):
            images = placed(drawings.pixels(numbers, SIZE), black[numbers], generator, plain=k == 0)
            hidden = network.bn1(network.conv_stem(normalised(images)))
            for block in network.blocks[:FROZEN_BLOCKS]:
                hidden = block(hidden)
            features.append(hidden.half().numpy())
            for block in network.blocks[FROZEN_BLOCKS:]:
                hidden = block(hidden)
            pooled.append(network.bn2(network.conv_head(hidden)).mean((2, 3)).half().numpy())
        np.save(work / f"pooled{k}.npy", np.concatenate(pooled))
        np.save(work / f"unfinished{k}.npy", np.concatenate(features))
        (work / f"unfinished{k}.npy").rename(path)
        print(f"view {k}: {len(drawings)} drawings", flush=True)


def placed(pixels: Tensor, black: Tensor, generator: torch.Generator, plain: bool) -> Tensor:
    """Drawings [B, 4, S, S] uint8 as images [B, 3, S, S] in [0, 1].

    Plain: on white. Otherwise with another place, background, colour, line and hole each time.
    """
    count, size = len(pixels), pixels.shape[-1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    def sometimes(share: float) -> Tensor:
        return uniform(0, 1, 1, 1, 1) < share

    colours, alpha = pixels[:, :3].float() / 255, pixels[:, 3:].float() / 255
    if plain:
        return colours * alpha + 1 - alpha
    inked = black[:, None, None, None] & sometimes(0.7)
    colours = torch.where(inked, uniform(0, 1, 3, 1, 1), colours)
    angle, zoom, stretch = uniform(-0.4, 0.4), uniform(0.9, 1.5), uniform(0.85, 1.18)
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos * flip * stretch, -sin, uniform(-0.22, 0.22)], 1)]
    rows.append(torch.stack([sin * flip * stretch, cos, uniform(-0.22, 0.22)], 1))
    grid = affine_grid(torch.stack(rows, 1), [count, 4, size, size], align_corners=False)
    moved = grid_sample(torch.cat([colours * alpha, alpha], 1), grid, align_corners=False)
    background = torch.where(sometimes(0.5), torch.ones(count, 3, 1, 1), uniform(0, 1, 3, 1, 1))
    images = moved[:, :3] + (1 - moved[:, 3:]) * background
    # Colour: one matrix per picture, then brightness and contrast.
    mix = torch.eye(3) + 0.2 * torch.randn(count, 3, 3, generator=generator) * sometimes(0.4)[..., 0]
    mix = torch.where(sometimes(0.12)[..., 0], torch.full((3, 3), 1 / 3), mix)
    images = torch.einsum("bij,bjhw->bihw", mix, images)
    images = images * uniform(0.75, 1.25, 3, 1, 1) + uniform(-0.12, 0.12, 1, 1, 1)
    # Line: a small random filter blurs, sharpens or draws edges (Xu et al., 2021: random convolutions).
    kernel = torch.randn(count, 1, 3, 3, generator=generator) * 0.35
    kernel[:, :, 1, 1] += 1 - kernel.sum((2, 3)) * 0.7
    chosen = sometimes(0.15).flatten().nonzero().flatten()
    if len(chosen):
        padded = pad(images[chosen].reshape(1, -1, size, size), (2, 2, 2, 2), mode="reflect")
        kernels = kernel[chosen].repeat_interleave(3, 0)
        images[chosen] = conv2d(padded, kernels, groups=len(kernels), dilation=2).view(-1, 3, size, size)
    position, holes = torch.arange(size)[None], []
    for _ in range(2):
        start, length = uniform(0, size, 1), uniform(size * 0.1, size * 0.35, 1)
        holes.append((position >= start) & (position < start + length))
    hole = (holes[0][:, None, :, None] & holes[1][:, None, None, :]) & sometimes(0.25)
    return torch.where(hole, uniform(0, 1, 3, 1, 1), images).clamp(0, 1)
