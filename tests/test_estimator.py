from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipeline.data.dataset import GRAYSCALE_NAME, open_dataset
from pipeline.errors import DeclarationError, SettingError
from pipeline.inference import estimator
from pipeline.inference.estimator import NetworkClassifier
from pipeline.networks import declared
from pipeline.networks.declaration import nesterov_momentum
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, MaxPool2DLayer, softmax
from pipeline.networks.weights import WEIGHTS_NAME, read_weights
from tests import trained_networks

SMALL_CNN = dict(
    layers=[("image", InputLayer), ("conv", Conv2DLayer), ("pool", MaxPool2DLayer), ("units", DenseLayer)],
    image_shape=(None, 1, 12, 6),
    conv_num_filters=8,
    conv_filter_size=(3, 3),
    pool_pool_size=(2, 2),
    units_num_units=10,
    units_nonlinearity=softmax,
    update=nesterov_momentum,
    update_learning_rate=0.05,
    update_momentum=0.9,
    max_epochs=5,
)


@pytest.fixture(scope="module")
def digits():
    """Scikit-learn's digits: 400 images (N, 8, 8) from -0.5 to 0.5, and their labels."""
    loaded = load_digits()
    return loaded.images[:400] / 16 - 0.5, loaded.target[:400]


def small_cnn(**changes):
    return NetworkClassifier(SMALL_CNN, **dict(batch_size=20, random_state=1, threads=1) | changes)


def small_mlp(**changes):
    return NetworkClassifier(**dict(epochs=3, batch_size=20, random_state=1, threads=1) | changes)


@parametrize_with_checks([NetworkClassifier()], expected_failed_checks=lambda _: {})
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


class TestFit:
    def test_the_cnn_in_cross_validation(self, digits):
        images, labels = digits
        large = images.repeat(4, axis=1).repeat(4, axis=2)

        classifier = NetworkClassifier("cnn", epochs=16, batch_size=20, random_state=1)
        scores = cross_val_score(classifier, large, labels, cv=2)

        assert len(scores) == 2
        assert scores.min() > 0.7

    def test_the_example_of_its_documentation(self, capsys):
        example = textwrap.dedent(estimator.__doc__.partition("::\n")[2])

        exec(compile(example, "example", "exec"), {})

        assert 0.8 < float(capsys.readouterr().out) <= 1

    def test_a_network_of_ones_own(self, digits):
        images, labels = digits

        classifier = small_cnn(epochs=15).fit(images[:300], labels[:300])

        assert classifier.score(images[300:], labels[300:]) > 0.8
        assert classifier.network_.input_shape == (1, 8, 8)
        assert {name: values.shape for name, values in classifier.weights_.items()} == {
            "conv/W": (8, 1, 3, 3),
            "conv/b": (8,),
            "units/W": (72, 10),
            "units/b": (10,),
        }

    @pytest.mark.parametrize("network", ["mlp", "cnn"])
    def test_unshuffled_it_takes_the_steps_of_the_pipeline(self, tmp_path, network):
        trained_networks.write_data(tmp_path / "data", network, trained_networks.color_images(4))
        folder = trained_networks.train(tmp_path / "outputs", tmp_path / "data", network, epochs=2)
        with open_dataset(tmp_path / "data" / GRAYSCALE_NAME) as data:
            images, labels = data.read("train")

        classifier = NetworkClassifier(
            network, epochs=2, learning_rate=0.1, batch_size=16, shuffle=False, random_state=1, threads=1
        ).fit(images, labels)

        expected = read_weights(folder / WEIGHTS_NAME, classifier.network_)
        for name, values in classifier.weights_.items():
            assert np.array_equal(values, expected[name])

    def test_a_row_for_each_epoch(self, digits):
        history = small_mlp(epochs=4).fit(*digits).history_

        assert [row["epoch"] for row in history] == [1, 2, 3, 4]
        assert history[0].keys() == {"epoch", "train_loss", "valid_loss", "valid_accuracy", "seconds"}
        assert history[-1]["train_loss"] < history[0]["train_loss"]

    def test_says_nothing_unless_it_is_asked(self, digits, capsys):
        small_mlp(epochs=1).fit(*digits)
        assert capsys.readouterr() == ("", "")

        small_mlp(epochs=1, verbose=True).fit(*digits)
        assert "valid acc" in capsys.readouterr().out

    def test_data_that_is_sorted_by_class(self, digits):
        images, labels = digits
        order = np.argsort(labels)

        shuffled, in_order = (
            small_cnn(epochs=5, batch_size=5, shuffle=shuffle).fit(images[order], labels[order]).score(images, labels)
            for shuffle in (True, False)
        )

        assert shuffled > 0.85
        assert in_order < 0.5


class TestRandomState:
    def test_decides_the_weights(self, digits):
        once, again, other = (small_mlp(random_state=seed).fit(*digits).weights_["hidden/W"] for seed in (1, 1, 2))

        assert np.array_equal(once, again)
        assert not np.array_equal(once, other)

    def test_none_and_a_generator(self, digits):
        generator = np.random.RandomState(1)
        drawn = [
            small_mlp(random_state=state).fit(*digits).weights_["hidden/W"] for state in (None, None, *[generator] * 2)
        ]

        assert len({values.tobytes() for values in drawn}) == 4


class TestLabels:
    @pytest.mark.parametrize(
        "names",
        [
            [f"digit {digit}" for digit in "7319402865"],
            [-5, 3, 1000, 7, 70, 700, 8, 9, 10, 11],
            [True] * 5 + [False] * 5,
        ],
        ids=["strings", "numbers", "booleans"],
    )
    def test_of_any_kind(self, digits, names):
        images, labels = digits
        named = np.array(names)[labels]

        classifier = small_mlp(epochs=20).fit(images, named)

        assert np.array_equal(classifier.classes_, np.unique(named))
        assert classifier.predict(images).dtype == named.dtype
        assert classifier.score(images, named) > 0.85
        assert classifier.predict_proba(images).shape == (400, len(set(names)))

    def test_more_than_a_byte_holds(self):
        with pytest.raises(ValueError, match="y has 300 classes; expected at most 256"):
            small_mlp().fit(np.zeros((600, 4)), np.arange(600) % 300)

    def test_too_few_images(self):
        with pytest.raises(ValueError, match="n_samples=1: all of them would be held out"):
            small_mlp().fit(np.zeros((1, 4)), [0])


class TestShapes:
    @pytest.mark.parametrize(
        ("network", "shape", "expected"),
        [
            ("mlp", (8, 8), (64,)),
            ("mlp", (1, 8, 8), (64,)),
            ("mlp", (64,), (64,)),
            (SMALL_CNN, (8, 8), (1, 8, 8)),
            (SMALL_CNN, (1, 8, 8), (1, 8, 8)),
            (SMALL_CNN, (64,), (1, 8, 8)),
            (SMALL_CNN, (72,), (1, 12, 6)),
            (SMALL_CNN, (3, 9, 7), (3, 9, 7)),
        ],
    )
    def test_images_in_one_two_or_three_dimensions(self, network, shape, expected):
        images = np.random.default_rng(0).normal(size=(60, *shape))
        labels = np.arange(60) % 3

        classifier = NetworkClassifier(network, epochs=1, threads=1).fit(images, labels)

        assert classifier.network_.input_shape == expected
        assert classifier.network_.classes == 3
        assert classifier.n_features_in_ == np.prod(shape)
        assert classifier.predict(images).shape == (60,)
        assert np.array_equal(classifier.predict_proba(images), classifier.predict_proba(images.reshape(60, -1)))

    def test_features_that_are_no_image(self):
        with pytest.raises(ValueError, match=r"X has 7 features, which form no image: expected 72, for \(1, 12, 6\)"):
            small_cnn().fit(np.zeros((20, 7)), np.arange(20) % 2)

    def test_images_too_small_for_the_network(self, digits):
        with pytest.raises(DeclarationError, match=r"is larger than the layer's input"):
            NetworkClassifier("cnn").fit(*digits)

    def test_images_of_another_shape_than_it_was_fitted_to(self, digits):
        images, labels = digits
        classifier = small_cnn(epochs=1).fit(images, labels)

        with pytest.raises(ValueError, match=r"X holds images of shape \(4, 16\); .* fitted to \(1, 8, 8\)"):
            classifier.predict(images.reshape(-1, 4, 16))
        with pytest.raises(ValueError, match="X has 16 features, but NetworkClassifier is expecting 64"):
            classifier.predict(images[:, ::2, ::2])


class TestInScikitLearn:
    def test_in_a_pipeline_and_a_search(self, digits):
        images, labels = digits
        model = make_pipeline(StandardScaler(), small_mlp())

        search = GridSearchCV(model, {"networkclassifier__epochs": np.array([1, 12])}, cv=2)
        search.fit(images.reshape(400, -1), labels)

        assert search.best_params_ == {"networkclassifier__epochs": 12}

    def test_a_copy_has_its_parameters_alone(self, digits):
        fitted = small_cnn(epochs=1).fit(*digits)

        copy = clone(fitted)

        assert copy.get_params() == fitted.get_params()
        with pytest.raises(NotFittedError):
            copy.predict(digits[0])

    def test_pickled(self, digits):
        images, _ = digits
        fitted = small_cnn(epochs=1).fit(*digits)

        restored = pickle.loads(pickle.dumps(fitted))

        assert np.array_equal(restored.predict_proba(images), fitted.predict_proba(images))

    def test_on_another_engine(self, digits):
        pytest.importorskip("torch")
        images, _ = digits

        one, other = (small_cnn(epochs=2, engine=engine).fit(*digits) for engine in ("numba", "torch"))

        assert one.predict_proba(images) == pytest.approx(other.predict_proba(images), abs=1e-4)


class TestTrouble:
    def test_an_unknown_network(self, digits):
        with pytest.raises(SettingError, match=r"no network 'cn'; .* Did you mean 'cnn'\?"):
            NetworkClassifier("cn").fit(*digits)

    def test_a_value_that_is_not_allowed(self, digits):
        with pytest.raises(DeclarationError, match="learning_rate is -1; expected a number above 0"):
            small_mlp(learning_rate=-1).fit(*digits)

    def test_a_declaration_that_is_wrong(self, digits):
        with pytest.raises(DeclarationError, match="Did you mean 'conv_num_filters'"):
            NetworkClassifier(SMALL_CNN | {"conv_num_filter": 3}).fit(*digits)

    def test_the_declared_networks_stay_as_they_are(self, digits):
        small_mlp(epochs=1).fit(*digits)

        assert declared.MLP["input_shape"] == (None, 1024)

    def test_without_scikit_learn(self):
        absent = "sys.modules['sklearn'] = sys.modules['sklearn.base'] = None"
        program = f"import sys; {absent}; import pipeline.inference.estimator"

        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith(
            "ModuleNotFoundError: pipeline.inference.estimator needs scikit-learn, which is not installed. Type"
        )
