"""The report's page reads pictures as `predict` does: 200 of them, byte by byte."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.inference.pictures import read_picture
from pipeline.report import script
from tests import made_up_pictures

pytestmark = pytest.mark.xdist_group("page pictures")  # they share the pictures

IN_NODE = """
    import { readFileSync } from "node:fs";
    const { readPicture, readPixels } = await import(process.argv[1]);
    const read = async ({ path, height, width, pixels }) => {
      const bytes = readFileSync(path);
      if (pixels) return readPixels(bytes, pixels[0], pixels[1], height, width);
      return readPicture(new Blob([bytes]), height, width);
    };
    const answers = [];
    for (const picture of JSON.parse(readFileSync(0))) {
      answers.push(Buffer.from((await read(picture)).rgb).toString("base64"));
    }
    console.log(JSON.stringify(answers));
"""

IN_A_BROWSER = """(async () => {
    const answers = [];
    for (const [index, file] of [...document.querySelector("input").files].entries()) {
      const [height, width] = SIZES[index];
      try {
        answers.push(btoa(String.fromCharCode(...(await readPicture(file, height, width)).rgb)));
      } catch (error) {
        answers.push(error.message);
      }
    }
    return answers;
})()"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return made_up_pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def page(tmp_path_factory, chromium):
    """A page with nothing but the script's functions and a field for files."""
    folder = tmp_path_factory.mktemp("page")
    modules = script.joined(script.FILES[: script.FILES.index("pictures/pictures.js") + 1])
    html = f"<!doctype html><meta charset='utf-8'><input type='file' multiple><script>{modules}</script>"
    (folder / "page.html").write_text(html, encoding="utf-8")
    chromium.open(folder / "page.html")
    return chromium


def assert_as_predict(pictures, answers):
    wrong = {}
    for picture, answer in zip(pictures, answers, strict=True):
        expected = read_picture(picture.path, picture.height, picture.width).transpose(1, 2, 0)
        if answer.endswith("."):  # a sentence, no Base64
            wrong[picture.path.name] = answer
            continue
        values = np.frombuffer(base64.b64decode(answer), np.uint8).reshape(expected.shape)
        if not np.array_equal(values, expected):
            wrong[picture.path.name] = np.abs(values.astype(int) - expected).max()
    assert wrong == {}


def chosen(page, paths, sizes):
    page.choose("input", paths)
    return page.evaluate(IN_A_BROWSER.replace("SIZES", json.dumps(sizes)))


def test_there_are_pictures_of_every_kind(pictures):
    assert len(pictures) == 200


def test_in_node(pictures, tmp_path):
    """Without a browser's decoder: a JPEG's pixels are Pillow's."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node found; `apt-get install nodejs` installs it")
    read = [picture for picture in pictures if "CMYK" not in picture.path.name]
    asked = [handed_over(picture, tmp_path) for picture in read]
    module = (script.FOLDER / "pictures" / "pictures.js").as_uri()
    command = [node, "--input-type=module", "--eval", IN_NODE, module]
    answer = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True)
    assert_as_predict(read, json.loads(answer.stdout))


def handed_over(picture, folder):
    asked = {"path": str(picture.path), "height": picture.height, "width": picture.width}
    if picture.path.suffix == ".png":
        return asked
    with Image.open(picture.path) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGBA")
    path = folder / f"{picture.path.name}.rgba"
    path.write_bytes(upright.tobytes())
    return asked | {"path": str(path), "pixels": upright.size}


def test_in_a_browser(pictures, page):
    sizes = [(picture.height, picture.width) for picture in pictures]
    assert_as_predict(pictures, chosen(page, [picture.path for picture in pictures], sizes))


@pytest.mark.parametrize("shape", [(3, 65_500), (65_500, 3)])
def test_a_jpeg_that_is_as_long_as_can_be(page, tmp_path, shape):
    path = tmp_path / "long.jpg"
    Image.fromarray(np.uint8(np.indices(shape).sum(axis=0) // 700)).save(path)
    assert_as_predict([made_up_pictures.Picture(path, 32, 32)], chosen(page, [path], [(32, 32)]))


def test_a_file_that_is_no_picture_is_told_in_a_sentence(pictures, page, tmp_path):
    jpeg = next(picture.path for picture in pictures if picture.path.suffix == ".jpg").read_bytes()
    contents = {
        "animated.png": b"GIF89a",
        "photo.jpg": b"\0\0\0\x18ftypheic",
        "empty.png": b"",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "garbled.jpg": jpeg[:200] + bytes(100) + b"\xff\xd9",
        "cut.png": made_up_pictures.SIGNATURE,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    answers = chosen(page, [tmp_path / name for name in contents], [(32, 32)] * len(contents))
    assert answers == [
        "The file is a GIF; expected a PNG or a JPEG.",
        "The file is a HEIC; expected a PNG or a JPEG.",
        "The file is empty; expected a PNG or a JPEG.",
        "The JPEG is damaged, or this browser does not know its kind.",
        "The JPEG is damaged, or this browser does not know its kind.",
        "The PNG is damaged: it ends early.",
    ]
