"""``python -m tasks TASK``: ``luigi --module tasks TASK``, but a luigi.cfg that makes no sense is told in a line."""

from __future__ import annotations

import sys

from luigi.cmdline import luigi_run

from pipeline.terminal import outlast
from tasks.run import RUN

if __name__ == "__main__":
    outlast()
    arguments = ["--module", "tasks", *sys.argv[1:]]
    RUN.goes_on_here(arguments)
    luigi_run(arguments)
