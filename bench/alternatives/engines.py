"""The pipeline's own engines."""

from __future__ import annotations

import numpy as np

from alternatives.work import Epoch, Scores, Work
from pipeline.engines.engine import Trainer, load_engine


def prepare(work: Work, engine: str, device: str) -> Epoch:
    """Train with an engine of the pipeline, as the stages do."""
    return _epoch_of(load_engine(engine, device, work.threads).trainer(work.training()), work)


def ungraphed(work: Work, device: str) -> Epoch:
    """Train with the torch engine's operations, launched one by one instead of in a CUDA graph."""
    import torch

    from pipeline.engines.torch.engine import TorchTrainer, set_cuda_numerics

    set_cuda_numerics("float32")
    return _epoch_of(TorchTrainer(work.training(), device, torch.float32, lambda _: lambda action: action), work)


def _epoch_of(trainer: Trainer, work: Work) -> Epoch:
    sizes = np.diff([*range(0, len(work.train), work.how.batch_size), len(work.train)])

    def epoch() -> Scores:
        losses = trainer.train_epoch(lambda _: None)
        validation = trainer.validate()
        return Scores(float(np.average(losses, weights=sizes)), validation.loss, validation.accuracy)

    return epoch
