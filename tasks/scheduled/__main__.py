"""What a timer calls, apart from what it does, which Python keeps compiled."""

from __future__ import annotations

import sys

from pipeline.errors import PipelineError
from tasks.console import foreseen
from tasks.scheduled import main

try:
    sys.exit(main(sys.argv[1:]))
except (PipelineError, OSError) as error:
    sys.exit(foreseen(error) or str(error))
