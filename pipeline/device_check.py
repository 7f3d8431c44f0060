"""The article's check, which tells where an engine computes exp() and how long it takes."""

from __future__ import annotations

import time

import numpy as np

from pipeline import engines
from pipeline.monitor import Monitor

LENGTH = 10 * 30 * 768
REPEATS = 1000
"""What Theano's manual took, and the article with it."""


def check(*, engine: str, device: str, reason: str, threads: int, monitor: Monitor) -> None:
    """Do the article's check, which tells where an engine computes exp() and how long it takes.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    loaded = engines.load(engine)
    name = loaded.device_name(device)
    vector = np.random.RandomState(22).rand(LENGTH).astype(np.float32)
    start = time.perf_counter()
    result = loaded.exponentials(vector, REPEATS, device=device, threads=threads)
    seconds = time.perf_counter() - start
    monitor.say(f"Device: {device} ({name}), since {reason}")
    monitor.say(f"Looping {REPEATS} times took {seconds:.2f} seconds with the {engine} engine")
    monitor.say(f"Result is {result}")
    monitor.say(f"Used the {'gpu' if device == 'cuda' else 'cpu'}")
