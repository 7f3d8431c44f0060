"""What a timer calls, apart from what it does, which Python keeps compiled."""

from __future__ import annotations

import os
import sys

from pipeline.progress.terminal import outlast
from tasks.luigi_adapter.errors import end, message_of
from tasks.scheduled import main

if __name__ == "__main__":
    outlast()
    try:
        status = main(sys.argv[1:])
        sys.stderr.flush()
        os._exit(status)  # taking the interpreter apart takes longer than what this process did
    except Exception as error:
        if message_of(error) is None:
            raise
        end(error)
