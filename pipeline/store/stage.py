"""Describe a stage: a function, and everything that decides its result."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError
from pipeline.files.digests import json_digest
from pipeline.progress.monitor import Monitor
from pipeline.store import folders
from pipeline.store.code.digests import Code, Sources, sources_at_start

if TYPE_CHECKING:
    from pipeline.store.remote.shared import Remote

CHECKPOINTS = "checkpoints"
"""The folder, beside those of the stages, of the checkpoints from which functions resume."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Everything that decides a result, and how to compute it.

    Parameters
    ----------
    name : str
        For example ``"TrainCNN"``; each name has a folder of its own.
    folder : Path
        The folder of the results of this and other stages.
    function : str
        ``"module:function"``, called with the paths of the inputs, the parameters and the options as
        keyword arguments, an empty folder as ``output``, and a ``monitor``. It may return a dict of
        measurements, which differ from run to run, for the record. Its module may have a function
        ``max_output_bytes``, called with the inputs, parameters and options, that returns the result's maximum size.
    parameters : mapping
        Values that can change the result, of JSON's types.
    inputs : mapping of str to Stage
        The stages whose results the function reads.
    options : mapping
        Values that cannot change the result, for example the number of threads.
    imports : tuple of str
        Definitions that the function imports by a computed name, as ``"module:NAME"``, for example an engine.
    libraries : tuple of str
        Distributions whose versions the record names.
    length_parameter : str
        The parameter that decides only the length of the computation, for example the number of epochs. The function
        then also receives ``checkpoints``, a folder from which it can resume; it is the same for all lengths.
    code_matters : bool
        False where the parameters alone decide the result, as for a file with a known digest.
    versions_matter : bool
        True makes the libraries' versions part of the key.
    may_fail : bool
        True where a failure that would happen again counts as a result: its record takes the place of a result's. It is
        no part of the key.
    code_cache : Path, optional
        File that caches the digests of the code.
    reserved : callable
        Returns, given a monitor, the context in which the function is called; it may wait there for something that only
        one process can use at a time, for example a GPU.
    remote : Remote, optional
        Where other machines find results, too.
    wanted : bool
        Whether people open the files of the result: if they are in the remote alone, a run fetches them at its end.
    """

    name: str
    folder: Path
    function: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    length_parameter: str | None = None
    code_matters: bool = True
    versions_matter: bool = False
    may_fail: bool = False
    code_cache: Path | None = None
    reserved: Callable[[Monitor], AbstractContextManager[None]] = lambda _: contextlib.nullcontext()
    remote: Remote | None = None
    wanted: bool = False

    @functools.cached_property
    def code(self) -> Code:
        """Digests of the definitions that compute the result, by name.

        Raises
        ------
        StoreError
            This process has loaded one of them before it was edited.
        """
        if not self.code_matters:
            return {}
        sources = sources_at_start(self.code_cache)
        sources.check_loaded(self._entries)
        return sources.code(self._entries)

    @functools.cached_property
    def versions(self) -> dict[str, str]:
        """Installed versions of the libraries and of Python."""
        from importlib import metadata

        return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in self.libraries}

    @functools.cached_property
    def key(self) -> str:
        """The name of the result: 16 hexadecimal digits."""
        return self.content_key({name: stage.key for name, stage in self.inputs.items()})

    def content_key(self, contents: Mapping[str, str]) -> str:
        """Name the result by the content of its inputs; `key` names it by their keys."""
        place = tuple(sorted(contents.items()))
        if place not in self._content_keys:
            versions = self.versions if self.versions_matter else {}
            decisive = {"parameters": self.parameters, "code": self.code, "inputs": contents, "versions": versions}
            self._content_keys[place] = _hash(self.name, **decisive)
        return self._content_keys[place]

    @functools.cached_property
    def _content_keys(self) -> dict[tuple[tuple[str, str], ...], str]:
        """The names that `content_key` has given: a run asks several times, and the code has 20 kB."""
        return {}

    def checkpoints(self, contents: Mapping[str, str]) -> Path:
        """Return the folder of the checkpoints from which the function can resume."""
        others = {"code": self.code, "inputs": contents, "versions": self.versions}
        return self.folder / CHECKPOINTS / checkpoints_name(self.name, self.length_parameter, self.parameters, **others)

    @functools.cached_property
    def path(self) -> Path:
        """The folder of the result."""
        return self.folder / self.name / self.key

    @property
    def temporary(self) -> Path:
        """The folder in which the result is made before it is published."""
        return folders.temporary(self.path)

    def resolve(self) -> Callable[..., dict[str, Any] | None]:
        """Import the function, and the definitions that it imports by a computed name.

        Raises
        ------
        StoreError
            The code, on the disk or as this process has loaded it, is not the code from which the key was made.
        """
        function: Callable[..., dict[str, Any] | None]
        function, *_ = [
            getattr(importlib.import_module(module), name)
            for module, _, name in (entry.partition(":") for entry in self._entries)
        ]
        if self.code_matters:
            sources = Sources.read(self.code_cache)
            if sources.code(self._entries) != self.code:
                raise StoreError(f"{self.name}: its code was edited after this run began. Run the same command again.")
            sources.check_loaded(self._entries)
        return function

    def max_output_bytes(self, arguments: Mapping[str, Any]) -> int | None:
        """Return the maximum size of the result with these arguments; None where the module has no such function."""
        module = importlib.import_module(self.function.partition(":")[0])
        return module.max_output_bytes(**arguments) if hasattr(module, "max_output_bytes") else None

    @property
    def _entries(self) -> tuple[str, ...]:
        return (self.function, *self.imports)


def checkpoints_name(
    name: str, length_parameter: str | None, parameters: Mapping[str, Any], **others: Mapping[str, Any]
) -> str:
    """Name a folder of checkpoints by everything that decides a result except the length of the computation."""
    decisive = {parameter: value for parameter, value in parameters.items() if parameter != length_parameter}
    return f"{name}-{_hash(name, parameters=decisive, **others)}"


def _hash(name: str, **decisive: Mapping[str, Any]) -> str:
    return json_digest({"name": name} | {part: dict(values) for part, values in decisive.items()})[:16]
