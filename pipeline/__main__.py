"""``python -m pipeline``: look at results, check them, remove old ones.

Which results are meant depends on the settings, and those are Luigi's. This program, and nothing else in
the package, therefore asks ``tasks`` for the stages as they are set now.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.progress import ConsoleMonitor
from pipeline.store import collection, history, runs, status, verification
from tasks.console import foreseen
from tasks.current import Current


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = _parser()
    known, settings = parser.parse_known_args(arguments)
    command: Callable[[Any, Current], int] = known.command
    try:
        with Current.read(settings) as current:
            return command(known, current)
    except Exception as error:
        if (message := foreseen(error)) is None:
            raise
        print(message, file=sys.stderr)  # noqa: T201, the command's output
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Look at the pipeline's results. Any setting that `luigi --module tasks` takes is taken here too.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    row = commands.add_parser("status", help="a row for each stage, and why it would run")
    row.add_argument("--json", action="store_true", help="for programs")
    row.set_defaults(command=_status)

    check = commands.add_parser("verify", help="read every file of every result and find damaged ones")
    check.set_defaults(command=_verify)

    collect = commands.add_parser("gc", help="remove results that no current setting reaches")
    collect.add_argument("--keep-days", type=float, default=30, help="how old they must be (default: %(default)g)")
    collect.add_argument("--dry-run", action="store_true", help="only list them")
    collect.set_defaults(command=_gc)

    past = commands.add_parser("history", help="the runs: when, what ran, what was reused, accuracy")
    past.add_argument("--json", action="store_true", help="for programs")
    past.add_argument("--last", type=int, default=20, help="how many to show, from 1 (default: %(default)d)")
    past.set_defaults(command=_history)
    return parser


def _status(options: argparse.Namespace, current: Current) -> int:
    rows = status.rows(current.stages(), current.outputs / "latest")
    _print(json.dumps([asdict(row) for row in rows], indent=1) if options.json else "\n".join(status.table(rows)))
    return 0


def _verify(_: argparse.Namespace, current: Current) -> int:
    with ConsoleMonitor("verify") as monitor:
        problems = verification.verify(current.folders(), monitor)
    for problem in problems:
        _print(problem)
    if problems:
        _print(
            f"{len(problems)} wrong. `make pipeline` makes what it needs of them again, and `make gc KEEP=0` removes "
            "what no setting reaches."
        )
        return 1
    _print("Every result is as it was made.")
    return 0


def _gc(options: argparse.Namespace, current: Current) -> int:
    with runs.alone(current.folders()):
        garbage = collection.unreached(current.folders(), current.all_reachable(), options.keep_days)
        for result in garbage:
            _print(f"{result.size / 1e6:10.1f} MB  {result.days:6.1f} days  {result.path}")
        total = sum(result.size for result in garbage) / 1e6
        if options.dry_run:
            _print(f"{len(garbage)} results, {total:.1f} MB, would be removed.")
            return 0
        collection.collect(garbage, current.outputs)
    _print(f"{len(garbage)} results, {total:.1f} MB, removed.")
    return 0


def _history(options: argparse.Namespace, current: Current) -> int:
    past = history.read(current.outputs / history.NAME)[-max(1, options.last) :]
    _print(json.dumps(past, indent=1) if options.json else "\n".join(history.table(past)))
    return 0


def _print(text: str) -> None:
    print(text)  # noqa: T201, the command's output


if __name__ == "__main__":
    sys.exit(main())
