"""``python -m pipeline``: the command line, which `tasks.commands` has, since it reads Luigi's settings."""

from __future__ import annotations

import sys

from pipeline.progress.terminal import ignore_closed_streams
from tasks.commands.main import main

if __name__ == "__main__":
    ignore_closed_streams()
    sys.exit(main())
