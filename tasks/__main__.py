"""``python -m tasks TASK``: ``luigi --module tasks TASK``, with ``--demo``, and errors of luigi.cfg in a line."""

from __future__ import annotations

import sys

from luigi.cmdline import luigi_run

from pipeline.errors import SettingError
from pipeline.progress.terminal import ignore_closed_streams
from tasks.configuration import demo
from tasks.luigi_adapter.errors import end
from tasks.this_run import RUN

if __name__ == "__main__":
    ignore_closed_streams()
    try:
        arguments = ["--module", "tasks", *demo.expand_demo(sys.argv[1:])]
    except SettingError as error:
        end(error)
    RUN.continue_here(arguments)
    luigi_run(arguments)
