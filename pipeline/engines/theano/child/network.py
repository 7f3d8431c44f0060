"""The article's code: nolearn's `NeuralNet` trains a declaration.

Four things are added: the initial weights and the split into training and validation images come from outside, and
the loss of each minibatch and the predicted labels of the validation images are kept.
"""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np
import theano
from lasagne import layers, nonlinearities
from lasagne.updates import nesterov_momentum
from nolearn.lasagne import BatchIterator, NeuralNet
from theano import tensor

Declaration = dict[str, Any]

PROGRESS_INTERVAL = 0.05
"""Seconds between two messages about progress."""


def neural_net(architecture: Declaration, **training: Any) -> NeuralNet:
    """Return nolearn's network for an architecture in JSON's types.

    The keywords are nolearn's own (``conv1_num_filters``); the names of layers and nonlinearities become Lasagne's
    objects.
    """
    options = {keyword: _value(keyword, value) for keyword, value in architecture.items() if keyword != "layers"}
    return NeuralNet(
        layers=[(name, getattr(layers, layer)) for name, layer in architecture["layers"]],
        **options,
        **training,
    )


class Training:
    """A network in training, an epoch at a time.

    nolearn's loop can stop after each epoch and go on, because shared variables keep the momentum.
    """

    def __init__(
        self,
        *,
        architecture: Declaration,
        batch_size: int,
        weights: dict[str, Any],
        velocity: dict[str, Any],
        train: tuple[Any, Any],
        valid: tuple[Any, Any],
        on_progress: Callable[[int], None],
        **update_options: float,
    ) -> None:
        # nolearn declares labels as T.ivector, which refuses all but 32-bit integers.
        self._train, self._valid = [(images, labels.astype(np.int32)) for images, labels in (train, valid)]
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._net = neural_net(
            architecture,
            update=self._update,
            **update_options,
            regression=False,
            batch_iterator_train=BatchIterator(batch_size),
            train_split=self._split,
            scores_valid=[("predicted", lambda probabilities, _labels: probabilities[0].argmax(axis=1))],
        )
        self._net.initialize()
        self._net.scores_valid = []  # `_evaluate` keeps the labels; nolearn would put their mean into its table
        self._compiled_step, self._net.train_iter_ = self._net.train_iter_, self._step
        self._compiled_evaluation, self._net.eval_iter_ = self._net.eval_iter_, self._evaluate
        set_weights(self._net, weights)
        for name, value in velocity.items():
            accumulator = self._accumulators[shared_weight(self._net, name)]
            accumulator.set_value(value.astype(accumulator.dtype))

    def _update(self, gradients: Any, weights: Any, **options: Any) -> Any:
        """Return Lasagne's updates, and keep its momentum accumulators, which have no names.

        Lasagne updates one accumulator for each weight, in the order of the weights.
        """
        updates = nesterov_momentum(gradients, weights, **options)
        self._accumulators = dict(zip(weights, [variable for variable in updates if variable not in weights]))
        return updates

    def _split(self, *_: Any) -> tuple[Any, Any, Any, Any]:
        """Return the given images and labels, in place of nolearn's `TrainSplit`."""
        return self._train[0], self._valid[0], self._train[1], self._valid[1]

    def _step(self, images: Any, labels: Any) -> Any:
        """Take nolearn's step on a minibatch, and keep the loss before it."""
        outputs = self._compiled_step(images, labels)
        self._losses.append(float(outputs[0]))
        self._on_progress(min(len(self._losses) * self._batch_size, len(self._train[1])))
        return outputs

    def _evaluate(self, images: Any, labels: Any) -> Any:
        """Return nolearn's loss and accuracy of some images, and keep their predicted labels."""
        *scores, predicted = self._compiled_evaluation(images, labels)
        self._predicted.append(predicted)
        return scores

    def epoch(self) -> Any:
        """Train for an epoch and validate; return each minibatch's loss before its step."""
        self._losses: list[float] = []
        self._predicted: list[Any] = []
        self._net.train_loop(*self._train, epochs=1)
        return np.array(self._losses)

    def validation(self) -> tuple[float, Any]:
        """Return the mean loss over the validation images, as in nolearn's table, and their predicted labels."""
        if self._net.train_history_:
            loss = self._net.train_history_[-1]["valid_loss"]
        else:
            self._predicted = []
            batches = list(self._net.batch_iterator_test(*self._valid))
            losses = [self._net.eval_iter_(images, labels)[0] for images, labels in batches]
            loss = np.average(losses, weights=[len(labels) for _, labels in batches])
        return float(loss), np.concatenate(self._predicted)

    def weights(self) -> dict[str, Any]:
        """Return the weights by their full names, for example ``conv1/W``."""
        named = self._net.get_all_params_values()
        return {f"{layer}/{name}": value for layer, values in named.items() for name, value in zip(("W", "b"), values)}

    def velocity(self) -> dict[str, Any]:
        """Return the velocity of each weight, by the weight's full name."""
        return {name: self._accumulators[shared_weight(self._net, name)].get_value() for name in self.weights()}


def set_weights(net: NeuralNet, weights: dict[str, Any]) -> None:
    """Copy weights into a network; raise ValueError if a shape does not fit.

    nolearn's ``load_params_from`` would skip a weight whose shape does not fit.
    """
    for name, value in weights.items():
        shared = shared_weight(net, name)
        if shared.get_value().shape != value.shape:
            raise ValueError(f"{name} has shape {value.shape}; the network expects {shared.get_value().shape}")
        shared.set_value(value.astype(shared.dtype))


def shared_weight(net: NeuralNet, name: str) -> Any:
    """Return the shared variable of a weight, by the weight's full name."""
    layer, parameter = name.split("/")
    return getattr(net.layers_[layer], parameter)


def _value(keyword: str, value: Any) -> Any:
    if keyword.endswith("_nonlinearity"):
        return getattr(nonlinearities, value)
    return tuple(value) if isinstance(value, list) else value


class Worker:
    """Functions by the names in requests: ``train``, then ``training.epoch`` and others of `Training`."""

    def __init__(self, send_progress: Callable[[int], None]) -> None:
        self._send_progress = send_progress
        self._next_time = 0.0

    def train(self, **training: Any) -> None:
        """Prepare a network for training; Theano compiles it here."""
        self.training = Training(**training, on_progress=self._on_progress)

    def probabilities(self, architecture: Declaration, weights: dict[str, Any], images: Any) -> Any:
        """Return the probability of each class for each image; only the forward pass is compiled."""
        net = neural_net(architecture)
        net.initialize_layers()
        set_weights(net, weights)
        return net.get_output(architecture["layers"][-1][0], images)

    def exponentials(self, vector: Any, repeats: int) -> tuple[Any, float, str]:
        """Compute exp() of a vector repeatedly; return the result, the seconds and the device (``cpu`` or ``gpu``).

        As in Theano's manual, the clock runs for the loop alone, not while Theano compiles.
        """
        x = theano.shared(np.asarray(vector, theano.config.floatX))
        f = theano.function([], tensor.exp(x))
        start = time.perf_counter()
        for _ in range(repeats):
            result = f()
        seconds = time.perf_counter() - start
        # On a GPU Theano replaces tensor.Elemwise by an operation of its own.
        on_cpu = any(isinstance(node.op, tensor.Elemwise) for node in f.maker.fgraph.toposort())
        return np.asarray(result), seconds, "cpu" if on_cpu else "gpu"

    def _on_progress(self, images: int) -> None:
        if time.monotonic() >= self._next_time:
            self._next_time = time.monotonic() + PROGRESS_INTERVAL
            self._send_progress(images)
