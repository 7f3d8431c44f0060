"""Read a picture file as a small color image: PNG or JPEG, in any mode, of up to 178 million pixels.

A picture is rotated by its EXIF orientation, cropped to its middle in the requested shape, and scaled to the requested
size by bicubic interpolation, which Pillow widens when it shrinks a picture, so that every pixel counts. Transparent
parts become white, 16 bits a channel become 8, and CMYK becomes RGB. Color profiles are not applied; of an animation,
the first frame is read.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import PictureError
from pipeline.files.paths import kind_unless_regular
from pipeline.networks.arrays import ByteArray

FORMATS = ("PNG", "JPEG")
MIN_DECODED = 8
"""Minimum size of a decoded JPEG, in multiples of the requested size: its decoder can halve it up to three times.
A JPEG of 108 million pixels then takes 0.26 s and 53 MB; a PNG, which is decoded in full, takes 5.4 s and 888 MB."""


def read_picture(path: Path, height: int, width: int) -> ByteArray:
    """Read a picture as a color image (3, height, width), uint8.

    A color picture of exactly this size keeps every value.

    Raises
    ------
    PictureError
        The file is missing, damaged, neither PNG nor JPEG, or has more than twice Pillow's ``MAX_IMAGE_PIXELS``.
    """
    picture = _in_color(_with_8_bits(_decoded(path, MIN_DECODED * max(height, width))))
    small = picture.resize((width, height), Image.Resampling.BICUBIC, box=_middle(*picture.size, height, width))
    return np.ascontiguousarray(np.asarray(_on_white(small)).transpose(2, 0, 1))


def _decoded(path: Path, min_size: int) -> Image.Image:
    try:
        if kind := kind_unless_regular(path):
            raise PictureError(f"{path} is {kind}; expected the name of a PNG or a JPEG file.")
        # Pillow warns of oddities that it can read, and of sizes below those that it refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as picture:
            picture.draft(None, (min_size, min_size))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{path} {_description(path)}; expected a PNG or a JPEG. Save it as one of these.") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} is too large: {error}. Make it smaller.") from None
    except Exception as error:  # on a damaged file, Pillow's decoders raise errors of any type
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(f"{path} cannot be read as a PNG or a JPEG ({reason}). Check the file.") from None


def _description(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(8)
    return f"begins with {beginning!r}" if beginning else "is empty"


def _with_8_bits(picture: Image.Image) -> Image.Image:
    """Convert gray values of 16 bits to 8; Pillow itself converts colors."""
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
    """Return the borders of the largest part of this shape in the middle: left, upper, right, lower."""
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
