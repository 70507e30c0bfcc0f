"""Images as a Python program holds them: PIL images, paths, arrays and tensors."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from neglab.backbone.base import ImageTransform
from neglab.data.base import UNREADABLE, ImageFile, UnreadableImageError, read_image
from neglab.data.image_folder import images_below
from neglab.data.pictures import as_rgb
from neglab.types import UserError

ImageInput = str | Path | Image.Image | np.ndarray | Tensor

TAKEN = (
    "PIL images; paths of images or of folders; uint8 arrays [H, W, 3] or [H, W]; uint8 tensors [3, H, W]; and "
    "floating tensors [3, H, W] that went through `detector.transform`"
)


def as_list(images: object) -> list[Any]:
    """The images one by one; a single one is a list of one, a folder all images below it.

    Raises:
        UserError: a folder without images, or what is no image.
    """
    if isinstance(images, (str, Path)):
        path = Path(images).expanduser()
        if not os.path.isdir(path):  # a path that is too long is no error there
            return [path]
        if not (found := images_below(path)):
            raise UserError(f"There must be at least one image in a folder; got none below {path}.")
        return list(found)
    if isinstance(images, Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else list(images)
    if isinstance(images, Tensor):
        return [images] if images.ndim < 4 else list(images)
    if not isinstance(images, Iterable):
        raise UserError(f"Images may be {TAKEN}, or lists of them; got {type(images).__name__}.")
    return [one for image in images for one in (as_list(image) if isinstance(image, (str, Path)) else [image])]


def transformed(images: Iterable[object], transform: ImageTransform) -> Iterator[Float[Tensor, "3 H W"]]:
    """Each image as the backbone takes it.

    Args:
        images: as `as_list` gives them.
        transform: the backbone's.

    Raises:
        UserError: an image that cannot be read, or none that is taken.
    """
    size = transform(Image.new("RGB", (8, 8))).shape
    for position, image in enumerate(images):
        if isinstance(image, Tensor) and image.is_floating_point():
            if image.shape != size:
                raise UserError(
                    f"A floating tensor must be an image after the backbone's transform, {list(size)}; got "
                    f"{list(image.shape)} in place {position}. Apply `detector.transform` to the picture."
                )
            yield image.detach().float().cpu()
        elif isinstance(image, (str, Path)):
            try:
                yield read_image(ImageFile(Path(image)), transform)
            except UnreadableImageError as error:
                raise UserError(f"Images must be readable; {image} is not: {error}") from error
        else:
            try:
                picture = _picture(image, position)
                if 0 in picture.size:
                    raise ValueError("it has no pixels")
                yield transform(picture)
            except UNREADABLE as error:
                raise UserError(f"Images must be readable; that in place {position} is not: {error}") from error


def _picture(image: object, position: int) -> Image.Image:
    """The picture of a PIL image, or of whole pixels."""
    if isinstance(image, Image.Image):
        return as_rgb(image)
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in {(3,)}):
        return as_rgb(Image.fromarray(image))
    form = f" {image.dtype} {list(image.shape)}" if isinstance(image, (np.ndarray, Tensor)) else ""
    raise UserError(f"Images may be {TAKEN}; got {type(image).__name__}{form} in place {position}.")
