"""Do what the engine asks, a message at a time, until it says stop or is gone."""

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
    """Answer messages from standard input on standard output.

    ``parent`` is the number of the process that started this one.
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


def load_worker(say: Callable[[dict[str, Any]], None]) -> Any:
    """Import Theano, once it is mended; only now, so that what goes wrong is an answer like any other."""
    from . import shims

    shims.apply()
    from .worker import Worker

    return Worker(say)


def listen(stream: BinaryIO, requests: Any) -> None:
    """Put each message into the queue; end when the engine is gone, even in the middle of an epoch."""
    while True:
        try:
            message = receive(stream)
        except EOFError:
            end()
        requests.put(message)
        if message[0]["do"] == "stop":
            return


def claim_stdout() -> BinaryIO:
    """Keep standard output for messages; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def end_with_parent(parent: int) -> None:
    """End as soon as the parent does, however it ends.

    That standard input ends does not suffice: processes that the parent forked may hold it open. Linux sends
    a signal; it also does so when only the thread that started us ends, which is no reason to end.
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
    """End at once, and with us the compilers that Theano has running."""
    os.killpg(0, signal.SIGKILL)
