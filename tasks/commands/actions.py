"""The commands of ``python -m pipeline``: each takes its options, and returns an exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pipeline.engines import devices
from pipeline.engines.theano.flags import flags_note
from pipeline.errors import PictureError, StoreError
from pipeline.operations import changes, run_history
from pipeline.operations.schedule import install
from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import highlighted, highlighted_table, print_answer
from pipeline.store import active_runs, difference, garbage, sharing, stage_status, verification
from tasks.commands import configure as configuring
from tasks.commands import current, remotes
from tasks.configuration import last_run
from tasks.settings import engine_settings, settings

TOP = 3
"""Guesses printed for each picture."""


def configure(_: argparse.Namespace) -> int:
    """Keep the settings given on the command line, or print those that are kept."""
    values = configuring.given_settings()
    if values:
        configuring.keep_settings(values)
    show = _print if values else print_answer
    show("\n".join(configuring.settings_table()))
    return 0


def status(options: argparse.Namespace) -> int:
    """Print a row for each stage."""
    if not options.json:
        last_run.report_missing(settings.active().outputs)
    latest = settings.active().latest
    stages = current.stages()
    sharing.look_up(stages)
    rows = [stage_status.status_row(stage, latest, flags_note) for stage in stages]
    if options.json:
        print_answer(json.dumps([asdict(row) for row in rows], indent=1))
    elif options.why:
        print_answer(highlighted("\n".join(stage_status.explain_stage(rows, options.why))))
    else:
        print_answer(highlighted_table(stage_status.status_table(rows), "STATE"))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Read every file of every result; return 1 if one is damaged."""
    if options.in_remote:
        return remotes.verify_remote()
    with ConsoleMonitor("verify") as monitor:
        problems = verification.verify(current.folders(), devices.cores(), monitor)
    for problem in problems:
        print_answer(problem)
    if problems:
        print_answer(
            f"{len(problems)} wrong. `make pipeline` makes those that it needs again, and `make gc KEEP=0` removes "
            "those that neither the settings nor latest needs."
        )
        return 1
    print_answer(f"Every result in {' and '.join(map(str, current.folders()))} is as it was made.")
    return 0


def gc(options: argparse.Namespace) -> int:
    """Remove unused results, after asking."""
    last_run.report_missing(settings.active().outputs)
    if options.in_remote:
        return remotes.collect_remote(
            options.keep_days,
            dry_run=options.dry_run,
            show=_shown_by(options),
            is_wanted=lambda question: options.yes or _is_wanted(question, options),
        )
    folders, reached = current.folders(), current.all_reachable()
    unreached = garbage.unreached(folders, reached, options.keep_days)
    show = _shown_by(options)
    for line in garbage.garbage_table(unreached):
        show(line)
    if options.dry_run:
        show(f"{garbage.amount(unreached)}, would be removed.")
        return 0
    if unreached and not (options.yes or _is_wanted(f"Remove {garbage.amount(unreached)}? [y/N] ", options)):
        _print("Nothing is removed.")
        return 0
    with active_runs.none_begins(folders):
        still = garbage.unreached(folders, reached, options.keep_days)  # runs may have begun and ended since
        removed = [result for result in unreached if result in still]
        garbage.collect(removed, settings.active().outputs)
    _print(f"{garbage.amount(removed)}, removed.")
    return 0


def _is_wanted(question: str, options: argparse.Namespace) -> bool:
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        flag, variable = (" --in-remote", " REMOTE=URL") if options.in_remote else ("", "")
        raise StoreError(
            "nothing is removed, since there is no terminal to ask at. "
            f"Type `python -m pipeline gc{flag} --yes`, or `make gc{variable} YES=1`, to remove what is listed."
        )
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def history(options: argparse.Namespace) -> int:
    """Print a row for each run."""
    past = run_history.read_history(settings.active().outputs / run_history.NAME)
    listed = changes.with_changes(past, current.folders())[-options.last :]
    table = highlighted_table(run_history.history_table(listed), "EXIT")
    print_answer(json.dumps(listed, indent=1) if options.json else table)
    return 0


def diff(options: argparse.Namespace) -> int:
    """Print what differs between two results of a stage."""
    from pipeline.training.history import last_validation_accuracy

    def more(result: Path) -> dict[str, float]:
        accuracy = last_validation_accuracy(result)
        return {} if accuracy is None else {"valid_accuracy": accuracy}

    before, now = map(current.find_result, (options.before, options.now))
    found = difference.difference(before, now, current.folders(), more)
    print_answer(json.dumps(asdict(found), indent=1) if options.json else "\n".join(difference.difference_lines(found)))
    return 0


def predict(options: argparse.Namespace) -> int:
    """Print a line for each picture; return 1 if one cannot be read."""
    from pipeline.inference.prediction import latest_classifier, prediction_lines

    remotes.fetch_latest(f"Train{options.network.upper()}")
    choice = settings.active().choice()
    classifier = latest_classifier(
        options.network,
        settings.active().outputs,
        engine=choice.engine,
        device=settings.active().device,
        engine_settings=engine_settings(choice.engine),
        threads=settings.active().thread_count(),
    )
    if wait := classifier.first_wait():
        print_error(wait)
    errors: list[PictureError] = []
    found = list(classifier.predict_many(options.pictures, on_error=errors.append))
    if options.json:
        print_answer(json.dumps([guessed.to_json(options.top) for guessed in found], indent=1))
    elif found:
        print_answer("\n".join(prediction_lines(found, options.top or TOP)))
    for error in errors:
        print_error(str(error))
    return 1 if errors else 0


def export(options: argparse.Namespace) -> int:
    """Write a trained network for another program."""
    from pipeline.inference.export import export
    from pipeline.inference.trained_network import read_latest_network

    remotes.fetch_latest(f"Train{options.network.upper()}")
    network = read_latest_network(options.network, settings.active().outputs)
    path = options.output or settings.active().outputs / f"{network.name}.{options.format}"
    export.export(network, options.format, path)
    _print(f"{path}: {network.name}, {network.network.parameter_count} parameters, {path.stat().st_size / 1e3:.0f} kB")
    return 0


def schedule(options: argparse.Namespace) -> int:
    """Install a timer that runs the pipeline."""
    current.check_settings()  # report wrong settings now, not at night
    last_run.report_missing(settings.active().outputs)
    command = (sys.executable, "-m", "tasks.scheduled", *options.flags)
    install.install(Job(Path.cwd(), command, options.every), Steps(_shown_by(options), options.dry_run))
    return 0


def unschedule(options: argparse.Namespace) -> int:
    """Remove the timer."""
    if not install.remove(Path.cwd(), Steps(_shown_by(options), options.dry_run)):
        print_answer(f"Nothing is scheduled for {Path.cwd()}.")
    return 0


def _shown_by(options: argparse.Namespace) -> Callable[[str], None]:
    """Return the function that prints a line: closing stdout ends a dry run, but not a real one."""
    return print_answer if options.dry_run else _print


def _print(text: str) -> None:
    print(text)  # noqa: T201, the command's output


def print_error(text: str) -> None:
    """Print an error."""
    print(text, file=sys.stderr)  # noqa: T201, an error of the command
