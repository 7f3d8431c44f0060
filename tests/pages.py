"""The project's pages in Markdown: their commands, programs and links."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from tests.checkout import ROOT

FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```$", re.M | re.S)
COMMAND = re.compile(r"`((?:make|luigi|python|pip|tensorboard) [^`]*)`")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


class Page:
    """A page, named by its path in the repository."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return FENCED.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """Return the content of the fenced blocks of these languages, without the indentation of a list."""
        found = [(indent, content) for indent, language, content in FENCED.findall(self.text) if language in languages]
        return [re.sub(rf"^{indent}", "", content, flags=re.M) for indent, content in found]

    def typed(self) -> list[str]:
        """Return the lines of the blocks for the shell, and of dialogues the lines behind a prompt."""
        dialogues = "".join(self.blocks("console"))
        return "".join(self.blocks("sh")).splitlines() + re.findall(r"^\$ (.*)", dialogues, re.M)

    def mentioned(self) -> list[str]:
        """Return the commands inside sentences and tables."""
        return COMMAND.findall(self.prose)

    def links(self) -> list[tuple[str, str]]:
        """Return text and target of each link that is not to another site; pictures count too."""
        pictures = [("", source) for source in re.findall(r'<img src="([^"]+)"', self.prose)]
        return [link for link in [*LINK.findall(self.prose), *pictures] if "://" not in link[1]]

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub names them."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.M)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pages(*patterns: str) -> list[Page]:
    """Return the pages that match, in alphabetical order, but for those that `make docs` has built."""
    found = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    return [Page(str(path)) for path in sorted(found) if "_build" not in path.parts]


def is_defined(name: str, module: Path) -> bool:
    """Tell whether a module defines a function or a class."""
    return bool(re.search(rf"^(?:def|class) {re.escape(name)}\b", module.read_text(), re.M))
