"""Write the history of a training for other tools, as CSV and as TensorBoard's event file.

An event file is a sequence of TFRecords (https://www.tensorflow.org/tutorials/load_data/tfrecord)::

    uint64 length    uint32 masked CRC of length    bytes data    uint32 masked CRC of data

The data are messages in the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding), of
these types (tensorboard/compat/proto/event.proto and summary.proto)::

    Event   { double wall_time = 1;  int64 step = 2;  string file_version = 3;  Summary summary = 5; }
    Summary { repeated Value value = 1; }
    Value   { string tag = 1;  float simple_value = 2; }

An event's ``wall_time`` is left out, so that the same values give the same bytes. TensorBoard (2.21) reads it as 0: by
default it draws scalars over steps, but its axis Relative has all points at 0, and its axis Wall has them in 1970.
"""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.progress.monitor import Monitor
from pipeline.training.history import HISTORY_NAME

CSV_NAME = "history.csv"
EVENTS_NAME = "events.out.tfevents.0.history"
"""TensorBoard recognises event files by ``tfevents`` in their names."""

TAGS = {"train_loss": "loss/train", "valid_loss": "loss/valid", "valid_accuracy": "accuracy/valid"}
"""TensorBoard's tags of the columns; it groups tags by their first part."""


def write_history_files(output: Path, *, trained: Path, monitor: Monitor) -> None:
    """Write ``history.csv`` and an event file, with the rows and columns of a trained network's ``history.json``."""
    epochs = json.loads((trained / HISTORY_NAME).read_bytes())["epochs"]
    with (output / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["epoch", *TAGS], lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)
    scalars = [(int(row["epoch"]), {tag: row[column] for column, tag in TAGS.items()}) for row in epochs]
    write_events(output / EVENTS_NAME, scalars)
    monitor.log(f"{CSV_NAME} and {EVENTS_NAME}: {len(epochs)} epochs")


def max_output_bytes(trained: Path, **_others: object) -> int:
    """Return the maximum output size in bytes: history.json has all of the CSV, and half of the event file at least."""
    return 3 * (trained / HISTORY_NAME).stat().st_size


def write_events(path: Path, scalars: Iterable[tuple[int, Mapping[str, float]]]) -> None:
    """Write an event for each step, with its values by tag, such as ``loss/train``."""
    events = [_field(3, b"brain.Event:2")]  # the version of the format
    for step, values in scalars:
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + _field(2, float(value))) for tag, value in values.items()
        )
        events.append(_field(2, step) + _field(5, summary))
    path.write_bytes(b"".join(map(_framed, events)))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes; RFC 3720, section 12.1, has its polynomial, of which the bits are reversed here."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte  # bit by bit, without a table: a file has a few kB
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    """Rotate a CRC and add a constant, as TFRecords do because a CRC over data that contain CRCs is weak."""
    crc = crc32c(data)
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _field(number: int, value: int | float | bytes) -> bytes:
    """Encode a field: its number with the wire type (0 varint, 5 four bytes, 2 length and bytes), and its value."""
    if isinstance(value, int):
        return _varint(number << 3 | 0) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Encode a whole number from 0 in groups of seven bits, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
