"""From a picture file to a small color image: PNG or JPEG, in any mode, of up to 178 million pixels.

A picture is turned as its EXIF orientation says. What it shows in the middle is cropped to the shape that
is asked for, and scaled to its size by bicubic interpolation, which Pillow widens when it shrinks a picture, so
that every pixel counts. Transparent parts are laid on white. 16 bits a channel become 8; CMYK becomes
RGB. Color profiles are not applied, and of an animation the first frame is taken.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import PictureError
from pipeline.files.file_kind import kind_unless_regular
from pipeline.networks.arrays import ByteArray

FORMATS = ("PNG", "JPEG")
SPARE = 8
"""How many times as large as asked for a JPEG is decoded, at least: its decoder can halve it up to three times.
That takes a picture of 108 million pixels in 0.26 s and 53 MB; a PNG, decoded in full, takes 5.4 s and 888 MB."""


def read(path: Path, height: int, width: int) -> ByteArray:
    """Read a picture as a color image (3, height, width), uint8.

    A color picture that has this size already keeps every value.

    Raises
    ------
    PictureError
        The path leads to no file, or to one that is damaged, larger than Pillow's ``MAX_IMAGE_PIXELS`` twice over,
        or neither PNG nor JPEG.
    """
    picture = _in_color(_with_8_bits(_decoded(path, SPARE * max(height, width))))
    small = picture.resize((width, height), Image.Resampling.BICUBIC, box=_middle(*picture.size, height, width))
    return np.ascontiguousarray(np.asarray(_on_white(small)).transpose(2, 0, 1))


def _decoded(path: Path, enough: int) -> Image.Image:
    try:
        if kind := kind_unless_regular(path):
            raise PictureError(f"{path} is {kind}; expected the name of a PNG or a JPEG file.")
        # Pillow warns of oddities that do not keep it from reading, and of sizes before those that it refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as picture:
            picture.draft(None, (enough, enough))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{path} {_description(path)}; expected a PNG or a JPEG. Save it as one of these.") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} is too large: {error}. Make it smaller.") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them into
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(f"{path} cannot be read as a PNG or a JPEG ({reason}). Check the file.") from None


def _description(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(8)
    return f"begins with {beginning!r}" if beginning else "is empty"


def _with_8_bits(picture: Image.Image) -> Image.Image:
    """Bring gray values of 16 bits to 8; Pillow itself does so with those of colors."""
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    gray = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    transparent = picture.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _in_color(picture: Image.Image) -> Image.Image:
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _middle(full_width: int, full_height: int, height: int, width: int) -> tuple[float, float, float, float]:
    """Return the largest part of that shape from the middle: left, upper, right and lower border."""
    kept_width = min(full_width, full_height * width / height)
    kept_height = min(full_height, full_width * height / width)
    left, upper = (full_width - kept_width) / 2, (full_height - kept_height) / 2
    return left, upper, left + kept_width, upper + kept_height


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")
