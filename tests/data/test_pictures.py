import fakes
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import to_tensor

from neglab.data.base import UnreadableImageError, read_image
from neglab.data.pictures import as_rgb, is_picture
from neglab.data.sources import ImageFile

GREY = np.arange(72, dtype=np.uint8).reshape(8, 9) * 3
COLOURS = np.stack([GREY, GREY.T.reshape(8, 9), 255 - GREY], axis=-1)


def saved(path, image, **options):
    """Written, read again and turned into RGB, as an array."""
    image.save(path, **options)
    with Image.open(path) as picture:
        return np.asarray(as_rgb(picture))


@pytest.mark.parametrize("ending", ["tga", "jp2", "JFIF", "ico", "pcx", "avif", "sgi", "dds", "pbm"])
def test_every_ending_that_pillow_opens_is_a_picture(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(COLOURS).convert("1" if ending == "pbm" else "RGB").save(path)
    assert is_picture(path.name) and read_image(ImageFile(path), to_tensor).shape == (3, 8, 9)


@pytest.mark.parametrize("name", ["a.eps", "a.mpg", "a.h5", "a.wmf", "a.pdf", "a.txt", "a", ".a.png", "x/@eaDir/a.png"])
def test_what_is_no_picture(name):
    assert not is_picture(name)


def test_grey_is_repeated(tmp_path):
    for mode in ("L", "LA"):
        pixels = saved(tmp_path / "grey.png", Image.fromarray(GREY).convert(mode))
        assert (pixels == GREY[:, :, None]).all()


def test_transparency_is_dropped_as_the_official_codes_do(tmp_path):
    clear = Image.fromarray(np.dstack([COLOURS, np.zeros_like(GREY)]), "RGBA")
    assert (saved(tmp_path / "clear.png", clear) == COLOURS).all()
    palette = Image.fromarray(COLOURS).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    for transparency in (3, bytes(range(16))):
        assert (saved(tmp_path / "palette.png", palette, transparency=transparency) == expected).all()


def test_cmyk(tmp_path):
    image = Image.fromarray(COLOURS).convert("CMYK")
    assert (saved(tmp_path / "print.tif", image) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    deep = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
    assert (saved(tmp_path / name, deep) == GREY[:, :, None]).all()
    assert (np.asarray(deep.convert("RGB")) == 255).mean() > 0.9  # what Pillow makes of it


def test_pixels_of_no_known_range_are_refused():
    for pixels in (GREY.astype(np.float32), GREY.astype(np.int32) << 20, GREY.astype(np.int32) - 9):
        with pytest.raises(ValueError, match="no known range; save it with 8 or 16 bits"):
            as_rgb(Image.fromarray(pixels))


def test_an_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert (saved(tmp_path / "turned.png", Image.fromarray(COLOURS), exif=exif) == COLOURS).all()


def test_of_an_animation_it_is_the_first_frame(tmp_path):
    first, second = Image.fromarray(GREY).convert("P"), Image.fromarray(255 - GREY).convert("P")
    pixels = saved(tmp_path / "moving.gif", first, save_all=True, append_images=[second])
    assert (pixels == np.asarray(first.convert("RGB"))).all()


def test_one_bit(tmp_path):
    assert set(np.unique(saved(tmp_path / "bits.png", Image.fromarray(GREY).convert("1")))) == {0, 255}


def test_what_is_no_whole_picture_is_unreadable(tmp_path):
    whole = fakes.write_pictures(tmp_path, 1)[0].read_bytes()
    Image.fromarray(COLOURS).resize((200, 200)).save(tmp_path / "whole.jpg")
    jpeg = (tmp_path / "whole.jpg").read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2], jpeg[: len(jpeg) // 2]):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(UnreadableImageError):
            read_image(ImageFile(tmp_path / "broken.png"), to_tensor)
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(ImageFile(tmp_path / "nowhere.png"), to_tensor)


def test_what_counts_as_a_picture():
    assert all(map(is_picture, ("a.jpg", "A.JPEG", "b.c.Png", "folder.x/a.tiff", "é ü.webp")))
    assert not any(
        map(is_picture, ("a.txt", "jpg", ".jpg", "._a.jpg", "folder/._a.jpg", "Thumbs.db", ".DS_Store", "a."))
    )
