"""Measure an epoch of each engine, beside PyTorch as most people write it, alternating in one run.

An epoch trains on 40,000 images and validates on 10,000. They are CIFAR-10's where `make pipeline` has
been run, and random ones otherwise, which cost the same but for the `numba` engine: it skips what a closed
rectifier makes zero.

Run it with ``python bench/training.py [--rounds 5] [--networks mlp,cnn]``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline import devices, engines, training, weights
from pipeline.declaration import Network
from pipeline.engines import Examples
from pipeline.networks import declared

BASELINE = "PyTorch, DataLoader"
RESULT = Path(".cache/bench/training.json")


def examples(network: Network) -> tuple[Examples, Examples, str]:
    """Return images that train, images that validate, and what they are."""
    name = "GrayscaleFlat" if len(network.input_shape) == 1 else "Grayscale2D"
    path = Path("outputs/latest") / name / "grayscale.h5"
    if path.exists():
        return *training.read_examples(path, 0.2), "CIFAR-10"
    random = np.random.default_rng(0)
    parts = [
        Examples(
            random.random((count, *network.input_shape), np.float32) - np.float32(0.5),
            random.integers(0, 10, count, np.uint8),
        )
        for count in (40_000, 10_000)
    ]
    return parts[0], parts[1], "random images"


def engine_epoch(engine: str, name: str, threads: int) -> Callable[[], None]:
    """Prepare an engine and return what computes one epoch."""
    architecture, how = declared(name)
    network = Network.from_json(architecture)
    train, valid, _ = examples(network)
    start = weights.draw(network, 42)
    trainer = engines.load(engine).trainer(network, how, start, train, valid, device="cpu", threads=threads)

    def epoch() -> None:
        trainer.train_epoch(lambda _: None)
        trainer.validate()

    return epoch


def dataloader_epoch(name: str, threads: int) -> Callable[[], None]:
    """Return one epoch as PyTorch's tutorials write it."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(threads)
    architecture, how = declared(name)
    parts = examples(Network.from_json(architecture))[:2]
    loaders = [
        DataLoader(
            TensorDataset(torch.from_numpy(part.images), torch.from_numpy(part.labels.astype(np.int64))),
            batch_size=how.batch_size,
        )
        for part in parts
    ]
    if name == "mlp":
        model = nn.Sequential(nn.Linear(1024, 100), nn.ReLU(), nn.Linear(100, 10))
    else:
        model = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(576, 200), nn.ReLU(), nn.Linear(200, 10)),
        )
    optimizer = torch.optim.SGD(model.parameters(), how.learning_rate, how.momentum, nesterov=True)
    loss_of = nn.CrossEntropyLoss()

    def epoch() -> None:
        total = correct = 0.0
        for images, labels in loaders[0]:
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        with torch.no_grad():
            for images, labels in loaders[1]:
                logits = model(images)
                total += loss_of(logits, labels).item() * len(labels)
                correct += (logits.argmax(1) == labels).sum().item()

    return epoch


def measure(epochs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Time each epoch once a round, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(rounds + 1):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure and print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", default="mlp,cnn")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    installed = [engine for engine, device in devices.usable() if device == "cpu"]
    results = {}
    for network in options.networks.split(","):
        epochs = {engine: engine_epoch(engine, network, threads) for engine in installed}
        if "torch" in installed:
            epochs[BASELINE] = dataloader_epoch(network, threads)
        seconds = results[network] = measure(epochs, options.rounds)
        data = examples(Network.from_json(declared(network)[0]))[2]
        print(f"\n{network.upper()} on {data}, {threads} threads, seconds an epoch, {options.rounds} rounds")
        slowest = statistics.median(seconds.get(BASELINE, seconds[installed[0]]))
        for name, times in seconds.items():
            median = statistics.median(times)
            print(f"  {name:20} {median:7.3f}  ({min(times):.3f} to {max(times):.3f})  {slowest / median:5.1f}x")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
