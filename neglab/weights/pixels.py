"""The last part of an image transform, from bytes to the tower's numbers: done on the device, a whole batch at once.

So loading workers hand on, and the bus to a GPU carries, one byte per channel in place of four.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor

from neglab.weights.transforms import ImageTransform, ProcessedImage, steps

Pixels = Float[Tensor, "B 3 H W"] | UInt8[Tensor, "B 3 H W"]  # as a tower takes them, or as bytes that await a Scaling


@dataclass(frozen=True)
class Scaling:
    """(bytes / divisor - mean) / std, in float32.

    Attributes:
        divisor: that brings bytes into the range of mean and standard deviation.
        mean: of each channel.
        std: of each channel.
    """

    divisor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """The operations of torchvision's transforms, in their order, so that no bit differs."""
        mean, std = _per_channel(self.mean, images.device), _per_channel(self.std, images.device)
        return (images / self.divisor).sub_(mean).div_(std)


def split_at_bytes(transform: ImageTransform) -> tuple[ImageTransform, Scaling] | None:
    """A transform up to its bytes [3, H, W], and what scales these; None: it has another form.

    Whether both together are the whole is tried on a picture that has every byte in every channel.
    """
    *first, last = steps(transform)
    halves: tuple[list[Any], Scaling] | None = None
    if isinstance(last, Normalize) and first and isinstance(first[-1], ToTensor):
        halves = [*first[:-1], PILToTensor()], Scaling(255.0, _numbers(last.mean), _numbers(last.std))
    elif isinstance(last, ProcessedImage) and last.scales:
        # The transformers library multiplies mean and standard deviation, in float32, in place of dividing the image.
        factor = 1 / last.processor.rescale_factor
        mean, std = (
            _numbers(torch.tensor(one) * factor) for one in (last.processor.image_mean, last.processor.image_std)
        )
        halves = [*first, last.without_scaling()], Scaling(1.0, mean, std)
    if halves is None:
        return None
    bytes_of, scaling = Compose(halves[0]), halves[1]
    picture = _every_byte(*transform(Image.new("RGB", (8, 8))).shape[1:])
    found = bytes_of(picture)
    is_same = found.dtype == torch.uint8 and torch.equal(scaling(found[None])[0], transform(picture))
    return (bytes_of, scaling) if is_same else None


def _every_byte(height: int, width: int) -> Image.Image:
    """Of this size; all values where it has 256 pixels, and another one in each channel of a pixel."""
    ramp = torch.arange(3 * height * width).view(height, width, 3) * 85 % 256
    return Image.fromarray(ramp.to(torch.uint8).numpy())


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(torch.as_tensor(values).flatten().tolist())


@cache  # a copy to the device in each batch would wait for it
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)
