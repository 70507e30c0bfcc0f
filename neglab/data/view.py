"""A random view of an image, as training pipelines take one."""

from dataclasses import dataclass

import torch
from PIL import Image

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # torchvision's defaults, as in the official code


@dataclass(frozen=True)
class RandomCrop:
    """A part of the image, its area 8 to 100%, drawn at random and flipped half of the time.

    Attributes:
        seed: of all views; each image has its own by its position.

    Source: InterNeg's official code at e0162029: its ID images come through OpenOOD's training loader.
    Differs: there the crop replaces the resizing of the plain transform; here it comes before it, at the tower's input
        size, so it is the same with every transform that does not enlarge beyond that (`resize_256` does). The official
        crops follow from the global random state and cannot be repeated.
    """

    seed: int

    def __call__(self, image: Image.Image, position: int, size: int) -> Image.Image:
        """The view of the image at this position of its set, `size` pixels square."""
        # Here: every image set knows of views, and few runs take one.
        from torchvision.transforms import InterpolationMode, RandomHorizontalFlip, RandomResizedCrop

        crop = RandomResizedCrop(size, SCALE, RATIO, InterpolationMode.BICUBIC)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reseed the GPUs too.
            torch.default_generator.manual_seed(self.seed * 1_000_003 + position)
            return RandomHorizontalFlip()(crop(image))
