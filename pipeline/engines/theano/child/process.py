"""Answer the engine's messages, one at a time, until it sends stop or ends."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, BinaryIO, Callable

from .messages import receive, send

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(parent: int) -> None:
    """Read messages from standard input and write the answers to standard output.

    Parameters
    ----------
    parent : int
        Process ID of the engine.
    """
    end_with_parent(parent)
    requests: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    answers = claim_stdout()
    worker = None
    while True:
        fields, arrays = requests.get()
        action = fields.pop("do")
        if action == "stop":
            return
        try:
            worker = worker or load_worker(lambda progress: send(answers, progress))
            reply = getattr(worker, action)(fields, arrays)
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            reply = {"error": f"{type(error).__name__}: {lines[0]}"}, {}
        send(answers, *reply)


def load_worker(send_progress: Callable[[dict[str, Any]], None]) -> Any:
    """Patch and import Theano, so late that the first answer can report an error here."""
    from . import shims

    shims.apply()
    from .worker import Worker

    return Worker(send_progress)


def listen(stream: BinaryIO, requests: Any) -> None:
    """Put each message into the queue; end the process when the engine is gone, even in the middle of an epoch."""
    while True:
        try:
            message = receive(stream)
        except EOFError:
            end()
        requests.put(message)
        if message[0]["do"] == "stop":
            return


def claim_stdout() -> BinaryIO:
    """Reserve standard output for messages, and send all that libraries print to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def end_with_parent(parent: int) -> None:
    """End as soon as the parent ends, in any way.

    The end of standard input is not enough: processes that the parent forked may hold it open. On Linux the system
    sends a signal, but also when only the thread that started this process ends, so the handler looks at the parent.
    """
    signal.signal(signal.SIGTERM, lambda *_: end())
    signal.signal(signal.SIGHUP, lambda *_: end_without(parent))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    end_without(parent)


def end_without(parent: int) -> None:
    """End if the parent is gone."""
    if os.getppid() != parent:
        end()


def end() -> None:
    """Kill this process and the compilers that Theano has started."""
    os.killpg(0, signal.SIGKILL)
