"""``python -m tasks TASK``: ``luigi --module tasks TASK``, with ``--demo``, and errors of luigi.cfg in a line."""

from __future__ import annotations

import sys

from luigi.cmdline import luigi_run

from pipeline.progress.terminal import prepare_console
from tasks.configuration.make_variables import expand_demo
from tasks.this_run import RUN

if __name__ == "__main__":
    prepare_console()
    arguments = ["--module", "tasks", *expand_demo(sys.argv[1:])]
    RUN.continue_here(arguments)
    luigi_run(arguments)
