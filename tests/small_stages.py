"""Stages that take no time, for tests of what the store does with them."""

from __future__ import annotations

from pipeline.store.stage import Stage

TEXT = "text"


def write(output, *, text, monitor, **sources):
    """Write a text after those of the inputs."""
    read = [(folder / TEXT).read_text() for folder in sources.values()]
    (output / TEXT).write_text("".join([*read, text]))
    monitor.progress(1, 1, "texts")


def chain(folder, *names, remote=None):
    """Return stages of these names, each of which reads the one before; all share a remote."""
    stages = []
    for name in names:
        inputs = {"before": stages[-1]} if stages else {}
        stages.append(
            Stage(name, folder, f"{__name__}:write", {"text": name}, inputs, code_matters=False, remote=remote)
        )
    return stages
