from __future__ import annotations

import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from pipeline.report.history_files import crc32c, write_events


def read(folder):
    """Read a folder's event file with TensorBoard itself."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}


def test_tensorboard_reads_what_was_written(tmp_path):
    steps = [(1, {"loss/train": 2.5, "accuracy/valid": 0.25}), (300, {"loss/train": 1.125, "accuracy/valid": 0.5})]
    write_events(tmp_path / "events.out.tfevents.0", steps)
    assert {tag: [(event.step, event.value) for event in events] for tag, events in read(tmp_path).items()} == {
        "loss/train": [(1, 2.5), (300, 1.125)],
        "accuracy/valid": [(1, 0.25), (300, 0.5)],
    }


def test_no_event_has_a_time(tmp_path):
    path = tmp_path / "events.out.tfevents.0"
    write_events(path, [(1, {"loss/train": 2.5}), (300, {"loss/train": 1.125})])
    events = list(EventFileLoader(str(path)).Load())
    assert [event.step for event in events] == [0, 1, 300]
    assert ["wall_time" in {field.name for field, _ in event.ListFields()} for event in events] == [False] * 3


def test_the_same_values_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        write_events(tmp_path / name, [(1, {"loss/train": 2.5})])
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
    ids=["zeros", "ones", "rising", "nothing"],
)
def test_crc_of_the_examples_in_rfc_3720(data, expected):
    """Its appendix B.4 lists the bytes of each CRC, the lowest first."""
    assert crc32c(data) == expected


def test_a_damaged_file_is_noticed(tmp_path):
    path = tmp_path / "events.out.tfevents.0"
    write_events(path, [(1, {"loss/train": 2.5})])
    path.write_bytes(path.read_bytes().replace(struct.pack("<f", 2.5), struct.pack("<f", 3.5)))
    assert read(tmp_path) == {}
