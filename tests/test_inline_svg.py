from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from pipeline.report import drawing
from pipeline.report.inline_svg import inline_svg

TITLE = "a $x$ <b> 0.12345 #20252b"


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    """A figure as Matplotlib writes it, with a picture of 3 by 2 pixels, one of them transparent."""
    with drawing.styled("test"):
        figure = drawing.new_figure(4, 4)
        axes, shown = figure.subplots(1, 2)
        axes.plot([1, 2], [1, 1 / 3], "o-")
        axes.set(title=TITLE, ylabel="height")
        shown.imshow([[0, 0.5, 1], [np.nan, 0.5, 0]], cmap="gray", interpolation="none")
        folder = tmp_path_factory.mktemp("figure")
        drawing.save(figure, folder, "figure")
    return (folder / "figure.svg").read_text()


@pytest.fixture(scope="module")
def inside(svg):
    return inline_svg(svg, 'a "line"', drawing.IN_A_PAGE)


def parsed(svg):
    return ET.fromstring(re.sub(r' xmlns="[^"]*"', "", svg))


def pictures(svg):
    found = re.findall(r'href="data:image/png;base64,\s*([^"]*)"', svg)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_colours_and_font_are_the_pages(inside):
    assert inside.startswith('<svg viewBox="0 0 288 288" role="img" aria-label="a &quot;line&quot;">')
    assert "currentColor" in inside
    assert "var(--blue)" in inside
    assert re.findall("#[0-9a-f]{6}", inside.replace(TITLE.rpartition(" ")[2], "")) == []
    assert "font-family" not in inside


def test_texts_stay_as_they_are(svg, inside):
    texts = [[text.text for text in parsed(shown).iter("text")] for shown in (svg, inside)]
    assert texts[0] == texts[1]
    assert TITLE in texts[1]


def test_lines_stay_where_they_are(svg, inside):
    paths = [parsed(shown).iter("path") for shown in (svg, inside)]
    lines = [[path.get("d") for path in found if "stroke" in path.get("style")] for found in paths]
    assert len(lines[0]) == len(lines[1]) == 8
    for before, after in zip(*lines, strict=True):
        assert re.findall("[A-Za-z]", before) == re.findall("[A-Za-z]", after)
        numbers = [np.array(re.findall(r"-?[\d.]+", line), float) for line in (before, after)]
        np.testing.assert_allclose(*numbers, rtol=0, atol=0.00501)


def test_pictures_have_the_same_pixels_in_one_channel(svg, inside):
    [before], [after] = pictures(svg), pictures(inside)
    np.testing.assert_array_equal(before.convert("RGBA"), after.convert("RGBA"))
    assert (before.mode, after.mode) == ("RGBA", "P")


def test_what_shows_nothing_is_left_out(svg, inside):
    shown = parsed(inside)
    assert len(inside) < len(svg) / 2
    assert "\n" not in inside
    assert "rotate(-0" not in inside
    assert not {node.tag for node in shown.iter()} & {"metadata", "style"}
    assert all(group.attrib for group in shown.iter("g"))
    assert not [path for path in shown.iter("path") if path.get("style") == "fill:none"]


def test_references_lead_somewhere(inside):
    ids = {node.get("id") for node in parsed(inside).iter() if node.get("id")}
    assert set(re.findall(r'"(?:url\()?#([^")]+)', inside)) == ids != set()


def test_a_picture_of_many_colours_keeps_them(tmp_path):
    colours = np.random.default_rng(0).random((20, 20, 3))
    with drawing.styled("test"):
        figure = drawing.new_figure(2, 2)
        figure.subplots().imshow(colours, interpolation="none")
        drawing.save(figure, tmp_path, "figure")
    [picture] = pictures(inline_svg((tmp_path / "figure.svg").read_text(), "", {}))
    assert len(picture.getcolors(1000)) == 400
