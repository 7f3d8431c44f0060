"""JAX: a whole epoch in one compiled loop, convolutions as products of patches and filters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alternatives.work import Epoch, Scores, Work
from pipeline.engines.engine import Examples

Parameters = list[tuple[jax.Array, jax.Array]]


def prepare(work: Work, device: str = "cpu") -> Epoch:
    """Compile an epoch: its full minibatches as one `jax.lax.scan`, and a smaller last one as one more step."""
    jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "highest")  # by default a GPU rounds factors to tf32
    logits_of = _mlp if work.name == "mlp" else _cnn
    size, rate, momentum = work.how.batch_size, work.how.learning_rate, work.how.momentum
    full = len(work.train) // size * size

    def loss_of(parameters: Parameters, images: jax.Array, labels: jax.Array) -> jax.Array:
        logarithms = jax.nn.log_softmax(logits_of(parameters, images))
        return -jnp.take_along_axis(logarithms, labels[:, None], 1).mean()

    def step(state: tuple[Parameters, Parameters], minibatch: tuple[jax.Array, jax.Array]) -> Any:
        parameters, velocities = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, *minibatch)
        velocities = jax.tree.map(lambda v, g: momentum * v - rate * g, velocities, gradients)
        parameters = jax.tree.map(lambda p, v, g: p + momentum * v - rate * g, parameters, velocities, gradients)
        return (parameters, velocities), loss * len(minibatch[1])

    def train(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        minibatches = images[:full].reshape(-1, size, *images.shape[1:]), labels[:full].reshape(-1, size)
        state, losses = jax.lax.scan(step, state, minibatches)
        total = losses.sum()
        if full < len(labels):
            state, loss = step(state, (images[full:], labels[full:]))
            total += loss
        return state, total / len(labels)

    def validate(parameters: Parameters, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logits_of(parameters, images)
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()
        return loss, (logits.argmax(1) == labels).mean()

    state = (parameters := _draw(work.name), jax.tree.map(jnp.zeros_like, parameters))
    train_data, valid_data = _on_device(work.train), _on_device(work.valid)
    # Compiled before the first epoch: for a GPU, XLA tries many algorithms, for a minute or more.
    take_steps = jax.jit(train, donate_argnums=0).lower(state, *train_data).compile()
    score = jax.jit(validate).lower(parameters, *valid_data).compile()

    def epoch() -> Scores:
        nonlocal state
        state, train_loss = take_steps(state, *train_data)
        return Scores(float(train_loss), *map(float, score(state[0], *valid_data)))

    return epoch


def _mlp(parameters: Parameters, images: jax.Array) -> jax.Array:
    (w1, b1), (w2, b2) = parameters
    return jax.nn.relu(images @ w1 + b1) @ w2 + b2


def _cnn(parameters: Parameters, images: jax.Array) -> jax.Array:
    *convolutions, (w1, b1), (w2, b2) = parameters
    values = images.transpose(0, 2, 3, 1)
    for filters, bias in convolutions:
        values = jax.nn.relu(_pool(_convolve(values, filters) + bias))
    flat = values.reshape(len(values), -1)
    return jax.nn.relu(flat @ w1 + b1) @ w2 + b2


def _convolve(images: jax.Array, filters: jax.Array) -> jax.Array:
    """Multiply patches by filters: on the CPU, JAX's own convolution takes four times as long."""
    size = filters.shape[0]
    rows, columns = images.shape[1] - size + 1, images.shape[2] - size + 1
    patches = [images[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)]
    return jnp.concatenate(patches, -1) @ filters.reshape(-1, filters.shape[-1])


def _pool(images: jax.Array) -> jax.Array:
    count, rows, columns, channels = images.shape
    even = images[:, : rows // 2 * 2, : columns // 2 * 2]
    return even.reshape(count, rows // 2, 2, columns // 2, 2, channels).max((2, 4))


def _draw(name: str) -> Parameters:
    dense = {"mlp": [(1024, 100), (100, 10)], "cnn": [(576, 200), (200, 10)]}[name]
    filters = {"mlp": [], "cnn": [(3, 3, 1, 16), (2, 2, 16, 32), (2, 2, 32, 64)]}[name]
    draw = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(jax.random.key(42), len(filters) + len(dense))
    shapes = [*filters, *dense]
    return [(draw(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, shapes, strict=True)]


def _on_device(part: Examples) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(part.images), jnp.asarray(part.labels.astype(np.int32))
