"""``python -m tasks.scheduled``: the pipeline under `pipeline.operations.supervisor`; timers call it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from luigi.cmdline import luigi_run
from luigi.cmdline_parser import CmdlineParser
from luigi.retcodes import retcode

from pipeline.operations.notices import Notice
from pipeline.operations.status_file import METRICS_NAME
from pipeline.operations.supervisor import Supervisor
from pipeline.progress.terminal import prepare_console
from tasks.settings import schedule, settings
from tasks.this_run import RUN


def main(flags: Sequence[str]) -> int:
    """Run the pipeline with the flags of ``luigi --module tasks Pipeline``, and return the exit status."""
    with CmdlineParser.global_instance(["Pipeline", *flags], allow_override=True):
        how, outputs = schedule(), settings.active().outputs
        supervisor = Supervisor(
            run=RUN.id,
            outputs=outputs,
            busy_status=None if how.when_busy == "wait" else int(retcode().already_running),
            log_bytes=how.log_bytes,
            log_files=how.log_files,
            metrics=Path(how.metrics_file or outputs / METRICS_NAME),
            notice=Notice(how.on_failure_command, how.on_failure_webhook, how.notice_seconds),
        )

    def run_luigi() -> None:
        arguments = ["--module", "tasks", "Pipeline", *flags]
        RUN.continue_here(arguments, compares_settings=False)  # it has the settings that it was scheduled with
        luigi_run([*arguments, "--local-scheduler"])

    return supervisor.supervise(run_luigi, [sys.executable, "-m", "tasks.scheduled", *flags])


if __name__ == "__main__":
    prepare_console()
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own end takes longer than all that this process did
