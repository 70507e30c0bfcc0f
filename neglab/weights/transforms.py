"""How a picture comes to the size that an image tower takes."""

from collections.abc import Callable

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
