"""The article's check of a device: compute exp() of a vector a thousand times and print where, and how fast."""

from __future__ import annotations

import numpy as np

from pipeline.engines.devices import Choice
from pipeline.engines.engine import load_engine
from pipeline.progress.monitor import Monitor

# Theano's manual, "Using the GPU", and the article after it.
LENGTH = 10 * 30 * 768
REPEATS = 1000


def check(choice: Choice, threads: int, monitor: Monitor) -> None:
    """Compute, and report the device, the reason for it, the duration and the result; raise as `load_engine`."""
    engine = load_engine(choice.engine, choice.device, threads)
    vector = np.random.RandomState(22).rand(LENGTH).astype(np.float32)
    result, seconds = engine.exponentials(vector, REPEATS)
    monitor.log(f"Device: {choice.device} ({engine.device_name()}); {choice.reason}")
    monitor.log(f"Looping {REPEATS} times took {duration(seconds)} with the {choice.engine} engine")
    monitor.log(f"Result is {result}")
    monitor.log(f"Used the {'gpu' if choice.device == 'cuda' else 'cpu'}")


def duration(seconds: float) -> str:
    """Write seconds as the article does, or milliseconds where that would be 0.00 seconds."""
    written = f"{seconds:.2f}"
    return f"{written} seconds" if float(written) else f"{1000 * seconds:.3g} milliseconds"
