"""The specification of all engines, in plain NumPy: outputs, gradients and steps, in the order in which data flows.

It follows the rules in the docstring of `pipeline.engines.engine`, and stays close to the formulas; it is slow, and no
engine imports it. Tests compare every engine with it, and each kernel of `pipeline.engines.numba` with the functions
that the kernel's docstring names. It computes in float64, so that an engine's rounding shows.

``values`` are the input of a layer, and ``gradient`` is that of the loss with respect to the layer's output. Both have
the shape ``(N, *declared shape)``, for N images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.engines.engine import Examples, Validation, confusion_matrix
from pipeline.networks import forward
from pipeline.networks.arrays import DoubleArray, LabelArray
from pipeline.networks.declaration import Hyperparameters, NamedLayer, Network
from pipeline.networks.forward import Values, activated, max_pooled, preactivation
from pipeline.networks.layers import Conv2DLayer, DenseLayer, MaxPool2DLayer, Nonlinearity, Pair, softmax


def layer_outputs(network: Network, weights: Mapping[str, Values], images: Values) -> list[Values]:
    """Return the images, then the output of each layer, as `forward.layer_outputs` does, in float64."""
    return forward.layer_outputs(network, weights, images.astype(np.float64))


def probabilities(network: Network, weights: Mapping[str, Values], images: Values) -> Values:
    """Return the probability of each class for each image, shape (N, classes)."""
    return layer_outputs(network, weights, images)[-1]


def cross_entropy(logits: Values, labels: LabelArray) -> float:
    """Return the mean over the images of -log(softmax at the label), for logits of shape (N, classes).

    It is log(sum of exp(z)) - z[label], which is finite where the probability of a label is 0 in float64.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean())


def logit_gradients(predicted: Values, labels: LabelArray) -> Values:
    """Return the gradient of `cross_entropy` for the inputs of the softmax: (softmax - [1 at the label]) / N."""
    targets = np.eye(predicted.shape[1])[labels]
    gradients: Values = (predicted - targets) / len(labels)
    return gradients


def max_pool_gradient(values: Values, layer: MaxPool2DLayer, gradient: Values) -> Values:
    """Return the gradient for the values: each value that equals its window's maximum gets the window's gradient."""
    maxima = max_pooled(values, layer)
    result = np.zeros_like(values)
    for _, place in places(layer.pool_size, layer.stride or layer.pool_size, gradient):
        result[place] += (values[place] == maxima) * gradient
    return result


def slope(nonlinearity: Nonlinearity, x: Values) -> Values:
    """Return the derivative at each x of a nonlinearity that is no softmax; one half for the rectifier at 0."""
    result: Values
    match nonlinearity:
        case Nonlinearity.linear:
            result = np.ones_like(x)
        case Nonlinearity.rectify:
            result = (1 + np.sign(x)) / 2
        case Nonlinearity.sigmoid:
            result = activated(nonlinearity, x) * (1 - activated(nonlinearity, x))
        case Nonlinearity.tanh:
            result = 1 - np.tanh(x) ** 2
        case Nonlinearity.softmax:
            raise ValueError("softmax has no slope at each x; see `logit_gradients`")
    return result


def dense_gradients(values: Values, weight: Values, gradient: Values) -> tuple[Values, Values, Values]:
    """Return the gradients for a dense layer's weight, its bias, and the values; ``gradient`` is before the slopes."""
    flat = values.reshape(len(values), -1)
    return flat.T @ gradient, gradient.sum(0), (gradient @ weight.T).reshape(values.shape)


def convolution_gradients(
    values: Values, layer: Conv2DLayer, weight: Values, gradient: Values
) -> tuple[Values, Values, Values]:
    """Return the gradients for the filters of a convolution, its bias, and the values.

    An output is the sum of the products of the flipped filter with the padded values under it. So each of the filter's
    weights has met one value under each of the outputs.
    """
    (above, before), (height, width) = layer.pad, values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (above, above), (before, before)))
    flipped = weight[:, :, ::-1, ::-1]
    to_flipped, to_padded = np.zeros_like(flipped, dtype=values.dtype), np.zeros_like(padded)
    for (row, column), place in places(layer.filter_size, layer.stride, gradient):
        to_flipped[:, :, row, column] = np.tensordot(gradient, padded[place], ([0, 2, 3], [0, 2, 3]))
        to_padded[place] += np.tensordot(gradient, flipped[:, :, row, column], ([1], [0])).transpose(0, 3, 1, 2)
    to_values = to_padded[:, :, above : above + height, before : before + width]
    return to_flipped[:, :, ::-1, ::-1], gradient.sum((0, 2, 3)), to_values


def places(size: Pair, stride: Pair, outputs: Values) -> Iterator[tuple[Pair, Any]]:
    """Yield row and column of each place in a filter or pooling window, and the index of the values there.

    The index selects one value for each of the ``outputs``, in all images and channels.
    """
    (down, right), (rows, columns) = stride, outputs.shape[2:]
    for row, column in np.ndindex(size):
        yield (row, column), np.s_[:, :, row : row + down * rows : down, column : column + right * columns : right]


def layer_gradients(
    entry: NamedLayer, weights: Mapping[str, Values], values: Values, gradient: Values
) -> tuple[dict[str, Values], Values]:
    """Return the gradients for a layer's weights, by their names, and for the values.

    ``gradient`` is that of the layer's output; of a layer with softmax, that of the softmax's input.
    """
    layer = entry.layer
    if isinstance(layer, MaxPool2DLayer):
        return {}, max_pool_gradient(values, layer, gradient)
    assert isinstance(layer, Conv2DLayer | DenseLayer)
    if layer.nonlinearity != softmax:
        gradient = gradient * slope(layer.nonlinearity, preactivation(entry, weights, values))
    weight = weights[f"{entry.name}/W"]
    if isinstance(layer, Conv2DLayer):
        to_weight, to_bias, to_values = convolution_gradients(values, layer, weight, gradient)
    else:
        to_weight, to_bias, to_values = dense_gradients(values, weight, gradient)
    return {f"{entry.name}/W": to_weight, f"{entry.name}/b": to_bias}, to_values


def loss_and_gradients(
    network: Network, weights: Mapping[str, Values], images: Values, labels: LabelArray
) -> tuple[float, dict[str, Values]]:
    """Return the mean cross-entropy of a minibatch, and its gradient for each of the weights, by their names."""
    *inputs, predicted = layer_outputs(network, weights, images)
    gradient = logit_gradients(predicted, labels)
    gradients: dict[str, Values] = {}
    for entry, values in zip(reversed(network.layers[1:]), reversed(inputs), strict=True):
        of_layer, gradient = layer_gradients(entry, weights, values, gradient)
        gradients |= of_layer
    return cross_entropy(preactivation(network.layers[-1], weights, inputs[-1]), labels), gradients


def take_step(
    weight: Values, velocity: Values, gradient: Values, hyperparameters: Hyperparameters
) -> tuple[Values, Values]:
    """Return weight and velocity after a step with Nesterov's momentum as Lasagne takes it.

    The new velocity v is mu v - lr g, and the new weight is p + mu v - lr g with the new v.
    """
    step = hyperparameters.learning_rate * gradient
    velocity = hyperparameters.momentum * velocity - step
    return weight + hyperparameters.momentum * velocity - step, velocity


def train_epoch(
    network: Network,
    hyperparameters: Hyperparameters,
    weights: dict[str, Values],
    velocities: dict[str, Values],
    examples: Examples,
) -> DoubleArray:
    """Take a step on each minibatch, changing weights and velocities; return each minibatch's loss before its step."""
    losses = []
    for start in range(0, len(examples), hyperparameters.batch_size):
        rows = slice(start, start + hyperparameters.batch_size)
        loss, gradients = loss_and_gradients(network, weights, examples.images[rows], examples.labels[rows])
        losses.append(loss)
        for name, gradient in gradients.items():
            weights[name], velocities[name] = take_step(weights[name], velocities[name], gradient, hyperparameters)
    return np.array(losses)


def trained(
    network: Network, hyperparameters: Hyperparameters, weights: Mapping[str, Values], examples: Examples
) -> tuple[DoubleArray, dict[str, Values]]:
    """Train for all epochs from the given weights and velocities of zero.

    Return the losses, shape (epochs, minibatches), and the weights.
    """
    moved: dict[str, Values] = {name: values.astype(np.float64) for name, values in weights.items()}
    velocities: dict[str, Values] = {name: np.zeros_like(values) for name, values in moved.items()}
    losses = [train_epoch(network, hyperparameters, moved, velocities, examples) for _ in range(hyperparameters.epochs)]
    return np.array(losses), moved


def validation(network: Network, weights: Mapping[str, Values], examples: Examples) -> Validation:
    """Return the mean loss over the examples and their confusion matrix, as `Trainer.validate` does."""
    *_, values, predicted = layer_outputs(network, weights, examples.images)
    confusion = confusion_matrix(examples.labels, predicted.argmax(axis=1), network.classes)
    return Validation(cross_entropy(preactivation(network.layers[-1], weights, values), examples.labels), confusion)
