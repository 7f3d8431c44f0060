from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import PictureError
from pipeline.inference.pictures import read_picture

COLOR = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What makes an upright picture one that has this EXIF orientation."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


def read(path, size=32):
    """The picture as it came, (height, width, 3)."""
    values = read_picture(path, size, size)
    assert values.dtype == np.uint8
    assert values.flags.c_contiguous
    return values.transpose(1, 2, 0)


def plain(values, mode=None):
    return Image.fromarray(np.uint8(values)).convert(mode)


def smooth(size=64):
    """A picture that JPEG changes little."""
    rows, columns = np.mgrid[0:size, 0:size] * (255 / size)
    return np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)


class TestModes:
    def test_a_color_picture_of_the_size_keeps_every_value(self, path):
        plain(COLOR).save(path)

        assert np.array_equal(read(path), COLOR)

    def test_opaque_color(self, path):
        plain(COLOR, "RGBA").save(path)

        assert np.array_equal(read(path), COLOR)

    @pytest.mark.parametrize("mode", ["L", "LA", "1"])
    def test_gray(self, path, mode):
        picture = plain(COLOR).convert("1" if mode == "1" else "L")
        picture.convert(mode).save(path)

        assert np.array_equal(read(path), np.repeat(np.asarray(picture.convert("L"))[:, :, None], 3, axis=2))

    def test_palette(self, path):
        picture = plain(COLOR).quantize(16)
        picture.save(path)

        assert np.array_equal(read(path), np.asarray(picture.convert("RGB")))

    def test_16_bits(self, path):
        values = np.random.default_rng(0).integers(0, 65536, (32, 32), np.uint16)
        values[0, :3] = [0, 65535, 32896]
        Image.fromarray(values).save(path)

        gray = read(path)
        assert gray[0, :3, 0].tolist() == [0, 255, 128]
        assert np.array_equal(gray, np.repeat(np.rint(values / 257).astype(np.uint8)[:, :, None], 3, axis=2))

    @pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr"])
    def test_jpeg(self, tmp_path, mode):
        plain(smooth(32)).convert(mode).save(tmp_path / "picture.jpg", quality=98, subsampling=0)

        assert read(tmp_path / "picture.jpg") == pytest.approx(smooth(32).astype(int), abs=8)

    def test_the_black_of_cmyk_darkens_the_other_inks(self, tmp_path):
        inks = np.full((16, 16, 4), [40, 90, 200, 50], np.uint8)
        Image.fromarray(inks, "CMYK").save(tmp_path / "picture.jpg", quality=100)

        expected = [(255 - ink) * (255 - 50) // 255 for ink in (40, 90, 200)]
        assert read(tmp_path / "picture.jpg", 16)[0, 0].tolist() == expected

    def test_gray_jpeg(self, tmp_path):
        plain(smooth(32)).convert("L").save(tmp_path / "picture.jpg", quality=98)

        assert read(tmp_path / "picture.jpg")[:, :, 0] == pytest.approx(
            np.asarray(plain(smooth(32)).convert("L"), int), abs=4
        )


class TestTransparency:
    def test_lies_on_white(self, path):
        picture = plain(COLOR, "RGBA")
        picture.putalpha(plain(np.full((32, 32), 51)))
        picture.save(path)

        assert read(path) == pytest.approx(0.2 * COLOR + 0.8 * 255, abs=1)

    def test_in_a_palette(self, path):
        picture = plain(COLOR).quantize(16)
        picture.save(path, transparency=3)

        transparent = np.asarray(picture) == 3
        assert transparent.any()
        assert np.array_equal(read(path)[~transparent], np.asarray(picture.convert("RGB"))[~transparent])
        assert (read(path)[transparent] == 255).all()

    def test_in_16_bits(self, path):
        values = np.full((32, 32), 1000, np.uint16)
        values[:4] = 2000
        Image.fromarray(values).save(path, transparency=1000)

        assert (read(path)[4:] == 255).all()
        assert (read(path)[:4] == 8).all()

    def test_the_hidden_color_does_not_shine_through_when_it_is_scaled(self, path):
        values = np.zeros((64, 64, 4), np.uint8)
        values[:, ::2] = [0, 0, 255, 255]
        values[:, 1::2] = [255, 0, 0, 0]
        plain(values).save(path)

        red, green, blue = (read(path)[8:24, 8:24].reshape(-1, 3).astype(int).mean(axis=0)).tolist()
        assert red == pytest.approx(green, abs=2)
        assert blue > 250


class TestSize:
    @pytest.mark.parametrize("shape", [(32, 96), (96, 32), (32, 33), (100, 41)])
    def test_the_middle_is_kept(self, path, shape):
        height, width = shape
        side = min(shape)
        values = np.zeros((height, width, 3), np.uint8)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        values[top : top + side, left : left + side] = 200
        plain(values).save(path)

        assert read(path)[2:-2, 2:-2] == pytest.approx(200, abs=1)

    def test_every_pixel_counts_when_it_shrinks(self, path):
        values = np.zeros((320, 320, 3), np.uint8)
        values[::10] = 250
        plain(values).save(path)

        assert read(path).mean() == pytest.approx(25, abs=1)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3)])
    def test_a_tiny_picture_grows(self, path, shape):
        plain(np.full((*shape, 3), 99)).save(path)

        assert (read(path) == 99).all()

    @given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
    def test_any_size_to_any_size(self, tmp_path_factory, height, width, rows, columns):
        path = tmp_path_factory.getbasetemp() / "any.png"
        plain(np.full((height, width, 3), 7)).save(path)

        small = read_picture(path, rows, columns)

        assert small.shape == (3, rows, columns)
        assert (small == 7).all()


class TestOrientation:
    @pytest.mark.parametrize("orientation", TO_UPRIGHT)
    @pytest.mark.parametrize("name", ["picture.png", "picture.jpg"])
    def test_is_undone(self, tmp_path, name, orientation):
        upright = plain(smooth()[:, :48])
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.save(tmp_path / f"upright {name}", quality=98)
        upright.transpose(TO_UPRIGHT[orientation]).save(tmp_path / name, exif=exif, quality=98)

        assert read(tmp_path / name) == pytest.approx(read(tmp_path / f"upright {name}").astype(int), abs=6)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


class TestTrouble:
    def test_no_such_file(self, tmp_path):
        with pytest.raises(PictureError, match=r"nothing\.png cannot be read .*\(No such file or directory\)"):
            read_picture(tmp_path / "nothing.png", 32, 32)

    def test_a_folder(self, tmp_path):
        with pytest.raises(PictureError, match=r" is a folder; expected the name of a PNG or a JPEG file\."):
            read_picture(tmp_path, 32, 32)

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "link.png").symlink_to("pipe.png")

        with pytest.raises(PictureError, match=r"link\.png is a pipe \(FIFO\); expected"):
            read_picture(tmp_path / "link.png", 32, 32)

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/tty"])
    def test_a_device(self, device):
        with pytest.raises(PictureError, match=f"{device} is a character device; expected"):
            read_picture(Path(device), 32, 32)

    def test_a_link_to_a_file_is_followed(self, path, tmp_path):
        plain(COLOR).save(path)
        (tmp_path / "link.png").symlink_to(path)

        assert np.array_equal(read(tmp_path / "link.png"), COLOR)

    def test_an_empty_file(self, path):
        path.touch()

        with pytest.raises(PictureError, match=r"picture\.png is empty; expected a PNG or a JPEG\."):
            read_picture(path, 32, 32)

    def test_a_text(self, path):
        path.write_text("<html>404</html>")

        with pytest.raises(PictureError, match=r"begins with b'<html>40'; expected a PNG or a JPEG\."):
            read_picture(path, 32, 32)

    def test_another_kind_of_picture(self, path):
        plain(COLOR).save(path, format="GIF")

        with pytest.raises(PictureError, match=r"begins with b'GIF87a \\x00'; expected a PNG or a JPEG\."):
            read_picture(path, 32, 32)

    @pytest.mark.parametrize("name", ["picture.png", "picture.jpg"])
    def test_a_file_that_ends_early(self, tmp_path, name):
        plain(COLOR).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])

        with pytest.raises(PictureError, match=r"cannot be read as a PNG or a JPEG \(.*truncated"):
            read_picture(tmp_path / name, 32, 32)

    def test_a_small_file_of_a_huge_picture(self, path):
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        content = zlib.compress(bytes(60_000))
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")
        )

        with pytest.raises(PictureError, match=r"is too large: .*3600000000 pixels"):
            read_picture(path, 32, 32)

    @pytest.mark.parametrize("chunks", [[], [(b"PLTE", bytes(6)), (b"tRNS", bytes(range(200)) * 2)]])
    def test_a_palette_that_is_missing_or_has_too_many_opacities(self, path, chunks):
        header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 3, 0, 0, 0))
        parts = [header, *chunks, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))

        with pytest.raises(PictureError, match=r"cannot be read as a PNG or a JPEG"):
            read_picture(path, 32, 32)

    def test_a_large_picture_is_read_without_a_warning(self, path, monkeypatch):
        plain(np.full((50, 50, 3), 7)).save(path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)

        assert (read(path) == 7).all()

    @given(st.sampled_from(["PNG", "JPEG"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
    def test_damage_is_read_over_or_told(self, tmp_path_factory, kind, place, damage):
        path = tmp_path_factory.getbasetemp() / "damaged"
        plain(smooth(16)).save(path, format=kind, exif=Image.Exif())
        content = bytearray(path.read_bytes())
        place %= len(content)
        content[place : place + len(damage)] = damage
        path.write_bytes(content)

        with contextlib.suppress(PictureError):
            assert read_picture(path, 8, 8).shape == (3, 8, 8)
