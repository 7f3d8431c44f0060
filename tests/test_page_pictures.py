"""The report's page reads 200 pictures as `predict` does, byte by byte, and computes the same layers of them."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.data.grayscale import grayscale
from pipeline.inference.pictures import read_picture
from pipeline.networks.declaration import Network
from pipeline.networks.declared import CNN
from pipeline.networks.forward import layer_outputs
from pipeline.networks.weights import draw_weights
from pipeline.report import script
from pipeline.report.try_it import layers_and_weights
from tests import made_up_pictures, small_networks
from tests.available import run_node

pytestmark = pytest.mark.xdist_group("page pictures")  # they share the pictures

COMPUTE = """
    const base64 = (values) => {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    };
    const compute = async ({ rgb }, { height, width }, networks) => {
      const network = await readNetwork(networks[`${height}x${width}`]);
      const outputs = layerOutputs(network, grayscale(rgb, height, width));
      return [base64(rgb), ...outputs.map(base64)];
    };
"""
"""A function that returns the colors and the output of each layer."""

IN_NODE = """
    import { readFileSync } from "node:fs";
    const { grayscale, readPicture, readPixels } = await import(`${process.argv[1]}/pictures/pictures.js`);
    const { layerOutputs, readNetwork } = await import(`${process.argv[1]}/try-it/network.js`);
    COMPUTE
    const read = async ({ path, height, width, pixels }) => {
      const bytes = readFileSync(path);
      if (pixels) return readPixels(bytes, pixels[0], pixels[1], height, width);
      return readPicture(new Blob([bytes]), height, width);
    };
    const answers = [];
    const { networks, pictures } = JSON.parse(readFileSync(0));
    for (const picture of pictures) answers.push(await compute(await read(picture), picture, networks));
    console.log(JSON.stringify(answers));
""".replace("COMPUTE", COMPUTE)

IN_A_BROWSER = """(async () => {
    COMPUTE
    const answers = [];
    for (const [index, file] of [...document.querySelector("input").files].entries()) {
      const size = SIZES[index];
      try {
        answers.push(await compute(await readPicture(file, size.height, size.width), size, NETWORKS));
      } catch (error) {
        answers.push(error.message);
      }
    }
    return answers;
})()""".replace("COMPUTE", COMPUTE)

SIZES = [(32, 32), (20, 28)]
NETWORKS = small_networks.results(
    {
        f"{height}x{width}": Network.build({**CNN, "input_shape": (None, 1, height, width)}, classes=10)
        for height, width in SIZES
    },
    draw_weights,
)
"""The article's CNN, for the sizes of the pictures, with its initial weights."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return made_up_pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def networks():
    """What the script gets of the networks, by their names."""
    return layers_and_weights(NETWORKS)


@pytest.fixture(scope="module")
def page(tmp_path_factory, chromium):
    """A page with nothing but the script's functions and a field for files."""
    folder = tmp_path_factory.mktemp("page")
    modules = script.joined(script.FILES[: script.FILES.index("try-it/network.js") + 1])
    html = f"<!doctype html><meta charset='utf-8'><input type='file' multiple><script>{modules}</script>"
    (folder / "page.html").write_text(html, encoding="utf-8")
    chromium.open(folder / "page.html")
    return chromium


def assert_as_predict(pictures, answers):
    wrong = {}
    for picture, answer in zip(pictures, answers, strict=True):
        if isinstance(answer, str):  # a sentence that refuses the picture
            wrong[picture.path.name] = answer
            continue
        colors, *outputs = map(base64.b64decode, answer)
        expected = read_picture(picture.path, picture.height, picture.width)
        if np.frombuffer(colors, np.uint8).tolist() != expected.transpose(1, 2, 0).ravel().tolist():
            wrong[picture.path.name] = "other colors"
        elif difference := largest_difference(outputs, expected):
            wrong[picture.path.name] = difference
    assert wrong == {}


def largest_difference(outputs, colors):
    """Return the largest difference of a layer's values from those of NumPy, or None if it is below 1e-5."""
    _, height, width = colors.shape
    [cnn] = [cnn for cnn in NETWORKS if cnn.name == f"{height}x{width}"]
    gray = grayscale(colors[np.newaxis])[np.newaxis]
    expected = layer_outputs(cnn.network, cnn.weights, gray.astype(np.float64))
    pairs = zip(outputs, expected, strict=True)
    largest = max(np.abs(np.frombuffer(values, np.float32) - layer.ravel()).max() for values, layer in pairs)
    return largest if largest > 1e-5 else None


def size_of(picture):
    return {"height": picture.height, "width": picture.width}


def chosen(page, networks, paths, sizes):
    page.choose("input", paths)
    program = IN_A_BROWSER.replace("NETWORKS", json.dumps(networks)).replace("SIZES", json.dumps(sizes))
    return page.evaluate(program)


def test_there_are_pictures_of_every_kind(pictures):
    assert len(pictures) == 200


def test_in_node(pictures, networks, tmp_path):
    """Without a browser's decoder: a JPEG's pixels are Pillow's."""
    read = [picture for picture in pictures if "CMYK" not in picture.path.name]
    asked = {
        "networks": networks,
        "pictures": [size_of(picture) | handed_over(picture, tmp_path) for picture in read],
    }
    program = ["--input-type=module", "--eval", IN_NODE, script.FOLDER.as_uri()]
    assert_as_predict(read, json.loads(run_node(*program, given=json.dumps(asked))))


def handed_over(picture, folder):
    if picture.path.suffix == ".png":
        return {"path": str(picture.path)}
    with Image.open(picture.path) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGBA")
    path = folder / f"{picture.path.name}.rgba"
    path.write_bytes(upright.tobytes())
    return {"path": str(path), "pixels": upright.size}


def test_in_a_browser(pictures, networks, page):
    for start in range(0, len(pictures), 20):
        few = pictures[start : start + 20]
        paths, sizes = [picture.path for picture in few], [size_of(picture) for picture in few]
        assert_as_predict(few, chosen(page, networks, paths, sizes))


@pytest.mark.parametrize("shape", [(3, 65_500), (65_500, 3)])
def test_a_jpeg_that_is_as_long_as_can_be(page, networks, tmp_path, shape):
    path = tmp_path / "long.jpg"
    Image.fromarray(np.uint8(np.indices(shape).sum(axis=0) // 700)).save(path)
    picture = made_up_pictures.Picture(path, 32, 32)
    assert_as_predict([picture], chosen(page, networks, [path], [size_of(picture)]))


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
    answers = chosen(page, {}, [tmp_path / name for name in contents], [{"height": 32, "width": 32}] * len(contents))
    assert answers == [
        "The file is a GIF; expected a PNG or a JPEG.",
        "The file is a HEIC; expected a PNG or a JPEG.",
        "The file is empty; expected a PNG or a JPEG.",
        "The JPEG is damaged, or this browser does not know its kind.",
        "The JPEG is damaged, or this browser does not know its kind.",
        "The PNG is damaged: it ends early.",
    ]
