"""Reading the pickles of the archive, which Python 2 wrote, without trusting them.

A pickle is a program for a machine with a stack and a memo, and Python's own machine runs what it is
given: it calls the functions that the pickle names, and reserves whatever memory it asks for. This one
knows only the operations that Python 2 writes (protocol 2) for a dict of strings, whole numbers, lists
and arrays of bytes. It calls nothing: NumPy's three names stand for themselves, and what they would do
is done here. So a pickle takes memory in proportion to its length, and time up to `MAX_OPERATIONS`.

`pickletools` in the standard library tells what each operation means, and
``python -m pickletools FILE`` shows a pickle's.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ArchiveError

MAX_OPERATIONS = 300_000
"""Most operations that a pickle may have; 10,000 images take 30,000."""


class Global(StrEnum):
    """The names that a pickle may mention, as it writes them: Python 2's NumPy, for an array."""

    reconstruct = "numpy.core.multiarray._reconstruct"
    ndarray = "numpy.ndarray"
    dtype = "numpy.dtype"


def loads(data: bytes | bytearray | memoryview) -> dict[bytes, Any]:
    """Read the pickle of a dict.

    A ``str`` of Python 2 becomes bytes, or a memoryview where it is longer than 255. An array becomes a
    uint8 array of shape (rows, columns) that shares the memory of ``data``.

    Raises
    ------
    ArchiveError
        The pickle is damaged, or holds something other than strings, whole numbers, lists and arrays.
    """
    value = _Machine(memoryview(data)).run()
    if not isinstance(value, dict):
        raise ArchiveError(f"the pickle holds {type(value).__name__}; expected dict.")
    return {key: item.values if isinstance(item, _Array) else item for key, item in value.items()}


class _Type:
    """Stands for ``numpy.dtype('uint8')``, the only type that is read."""

    def build(self, state: object) -> None:
        if state != (3, b"|", None, None, None, -1, -1, 0):
            raise ArchiveError("the pickle describes NumPy's type 'u1' in an unknown way.")


class _Array:
    """Stands for a NumPy array, which a pickle makes empty and then fills."""

    values: npt.NDArray[np.uint8] | None = None

    def build(self, state: object) -> None:
        match state:
            case (1, (int(rows), int(columns)), _Type(), False, bytes() | memoryview() as values):
                if len(values) != rows * columns or rows < 0 or columns < 0:
                    raise ArchiveError(
                        f"the pickle holds an array of shape ({rows}, {columns}) with {len(values)} bytes; "
                        f"expected {rows * columns}."
                    )
                self.values = np.frombuffer(values, np.uint8).reshape(rows, columns)
            case _:
                raise ArchiveError(
                    "the pickle holds an unknown kind of array; expected shape (rows, columns), uint8, row by row."
                )


class _Machine:
    """Runs a pickle: a stack, the stacks put aside by marks, and a memo."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0
        self._stack: list[Any] = []
        self._set_aside: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        """Run up to the pickle's end and return what it leaves on the stack."""
        for _ in range(MAX_OPERATIONS):
            opcode = self.take(1)[0]
            if opcode == pickle.STOP[0]:
                return self.pop()
            if opcode not in _OPERATIONS:
                raise ArchiveError(
                    f"the pickle has the operation {bytes([opcode])!r} at byte {self._position - 1}, which no batch "
                    "needs; expected protocol 2 as Python 2 writes it."
                )
            _OPERATIONS[opcode](self)
        raise ArchiveError(f"the pickle has more than {MAX_OPERATIONS:,} operations; 10,000 images take 30,000.")

    def take(self, size: int) -> memoryview:
        """Take the pickle's next bytes."""
        piece = self._data[self._position : self._position + size]
        if size < 0 or len(piece) < size:
            raise ArchiveError(f"the pickle ends in the middle of something, at byte {len(self._data):,}.")
        self._position += size
        return piece

    def number(self, layout: str) -> int:
        """Take a whole number, laid out as `struct` describes it."""
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def line(self) -> str:
        """Take the text up to the next newline."""
        text = bytes(self._data[self._position : self._position + 64]).partition(b"\n")[0]
        self._position += len(text) + 1
        return text.decode("latin-1")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        if not self._stack:
            raise ArchiveError(f"the pickle takes from an empty stack at byte {self._position - 1:,}.")
        return self._stack.pop()

    def top(self, kind: type) -> Any:
        """Return the topmost value, which must be of the given kind."""
        value = self.pop()
        if not isinstance(value, kind):
            raise ArchiveError(
                f"the pickle has {type(value).__name__} where {kind.__name__} belongs, at byte {self._position - 1:,}."
            )
        self._stack.append(value)
        return value

    def mark(self) -> None:
        """Put the stack aside and start an empty one."""
        self._set_aside.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        """Take all since the last mark."""
        if not self._set_aside:
            raise ArchiveError(f"the pickle lacks a mark before byte {self._position - 1:,}.")
        values, self._stack = self._stack, self._set_aside.pop()
        return values

    def pop_tuple(self, size: int) -> tuple[Any, ...]:
        return tuple([self.pop() for _ in range(size)][::-1])

    def put(self, slot: int) -> None:
        """Note the topmost value in the memo."""
        self._memo[slot] = self.top(object)

    def get(self, slot: int) -> None:
        """Push a value from the memo."""
        if slot not in self._memo:
            raise ArchiveError(f"the pickle refers to the memo's slot {slot}, which is empty.")
        self.push(self._memo[slot])

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top of the stack."""
        self.top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys, each followed by its value, in the dict on top of the stack."""
        target = self.top(dict)
        if len(values) % 2:
            raise ArchiveError(f"the pickle has a key without a value before byte {self._position - 1:,}.")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, bytes):
                raise ArchiveError(f"the pickle has {type(key).__name__} as a key; expected a short string.")
            target[key] = value

    def name(self) -> None:
        """Push a name that the pickle mentions."""
        name = f"{self.line()}.{self.line()}"
        if name not in list(Global):
            raise ArchiveError(
                f"the pickle names {name!r}; expected {', '.join(Global)}. "
                "Nothing of it was run: another program than Python 2 wrote it, or one that means harm."
            )
        self.push(Global(name))

    def reduce(self) -> None:
        """Push what NumPy's function would make of its arguments."""
        function, arguments = self.pop_tuple(2)
        match function, arguments:
            case Global.reconstruct, (Global.ndarray, (0,), b"b"):
                self.push(_Array())
            case Global.dtype, (b"u1", 0, 1):
                self.push(_Type())
            case Global.dtype, (bytes(name), _, _):
                raise ArchiveError(f"the pickle holds an array of NumPy's type {name!r}; expected 'u1' (uint8).")
            case _:
                raise ArchiveError("the pickle makes an array in an unknown way.")

    def build(self) -> None:
        """Let the array or type on top of the stack take its state."""
        state = self.pop()
        target = self.top(object)
        if not isinstance(target, _Array | _Type):
            raise ArchiveError(f"the pickle gives a state to {type(target).__name__}; expected an array.")
        target.build(state)


def _protocol(machine: _Machine) -> None:
    version = machine.number("<B")
    if version != 2:
        raise ArchiveError(f"the pickle has protocol {version}; expected 2.")


def _long_string(machine: _Machine) -> bytes | memoryview:
    piece = machine.take(machine.number("<i"))
    return piece if len(piece) > 255 else bytes(piece)


_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    code[0]: operation
    for code, operation in {
        pickle.PROTO: _protocol,
        pickle.NONE: lambda machine: machine.push(None),
        pickle.NEWTRUE: lambda machine: machine.push(True),
        pickle.NEWFALSE: lambda machine: machine.push(False),
        pickle.BININT: lambda machine: machine.push(machine.number("<i")),
        pickle.BININT1: lambda machine: machine.push(machine.number("<B")),
        pickle.BININT2: lambda machine: machine.push(machine.number("<H")),
        pickle.SHORT_BINSTRING: lambda machine: machine.push(bytes(machine.take(machine.number("<B")))),
        pickle.BINSTRING: lambda machine: machine.push(_long_string(machine)),
        pickle.EMPTY_LIST: lambda machine: machine.push([]),
        pickle.APPEND: lambda machine: machine.extend([machine.pop()]),
        pickle.APPENDS: lambda machine: machine.extend(machine.pop_to_mark()),
        pickle.EMPTY_DICT: lambda machine: machine.push({}),
        pickle.SETITEM: lambda machine: machine.update(list(machine.pop_tuple(2))),
        pickle.SETITEMS: lambda machine: machine.update(machine.pop_to_mark()),
        pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
        pickle.TUPLE1: lambda machine: machine.push(machine.pop_tuple(1)),
        pickle.TUPLE2: lambda machine: machine.push(machine.pop_tuple(2)),
        pickle.TUPLE3: lambda machine: machine.push(machine.pop_tuple(3)),
        pickle.TUPLE: lambda machine: machine.push(tuple(machine.pop_to_mark())),
        pickle.MARK: _Machine.mark,
        pickle.BINPUT: lambda machine: machine.put(machine.number("<B")),
        pickle.LONG_BINPUT: lambda machine: machine.put(machine.number("<i")),
        pickle.BINGET: lambda machine: machine.get(machine.number("<B")),
        pickle.LONG_BINGET: lambda machine: machine.get(machine.number("<i")),
        pickle.GLOBAL: _Machine.name,
        pickle.REDUCE: _Machine.reduce,
        pickle.BUILD: _Machine.build,
    }.items()
}
