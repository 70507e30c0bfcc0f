"""How a picture comes to the size that an image tower takes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

ImageTransform = Callable[[Image.Image], Tensor]

# The shorter edge before the central crop, in input sizes of the tower, and how it is resized.
TRANSFORMS: dict[str, tuple[float, InterpolationMode] | None] = {
    "model": None,
    "clip": (1.0, InterpolationMode.BICUBIC),
    "bilinear_224": (1.0, InterpolationMode.BILINEAR),
    "resize_256": (256 / 224, InterpolationMode.BICUBIC),
}


def chosen_transform(name: str, own: ImageTransform, pixels: ImageTransform) -> ImageTransform:
    """The transform of this name.

    Args:
        name: a key of `TRANSFORMS`.
        own: the model's.
        pixels: its last part, from a picture of the right size on.
    """
    recipe = TRANSFORMS[name]
    if recipe is None:
        return own
    enlargement, interpolation = recipe
    size = own(Image.new("RGB", (64, 64))).shape[-1]
    return Compose([Resize(round(size * enlargement), interpolation), CenterCrop(size), pixels])


def steps(transform: ImageTransform) -> list[Any]:
    """The single transforms that one is composed of."""
    parts = getattr(transform, "transforms", None)
    return [transform] if parts is None else [step for part in parts for step in steps(part)]


@dataclass(frozen=True)
class ProcessedImage:
    """An image processor of the transformers library as a transform of one picture."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]

    @property
    def scales(self) -> bool:
        """The processor ends in a rescaling and a normalisation."""
        return bool(getattr(self.processor, "do_rescale", False) and getattr(self.processor, "do_normalize", False))

    def without_resizing(self) -> "ProcessedImage":
        """For a picture that has the right size already."""
        return self._without("do_resize", "do_center_crop")

    def without_scaling(self) -> "ProcessedImage":
        """Up to the bytes."""
        return self._without("do_rescale", "do_normalize")

    def _without(self, *switches: str) -> "ProcessedImage":
        processor = copy.deepcopy(self.processor)
        for switch in switches:
            setattr(processor, switch, False)
        return ProcessedImage(processor)
