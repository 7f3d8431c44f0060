"""Remove results, and checkpoints, that neither the settings reach nor what ``latest`` leads to was made from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.files.whole_file import remove
from pipeline.store import results, runs, unfinished
from pipeline.store.record import DAMAGED_NAME, RECORD_NAME, Record
from pipeline.store.stage import Stage

SECONDS_A_DAY = 86_400
SHOWN_AS = {"sha256": "archive"}
"""Names that people know better than those of parameters."""
DIGITS = 8
"""How many digits of a digest are shown."""


@dataclass(frozen=True)
class Unreached:
    """A result, or a folder of checkpoints, that may go.

    Parameters
    ----------
    stage : str
        What made it.
    about : str
        By what one recognises it: the parameters that decided it, or what else is known.
    made : float
        When it was made, in seconds since 1970.
    size : int
        Bytes.
    """

    path: Path
    stage: str
    about: str
    made: float
    size: int

    @property
    def days(self) -> float:
        """How old it is; not below 0 where the clock has been set back."""
        return max(0, time.time() - self.made) / SECONDS_A_DAY


def unreached(folders: list[Path], reached: Iterable[Stage], keep_days: float) -> list[Unreached]:
    """List what is older than ``keep_days`` and needed by none of the given stages, no run under way and no ``latest``.

    A result without a record is of no use to anything; a run under way may be about to replace it.
    """
    reached = list(reached)
    in_use = _with_sources([link for folder in folders for link in (folder / "latest").glob("*")], folders)
    under_way = runs.needed(folders)
    needed = {stage.path.resolve() for stage in reached} | in_use.keys() | under_way
    going_on = unfinished.needed(folders, reached, in_use)
    found = []
    for folder in folders:
        found += [
            _result(path, folders)
            for path in results.listed(folder)
            if path.resolve() not in (needed if results.has_record(path) else under_way)
        ]
        found += [_checkpoints(path) for path in unfinished.listed(folder) if path.resolve() not in going_on]
    return [each for each in found if each.days >= keep_days]


def table(found: Iterable[Unreached]) -> list[str]:
    """Put what may go into lines for people to read, two for each."""
    return [
        line
        for each in found
        for line in (
            f"{each.stage:14} {datetime.fromtimestamp(each.made).astimezone():%Y-%m-%d %H:%M} "
            f"{each.size / 1e6:10.1f} MB  {each.days:6.1f} days  {each.path}",
            f"    {each.about}",
        )
    ]


def amount(found: Collection[Unreached]) -> str:
    """Say how many they are, and how large."""
    return f"{len(found)} {'folder' if len(found) == 1 else 'folders'}, {sum(each.size for each in found) / 1e6:.1f} MB"


def collect(unreached: Iterable[Unreached], outputs: Path) -> None:
    """Remove what is listed, and the links that led to it."""
    for result in unreached:
        remove(result.path)
    for link in (outputs / "latest").glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _with_sources(paths: Iterable[Path], folders: list[Path]) -> dict[Path, Record | None]:
    """Return the records of results, and of all that they were made from, by their folders."""
    found: dict[Path, Record | None] = {}
    waiting = [path.resolve() for path in paths]
    while waiting:
        path = waiting.pop(0)
        if path not in found and path.is_dir():
            found[path] = record = Record.read(path) or Record.read(path, DAMAGED_NAME)
            sources = record.inputs.values() if record else ()
            waiting += [
                (folder / source["stage"] / source["key"]).resolve() for source in sources for folder in folders
            ]
    return found


def _result(path: Path, folders: list[Path]) -> Unreached:
    if not results.has_record(path):
        return _found(path, path.parent.name, f"has no record; it holds {_names(path)}")
    records = _with_sources([path], folders)
    about = _told(filter(None, records.values())) if records[path.resolve()] else "its record cannot be read"
    return _found(path, path.parent.name, about)


def _checkpoints(path: Path) -> Unreached:
    return _found(path, path.name.rpartition("-")[0], f"checkpoints: {_names(path)}")


def _found(path: Path, stage: str, about: str) -> Unreached:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Unreached(path, stage, about, _made(path), size)


def _names(path: Path) -> str:
    return ", ".join(sorted(file.name for file in path.iterdir())) or "nothing"


def _told(lineage: Iterable[Record]) -> str:
    """Say with which parameters a result, and all that it was made from, was made: ``seed 42, archive 6d958be0``."""
    values: dict[str, list[str]] = {}
    for record in lineage:
        for name, value in record.parameters.items():
            if isinstance(value, str | int | float) and value != "":
                text = str(value)[:DIGITS] if "sha256" in name else str(value)
                texts = values.setdefault(SHOWN_AS.get(name, name), [])
                texts += [text] if text not in texts else []
    return ", ".join(f"{name} {'/'.join(texts)}" for name, texts in values.items())


def _made(path: Path) -> float:
    """When a result was published, or the last checkpoint kept, in seconds since 1970."""
    for name in (RECORD_NAME, DAMAGED_NAME):
        with contextlib.suppress(FileNotFoundError):
            return (path / name).stat().st_mtime
    return path.stat().st_mtime
