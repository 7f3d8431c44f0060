"""``python -m pipeline``: the command line, which `tasks.commands` has, since it reads Luigi's settings."""

from __future__ import annotations

import sys

from pipeline.progress.terminal import prepare_console
from tasks.commands.main import main

if __name__ == "__main__":
    prepare_console()
    sys.exit(main())
