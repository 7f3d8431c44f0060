"""Write tables in Markdown and plots in SVG, and put both into a page of docs/."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
SPEED_PAGE = ROOT / "docs" / "explanation" / "speed.md"
IMAGES = ROOT / "docs" / "images"
CACHE = ROOT / ".cache" / "bench"
LUIGI = str(Path(sys.executable).with_name("luigi"))

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#E69F00", "#009E73", "#666666"
"""Told apart by colour-blind people too: Okabe and Ito, "Color Universal Design" (2008)."""


def keep(name: str, result: dict[str, Any]) -> None:
    """Write the result of a command to ``.cache/bench/NAME.json``."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nEvery figure is in {path.relative_to(ROOT)}.")


def write_into(page: Path, name: str, text: str) -> None:
    """Replace the text of a page between the marks of a command, such as ``<!-- bench/training.py -->``."""
    start, end = f"<!-- bench/{name}.py -->\n", f"<!-- end of bench/{name}.py -->\n"
    before, found_start, rest = page.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise SystemExit(f"{page.name} has no place for this. Put there two lines:\n{start}{end}")
    page.write_text(f"{before}{start}\n{text.strip()}\n\n{end}{after}")
    print(f"\n{page.name} has it between its marks.")


def save(figure: Figure, path: Path) -> None:
    """Write a plot as SVG; equal measurements give equal bytes."""
    import matplotlib as mpl

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def seconds(value: float) -> str:
    """Write seconds: three digits from 1 on, else three decimals."""
    return f"{value:#.3g}".rstrip(".") + " s" if value >= 1 else f"{value:.3f} s"


def megabytes(count: float) -> str:
    """Write bytes in millions."""
    return f"{count / 1e6:,.0f} MB"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Put rows of text under a header."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
