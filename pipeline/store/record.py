"""The record beside a result: what went into it and what came out."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.files.digests import file_digest, json_digest

RECORD_NAME = "stage.json"
DAMAGED_NAME = "damaged.json"
"""What the record of a result that is not to be used is called."""


@dataclass(frozen=True)
class Record:
    """What is known of a result: written beside it, and read before it is used."""

    stage: str
    key: str
    content_key: str
    parameters: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, dict[str, str]]
    files: dict[str, dict[str, Any]]
    content: str
    started: str
    seconds: float
    run: str
    host: str
    versions: dict[str, str]
    measured: dict[str, Any]
    adopted_from: str | None = None
    seal: str = ""

    def sealed(self) -> Record:
        """Return the record with a digest of its own, by which `read` knows that it is whole."""
        return replace(self, seal=self._digest())

    def write(self, folder: Path) -> None:
        """Write the record beside its result."""
        (folder / RECORD_NAME).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path, name: str = RECORD_NAME) -> Record | None:
        """Read the record of a result; None where there is none that is as it was written."""
        try:
            record = cls(**json.loads((folder / name).read_bytes()))
            return record if record._is_sound() and record.seal == record._digest() else None
        except (OSError, RecursionError, ValueError, TypeError):
            return None

    @property
    def size(self) -> int:
        """Bytes in all of the result's files."""
        return sum(file["bytes"] for file in self.files.values())

    def problems(self, folder: Path) -> list[str]:
        """Name the files that are missing or have another size than they had."""
        found = []
        for name, expected in self.files.items():
            try:
                size = (folder / name).stat().st_size
            except OSError:
                found.append(f"{name} is missing")
                continue
            if size != expected["bytes"]:
                found.append(f"{name} has {size} bytes, not {expected['bytes']}")
        return found

    def altered(self, folder: Path) -> list[str]:
        """Name the files whose content is no longer what was recorded; reads all of it."""
        if problems := self.problems(folder):
            return problems
        return [
            f"{name} has other content than it had"
            for name, expected in self.files.items()
            if file_digest(folder / name) != expected.get("sha256")
        ]

    def withdraw(self, folder: Path) -> None:
        """Mark a result as not to be used, unless another has taken its place; the next run makes it again."""
        if Record.read(folder) == self:
            with contextlib.suppress(FileNotFoundError):  # another process has just done so
                (folder / RECORD_NAME).rename(folder / DAMAGED_NAME)

    def _is_sound(self) -> bool:
        """Tell whether what is relied on has the types that it should have."""
        mappings = (self.parameters, self.code, self.inputs, self.files, self.versions, self.measured)
        if not all(isinstance(mapping, dict) for mapping in mappings):
            return False
        files = all(isinstance(file, dict) and isinstance(file.get("bytes"), int) for file in self.files.values())
        inputs = all(isinstance(source, dict) for source in self.inputs.values())
        return files and inputs and isinstance(self.started, str) and isinstance(self.seconds, int | float)

    def _digest(self) -> str:
        return json_digest(asdict(replace(self, seal="")))
