"""Run the article's check of the device on each engine and device of this machine."""

from __future__ import annotations

import re
import subprocess
import sys

from check_gpu.plan import Plan, figure
from measuring import shown
from pipeline.engines import devices

ARTICLE = {"cuda": "0.7 seconds", "cpu": "2.6 seconds"}
"""The times of the article's own check."""


def main() -> None:
    """Run the check, and put the time that it prints beside the article's."""
    plan = Plan.read()
    failed = []
    choices = [(engine, device) for engine, device in devices.usable() if not devices.ENGINES[engine].environment]
    for engine, device in choices:
        command = [sys.executable, "-m", "tasks", "CheckDevice", f"--engine={engine}", f"--device={device}"]
        done = subprocess.run(command, cwd=shown.ROOT, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout)
        took = re.search(r"Looping 1000 times took (\S+ \w+)", done.stdout)
        if done.returncode or not took:
            failed.append(f"{engine} on {device}")
        else:
            figure(f"{engine} on {device}", took=took[1], article=ARTICLE[device])
    if failed or (plan.device not in {device for _, device in choices}):
        sys.exit(f"the check failed with {' and '.join(failed) or f'no engine on {plan.device}'}")
    print(f"{len(choices)} checks")


if __name__ == "__main__":
    main()
