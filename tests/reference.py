"""A network's forward pass, gradients and steps in plain NumPy and float64: slow, and close to the formulas.

Every engine is compared with it. It follows the rules in the docstring of `pipeline.engines.engine`.
"""

from __future__ import annotations

import numpy as np

from pipeline.engines.engine import Validation
from pipeline.networks import forward
from pipeline.networks.forward import activated, preactivation
from pipeline.networks.layers import DenseLayer, MaxPool2DLayer


def train_epoch(network, hyperparameters, weights, velocities, examples):
    """Take a step on each minibatch, changing weights and velocities; return each minibatch's loss before its step."""
    losses = []
    for start in range(0, len(examples), hyperparameters.batch_size):
        rows = slice(start, start + hyperparameters.batch_size)
        loss, gradients = loss_and_gradients(network, weights, examples.images[rows], examples.labels[rows])
        losses.append(loss)
        for name, gradient in gradients.items():
            step = hyperparameters.learning_rate * gradient
            velocities[name] = hyperparameters.momentum * velocities[name] - step
            weights[name] = weights[name] + hyperparameters.momentum * velocities[name] - step
    return np.array(losses)


def trained(network, hyperparameters, weights, examples):
    """Train for all epochs from the given weights; return the losses, a row for each epoch, and the weights."""
    weights = {name: values.astype(np.float64) for name, values in weights.items()}
    velocities = {name: np.zeros_like(values) for name, values in weights.items()}
    losses = [
        train_epoch(network, hyperparameters, weights, velocities, examples) for _ in range(hyperparameters.epochs)
    ]
    return np.array(losses), weights


def probabilities(network, weights, images):
    """Return the probability of each class for each image."""
    return layer_outputs(network, weights, images)[-1]


def validation(network, weights, examples):
    """Return the mean cross-entropy and the confusion matrix, as an engine's `validate` does."""
    predicted = probabilities(network, weights, examples.images)
    confusion = np.zeros((network.classes, network.classes), np.int64)
    np.add.at(confusion, (examples.labels, predicted.argmax(1)), 1)
    return Validation(cross_entropy(predicted, examples.labels), confusion)


def cross_entropy(predicted, labels):
    return -np.log(predicted[np.arange(len(labels)), labels]).mean()


def loss_and_gradients(network, weights, images, labels):
    """Return the mean cross-entropy and its gradient for each of the weights."""
    outputs = layer_outputs(network, weights, images)
    gradients = {}
    # The gradient of the loss with respect to the logits: of softmax and logarithm together.
    gradient = (outputs[-1] - np.eye(network.classes)[labels]) / len(labels)
    for entry, values in reversed(list(zip(network.layers[1:], outputs[:-1], strict=True))):
        if isinstance(entry.layer, MaxPool2DLayer):
            gradient = max_pool_gradient(values, entry.layer, gradient)
            continue
        if entry is not network.layers[-1]:
            before = preactivation(entry, weights, values)
            gradient = gradient * slope(entry.layer.nonlinearity, before)
        weight = weights[f"{entry.name}/W"]
        if isinstance(entry.layer, DenseLayer):
            gradients[f"{entry.name}/b"] = gradient.sum(0)
            gradients[f"{entry.name}/W"], gradient = dense_gradients(values, weight, gradient)
        else:
            gradients[f"{entry.name}/b"] = gradient.sum((0, 2, 3))
            gradients[f"{entry.name}/W"], gradient = convolution_gradients(values, entry.layer, weight, gradient)
    return cross_entropy(outputs[-1], labels), gradients


def layer_outputs(network, weights, images):
    return forward.layer_outputs(network, weights, images.astype(np.float64))


def slope(nonlinearity, x):
    match nonlinearity:
        case "linear":
            return np.ones_like(x)
        case "rectify":
            return (1 + np.sign(x)) / 2
        case "sigmoid":
            return activated("sigmoid", x) * (1 - activated("sigmoid", x))
        case "tanh":
            return 1 - np.tanh(x) ** 2


def dense_gradients(values, weight, gradient):
    """Return the gradient for the weight and for the values."""
    flat = values.reshape(len(values), -1)
    return flat.T @ gradient, (gradient @ weight.T).reshape(values.shape)


def convolution_gradients(values, layer, weight, gradient):
    """Return the gradient for the weight and for the values."""
    padded = pad(values, layer)
    to_padded = np.zeros_like(padded)
    to_flipped = np.zeros(weight.shape)
    for row, column in np.ndindex(gradient.shape[2:]):
        place = window(row, column, layer.filter_size, layer.stride)
        here = gradient[:, :, row, column]
        to_flipped += np.tensordot(here, padded[place], ([0], [0]))
        to_padded[place] += np.tensordot(here, weight[:, :, ::-1, ::-1], ([1], [0]))
    (rows, columns), (height, width) = layer.pad, values.shape[2:]
    to_values = to_padded[:, :, rows : rows + height, columns : columns + width]
    return to_flipped[:, :, ::-1, ::-1], to_values


def max_pool_gradient(values, layer, gradient):
    result = np.zeros_like(values)
    for row, column in np.ndindex(gradient.shape[2:]):
        place = window(row, column, layer.pool_size, layer.stride or layer.pool_size)
        is_maximum = values[place] == values[place].max((2, 3), keepdims=True)
        result[place] += is_maximum * gradient[:, :, row, column, None, None]
    return result


def pad(values, layer):
    rows, columns = layer.pad
    return np.pad(values, ((0, 0), (0, 0), (rows, rows), (columns, columns)))


def window(row, column, size, stride):
    """Return the index of the values under a filter or pooling window, in all images and channels."""
    top, left = row * stride[0], column * stride[1]
    return np.s_[:, :, top : top + size[0], left : left + size[1]]
