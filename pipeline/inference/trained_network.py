"""Read a trained network: its declaration, weights and names of classes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DeclarationError, StoreError
from pipeline.networks.declaration import Network
from pipeline.networks.declared import find_network
from pipeline.networks.weights import WEIGHTS_NAME, Weights, read_weights
from pipeline.store.record import RECORD_NAME, REMOTE_NAME, Record
from pipeline.training.history import HISTORY_NAME


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its name in `NETWORKS`, its weights, and the names of its classes by label.

    ``key`` is that of the training's result, ``title`` that of the training data.
    """

    name: str
    key: str
    network: Network
    weights: Weights
    class_names: list[str]
    title: str


def read_latest_network(name: str, outputs: Path = Path("outputs")) -> TrainedNetwork:
    """Read the network of the latest training; only the folder ``outputs`` is required.

    Raises `SettingError` if no network has this name, `StoreError` if it has not been trained or the files of its
    training are damaged, and `WeightsError` if the weights do not fit it.
    """
    folder = outputs / "latest" / f"Train{name.upper()}"
    training_command = f"`luigi --module tasks Evaluate --network {name}`"
    record = _undamaged_record(name, folder, training_command)
    try:
        data = json.loads((folder / HISTORY_NAME).read_bytes())["data"]
        class_names, title = list(data["class_names"]), str(data["title"])
        network = Network.build(record.parameters["architecture"], len(class_names))
    except (OSError, ValueError, KeyError, TypeError, DeclarationError):
        raise StoreError(
            f"{folder / HISTORY_NAME} lacks the names of the classes, because an earlier version wrote it. "
            f"Type {training_command}."
        ) from None
    return TrainedNetwork(
        name=str(record.parameters["network"]),
        key=record.key,
        network=network,
        weights=read_weights(folder / WEIGHTS_NAME, network),
        class_names=class_names,
        title=title,
    )


def _undamaged_record(name: str, folder: Path, training_command: str) -> Record:
    """Return the record of a training, after comparing the history and the weights with it."""
    record = Record.read(folder)
    if record is None:
        find_network(name)  # raises SettingError for an unknown name
        if (folder / RECORD_NAME).exists():
            raise StoreError(f"{folder / RECORD_NAME} is damaged. Type {training_command}, which trains it again.")
        if (folder / REMOTE_NAME).exists():
            raise StoreError(
                f"the files of {folder} are in a remote, and none is set. Give it with --store-remote=URL, or keep it "
                "with `make configure REMOTE=URL`."
            )
        raise StoreError(
            f"there is no trained {name} in {folder}. Type {training_command}, which trains it; "
            "--data and --outputs-dir name other folders of results."
        )
    files = {file: about for file, about in record.files.items() if file in (HISTORY_NAME, WEIGHTS_NAME)}
    if damage := replace(record, files=files).altered(folder):
        raise StoreError(
            f"{folder} is damaged: {', '.join(damage)}. Type `make verify`, which withdraws it, and then "
            f"{training_command}, which trains it again."
        )
    return record
