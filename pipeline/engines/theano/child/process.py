"""Answer the engine's requests, one at a time, until it sends None or ends."""

from __future__ import annotations

import operator
import os
import signal
import socket
import threading
import time
import traceback
from typing import Any, Callable

from .messages import receive, send

LOOK_INTERVAL = 0.2
"""Seconds between two looks at the engine's process."""


def serve(parent: int, connection: int) -> None:
    """Answer requests, each the name of a function of `network.Worker` and its keyword arguments.

    An answer is any number of ``("progress", images)``, then ``("result", value)`` or ``("error", message)``.
    ``parent`` is the engine's process ID, ``connection`` the file descriptor of a socket to it.
    """
    signal.signal(signal.SIGTERM, lambda *_: end())
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    stream = socket.socket(fileno=connection).makefile("rwb")
    worker = None
    while (request := receive(stream)) is not None:
        action, arguments = request
        try:
            worker = worker or load_worker(lambda images: send(stream, ("progress", images)))
            answer = "result", operator.attrgetter(action)(worker)(**arguments)
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            answer = "error", f"{type(error).__name__}: {lines[0]}"
        send(stream, answer)


def load_worker(send_progress: Callable[[int], None]) -> Any:
    """Patch and import Theano, so late that the first answer can report an error here."""
    from . import shims

    shims.apply()
    from .network import Worker

    return Worker(send_progress)


def end_with(parent: int) -> None:
    """End as soon as the parent ends, in any way, even in the middle of an epoch.

    The end of the connection is not enough: processes that the parent forked may hold it open.
    """
    while os.getppid() == parent:
        time.sleep(LOOK_INTERVAL)
    end()


def end() -> None:
    """Kill this process and the compilers that Theano has started."""
    os.killpg(0, signal.SIGKILL)
