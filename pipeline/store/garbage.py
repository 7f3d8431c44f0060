"""Remove results and checkpoints that neither the settings nor ``latest`` need."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.files.whole_file import remove
from pipeline.store import active_runs, unfinished
from pipeline.store.record import NAMES, Record, record_name, result_folders, upstream_records
from pipeline.store.stage import Stage


@dataclass(frozen=True)
class Unreached:
    """A result, or a folder of checkpoints, that nothing needs.

    Parameters
    ----------
    about : str
        The parameters that decided it, or a list of its files, for people to recognise it.
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
        """Its age; not below 0 where the clock has been set back."""
        return max(0, time.time() - self.made) / 86_400


def unreached(folders: Sequence[Path], reached: Iterable[Stage], keep_days: float) -> list[Unreached]:
    """List the results and checkpoints that are older than ``keep_days`` and that nothing needs.

    The given stages, the runs under way and the links in ``latest`` need results, and all results upstream of them.
    Nothing can use a result without a record; only a run under way needs it, since the run may be about to replace it.
    """
    reached = list(reached)
    in_use = upstream_records([link for folder in folders for link in (folder / "latest").glob("*")], folders)
    under_way = active_runs.needed_results(folders)
    needed = {stage.path.resolve() for stage in reached} | in_use.keys() | under_way
    needed_checkpoints = unfinished.needed_checkpoints(folders, reached, in_use)
    found = []
    for folder in folders:
        found += [
            _result(path, folders)
            for path in result_folders(folder)
            if path.resolve() not in (needed if record_name(path) else under_way)
        ]
        found += [
            _found(path, path.name.rpartition("-")[0], f"checkpoints: {_names(path)}")
            for path in unfinished.checkpoint_folders(folder)
            if path.resolve() not in needed_checkpoints
        ]
    return [each for each in found if each.days >= keep_days]


def garbage_table(found: Iterable[Unreached]) -> list[str]:
    """Return two lines for each unneeded folder, for people to read."""
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
    """Return the number of folders and their size, as ``2 folders, 1.5 MB``."""
    return f"{len(found)} {'folder' if len(found) == 1 else 'folders'}, {sum(each.size for each in found) / 1e6:.1f} MB"


def collect(unreached: Iterable[Unreached], outputs: Path) -> None:
    """Remove folders, and the links in ``latest`` that led to them."""
    for result in unreached:
        remove(result.path)
    for link in (outputs / "latest").glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _result(path: Path, folders: Sequence[Path]) -> Unreached:
    if not record_name(path):
        return _found(path, path.parent.name, f"has no record; it holds {_names(path)}")
    records = upstream_records([path], folders)
    is_readable = records[path.resolve()] is not None
    about = _parameters(filter(None, records.values())) if is_readable else "its record cannot be read"
    return _found(path, path.parent.name, about)


def _found(path: Path, stage: str, about: str) -> Unreached:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Unreached(path, stage, about, _made(path), size)


def _names(path: Path) -> str:
    return ", ".join(sorted(file.name for file in path.iterdir())) or "nothing"


def _parameters(records: Iterable[Record]) -> str:
    """Return the parameters in records, each value once: ``seed 42, archive 6d958be0``."""
    values: dict[str, list[str]] = {}
    for record in records:
        for name, value in record.parameters.items():
            if isinstance(value, str | int | float) and value != "":
                text = str(value)[:8] if "sha256" in name else str(value)
                texts = values.setdefault("archive" if name == "sha256" else name, [])
                texts += [text] if text not in texts else []
    return ", ".join(f"{name} {'/'.join(texts)}" for name, texts in values.items())


def _made(path: Path) -> float:
    """Return when a result was published or the last checkpoint written, in seconds since 1970."""
    for name in NAMES:
        with contextlib.suppress(FileNotFoundError):
            return (path / name).stat().st_mtime
    return path.stat().st_mtime
