"""The command line of ``python -m pipeline``."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luigi.cmdline_parser import CmdlineParser

from tasks.commands import actions, remotes, worker
from tasks.configuration.make_variables import DEMO_FLAG, expand_demo
from tasks.luigi_adapter.errors import message_of

LUIGI_FLAGS = ("engine", "device", "threads", "data", "outputs-dir")
"""Settings that ``predict`` must know by name: it would take the value of an unknown flag for a picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    known, others = _parser().parse_known_args(arguments)
    command: Callable[[argparse.Namespace], int] = known.command
    try:
        known.flags = expand_demo([*known.settings, *others])
        with CmdlineParser.global_instance(["Pipeline", *known.flags], allow_override=True):
            return command(known)
    except Exception as error:
        if (message := message_of(error)) is None:
            raise
        actions.print_error(message)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Look at the pipeline's results, use them, or schedule runs. "
        "Every command accepts any setting that `luigi --module tasks` accepts.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_results(commands)
    _add_networks(commands)
    _add_schedules(commands)
    for name, command in commands.choices.items():
        command.set_defaults(command=_function(name), settings=[])
        command.allow_abbrev = False  # argparse would take an abbreviated setting of Luigi's for an option of ours
        command.add_argument(
            DEMO_FLAG, action="append_const", dest="settings", const=DEMO_FLAG, help="use the demo's settings"
        )
    return parser


def _function(name: str) -> Any:
    """Return the function of a command."""
    return next(getattr(module, name) for module in (actions, remotes, worker) if hasattr(module, name))


def _add_results(commands: Any) -> None:
    commands.add_parser(
        "configure", help="keep the settings given here in local.cfg for all later commands; without any, list them"
    )

    status = commands.add_parser("status", help="a row for each stage, and why it would run")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--why", metavar="STAGE", help="every reason why a stage would run")

    verify = commands.add_parser("verify", help="read every file of every result and find damaged ones")

    gc = commands.add_parser("gc", help="remove results that neither the settings nor latest needs")
    gc.add_argument("--keep-days", type=_days, default=30, help="least age in days (default: %(default)g)")
    gc.add_argument("--dry-run", action="store_true", help="only list them")
    gc.add_argument("--yes", action="store_true", help="remove without asking")

    for command in (verify, gc):
        command.add_argument("--in-remote", action="store_true", help="in the remote, not on this machine")

    commands.add_parser("push", help="write results to the remote, where other machines find them")
    commands.add_parser("pull", help="fetch results from the remote")

    helper = commands.add_parser("worker", help="help with runs that are under way on other machines")
    helper.add_argument("--forever", action="store_true", help="wait for further runs when there is none")

    history = commands.add_parser("history", help="a row for each run: time, stages, test accuracy")
    history.add_argument("--json", action="store_true", help="for programs")
    history.add_argument("--last", type=_count, default=20, help="number of runs, from 1 (default: %(default)d)")

    diff = commands.add_parser("diff", help="what differs between two results of a stage")
    diff.add_argument("before", metavar="A", help="a key, its first digits, STAGE/KEY, or a stage: its result in use")
    diff.add_argument("now", metavar="B", help="another result of the same stage")
    diff.add_argument("--json", action="store_true", help="for programs")


def _add_networks(commands: Any) -> None:
    predict = commands.add_parser("predict", help="classify pictures with the network that was trained last")
    predict.add_argument("pictures", nargs="+", metavar="IMAGE", help="a PNG or JPEG; its middle is scaled down")
    predict.add_argument("--json", action="store_true", help="for programs")
    predict.add_argument(
        "--top", type=_count, metavar="N", help=f"classes for each picture (default: {actions.TOP}; with --json all)"
    )
    for name in LUIGI_FLAGS:
        flag, metavar = f"--{name}", name.replace("-", "_").upper()
        predict.add_argument(
            flag, action="append", dest="settings", type=f"{flag}={{}}".format, metavar=metavar, help="as in luigi.cfg"
        )

    export = commands.add_parser("export", help="write the network that was trained last for other programs")
    export.add_argument("--format", required=True, metavar="onnx|safetensors")
    export.add_argument("--output", type=_file, metavar="FILE", help="default: NETWORK.FORMAT in the outputs folder")
    for command in (predict, export):
        command.add_argument(
            "--network", default="cnn", help="its name in pipeline/networks/declared.py (default: %(default)s)"
        )


def _add_schedules(commands: Any) -> None:
    schedule = commands.add_parser("schedule", help="run the pipeline regularly, with the settings given here")
    schedule.add_argument("--every", required=True, help="a systemd calendar expression: daily, Mon..Fri 02:30")

    unschedule = commands.add_parser("unschedule", help="stop running it regularly")
    for command in (schedule, unschedule):
        command.add_argument("--dry-run", action="store_true", help="only print the steps")


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
