"""Write Matplotlib's SVG as a short element of a page, from which it takes its colours and its font."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

import numpy as np
from PIL import Image

from pipeline.report.markup import Markup, element, joined, png_uri

NAMESPACE = "{http://www.w3.org/2000/svg}"

NOT_SHOWN = {"metadata", "style"}
"""Elements that a page has no use for; its own style says how lines meet and end."""

COORDINATES = {"d", "x", "y", "width", "height"}
"""Attributes in points, which are rounded to a hundredth: less than a pixel of any screen."""

IN_THE_STYLE = {"fill": "currentColor", "stroke-dashoffset": "0"}
"""Values that properties have without being declared."""


def inline_svg(svg: str, description: str, colours: Mapping[str, str]) -> Markup:
    """Write a figure's SVG as an element of a page.

    Parameters
    ----------
    svg : str
        A file that Matplotlib wrote.
    description : str
        What it shows, for readers who do not see it.
    colours : mapping of str to str
        What a page calls each of the figure's colours.
    """
    for colour, in_page in colours.items():
        svg = svg.replace(f": {colour}", f": {in_page}")
    root = ET.fromstring(svg)  # noqa: S314, the project has just written it
    referenced = set(re.findall(r'"(?:url\()?#([^")]+)', svg))
    content = [_written(node, referenced) for node in root]
    return element("svg", *content, viewBox=root.attrib["viewBox"], role="img", aria_label=description)


def _written(node: ET.Element, referenced: set[str]) -> Markup:
    """Write an element, but for what shows nothing: invisible paths, and groups without attributes."""
    tag = node.tag.removeprefix(NAMESPACE)
    attributes = _attributes(node, referenced)
    if tag in NOT_SHOWN or (tag == "path" and attributes.get("style") == "fill:none"):
        return Markup()
    content = joined([(node.text or "").strip(), *(_written(child, referenced) for child in node)])
    is_pointless = not attributes if tag == "g" else tag == "defs" and not content
    return content if is_pointless else element(tag, content, **attributes)


def _attributes(node: ET.Element, referenced: set[str]) -> dict[str, str]:
    found = {}
    for qualified, value in node.attrib.items():
        name = qualified.rpartition("}")[2]
        if name in COORDINATES:
            found[name] = _rounded(value)
        elif name == "style":
            found[name] = _style(value)
        elif value.startswith("data:"):
            found[name] = _picture(value)
        elif not (value.startswith("rotate(-0 ") or (name == "id" and value not in referenced)):
            found[name] = value
    return found


def _rounded(numbers: str) -> str:
    """Round numbers to two decimals, and leave out the spaces around a path's letters."""
    rounded = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded.strip())


def _style(declarations: str) -> str:
    pairs = (re.split(r":\s*", declaration, maxsplit=1) for declaration in re.split(r";\s*", declarations))
    properties = {name: value for name, value in pairs if name != "font-family" and IN_THE_STYLE.get(name) != value}
    return ";".join(f"{name}:{value}" for name, value in properties.items())


def _picture(uri: str) -> str:
    """Write a picture, which Matplotlib stores as four channels, with a palette if it has at most 256 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")
    colours, pixels = np.unique(np.asarray(picture).reshape(-1, 4), axis=0, return_inverse=True)
    if len(colours) <= 256:
        picture = Image.frombytes("P", picture.size, pixels.astype(np.uint8).tobytes())
        picture.putpalette(colours.tobytes(), "RGBA")
    return png_uri(picture)
