"""Read the pickles of an archive without running them.

A pickle is a program for a machine with a stack and a memo. Python's own machine calls the functions that a
pickle names. Even where it may name only harmless functions, six bytes make it reserve 16 GiB (``LONG_BINPUT`` with a
large slot), and a deeply nested tuple as a key overflows its stack. `pickletools.genops` calls nothing, but takes up to
seven times the memory of a long text. The machine here knows only the operations that Python 2 and 3 write (protocols
2 to 5) for dicts, lists, tuples, text, bytes, numbers and NumPy's arrays. It calls no function that a pickle names, and
makes the arrays itself. Its memory grows with the pickle's length, and `MAX_OPERATIONS` bounds its time. ``python
fuzz/archive.py pickle`` searches for pickles that break these bounds.

`pickletools` explains each operation, and ``python -m pickletools FILE`` lists the operations of a file.
"""

from __future__ import annotations

import codecs
import math
import pickle
import re
import struct
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ArchiveError

MAX_OPERATIONS = 500_000
"""Maximum operations of a pickle. 10,000 images take 30,000, or 160,000 where their labels are NumPy's scalars."""
MAX_DIMENSIONS = 4
SHORT = 255
"""Maximum size of a text or of bytes that are copied out of the pickle. Keys and names are short, arrays are not."""

_STEP = 1 << 16


class Global(Enum):
    """The names that a pickle may mention. NumPy 2 writes ``numpy._core`` for ``numpy.core``."""

    reconstruct = "numpy.core.multiarray._reconstruct"
    scalar = "numpy.core.multiarray.scalar"
    frombuffer = "numpy.core.numeric._frombuffer"
    ndarray = "numpy.ndarray"
    dtype = "numpy.dtype"
    encode = "_codecs.encode"
    bytes = "__builtin__.bytes"


def loads(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Read the pickle of a dict.

    Keys become text. A ``str`` of Python 2 becomes bytes. Bytes longer than `SHORT` become a memoryview, and
    longer text a memoryview of its UTF-8. NumPy's scalars become Python's numbers. An array keeps its shape and type,
    and shares the memory of ``data``, unless Python 3 wrote it in protocol 2, where bytes are spelled as text.

    Raises
    ------
    ArchiveError
        The pickle is damaged, or holds something other than the values listed above.
    """
    value = _Machine(memoryview(data)).run()
    if not isinstance(value, dict):
        raise ArchiveError(f"the pickle holds {type(value).__name__}; expected dict.")
    for key, item in value.items():
        if isinstance(item, _Array):
            if item.values is None:
                raise ArchiveError("the pickle makes an array and does not fill it.")
            value[key] = item.values
    return value


class _Type:
    """Stands for a type of NumPy's numbers, such as ``numpy.dtype('u1')``."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch("[iu][1248]|f[248]", name):
            raise ArchiveError(f"the pickle holds values of NumPy's type {name[:SHORT]!r}; expected numbers.")
        self._name = name
        self.dtype = np.dtype(name)

    def build(self, state: object) -> None:
        match state:
            case (3, str() | bytes() as order, None, None, None, -1, -1, 0) if _text(order) in ("|", "<", ">"):
                self.dtype = np.dtype(_text(order) + self._name)
            case _:
                raise ArchiveError(f"the pickle describes NumPy's type {self._name!r} in an unknown way.")

    def array(self, shape: tuple[Any, ...], values: bytes | memoryview, order: Any) -> npt.NDArray[Any]:
        """Make an array of this type over bytes, in C's order or Fortran's."""
        if len(shape) > MAX_DIMENSIONS or not all(isinstance(size, int) and 0 <= size < 1 << 63 for size in shape):
            raise ArchiveError(
                f"the pickle holds an array whose shape has {len(shape)} numbers; expected at most {MAX_DIMENSIONS}, "
                "each from 0."
            )
        expected = math.prod(shape) * self.dtype.itemsize
        if len(values) != expected:
            raise ArchiveError(
                f"the pickle holds an array of shape {shape} with {len(values)} bytes; expected {expected}."
            )
        try:
            return np.ndarray(shape, self.dtype, values, order=order)
        except ValueError:
            raise ArchiveError(f"the pickle holds an array of shape {shape}, which is too large.") from None


class _Array:
    """Stands for an array, which up to protocol 4 a pickle makes empty and then fills.

    The machine compares values on its stack, where NumPy's arrays would compare element by element.
    """

    def __init__(self, values: npt.NDArray[Any] | None = None) -> None:
        self.values = values

    def build(self, state: object) -> None:
        match state:
            case (1, tuple() as shape, _Type() as kind, bool() as fortran, bytes() | memoryview() as values):
                self.values = kind.array(shape, values, "F" if fortran else "C")
            case _:
                raise ArchiveError("the pickle fills an array in an unknown way.")


class _Machine:
    """Runs a pickle: a stack, the stacks that marks put aside, and a memo."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0
        self._stack: list[Any] = []
        self._set_aside: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._encoded = 0

    def run(self) -> object:
        """Run up to the pickle's end and return the value on top of the stack."""
        for _ in range(MAX_OPERATIONS):
            opcode = bytes(self.take(1))
            if opcode == pickle.STOP:
                return self.pop()
            if opcode not in _OPERATIONS:
                raise ArchiveError(
                    f"the pickle has the operation {opcode!r} at byte {self._position - 1}, which no batch "
                    "needs; expected protocol 2 to 5, and dicts, lists, numbers, text and arrays."
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

    def number(self, layout: str) -> Any:
        """Take a number, laid out as `struct` describes it."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def sized(self, layout: str) -> memoryview:
        """Take bytes that come after their number."""
        return self.take(self.number(layout))

    def line(self) -> str:
        """Take the text up to the next newline."""
        text = bytes(self._data[self._position : self._position + 64]).partition(b"\n")[0]
        self._position += len(text) + 1
        return text.decode("latin-1")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def push_bytes(self, piece: memoryview) -> None:
        self.push(piece if len(piece) > SHORT else bytes(piece))

    def push_text(self, piece: memoryview) -> None:
        try:
            self.push(piece if len(piece) > SHORT else str(piece, "utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise ArchiveError(f"the pickle has a text that is no UTF-8, before byte {self._position:,}.") from None

    def pop(self) -> Any:
        if not self._stack:
            raise ArchiveError(f"the pickle takes from an empty stack at byte {self._position - 1:,}.")
        return self._stack.pop()

    def top(self, kind: type) -> Any:
        """Return the value on top of the stack, which must be of the given kind."""
        value = self.pop()
        if not isinstance(value, kind):
            raise ArchiveError(
                f"the pickle has {type(value).__name__} where {kind.__name__} belongs, at byte {self._position - 1:,}."
            )
        self._stack.append(value)
        return value

    def mark(self) -> None:
        """Put the stack aside and start an empty stack."""
        self._set_aside.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        """Take all values since the last mark."""
        if not self._set_aside:
            raise ArchiveError(f"the pickle lacks a mark before byte {self._position - 1:,}.")
        values, self._stack = self._stack, self._set_aside.pop()
        return values

    def pop_tuple(self, size: int) -> tuple[Any, ...]:
        return tuple([self.pop() for _ in range(size)][::-1])

    def put(self, slot: int | None = None) -> None:
        """Store the value on top of the stack in the memo, by default in its next slot."""
        self._memo[len(self._memo) if slot is None else slot] = self.top(object)

    def get(self, slot: int) -> None:
        if slot not in self._memo:
            raise ArchiveError(f"the pickle refers to the memo's slot {slot}, which is empty.")
        self.push(self._memo[slot])

    def extend(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys, each followed by its value, in the dict on top of the stack."""
        target = self.top(dict)
        if len(values) % 2:
            raise ArchiveError(f"the pickle has a key without a value before byte {self._position - 1:,}.")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_text(key)] = value

    def name(self, module: object, attribute: object) -> None:
        """Push the `Global` of a name."""
        name = f"{_text(module)}.{_text(attribute)}"
        try:
            self.push(Global(name.replace("numpy._core.", "numpy.core.")))
        except ValueError:
            raise ArchiveError(
                f"the pickle names {name!r}; expected {', '.join(known.value for known in Global)}. Nothing of it was "
                "run: it holds other things than numbers, text and arrays of numbers, or it means harm."
            ) from None

    def reduce(self) -> None:
        """Push an equivalent of the result that the function on the stack would return for its arguments."""
        function, arguments = self.pop_tuple(2)
        match function, arguments:
            case Global.reconstruct, (Global.ndarray, (0,), b"b"):
                self.push(_Array())
            case Global.frombuffer, (
                bytes() | memoryview() as data,
                _Type() as kind,
                tuple() as shape,
                "C" | "F" as order,
            ):
                self.push(_Array(kind.array(shape, data, order)))
            case Global.dtype, (str() | bytes() as name, 0, 1):
                self.push(_Type(_text(name)))
            case Global.scalar, (_Type() as kind, bytes() as value):
                self.push(kind.array((), value, "C").item())
            case Global.encode, (str() | memoryview() as text, "latin1"):
                self.push(self._encode(text))
            case Global.bytes, ():
                self.push(b"")
            case _:
                raise ArchiveError("the pickle makes an array or bytes in an unknown way.")

    def _encode(self, text: str | memoryview) -> bytes | memoryview:
        """Encode a text in Latin-1, as which Python 3 writes bytes in protocol 2."""
        utf8 = memoryview(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else text
        self._encoded += len(utf8)
        if self._encoded > len(self._data):  # a text in the memo could be encoded thousands of times
            raise ArchiveError("the pickle encodes more text than it has.")
        pieces = (bytes(utf8[start : start + _STEP]) for start in range(0, len(utf8), _STEP))
        encoded = bytearray()
        try:
            for piece in codecs.iterdecode(pieces, "utf-8"):  # at once, one wide character would quadruple the memory
                encoded += piece.encode("latin-1")
        except UnicodeError:
            raise ArchiveError("the pickle spells bytes with characters that are not Latin-1.") from None
        return memoryview(encoded) if len(encoded) > SHORT else bytes(encoded)

    def build(self) -> None:
        """Give the array or type on top of the stack its state."""
        state = self.pop()
        target = self.top(object)
        if not isinstance(target, _Array | _Type):
            raise ArchiveError(f"the pickle gives a state to {type(target).__name__}; expected an array.")
        target.build(state)


def _text(value: object) -> str:
    """Return a short string as text, whichever Python wrote it."""
    match value:
        case str():
            return value
        case bytes():
            return value.decode("latin-1")
    raise ArchiveError(f"the pickle has {type(value).__name__} where a short string belongs.")


def _protocol(machine: _Machine) -> None:
    version = machine.number("<B")
    if not 2 <= version <= 5:
        raise ArchiveError(f"the pickle has protocol {version}; expected 2 to 5.")


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: lambda machine: machine.number("<Q"),
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.BININT: lambda machine: machine.push(machine.number("<i")),
    pickle.BININT1: lambda machine: machine.push(machine.number("<B")),
    pickle.BININT2: lambda machine: machine.push(machine.number("<H")),
    pickle.LONG1: lambda machine: machine.push(int.from_bytes(machine.sized("<B"), "little", signed=True)),
    pickle.BINFLOAT: lambda machine: machine.push(machine.number(">d")),
    pickle.SHORT_BINSTRING: lambda machine: machine.push_bytes(machine.sized("<B")),
    pickle.BINSTRING: lambda machine: machine.push_bytes(machine.sized("<i")),
    pickle.SHORT_BINBYTES: lambda machine: machine.push_bytes(machine.sized("<B")),
    pickle.BINBYTES: lambda machine: machine.push_bytes(machine.sized("<I")),
    pickle.BINBYTES8: lambda machine: machine.push_bytes(machine.sized("<Q")),
    pickle.BYTEARRAY8: lambda machine: machine.push_bytes(machine.sized("<Q")),
    pickle.SHORT_BINUNICODE: lambda machine: machine.push_text(machine.sized("<B")),
    pickle.BINUNICODE: lambda machine: machine.push_text(machine.sized("<I")),
    pickle.BINUNICODE8: lambda machine: machine.push_text(machine.sized("<Q")),
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
    pickle.LONG_BINPUT: lambda machine: machine.put(machine.number("<I")),
    pickle.MEMOIZE: _Machine.put,
    pickle.BINGET: lambda machine: machine.get(machine.number("<B")),
    pickle.LONG_BINGET: lambda machine: machine.get(machine.number("<I")),
    pickle.GLOBAL: lambda machine: machine.name(machine.line(), machine.line()),
    pickle.STACK_GLOBAL: lambda machine: machine.name(*machine.pop_tuple(2)),
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
}
