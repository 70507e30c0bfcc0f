"""What of an image transform is done on the device, a whole batch at once.

Always, where it gives the same bits, the last part: from bytes to the tower's numbers. So loading workers hand on, and
the bus to a GPU carries, one byte per channel in place of four. On request the first part too: resizing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, Normalize, PILToTensor, Resize, ToTensor
from torchvision.transforms.functional import pil_to_tensor

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
    bytes_of, scaling = cast(Any, Compose(halves[0])), halves[1]
    picture = _every_byte(*transform(Image.new("RGB", (8, 8))).shape[1:])
    found = bytes_of(picture)
    is_same = found.dtype == torch.uint8 and torch.equal(scaling(found[None])[0], transform(picture))
    return (bytes_of, scaling) if is_same else None


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures of any sizes in one tensor: each tensor that a loading process hands on takes an open file.

    Attributes:
        content: their bytes [3, H, W], one after the other.
        sizes: height and width of each.
    """

    content: UInt8[Tensor, " N"]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> "Pictures":
        sizes = tuple((image.shape[1], image.shape[2]) for image in images)
        flat = [image.flatten() for image in images] or [torch.empty(0, dtype=torch.uint8)]
        return cls(torch.cat(flat), sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[UInt8[Tensor, "3 _ _"]]:
        ends = accumulate(3 * height * width for height, width in self.sizes)
        for (height, width), end in zip(self.sizes, ends, strict=True):
            yield self.content[end - 3 * height * width : end].view(3, height, width)

    def pin_memory(self) -> "Pictures":
        """For the loader, as of a tensor."""
        return replace(self, content=self.content.pin_memory())

    def to(self, device: torch.device) -> "Pictures":
        """For Lightning, as of a tensor; memory that is pinned is not waited for."""
        return replace(self, content=self.content.to(device, non_blocking=True))


@dataclass(frozen=True)
class Resizing:
    """Resizing and cropping by torch's antialiased filters, in float32, rounded to bytes.

    Pillow, which the official codes use, rounds between rows and columns too: few bytes differ by more than one.

    Attributes:
        steps: of torchvision.
    """

    steps: tuple[Resize | CenterCrop, ...]

    def __call__(self, pictures: Pictures) -> UInt8[Tensor, "B 3 H W"]:
        """Pictures of one size go together."""
        images, of_size = list(pictures), dict[tuple[int, int], list[int]]()
        for i, size in enumerate(pictures.sizes):
            of_size.setdefault(size, []).append(i)
        for group in of_size.values():
            made = self._of_one_size(torch.stack([images[i] for i in group]))
            for i, image in zip(group, made, strict=True):
                images[i] = image
        return torch.stack(images)

    def _of_one_size(self, images: UInt8[Tensor, "K 3 _ _"]) -> UInt8[Tensor, "K 3 H W"]:
        return Compose(self.steps)(images.float()).round_().clamp_(0, 255).to(torch.uint8)


def resizing_of(to_bytes: ImageTransform) -> Resizing | None:
    """What a transform to bytes does before it turns the picture into a tensor; None: it has another form."""
    found = steps(to_bytes)
    count = sum(isinstance(step, Resize | CenterCrop) for step in found)
    if not count or not all(isinstance(step, Resize | CenterCrop) for step in found[:count]):
        return None
    picture, as_tensor = _every_byte(16, 16), cast(Any, Compose(found[count:]))
    is_plain = torch.equal(as_tensor(picture), pil_to_tensor(picture))
    return Resizing(tuple(found[:count])) if is_plain else None


def _every_byte(height: int, width: int) -> Image.Image:
    """Of this size; all values where it has 256 pixels, and another one in each channel of a pixel."""
    ramp = torch.arange(3 * height * width).view(height, width, 3) * 85 % 256
    return Image.fromarray(ramp.to(torch.uint8).numpy())


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(torch.as_tensor(values).flatten().tolist())


@cache  # a copy to the device in each batch would wait for it
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)
