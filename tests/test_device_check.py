from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.engines.device_check import check, duration
from pipeline.engines.devices import Choice
from pipeline.errors import SettingError
from pipeline.progress.monitor import SILENT
from tests.available import ENGINES, require
from tests.monitors import RecordingMonitor


@pytest.mark.parametrize("engine", ENGINES)
def test_prints_the_lines_of_the_article(engine):
    """The numbers are those of Theano's manual, on a CPU."""
    require(engine)
    monitor = RecordingMonitor()

    check(Choice(engine, "cpu", "it was asked for"), threads=1, monitor=monitor)

    device, time, result, used = monitor.lines
    assert re.fullmatch(r"Device: cpu \(.+\); it was asked for", device)
    assert re.fullmatch(rf"Looping 1000 times took \d+\.\d\d seconds with the {engine} engine", time)
    assert used == "Used the cpu"
    numbers = [float(number) for number in re.findall(r"\d\.\d+", result)]
    assert re.fullmatch(r"Result is \[.* \.\.\. .*\]", result)
    assert np.allclose(
        numbers, [1.23178032, 1.61879341, 1.52278065, 2.20771815, 2.29967753, 1.62323285], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (2.6, "2.60 seconds"),
        (0.7, "0.70 seconds"),
        (0.0051, "0.01 seconds"),
        (0.00499, "4.99 milliseconds"),
        (0.002, "2 milliseconds"),
        (0.0001234, "0.123 milliseconds"),
    ],
)
def test_seconds_as_in_the_article_and_milliseconds_below(seconds, written):
    assert duration(seconds) == written


def test_refuses_an_unknown_engine():
    with pytest.raises(SettingError, match=r"^engine is 'troch'; .* Did you mean 'torch'\?$"):
        check(Choice("troch", "cpu", "it was asked for"), threads=1, monitor=SILENT)
