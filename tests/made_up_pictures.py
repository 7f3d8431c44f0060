"""Pictures of every kind that a PNG or a JPEG can have, from a fixed seed."""

from __future__ import annotations

import dataclasses
import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
KINDS = [(color, depth) for color, depths in DEPTHS.items() for depth in depths]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
SIZES = ((1, 1), (1, 9), (70, 1), (2, 3), (5, 4), (31, 33), (32, 32), (32, 41), (47, 32), (64, 64), (300, 7), (9, 411))
LARGE = ((333, 250), (128, 1021), (600, 450))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file, and the size that a network takes."""

    path: Path
    height: int
    width: int


def write(folder: Path) -> list[Picture]:
    """Write 200 pictures."""
    rng = np.random.default_rng(20)
    sizes = itertools.cycle(SIZES)
    files = [
        *plain_pngs(rng, sizes),
        *transparent_pngs(rng, sizes),
        *pngs_with_metadata(rng, sizes),
        *large_pngs(rng),
        *jpegs(rng),
    ]
    pictures = []
    for number, (name, content) in enumerate(files):
        path = folder / f"{number:03d} {name}"
        path.write_bytes(content)
        pictures.append(Picture(path, *((20, 28) if number % 7 == 0 else (32, 32))))
    return pictures


def plain_pngs(rng, sizes):
    for (color, depth), interlaced, _ in itertools.product(KINDS, (False, True), range(3)):
        height, width = next(sizes)
        name = f"{color} {depth} {'interlaced ' * interlaced}{height} {width}.png"
        yield name, png(samples(rng, height, width, color, depth), depth, color, rng, interlaced=interlaced)


def transparent_pngs(rng, sizes):
    for color, depth in KINDS:
        if color in (GRAY_ALPHA, RGB_ALPHA):
            continue
        for kind in ("one", "several"):
            height, width = next(sizes)
            values = samples(rng, height, width, color, depth)
            if color != PALETTE:
                hidden = struct.pack(f">{CHANNELS[color]}H", *map(int, values[0, 0]))
            elif kind == "one":
                hidden = b"\xff\0"
            else:
                hidden = rng.integers(0, 256, 2**depth, np.uint8).tobytes()
            content = png(values, depth, color, rng, chunks=[(b"tRNS", hidden)], interlaced=kind == "several")
            yield f"{color} {depth} transparent {kind} {height} {width}.png", content


def pngs_with_metadata(rng, sizes):
    def picture(*chunks, later=()):
        height, width = next(sizes)
        return png(samples(rng, height, width, RGB_ALPHA, 8), 8, RGB_ALPHA, rng, chunks=chunks, later=later)

    for orientation in range(1, 9):
        yield f"exif {orientation}.png", picture((b"eXIf", exif(orientation)))
        yield f"exif {orientation} little.png", picture(later=[(b"eXIf", exif(orientation, "<"))])
    yield "xmp.png", picture((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='1' tiff:Orientation=\"6\"/>"))
    yield "gamma.png", picture((b"gAMA", struct.pack(">I", 100_000)))
    yield "profile.png", picture((b"iCCP", b"other\0\0" + zlib.compress(profile())))
    yield "srgb.png", picture((b"sRGB", b"\0"), (b"pHYs", b"\0\0\0\1\0\0\0\2\1"))


def large_pngs(rng):
    for (height, width), color in itertools.product(LARGE, (RGB, RGB_ALPHA, GRAY)):
        yield f"large {color} {height} {width}.png", png(samples(rng, height, width, color, 8), 8, color, rng)


def jpegs(rng):
    for mode, progressive, subsampling in itertools.product(("L", "RGB", "CMYK"), (False, True), (0, 1, 2)):
        for height, width in ((32, 32), (67, 45), (150, 203))[: 3 if mode == "RGB" else 2]:
            content = jpeg(rng, height, width, mode, progressive=progressive, subsampling=subsampling)
            yield f"{mode} {'progressive ' * progressive}{subsampling} {height} {width}.jpg", content
    for orientation in range(1, 9):
        yield f"exif {orientation}.jpg", jpeg(rng, 50, 71, exif=b"Exif\0\0" + exif(orientation))
    for height, width in ((1, 1), (1, 40), (33, 2), (750, 1000), (1000, 400)):
        yield f"large {height} {width}.jpg", jpeg(rng, height, width)
    yield "profile.jpg", jpeg(rng, 40, 40, icc_profile=profile())
    yield "xmp.jpg", jpeg(rng, 40, 60, xmp=b'<x tiff:Orientation="8"/>')
    yield "density.jpg", jpeg(rng, 40, 60, dpi=(300, 150))
    yield "poor.jpg", jpeg(rng, 200, 160, quality=5)


def samples(rng, height, width, color, depth):
    """Make a picture of waves, of which some have sharp edges, with some noise: (height, width, channels)."""
    rows, columns = np.mgrid[0:height, 0:width][..., None]
    waves = np.sin(rows * rng.uniform(0.02, 0.5, CHANNELS[color]) + columns * rng.uniform(0.02, 0.5, CHANNELS[color]))
    waves = np.where(rng.random(CHANNELS[color]) < 0.3, np.sign(waves), waves)
    noise = rng.uniform(-0.03, 0.03, waves.shape)
    return np.clip((waves + noise + 1) * 2 ** (depth - 1), 0, 2**depth - 1).astype(np.uint16)


def png(values, depth, color, rng, *, interlaced=False, chunks=(), later=()):
    height, width, _ = values.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [values[top::down, left::across] for left, top, across, down in passes]
    lines = b"".join(
        filtered(packed(part, depth), (depth * CHANNELS[color] + 7) // 8, rng) for part in parts if part.size
    )
    palette = [(b"PLTE", rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes())] if color == PALETTE else []
    compressed = zlib.compress(lines)
    half = len(compressed) // 2
    contents = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)),
        *palette,
        *chunks,
        *[(b"IDAT", part) for part in (compressed[:half], b"", compressed[half:])],
        *later,
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(chunk(kind, content) for kind, content in contents)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed(values, depth):
    """Return the bytes of the rows of a picture."""
    rows = values.reshape(len(values), -1)
    if depth == 16:
        return rows.astype(">u2").view(np.uint8)
    if depth == 8:
        return rows.astype(np.uint8)
    bits = rows[..., None] >> np.arange(depth)[::-1] & 1
    return np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)


def filtered(rows, pixel_bytes, rng):
    """Filter each row by one of PNG's five filters."""
    raw = rows.astype(int)
    above = np.pad(raw, ((1, 0), (0, 0)))[:-1]
    left, corner = (np.pad(values, ((0, 0), (pixel_bytes, 0)))[:, : raw.shape[1]] for values in (raw, above))
    estimate = left + above - corner
    distances = np.abs(np.stack([estimate - left, estimate - above, estimate - corner]))
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    candidates = np.stack([0 * raw, left, above, (left + above) // 2, paeth])
    chosen = rng.integers(0, 5, len(raw))
    differences = (raw - candidates[chosen, np.arange(len(raw))]).astype(np.uint8)
    return np.column_stack([chosen.astype(np.uint8), differences]).tobytes()


def exif(orientation, order=">"):
    header = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    entries = [struct.pack(f"{order}HHIH2x", 0x0100, 3, 1, 7), struct.pack(f"{order}HHIH2x", 0x0112, 3, 1, orientation)]
    return header + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def jpeg(rng, height, width, mode="RGB", **options):
    values = np.uint8(samples(rng, height, width, RGB_ALPHA if mode == "CMYK" else RGB, 8))
    picture = Image.fromarray(values, mode) if mode == "CMYK" else Image.fromarray(values).convert(mode)
    content = io.BytesIO()
    picture.save(content, "JPEG", **{"quality": 85, **options})
    return content.getvalue()
