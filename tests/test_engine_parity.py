"""Compare every pair of engines, from the same weights over the same minibatches, and each with the other's weights.

The tolerance follows from float32 and from the network, not from the result of an engine.

Rounding. A step, v = mu v - lr g and p = p + mu v - lr g, takes four operations on numbers no larger than the largest
weight, and each rounds by half a spacing there. So two engines differ by at most 2 * 4 / 2 = 4 spacings a step. The
rounding of the sums inside g is smaller by lr and negligible.

Ties. A window of a pooling layer may have two maxima that differ by less than rounding, and the input of a rectifier
may be that near to 0. There rounding decides, for one image of the minibatch, where the gradient of one unit goes. An
image's gradient of a hidden unit is the mean of its output weights, weighted with the probabilities, less the output
weight of its label. Glorot's weights are uniform in (-a, a), so that in the root mean square this is a / sqrt(3)
sqrt(1 + 1 / classes), 0.6 a; through a mean over the minibatch, 0.6 a / batch size. The tolerance has such a tie in
each step of the CNN. It moves weights by lr g in its own step, mu of that again, and through the velocity mu times less
in each later step. The MLP has no pooling, and no unit is at 0 in these minibatches.

The images have noise, because all windows in a flat part of an image would tie at once, and all tied maxima receive the
gradient. Whether BLAS gives equal patches equal sums depends on the CPU for which it has chosen its kernels.

Losses are float32 sums of 128 terms in some engines: each addition rounds by half a spacing of a sum up to 128 times
the loss. The errors have either sign, so about sqrt(128) / 4 = 3 spacings remain, and 4 with those of the logits.
Ties in earlier steps move a loss no further than the weights: few weights move, and no gradient exceeds 1.
"""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.engines.engine import Examples, Training, load_engine
from pipeline.networks.weights import draw_weights
from tests.available import ENGINES, ON_CPU, require

pytestmark = pytest.mark.xdist_group("theano")  # they share trainings, with Theano too

AFTER = (1, 2, 6)
"""Steps after which weights are compared; losses are before each."""


@pytest.fixture(scope="module")
def trainings():
    """Trainings that the tests share."""
    return {}


def marks(pair):
    """Two engines that agree with a third agree with each other, and Theano takes long to compile."""
    return [pytest.mark.registry] * ("theano" in pair) + [pytest.mark.slow] * (set(pair) == {"torch", "theano"})


PAIRS = [pytest.param(pair, id="-".join(pair), marks=marks(pair)) for pair in itertools.combinations(ON_CPU, 2)]


@pytest.fixture(params=PAIRS)
def pair(request):
    for engine in request.param:
        require(engine)
    return request.param


def silent(_done):
    pass


def train(engine, golden, images, epochs=1):
    """Train with the first images, with noise on them; return the losses and the weights."""
    noise = np.random.RandomState(1).uniform(-0.1, 0.1, golden.examples.images.shape).astype(np.float32)
    first = Examples((golden.examples.images + noise)[:images], golden.examples.labels[:images])
    start = draw_weights(golden.network, golden.seed)
    trainer = load_engine(engine).trainer(Training(golden.network, golden.hyperparameters, start, first, first))
    losses = [trainer.train_epoch(silent) for _ in range(epochs)]
    return np.concatenate(losses), trainer.weights()


def after_each_step(engine, golden, trainings):
    """Train again for each number of minibatches, because engines return weights only after an epoch."""
    key = engine, golden.name
    if key not in trainings:
        batch_size = golden.hyperparameters.batch_size
        with ThreadPoolExecutor(2) as pool:  # Theano's processes take seconds to start
            images = [steps * batch_size for steps in AFTER]
            trainings[key] = list(pool.map(functools.partial(train, engine, golden), images))
    return trainings[key]


def largest(named):
    return max(np.abs(values).max() for values in named.values())


def furthest(found, expected):
    assert list(found) == list(expected)
    return largest({name: found[name] - expected[name] for name in expected})


def rounding(steps, after):
    return 4 * steps * np.spacing(largest(after))


def ties(steps, golden):
    """Return how far one tie in each step, broken by rounding, may move a weight."""
    if golden.name == "mlp":
        return 0
    how = golden.hyperparameters
    bound = np.abs(draw_weights(golden.network, golden.seed)["output/W"]).max()
    gradient = 0.6 * bound / how.batch_size
    times = sum(how.momentum**power for since in range(1, steps + 1) for power in range(since + 1))
    return how.learning_rate * gradient * times


def test_take_the_same_steps(golden, pair, trainings):
    one, other = (after_each_step(engine, golden, trainings) for engine in pair)

    for steps, (losses, after), (other_losses, other_after) in zip(AFTER, one, other, strict=True):
        assert losses.shape == other_losses.shape == (steps,)
        for before, (loss, other_loss) in enumerate(zip(losses, other_losses, strict=True)):
            assert abs(loss - other_loss) <= 4 * np.spacing(np.float32(loss)) + ties(before, golden), before
        assert furthest(after, other_after) <= rounding(steps, after) + ties(steps, golden), steps


@pytest.mark.parametrize("engine", ENGINES)
def test_later_minibatches_change_no_earlier_step(golden, engine, trainings):
    """The test above relies on this."""
    require(engine)

    *prefixes, (losses, _) = after_each_step(engine, golden, trainings)

    for first_losses, _ in prefixes:
        np.testing.assert_array_equal(first_losses, losses[: len(first_losses)])


def trained_for_two_epochs(engine, golden, trainings):
    key = engine, golden.name, "two epochs"
    if key not in trainings:
        trainings[key] = train(engine, golden, len(golden.examples), epochs=2)[1]
    return trainings[key]


def probabilities(engine, trained_by, golden, trainings):
    key = engine, golden.name, "with the weights of", trained_by
    if key not in trainings:
        trained = trained_for_two_epochs(trained_by, golden, trainings)
        trainings[key] = load_engine(engine).probabilities(golden.network, trained, golden.examples.images)
    return trainings[key]


@pytest.mark.parametrize("trained_by_first", [True, False])
def test_predict_the_same_with_each_others_weights(golden, pair, trained_by_first, trainings):
    """Logits differ by some 4e-6, so probabilities differ by 1e-6: p moves by p (1 - p) <= 1/4 of its logit's change.

    The largest sum, of the MLP's 1,024 products, is about 1: a thousand roundings by 6e-8 at most, of either sign,
    make sqrt(1024) * 6e-8 or 2e-6, in each of two engines. A class changes only where that closes the gap between
    the two most probable, so where it is below 2e-6. The gaps' median is 0.003 in the CNN and more in the MLP: of
    2,560 images about one is that near to a draw.
    """
    trained_by = pair[0] if trained_by_first else pair[1]

    one, other = (probabilities(engine, trained_by, golden, trainings) for engine in pair)

    assert one.shape == other.shape == (2560, 10)
    assert np.abs(one - other).max() < 1e-6
    assert np.sum(one.argmax(1) != other.argmax(1)) <= 2
    assert len(set(one.argmax(1))) > 1
