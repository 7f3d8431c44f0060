"""Read a picture file as a small color image: PNG or JPEG, in any mode, of up to 178 million pixels.

A picture is rotated by its EXIF orientation, cropped to its middle in the requested shape, and scaled to the requested
size by bicubic interpolation. Pillow widens the filter when it shrinks a picture, so that every pixel counts.
Transparent parts become white, 16 bits a channel become 8, and CMYK becomes RGB. Color profiles are not applied. The
first frame of an animation is read.
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


def read_picture(path: Path, height: int, width: int) -> ByteArray:
    """Read a picture as a color image (3, height, width), uint8.

    A color picture of exactly this size keeps every value. Raises `PictureError` if the file is missing, damaged,
    neither PNG nor JPEG, or has more than twice Pillow's ``MAX_IMAGE_PIXELS``.
    """
    picture = ImageOps.fit(_decoded(path), (width, height), Image.Resampling.BICUBIC)
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _decoded(path: Path) -> Image.Image:
    try:
        if kind := kind_unless_regular(path):
            raise PictureError(f"{path} is {kind}; expected the name of a PNG or a JPEG file.")
        # Pillow warns of oddities that it can read, and of sizes above half of the size that it refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as picture:
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return _in_color(_with_8_bits(picture))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{path} {_description(path)}; expected a PNG or a JPEG. Save it as one of these.") from None
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path} is too large: {error}. Make it smaller.") from None
    except Exception as error:  # Pillow's decoders raise errors of any type on a damaged file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(f"{path} cannot be read as a PNG or a JPEG ({reason}). Check the file.") from None


def _description(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(8)
    return f"begins with {beginning!r}" if beginning else "is empty"


def _in_color(picture: Image.Image) -> Image.Image:
    if picture.mode == "CMYK":  # Pillow rounds the products, browsers cut them off: the report's page has their values
        light = 255 - np.asarray(picture).astype(np.uint16)
        return Image.fromarray((light[..., :3] * light[..., 3:] // 255).astype(np.uint8))
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # convert() copies, even for nothing


def _with_8_bits(picture: Image.Image) -> Image.Image:
    """Convert gray values of 16 bits to 8: Pillow converts 16-bit colors itself, but cuts gray values off at 255."""
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    gray = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    transparent = picture.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray
