"""The report's section "Try it": the page computes what Python computes, and a reader can use it in every way."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.inference.prediction import latest_classifier
from pipeline.networks.forward import layer_outputs
from pipeline.report import examples, markup, script, try_it
from tests import made_up_pictures, small_networks
from tests.available import run_node
from tests.small_networks import convolution, dense, network, pool, tanh

SHOWN = {
    **{
        name: built
        for name, built in small_networks.NETWORKS.items()
        if built.input_shape[0] == 1 and len(built.input_shape) == 3
    },
    "units alone": network((36,), dense(7), dense(5)),
    "padding and stride": network(
        (1, 9, 12), convolution(3, (3, 2), pad=(1, 2), stride=(2, 1)), pool((2, 3)), dense(4)
    ),
}


RUN = """
import { readNetwork, layerOutputs } from "%s/try-it/network.js";
let text = "";
for await (const piece of process.stdin) text += piece;
const results = [];
for (const { network, images } of JSON.parse(text)) {
  const read = await readNetwork(network);
  results.push(images.map((image) => layerOutputs(read, Float32Array.from(image)).map((values) => [...values])));
}
console.log(JSON.stringify(results));
"""


def in_node(given):
    """Compute networks with the page's script, in Node."""
    program = RUN % script.FOLDER.as_uri()
    return json.loads(run_node("--input-type=module", "--eval", program, given=json.dumps(given)))


class TestInNode:
    def test_every_layer_has_the_values_that_numpy_computes(self):
        read = small_networks.results(SHOWN)
        images = {shown.name: small_networks.random_examples(shown.network, 3, seed=5).images for shown in read}
        packed = try_it.layers_and_weights(read)
        assert list(packed) == list(SHOWN)
        computed = in_node(
            [{"network": packed[name], "images": images[name].reshape(3, -1).tolist()} for name in packed]
        )
        for shown, of_images in zip(read, computed, strict=True):
            weights = small_networks.random_weights(shown.network, seed=read.index(shown))
            expected = layer_outputs(shown.network, weights, images[shown.name].astype(np.float64))
            for number, layers in enumerate(of_images):
                for values, layer in zip(layers, expected, strict=True):
                    np.testing.assert_allclose(values, layer[number].ravel(), rtol=1e-5, atol=1e-5)


class TestSection:
    def test_says_which_networks_are_not_there_and_why(self):
        networks = {"small": network((1, 8, 8)), "color": network((3, 8, 8)), "row": network((35,))}
        networks["large"] = network((1, 100, 100), dense(30))
        read = small_networks.results(networks)
        content = "".join(try_it.try_it_section(read).content)
        assert "The COLOR is not here: its input, of shape (3, 8, 8), is no gray picture." in content
        assert "The ROW is not here: its input, of shape (35,), is no gray picture." in content
        assert "The LARGE is not here: with its 300,123 parameters the page would be too large" in content
        assert 'id="try-it-here"' in content
        assert list(try_it.layers_and_weights(read)) == ["small"]

    def test_without_a_network_there_are_reasons_alone(self):
        read = small_networks.results({"color": network((3, 8, 8))})
        content = "".join(try_it.try_it_section(read).content)
        assert content.count("is not here") == 1
        assert 'id="try-it-here"' not in content


@pytest.fixture
def opened(states, chromium):
    chromium.look()
    chromium.open(states.shared("trained").folder / "outputs" / "report.html")
    chromium.wait_for("document.querySelector('#try-it-here .answers data')?.value")
    return chromium


def probabilities(opened):
    values = opened.evaluate("[...document.querySelectorAll('#try-it-here .answers data')].map((data) => data.value)")
    return [float(value) for value in values]


def status(opened):
    return opened.evaluate("document.querySelector('#try-it-here .answer').textContent")


def arithmetic(opened):
    return opened.evaluate("document.querySelector('#try-it-here .arithmetic').textContent")


def choose_file(opened, path):
    """Choose a file as a person does in the dialogue, and wait until the section has taken it."""
    opened.choose("#try-it-here input[type=file]", [path])
    name = json.dumps(path.name)
    return opened.wait_for(
        f"[document.querySelector('#try-it-here .answer').textContent].find((text) => text.startsWith({name}))",
    )


def hand_over(opened, way, *paths):
    """Drop or paste files one by one, somewhere in the page."""
    event = {
        "drop": "new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})",
        "paste": "new ClipboardEvent('paste', {clipboardData: files, bubbles: true})",
    }[way]
    contents = {path.name: base64.b64encode(path.read_bytes()).decode() for path in paths}
    opened.evaluate(
        f"for (const [name, content] of Object.entries({json.dumps(contents)})) {{"
        "  const files = new DataTransfer();"
        "  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));"
        "  files.items.add(new File([bytes], name));"
        f"  document.body.dispatchEvent({event}); }}"
    )


@pytest.mark.xdist_group("try it")
class TestInABrowser:
    def test_pictures_have_the_probabilities_of_predict(self, opened, states, tmp_path):
        """200 pictures of odd sizes and kinds; JPEGs and PNGs alike."""
        files = [picture.path for picture in made_up_pictures.write(tmp_path)]
        classifier = latest_classifier("cnn", states.shared("trained").folder / "outputs", engine="numba")
        assert len(files) == 200
        worst = 0.0
        for path, predicted in zip(files, classifier.predict_many(files), strict=True):
            choose_file(opened, path)
            by_name = dict(predicted.guesses)
            expected = [by_name[name] for name in classifier.trained.class_names]
            worst = max(worst, float(np.abs(np.subtract(probabilities(opened), expected)).max()))
        assert worst < 1e-5

    def test_asks_for_nothing_and_complains_of_nothing(self, opened, tmp_path):
        path = tmp_path / "gray.png"
        Image.new("L", (40, 50), 99).save(path)
        choose_file(opened, path)
        assert [url for url in opened.requests() if not url.startswith("file:")] == []
        assert opened.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []

    def test_begins_with_a_test_image_in_the_last_network(self, opened):
        assert status(opened).startswith("Test image 0 (")
        assert sum(probabilities(opened)) == pytest.approx(1, abs=1e-6)
        assert opened.evaluate("[...document.querySelectorAll('#try-it-here figcaption')].map((e) => e.textContent)")[
            :3
        ] == [
            "cropped and scaled",
            "gray: 32 \N{MULTIPLICATION SIGN} 32",
            "conv1: 16 maps of 30 \N{MULTIPLICATION SIGN} 30",
        ]

    def test_the_other_network_takes_the_same_picture(self, opened):
        before = probabilities(opened)
        opened.evaluate("document.querySelector('#try-it-here input[type=radio]').click()")
        opened.wait_for(
            "[...document.querySelectorAll('#try-it-here figcaption')].some((e) => e.textContent.startsWith('hidden'))",
        )
        assert opened.wait_for("document.querySelector('#try-it-here .answers data').value")
        assert probabilities(opened) != before

    def test_a_test_image_of_a_gallery_has_the_probability_of_the_evaluation(self, opened):
        wanted = "#test-images h3:nth-of-type(3) + .gallery figure:last-child"
        opened.evaluate(f"document.querySelector('{wanted} button').click()")
        alt = opened.evaluate(f"document.querySelector('{wanted} img').alt")
        opened.wait_for(f"document.querySelector('#try-it-here .answer').textContent.startsWith({json.dumps(alt)})")
        evaluated = float(opened.evaluate(f"document.querySelector('{wanted} data').value"))
        assert max(probabilities(opened)) == pytest.approx(evaluated, abs=1e-5)

    @pytest.mark.parametrize("way", ["drop", "paste"])
    def test_a_picture_comes_by(self, opened, tmp_path, way):
        Image.new("RGB", (50, 40), (200, 30, 60)).save(tmp_path / "red.png")
        hand_over(opened, way, tmp_path / "red.png")
        opened.wait_for("document.querySelector('#try-it-here .answer').textContent.startsWith('red.png: ')")

    def test_a_file_that_is_no_picture_is_told(self, opened, tmp_path):
        (tmp_path / "notes.txt").write_text("no picture")
        before = probabilities(opened)
        assert "expected a PNG or a JPEG" in choose_file(opened, tmp_path / "notes.txt")
        assert probabilities(opened) == before

    def test_what_is_drawn_is_computed(self, opened):
        opened.evaluate(
            "[...document.querySelectorAll('#try-it-here button')].find((e) => e.textContent === 'Draw').click()"
        )
        opened.wait_for("document.querySelector('#try-it-here .answer').textContent.startsWith('Your drawing')")
        empty = probabilities(opened)
        opened.evaluate("document.querySelector('#try-it-here .board').scrollIntoView()")
        left, top = opened.evaluate(
            "(() => { const box = document.querySelector('.board canvas').getBoundingClientRect();"
            "  return [box.left, box.top]; })()"
        )
        for kind, x, y in (
            ("mousePressed", 60, 60),
            ("mouseMoved", 180, 70),
            ("mouseMoved", 90, 200),
            ("mouseReleased", 90, 200),
        ):
            opened.call(
                "Input.dispatchMouseEvent", type=kind, x=left + x, y=top + y, button="left", buttons=1, clickCount=1
            )
        opened.wait_for(f"document.querySelector('#try-it-here .answers data').value != {empty[0]!r}")
        ink = opened.evaluate(
            "(() => { const canvas = document.querySelector('.ends canvas');"
            "  const { data } = canvas.getContext('2d').getImageData(0, 0, 32, 32);"
            "  return [data[4 * (8 * 32 + 11)], data[4 * (30 * 32 + 30)]]; })()"
        )
        assert ink == [255, 0]

    def test_a_value_shows_its_arithmetic_by_keyboard(self, opened):
        opened.evaluate("document.querySelectorAll('#try-it-here .layers canvas')[0].focus()")
        assert arithmetic(opened).startswith("conv1, map 1, row 1, column 1 = ")
        opened.press("ArrowRight")
        opened.press("ArrowDown")
        assert arithmetic(opened).startswith("conv1, map 1, row 2, column 2 = ")
        numbers = opened.evaluate(
            "[...document.querySelectorAll('.arithmetic table')].map((table) => [...table.querySelectorAll('td')].map("
            "  (cell) => Number(cell.textContent.replace('\\u2212', '-'))))"
        )
        values, weights, products = numbers
        np.testing.assert_allclose(np.multiply(values, weights), products, atol=0.02)

    def test_a_value_shows_its_arithmetic_to_the_mouse(self, opened):
        box = opened.evaluate(
            "(() => { const canvas = document.querySelectorAll('#try-it-here .layers canvas')[1];"
            "  canvas.scrollIntoView({block: 'center'}); const box = canvas.getBoundingClientRect();"
            "  return [box.left, box.top, box.width]; })()"
        )
        left, top, width = box
        opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=left + 1, y=top + 1)
        assert "pool1, map 1, row 1, column 1" in arithmetic(opened)
        opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=left + width - 2, y=top + 1)
        assert "pool1, map 4, row 1, column 15" in arithmetic(opened)
        chosen = float(opened.evaluate("document.querySelector('.arithmetic .chosen').textContent"))
        assert float(re.search(r"= (\d\.\d+)", arithmetic(opened))[1]) == pytest.approx(chosen, abs=0.006)

    def test_the_arithmetic_can_be_closed(self, opened):
        opened.evaluate("document.querySelector('#try-it-here .answers button').focus()")
        opened.evaluate("document.querySelector('.arithmetic button').click()")
        assert arithmetic(opened).startswith("Point at a value")
        assert opened.evaluate("document.querySelector('.arithmetic').clientHeight") < 100

    def test_a_class_and_a_gray_value_show_their_arithmetic(self, opened):
        opened.evaluate("document.querySelector('#try-it-here .answers button').focus()")
        assert "Softmax: e to the power of" in arithmetic(opened)
        opened.evaluate("document.querySelectorAll('#try-it-here .ends canvas')[1].focus()")
        assert arithmetic(opened).startswith("gray, row 1, column 1 = ")
        assert "0.299 \N{MULTIPLICATION SIGN} " in arithmetic(opened)

    def test_fits_a_phone(self, opened):
        opened.look(width=390)
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390

    def test_in_print_it_is_a_still(self, opened):
        opened.look(medium="print")
        shown = "(selector) => getComputedStyle(document.querySelector(selector)).display !== 'none'"
        assert opened.evaluate(f"({shown})('#try-it-here .layers')")
        assert opened.evaluate(f"({shown})('#try-it-here .answer')")
        assert opened.evaluate(f"({shown})('#try-it-here input[type=radio]')")
        assert not opened.evaluate(f"({shown})('#try-it-here .sources')")
        assert not opened.evaluate(f"({shown})('#try-it-here .arithmetic')")


@pytest.fixture
def open_page(chromium, tmp_path):
    """Return a function that opens a page of the section alone, with random weights and random test images."""

    def opened_page(networks, class_names=("bird", "cat", "dog"), is_shown="#try-it-here .answers data[value]"):
        read = small_networks.results(networks)
        labels = np.arange(len(class_names), dtype=np.uint8)
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        packed = try_it.layers_and_weights(read)
        data = {
            "classes": class_names,
            "images": examples.shown_images(images, labels, range(min(10, len(labels)))),
            "networks": [{"title": shown.title} | packed.get(shown.name, {}) for shown in read],
        }
        sections = [try_it.try_it_section(read)]
        page = tmp_path / "page.html"
        page.write_text(markup.page("Page", "", sections, script.page_data(data), script.script_text()))
        chromium.look()
        chromium.open(page)
        chromium.wait_for(f"document.querySelector('{is_shown}') !== null")
        return chromium

    return opened_page


@pytest.mark.xdist_group("try it")
class TestOnAPageOfItsOwn:
    def test_a_pooled_negative_value_is_darker_than_zero(self, open_page):
        """A negative number has no root: all of them were black."""
        page = open_page({"tanh": network((1, 8, 8), convolution(3, (3, 3), nonlinearity=tanh), pool((2, 2)))})
        page.evaluate("document.querySelectorAll('#try-it-here .layers canvas')[1].focus()")
        shades = {}
        for column in range(9):
            value = re.search(r"= (.?\d\.\d+)", arithmetic(page))[1].replace("\N{MINUS SIGN}", "-")
            shades[float(value)] = page.evaluate(
                "(() => { const canvas = document.querySelectorAll('#try-it-here .layers canvas')[1];"
                f"  const [x, y] = [canvas.width / 18 * {2 * column + 1}, canvas.height / 6];"
                "  return canvas.getContext('2d').getImageData(x, y, 1, 1).data[0]; })()"
            )
            page.press("ArrowRight")
        ascending = [shades[value] for value in sorted(shades)]
        assert ascending == sorted(ascending)
        negative = {shade for value, shade in shades.items() if value < 0}
        assert len(negative) > 1
        assert max(negative) < 128

    def test_a_picture_stays_when_its_file_has_gone_and_a_bad_one_came(self, open_page, tmp_path):
        page = open_page({"one": network((1, 8, 8)), "other": network((1, 6, 6))})
        Image.new("L", (9, 9), 99).save(tmp_path / "gray.png")
        expected = choose_file(page, tmp_path / "gray.png")
        (tmp_path / "gray.png").unlink()
        (tmp_path / "notes.txt").write_text("no picture")
        assert "expected a PNG or a JPEG" in choose_file(page, tmp_path / "notes.txt")
        for number in (0, 1):
            page.evaluate(f"document.querySelectorAll('#try-it-here input[type=radio]')[{number}].click()")
            page.wait_for("document.querySelector('#try-it-here .answers data').value")
            assert status(page).startswith("gray.png: ")
        assert status(page) == expected

    def test_of_several_pictures_the_last_one_stays(self, open_page, tmp_path):
        page = open_page({"small": network((1, 8, 8))})
        Image.new("L", (9, 9), 99).save(tmp_path / "last.png")
        Image.new("L", (3000, 3000), 9).save(tmp_path / "large.png")
        damaged = bytearray((tmp_path / "large.png").read_bytes())
        damaged[20:24] = struct.pack(">I", 3001)  # one line more than there is
        damaged[29:33] = struct.pack(">I", zlib.crc32(damaged[12:29]))
        (tmp_path / "damaged.png").write_bytes(damaged)
        assert "too few pixels" in choose_file(page, tmp_path / "damaged.png")
        expected = choose_file(page, tmp_path / "last.png")
        for earlier in ("large.png", "damaged.png"):
            hand_over(page, "drop", tmp_path / earlier, tmp_path / "last.png")
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 600))")
            assert status(page) == expected

    def test_what_is_no_file_is_told_or_left_to_the_browser(self, open_page, tmp_path):
        page = open_page({"small": network((1, 8, 8))})
        (tmp_path / "folder").mkdir()
        assert "It cannot be read. A folder is no picture" in choose_file(page, tmp_path / "folder")
        is_taken = page.evaluate(
            "(() => { const text = new DataTransfer(); text.items.add('words', 'text/plain');"
            "  const drop = new DragEvent('drop', {dataTransfer: text, bubbles: true, cancelable: true});"
            "  return !document.body.dispatchEvent(drop); })()"
        )
        assert not is_taken
        assert status(page).startswith("folder: ")

    def test_a_file_that_has_changed_can_be_chosen_again(self, open_page, tmp_path):
        page = open_page({"small": network((1, 8, 8))})
        Image.new("L", (9, 9), 0).save(tmp_path / "gray.png")
        before = choose_file(page, tmp_path / "gray.png")
        assert page.evaluate("document.querySelector('#try-it-here input[type=file]').files.length") == 0
        Image.new("L", (9, 9), 255).save(tmp_path / "gray.png")
        choose_file(page, tmp_path / "gray.png")
        page.wait_for(f"document.querySelector('#try-it-here .answer').textContent !== {json.dumps(before)}")

    def test_a_screen_reader_hears_a_value_that_stays_and_none_that_passes(self, open_page):
        page = open_page({"small": network((1, 8, 8), convolution(2, (3, 3)))})
        page.evaluate(
            "window.heard = [];"
            "new MutationObserver(() => heard.push(document.querySelector('#try-it-here [role=status]').textContent))"
            "  .observe(document.querySelector('#try-it-here'), {subtree: true, childList: true});"
            "document.querySelector('#try-it-here .layers canvas').focus()"
        )
        for _ in range(5):
            page.press("ArrowRight")
        page.wait_for("heard.find((text) => text.startsWith('layer1, map 1, row 1, column 6 = '))")
        assert len(set(page.evaluate("heard")) - {""}) <= 2
        live = "#try-it-here [aria-live], #try-it-here [role=alert], #try-it-here [role=status], #try-it-here output"
        assert page.evaluate(f"document.querySelectorAll('{live}').length") == 1

    def test_many_classes_with_long_names_fit_a_phone(self, open_page):
        names = [f"<i>{number}</i>{'name' * 20}" for number in range(100)]
        page = open_page({"small": network((1, 8, 8), dense(200), classes=100)}, names)
        page.look(width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelector('#try-it-here .ends').clientHeight") < 900
        assert page.evaluate("document.querySelector('#try-it-here .answers button').textContent").startswith(names[0])

    def test_one_network_is_no_choice(self, open_page):
        page = open_page({"small": network((1, 8, 8), dense(1))})
        assert page.evaluate("document.querySelector('#try-it-here input[type=radio]')") is None
        assert (
            page.evaluate("document.querySelector('#try-it-here .layers figcaption').textContent") == "layer1: 1 unit"
        )

    def test_a_finger_chooses_the_value_under_it_and_none_where_no_map_is(self, open_page):
        """The place is a gap between maps, then one in the last row."""
        page = open_page({"small": network((1, 4, 4), convolution(7, (3, 3)))})
        page.evaluate("document.querySelector('#try-it-here .layers canvas').scrollIntoView({block: 'center'})")
        left, top, width, height = page.evaluate(
            "(() => { const box = document.querySelector('#try-it-here .layers canvas').getBoundingClientRect();"
            "  return [box.left, box.top, box.width, box.height]; })()"
        )
        for across, down in ((0.332, 0.01), (0.9, 0.9)):
            for kind, points in (
                ("touchStart", [{"x": left + across * width, "y": top + down * height}]),
                ("touchEnd", []),
            ):
                page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
            page.wait_for(
                "document.querySelector('.arithmetic').textContent.startsWith('layer1, map 1, row 1, column 2')"
            )

    def test_the_arrow_keys_stop_at_the_last_map_and_leave_shortcuts_alone(self, open_page):
        """Seven maps lie in rows of three, of which the last has one."""
        page = open_page({"small": network((1, 4, 4), convolution(7, (3, 3)))})
        page.evaluate("document.querySelector('#try-it-here .layers canvas').focus()")
        for key in ["ArrowRight"] * 9 + ["ArrowDown"] * 9:
            page.press(key)
        assert arithmetic(page).startswith("layer1, map 6, row 2, column 2 = ")
        is_taken = page.evaluate(
            "!document.activeElement.dispatchEvent("
            "  new KeyboardEvent('keydown', {key: 'ArrowLeft', altKey: true, bubbles: true, cancelable: true}))"
        )
        assert not is_taken

    def test_what_has_the_focus_is_not_behind_the_arithmetic(self, open_page):
        page = open_page({"deep": network((1, 16, 16), *[convolution(4, (2, 2))] * 9)})
        page.evaluate("document.querySelector('#try-it-here .ends canvas[tabindex]').focus()")
        focus = (
            "(() => { const [focus, box] = [document.activeElement, document.querySelector('.arithmetic')];"
            "  const name = focus.ariaLabel ?? focus.textContent;"
            "  return [name, focus.getBoundingClientRect().bottom, box.getBoundingClientRect().top]; })()"
        )
        names = []
        while "Arithmetic" not in names:
            name, bottom, top = page.evaluate(focus)
            assert name == "Arithmetic" or bottom <= top, name
            names.append(name)
            page.press("Tab")
        assert len(names) == 1 + 3 + 9 + 1

    def test_an_old_browser_says_what_it_lacks(self, open_page, chromium):
        removal = "delete window.DecompressionStream"
        old = chromium.call("Page.addScriptToEvaluateOnNewDocument", source=removal)
        page = open_page({"small": network((1, 8, 8))}, is_shown="#try-it-here > p")
        page.call("Page.removeScriptToEvaluateOnNewDocument", **old)
        text = page.evaluate("document.getElementById('try-it-here').innerText")
        assert "This browser cannot show this section (DecompressionStream is not defined)." in text
