"""The process of one alternative: it prepares, then computes an epoch for each line that it reads.

It is told what to do by a JSON object as its only argument, and answers each time with a line of JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from typing import Any

from alternatives import ALTERNATIVES
from alternatives.work import Work
from pipeline.engines.engine import load_engine


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers
    task: dict[str, Any] = json.loads(sys.argv[1])
    # Libraries that count the cores themselves find as many as they may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    alternative = ALTERNATIVES[task["alternative"]]
    module, _, function = alternative.function.partition(":")
    start = time.perf_counter()
    prepare = getattr(importlib.import_module(f"alternatives.{module}"), function)
    work = Work.read(task["network"], task["images"], task["batch_size"], task["threads"])
    epoch = prepare(work, **alternative.arguments)
    versions = {name: importlib.metadata.version(name) for name in alternative.libraries}
    if alternative.is_ours and alternative.device == "cuda":
        versions["GPU"] = load_engine(alternative.arguments["engine"], "cuda").device_name()
    print(json.dumps({"seconds": time.perf_counter() - start, "versions": versions}), file=answers)
    for _ in sys.stdin:
        start = time.perf_counter()
        scores = epoch()
        print(json.dumps({"seconds": time.perf_counter() - start, "scores": scores._asdict()}), file=answers)


if __name__ == "__main__":
    main()
