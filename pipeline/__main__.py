"""``python -m pipeline``: look at results and use them; have the pipeline run by itself.

Which results are meant depends on the settings, and those are Luigi's. This program, and nothing else in
the package, therefore asks ``tasks`` for the stages as they are set now.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import PictureError, StoreError
from pipeline.operations.schedule import install as schedule
from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import deliver, highlighted, highlighted_table, outlast
from pipeline.store import changes, garbage, run_history, runs, status, verification
from tasks import demo
from tasks.console import foreseen
from tasks.current import Current

TOP = 3
"""Guesses printed for each picture."""
NETWORK_HELP = "its name in pipeline/networks/declared.py (default: %(default)s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = _parser()
    known, others = parser.parse_known_args(arguments)
    settings = [*known.settings, *others]
    command: Callable[[Any, Current], int] = known.command
    try:
        with Current.read(demo.spelled_out(settings)) as current:
            return command(known, current)
    except Exception as error:
        if (message := foreseen(error)) is None:
            raise
        _complain(message)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Look at the pipeline's results and use them, or have it run by itself. "
        "Any setting that `luigi --module tasks` takes is taken here too.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    keep = commands.add_parser(
        "configure", help="keep the settings given here in local.cfg for every later command; alone, show what is kept"
    )
    keep.set_defaults(command=_configure)

    row = commands.add_parser("status", help="a row for each stage, and why it would run")
    row.add_argument("--json", action="store_true", help="for programs")
    row.add_argument("--why", metavar="STAGE", help="everything that is known of why a stage would run")
    row.set_defaults(command=_status)

    check = commands.add_parser("verify", help="read every file of every result and find damaged ones")
    check.set_defaults(command=_verify)

    collect = commands.add_parser("gc", help="remove results that neither the settings nor latest needs")
    collect.add_argument("--keep-days", type=_days, default=30, help="how old they must be (default: %(default)g)")
    collect.add_argument("--dry-run", action="store_true", help="only list them")
    collect.add_argument("--yes", action="store_true", help="do not ask whether to remove what is listed")
    collect.set_defaults(command=_gc)

    past = commands.add_parser("history", help="the runs: when, what ran, what was reused, accuracy")
    past.add_argument("--json", action="store_true", help="for programs")
    past.add_argument("--last", type=_count, default=20, help="how many to show, from 1 (default: %(default)d)")
    past.set_defaults(command=_history)

    guess = commands.add_parser("predict", help="say what is on pictures, with the network that was trained last")
    guess.add_argument("pictures", nargs="+", metavar="IMAGE", help="a PNG or JPEG; its middle is scaled down")
    guess.add_argument("--json", action="store_true", help="for programs")
    guess.add_argument("--top", type=_count, metavar="N", help=f"guesses for each (default: {TOP}; with --json all)")
    guess.add_argument("--network", default="cnn", help=NETWORK_HELP)
    # Settings are known here by name, or the value of one would be taken for a picture.
    for name in ("engine", "device", "threads", "data", "outputs-dir"):
        guess.add_argument(f"--{name}", action=_Setting, help="as in luigi.cfg")
    guess.set_defaults(command=_predict)

    hand_over = commands.add_parser("export", help="write the network that was trained last for other programs")
    hand_over.add_argument("--format", required=True, metavar="onnx|safetensors")
    hand_over.add_argument("--output", type=_file, metavar="FILE", help="default: NETWORK.FORMAT in the outputs folder")
    hand_over.add_argument("--network", default="cnn", help=NETWORK_HELP)
    hand_over.set_defaults(command=_export)

    start = commands.add_parser("schedule", help="have the pipeline run by itself, with the settings given here")
    start.add_argument("--every", required=True, help="a systemd calendar expression: daily, Mon..Fri 02:30")
    start.add_argument("--dry-run", action="store_true", help="only say what would be done")
    start.set_defaults(command=_schedule)

    stop = commands.add_parser("unschedule", help="have it run by itself no more")
    stop.add_argument("--dry-run", action="store_true", help="only say what would be done")
    stop.set_defaults(command=_unschedule)
    for each in commands.choices.values():
        each.allow_abbrev = False  # or some misspelt flags would be taken for the beginning of others
        each.add_argument(
            demo.FLAG, action="append_const", dest="settings", const=demo.FLAG, default=[], help="as the demo has it"
        )
    return parser


class _Setting(argparse.Action):
    """Hands a flag and its value on to Luigi."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, flag: str | None = None
    ) -> None:
        namespace.settings = [*namespace.settings, flag, value]


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (count := int(text)) >= 1:
            return count
    raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 1")


def _days(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (days := float(text)) < math.inf:
            return days
    raise argparse.ArgumentTypeError(f"{text!r}; expected a number from 0")


def _file(text: str) -> Path:
    if text:
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r}; expected the name of a file")


def _configure(*_: Any) -> int:
    from tasks import configure

    values = configure.given()
    if values:
        configure.keep(values)
    tell = _print if values else deliver
    tell("\n".join(configure.table()))
    return 0


def _status(options: argparse.Namespace, current: Current) -> int:
    if not options.json:
        current.tell_of_last_run()
    rows = status.rows(current.stages(), current.outputs / "latest")
    if options.json:
        deliver(json.dumps([asdict(row) for row in rows], indent=1))
    elif options.why:
        deliver(highlighted("\n".join(status.explained(rows, options.why))))
    else:
        deliver(highlighted_table(status.table(rows), "STATE"))
    return 0


def _verify(_: argparse.Namespace, current: Current) -> int:
    with ConsoleMonitor("verify") as monitor:
        problems = verification.verify(current.folders(), monitor)
    for problem in problems:
        deliver(problem)
    if problems:
        deliver(
            f"{len(problems)} wrong. `make pipeline` makes what it needs of them again, and `make gc KEEP=0` removes "
            "those that neither the settings nor latest needs."
        )
        return 1
    deliver(f"Every result in {' and '.join(map(str, current.folders()))} is as it was made.")
    return 0


def _gc(options: argparse.Namespace, current: Current) -> int:
    current.tell_of_last_run()
    folders, reached = current.folders(), current.all_reachable()
    unreached = garbage.unreached(folders, reached, options.keep_days)
    tell = _teller(options)
    for line in garbage.table(unreached):
        tell(line)
    if options.dry_run:
        tell(f"{garbage.amount(unreached)}, would be removed.")
        return 0
    if unreached and not (options.yes or _is_wanted(f"Remove {garbage.amount(unreached)}? [y/N] ")):
        _print("Nothing is removed.")
        return 0
    with runs.alone(folders):
        still = garbage.unreached(folders, reached, options.keep_days)  # runs may have begun, and ended, meanwhile
        removed = [result for result in unreached if result in still]
        garbage.collect(removed, current.outputs)
    _print(f"{garbage.amount(removed)}, removed.")
    return 0


def _is_wanted(question: str) -> bool:
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise StoreError(
            "nothing is removed, since there is no terminal to ask at. Type `python -m pipeline gc --yes`, or "
            "`make gc YES=1`, to remove what is listed without being asked."
        )
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _history(options: argparse.Namespace, current: Current) -> int:
    past = changes.add(run_history.read(current.outputs / run_history.NAME), current.folders())[-options.last :]
    table = highlighted_table(run_history.table(past), "EXIT")
    deliver(json.dumps(past, indent=1) if options.json else table)
    return 0


def _predict(options: argparse.Namespace, current: Current) -> int:
    """Print a line for each picture that can be read; one that cannot is told of, and makes the status 1."""
    from pipeline.inference import prediction

    classifier = prediction.latest(options.network, current.outputs, **current.computing())
    if wait := classifier.first_wait():
        _complain(wait)
    errors: list[PictureError] = []
    found = list(classifier.predict_many(options.pictures, on_error=errors.append))
    if options.json:
        deliver(json.dumps([prediction.plain(guessed, options.top) for guessed in found], indent=1))
    elif found:
        deliver("\n".join(prediction.table(found, options.top or TOP)))
    for error in errors:
        _complain(str(error))
    return 1 if errors else 0


def _export(options: argparse.Namespace, current: Current) -> int:
    from pipeline.inference import trained_network
    from pipeline.inference.export import export

    network = trained_network.latest(options.network, current.outputs)
    path = options.output or current.outputs / f"{network.name}.{options.format}"
    export.export(network, options.format, path)
    _print(f"{path}: {network.name}, {network.network.parameter_count} parameters, {path.stat().st_size / 1e3:.0f} kB")
    return 0


def _schedule(options: argparse.Namespace, current: Current) -> int:
    current.check()  # settings that make no sense are told now, not at night
    current.tell_of_last_run()
    command = (sys.executable, "-m", "tasks.scheduled", *current.flags)
    schedule.install(Job(Path.cwd(), command, options.every), Steps(_teller(options), options.dry_run))
    return 0


def _unschedule(options: argparse.Namespace, _: Current) -> int:
    if not schedule.remove(Path.cwd(), Steps(_teller(options), options.dry_run)):
        deliver(f"Nothing is scheduled for {Path.cwd()}.")
    return 0


def _teller(options: argparse.Namespace) -> Callable[[str], None]:
    """Return what prints the steps of a command: they are done even where nobody can be told."""
    return deliver if options.dry_run else _print


def _print(text: str) -> None:
    print(text)  # noqa: T201, the command's output


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201, likewise


if __name__ == "__main__":
    outlast()
    sys.exit(main())
