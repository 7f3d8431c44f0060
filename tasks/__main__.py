"""``python -m tasks TASK``: ``luigi --module tasks TASK``, but a luigi.cfg that makes no sense is told in a line."""

from __future__ import annotations

import sys

from luigi.cmdline import luigi_run

from pipeline.terminal import outlast

if __name__ == "__main__":
    outlast()
    luigi_run(["--module", "tasks", *sys.argv[1:]])
