"""Decide whether a network is accurate enough for a new report."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.record import Record


def reported_accuracy(report: Path, network: str, evaluations: Path) -> float | None:
    """Return the test accuracy of a network in the latest report; None if the report or the evaluation is missing.

    Parameters
    ----------
    report, evaluations : Path
        The folder of the report, and the folder that has a result of the network's evaluation for each key.
    """
    record = Record.known(report)
    source = record.inputs.get(f"evaluated_{network}", {}) if record else {}
    evaluation = Record.known(evaluations / source["key"]) if "key" in source else None
    return evaluation.number("accuracy") if evaluation else None


def accuracy_fault(
    stage: str, accuracy: float, *, minimum: float | None, reported: float | None, largest_drop: float | None
) -> str | None:
    """Return why an accuracy is too low, in a sentence, or None if it is high enough.

    Parameters
    ----------
    stage : str
        Name of the evaluation.
    minimum, largest_drop : float, optional
        Least accuracy, and the largest difference by which it may be below the reported one.
    reported : float, optional
        Accuracy in the latest report.
    """
    if minimum is not None and accuracy < minimum:
        return f"{stage}: test accuracy {accuracy:.4f}; expected at least {minimum:g}."
    if largest_drop is not None and reported is not None and accuracy < reported - largest_drop:
        return (
            f"{stage}: test accuracy {accuracy:.4f}, {reported - accuracy:.4f} below the {reported:.4f} of the latest "
            f"report; expected a drop of at most {largest_drop:g}."
        )
    return None
