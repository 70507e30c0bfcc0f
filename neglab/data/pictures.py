"""What counts as a picture among files, and how its pixels become RGB."""

import os

import numpy as np
from PIL import Image

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def is_picture(name: str) -> bool:
    """Whether a file of this name is read as an image: by its ending, hidden files apart.

    Hidden are .DS_Store and the "._" forks that macOS leaves beside every file of an archive.
    """
    last = name.rpartition("/")[2]
    return not last.startswith(".") and os.path.splitext(last)[1].lower() in EXTENSIONS


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB, pixel for pixel as the official codes see it: Pillow's `convert("RGB")`.

    So transparency is dropped and the colour stored below it shows; an EXIF rotation is not applied (Pillow itself
    turns TIFF files only); of an animation it is the first frame.

    Raises:
        ValueError: the pixels have no known range.

    Differs: grey pictures of 16 bits keep their highest 8 bits, where Pillow's conversion makes all but the darkest
        values white.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits per pixel")
    if image.mode.startswith("I"):  # I;16, I;16B and, for some formats and versions of Pillow, I
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("32-bit pixels have no known range; save it with 8 or 16 bits per pixel")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    elif image.mode == "P":
        image = image.convert("RGBA")  # the same colours; straight to RGB warns where the palette has transparency
    return image.convert("RGB")
