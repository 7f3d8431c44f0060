"""What a timer calls, apart from what it does, which Python keeps compiled."""

from __future__ import annotations

import sys

from tasks.console import foreseen
from tasks.scheduled import main

try:
    sys.exit(main(sys.argv[1:]))
except Exception as error:
    if (message := foreseen(error)) is None:
        raise
    sys.exit(message)
