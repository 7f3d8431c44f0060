"""The pipeline's own engines."""

from __future__ import annotations

import numpy as np

from alternatives.work import Epoch, Scores, Work
from pipeline.engines.engine import Training, load_engine
from pipeline.networks.weights import draw_weights


def prepare(work: Work, engine: str, device: str) -> Epoch:
    """Train with an engine of the pipeline, as the stages do."""
    start = draw_weights(work.network, 42)
    training = Training(work.network, work.how, start, work.train, work.valid)
    trainer = load_engine(engine, device, work.threads).trainer(training)
    sizes = np.diff([*range(0, len(work.train), work.how.batch_size), len(work.train)])

    def epoch() -> Scores:
        losses = trainer.train_epoch(lambda _: None)
        return Scores(float(np.average(losses, weights=sizes)), *trainer.validate())

    return epoch
