"""Images as a Python program holds them: PIL images, paths, arrays, tensors, and loaders and iterators of these."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from neglab.backbone.base import ImageTransform
from neglab.data.base import UNREADABLE, UnreadableImageError, read_image
from neglab.data.image_folder import images_below
from neglab.data.pictures import as_rgb, upright
from neglab.data.sources import Photo
from neglab.types import UserError

ImageInput = str | Path | Image.Image | np.ndarray | Tensor

TAKEN = (
    "PIL images; paths of images or of folders; uint8 arrays [H, W, 3] or [H, W]; uint8 tensors [3, H, W]; and "
    "floating tensors [3, H, W] that went through `detector.transform`; or lists, iterators and DataLoaders of them"
)


class Reading(NamedTuple):
    """One image on its way to the backbone.

    Attributes:
        path: where it lies; None where it is no file.
        pixels: as the backbone takes it; None: it cannot be read.
        error: why it cannot be read.
    """

    path: str | None
    pixels: Float[Tensor, "3 H W"] | None
    error: str = ""


def one_by_one(images: object) -> Iterator[Any]:
    """The images in their order, a folder's and a batch's one by one; nothing is read ahead.

    Of a pair, such as a dataset's image and label or a DataLoader's images and labels, the first counts.

    Raises:
        UserError: a folder without images, or what is no image.
    """
    if isinstance(images, (str, Path)):
        yield from _files(Path(images).expanduser())
    elif isinstance(images, Image.Image):
        yield images
    elif isinstance(images, (np.ndarray, Tensor)):
        yield from images if images.ndim == 4 else (images,)
    elif isinstance(images, Iterable):
        for item in images:
            image = item[0] if _is_pair(item) else item
            is_or_holds_images = isinstance(image, (str, Path, np.ndarray, Tensor, tuple, list))
            yield from one_by_one(image) if is_or_holds_images else (image,)
    else:
        raise UserError(f"Images may be {TAKEN}; got {type(images).__name__}.")


def _is_pair(item: object) -> bool:
    """An image with its label, as datasets give them, or a batch with its labels, as a DataLoader makes them."""
    if isinstance(item, tuple):
        return len(item) > 0
    return isinstance(item, list) and len(item) > 0 and isinstance(item[0], Tensor) and item[0].ndim == 4


def num_images(images: object) -> int | None:
    """How many there are, where a list or an array tells."""
    return len(images) if isinstance(images, (list, tuple, np.ndarray, Tensor)) else None


def _files(path: Path) -> Iterator[Path]:
    if not os.path.isdir(path):  # a path that is too long is no error there
        yield path
    elif found := images_below(path):
        yield from map(Path, found.texts)
    else:
        raise UserError(f"There must be at least one image in a folder; got none below {path}.")


def readings(images: object, transform: ImageTransform) -> Iterator[Reading]:
    """Each image as the backbone takes it, turned as its EXIF orientation says; what cannot be read with its reason.

    Args:
        images: as the Python face takes them.
        transform: the backbone's.

    Raises:
        UserError: what is no image in any form that is taken.
    """
    size = transform(Image.new("RGB", (8, 8))).shape
    for position, image in enumerate(one_by_one(images)):
        if isinstance(image, Tensor) and image.is_floating_point():
            if image.shape != size:
                raise UserError(
                    f"A floating tensor must be an image after the backbone's transform, {list(size)}; got "
                    f"{list(image.shape)} in place {position}. Apply `detector.transform` to the picture."
                )
            yield Reading(None, image.detach().float().cpu())
        elif isinstance(image, (str, Path)):
            yield _read_file(Path(image), transform)
        else:
            yield _read_picture(image, position, transform)


def _read_file(path: Path, transform: ImageTransform) -> Reading:
    try:
        return Reading(str(path), read_image(Photo(path), transform))
    except UnreadableImageError as error:
        return Reading(str(path), None, str(error))


def _read_picture(image: object, position: int, transform: ImageTransform) -> Reading:
    path = str(getattr(image, "filename", "")) or None  # of a PIL image that was opened
    try:
        picture = _picture(image, position)
        if 0 in picture.size:
            raise ValueError("it has no pixels")
        return Reading(path, transform(picture))
    except UNREADABLE as error:
        return Reading(path, None, str(error) or type(error).__name__)


def _picture(image: object, position: int) -> Image.Image:
    """The picture of a PIL image, or of whole pixels."""
    if isinstance(image, Image.Image):
        return as_rgb(upright(image))
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
        return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in {(3,)}):
        return as_rgb(Image.fromarray(image))
    form = f" {image.dtype} {list(image.shape)}" if isinstance(image, (np.ndarray, Tensor)) else ""
    raise UserError(f"Images may be {TAKEN}; got {type(image).__name__}{form} in place {position}.")
