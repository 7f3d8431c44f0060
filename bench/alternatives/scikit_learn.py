"""scikit-learn's multi-layer perceptron."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from alternatives.work import Epoch, Scores, Work


def prepare(work: Work) -> Epoch:
    """Train `MLPClassifier`, an epoch at a time."""
    classes = np.arange(work.network.classes)
    classifier = MLPClassifier(
        (100,),
        solver="sgd",
        alpha=0,
        batch_size=work.how.batch_size,
        learning_rate_init=work.how.learning_rate,
        momentum=work.how.momentum,
        nesterovs_momentum=True,
        shuffle=False,
        random_state=42,
    )

    def epoch() -> Scores:
        classifier.partial_fit(work.train.images, work.train.labels, classes=classes)
        probabilities = classifier.predict_proba(work.valid.images)
        accuracy = (probabilities.argmax(1) == work.valid.labels).mean()
        return Scores(classifier.loss_, log_loss(work.valid.labels, probabilities, labels=classes), float(accuracy))

    return epoch
