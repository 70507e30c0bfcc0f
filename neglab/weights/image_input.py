"""How pictures reach an image tower: what loading workers do of its transform, and what the device does."""

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from neglab.errors import UserError
from neglab.weights.pixels import Pictures, Pixels, Resizing, Scaling, resizing_of, split_at_bytes
from neglab.weights.transforms import ImageTransform


class ImageInput:
    """The part of a backbone that takes pictures.

    Attributes:
        transform: its name.
        dtype: of weights and activations.
        scaling: what makes the tower's input of bytes; None: its transform is done whole by the loading workers.
        resizing: what can resize pictures on the device; None: nothing gives what the transform asks for.
        memory_format: of images.
    """

    transform: str
    dtype: torch.dtype
    scaling: Scaling | None = None
    resizing: Resizing | None = None
    memory_format: torch.memory_format = torch.contiguous_format
    _transform: ImageTransform
    _to_bytes: ImageTransform

    def image_transform(self) -> ImageTransform:
        """What turns a picture into the tower's input [3, H, W]."""
        return self._transform

    def loading_transform(self, resize: bool = True) -> ImageTransform:
        """What loading workers do of it: up to the bytes, where the device does the rest.

        Args:
            resize: False: pictures keep their size, and the device resizes them too.

        Raises:
            UserError: the device cannot resize for this transform.
        """
        if resize:
            return self.image_transform() if self.scaling is None else self._to_bytes
        if self.resizing is None:
            raise UserError(
                "data.resize=device and data.decode=device take a transform that resizes and crops as CLIP's does; "
                f"backbone.transform={self.transform} of this backbone has another form. Take backbone.transform=clip "
                "or leave both to pillow."
            )
        return pil_to_tensor

    def resized(self, images: Pixels | Pictures) -> Pixels:
        """Images of the tower's size."""
        if isinstance(images, Pictures):
            assert self.resizing is not None
            return self.resizing(images)
        return images

    def as_input(self, images: Pixels | Pictures) -> Tensor:
        """Images by either transform, with what was left to the device, in the precision of the weights."""
        images = self.resized(images).contiguous(memory_format=self.memory_format)  # bytes often lie pixel by pixel
        if self.scaling is not None and images.dtype == torch.uint8:
            images = self.scaling(images)
        return images.to(self.dtype)

    def _take(self, transform: ImageTransform) -> None:
        """Use this one from now on."""
        self._transform = transform
        if (halves := split_at_bytes(transform)) is not None:
            self._to_bytes, self.scaling = halves
            self.resizing = resizing_of(self._to_bytes)
