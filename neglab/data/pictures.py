"""What counts as a picture among files, and how its pixels become RGB."""

import os
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

with suppress(ImportError):  # neglab[heic]: the photos of telephones
    from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

    register_heif_opener()

# Formats that Pillow knows without being able to read them by itself; for PostScript it would run another program.
UNREAD = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
END_OF_JPEG = b"\xff\xd9"
# What systems and servers leave beside pictures: thumbnails, forks and bins are no images of the set.
JUNK = {"__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini"}


@cache
def extensions() -> frozenset[str]:
    """The endings of the files that Pillow opens, such as ".jpg"."""
    Image.init()
    readable = set(Image.OPEN) - UNREAD
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in readable)


def is_picture(name: str) -> bool:
    """Whether a file of this name, with its folders or without, is read as an image: by its ending, junk apart."""
    return os.path.splitext(name)[1].lower() in extensions() and not any(map(is_junk, name.split("/")))


def upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says it was held; one with none as it is."""
    return ImageOps.exif_transpose(image)


def is_turned(image: Image.Image) -> bool:
    """Whether `upright` changes it."""
    return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)


def plain_jpeg(image: Image.Image) -> bytes | None:
    """The file of an opened picture of which any JPEG decoder makes the pixels of `as_rgb`, but for rounding.

    None: it is of another kind, has other colours than YCbCr, or is cut off, which decoders say in different ways.
    """
    if not isinstance(image, JpegImageFile) or image.format != "JPEG" or image.mode != "RGB":
        return None
    is_rgb_inside = image.info.get("adobe_transform", 1) != 1 or bytes(part[0] for part in image.layer) == b"RGB"
    assert image.fp is not None  # as nothing is decoded yet
    image.fp.seek(0)
    content = image.fp.read()
    return content if not is_rgb_inside and content.endswith(END_OF_JPEG) else None


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or none of the set's own.

    Hidden are .DS_Store, .ipynb_checkpoints and the "._" forks that macOS leaves beside every file of an archive.
    """
    return name.startswith(".") or name.lower() in JUNK


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
