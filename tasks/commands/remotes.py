"""The commands of ``python -m pipeline`` that exchange results with the remote, or look after it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator

from pipeline.errors import RemoteError, SettingError
from pipeline.progress.amounts import byte_amount
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import print_answer
from pipeline.report.markup import counted
from pipeline.store import results, sharing
from pipeline.store.latest import point_latest
from pipeline.store.record import Record
from pipeline.store.remote import upkeep, use
from pipeline.store.remote.shared import Remote
from tasks.commands import current
from tasks.remote import remote
from tasks.settings import settings
from tasks.this_run import RUN


def push(_: argparse.Namespace) -> int:
    """Write the results that the settings select to the remote."""
    shared = _writable()
    here = {stage.path: record for stage in current.stages() if (record := Record.read(stage.path))}
    with ConsoleMonitor("push") as monitor:
        pushed = shared.push(here, monitor)
    if shared.has_failed:
        return 1
    written = len(pushed.records)
    print_answer(
        f"{shared.url}: {written} results written, {byte_amount(pushed.size)}; {len(here) - written} were there."
    )
    return 0


def pull(_: argparse.Namespace) -> int:
    """Fetch the results that the settings select from the remote."""
    shared, stages = _chosen(), current.stages()
    sharing.look_up(stages)
    known = results.current_records(stages)
    with ConsoleMonitor("pull") as monitor:
        fetched = [
            sharing.fetch(stage.path, shared, monitor)
            for stage in stages
            if known[stage.path] and Record.read(stage.path) is None
        ]
    here = [stage for stage, record in zip(stages, results.current_records(stages).values(), strict=True) if record]
    for stage in here:
        point_latest(stage, settings.active().latest, RUN.id)
    print_answer(f"{shared.url}: {sum(fetched)} results fetched; {len(here)} of {len(stages)} are here now.")
    return 1 if shared.has_failed or not all(fetched) else 0


def fetch_latest(stage: str) -> None:
    """Fetch the files of the result to which ``latest`` leads, where they are in the remote alone."""
    with ConsoleMonitor(stage) as monitor:
        sharing.fetch((settings.active().latest / stage).resolve(), remote(), monitor)


def verify_remote() -> int:
    """Read everything in the remote; return 1 if something is wrong."""
    shared = _chosen()
    with ConsoleMonitor("verify") as monitor, _named(shared):
        wrong = upkeep.verify(shared, monitor)
    for line in wrong:
        print_answer(line)
    if wrong:
        done = "They are removed; runs make them again." if shared.writes else "store.remote_mode is 'read': they stay."
        print_answer(f"{len(wrong)} wrong. {done}")
        return 1
    print_answer(f"Everything in {shared.url} is as it was made.")
    return 0


def collect_remote(
    keep_days: float, *, dry_run: bool, show: Callable[[str], None], is_wanted: Callable[[str], bool]
) -> int:
    """Remove the results from the remote that no run has used for some days, if ``is_wanted`` answers so."""
    shared = _chosen() if dry_run else _writable()
    with _named(shared):
        found = upkeep.unused(shared.objects, keep_days)
        amount = counted(len(found), "result")
        for line in upkeep.unused_table(found):
            show(line)
        if dry_run:
            show(f"{shared.url}: {amount}, would be removed.")
            return 0
        if found and not is_wanted(f"Remove {amount} from {shared.url}? [y/N] "):
            show("Nothing is removed.")
            return 0
        use.wait_until_open(shared.objects, lambda holder: show(f"{shared.url}: waiting for {holder}"))
        use.close(shared.objects)
        try:
            still = {result.name for result in upkeep.unused(shared.objects, keep_days)}  # runs may have begun since
            removed = [result for result in found if result.name in still]
            size = upkeep.remove(shared.objects, removed, keep_days)
        finally:
            use.open_again(shared.objects)
        show(f"{shared.url}: {len(removed)} results removed, {byte_amount(size)}.")
    return 0


@contextlib.contextmanager
def _named(shared: Remote) -> Iterator[None]:
    """Name the remote where it fails."""
    try:
        yield
    except RemoteError as error:
        raise RemoteError(f"{shared.url}: {str(error).rstrip('.')}.") from None


def _chosen() -> Remote:
    if found := remote():
        return found
    raise SettingError("there is no remote; expected its URL, such as REMOTE=s3://BUCKET/PREFIX or file:///FOLDER.")


def _writable() -> Remote:
    found = _chosen()
    if not found.writes:
        raise SettingError("store.remote_mode is 'read'; expected 'readwrite', since this command changes the remote.")
    return found
