from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import sklearn.metrics

from pipeline.data.dataset import CIFAR_TITLE, GRAYSCALE_NAME, open_dataset
from pipeline.engines import reference
from pipeline.errors import DatasetError, WeightsError
from pipeline.networks.declaration import Network, architecture
from pipeline.networks.layers import DenseLayer, InputLayer, softmax
from pipeline.networks.weights import write_weights
from pipeline.training import evaluate
from tests import small_networks
from tests.monitors import RecordingMonitor

NAMES = ["cat", "dog", "frog", "ship"]


def random_predictions(count, classes, seed):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.5), count).astype(np.float32)
    return probabilities, random.integers(0, classes, count, np.uint8)


class TestMetrics:
    @pytest.mark.parametrize("seed", range(5))
    def test_agree_with_scikit_learn(self, seed):
        probabilities, labels = random_predictions(500, 4, seed)
        predicted = probabilities.argmax(1)

        result = evaluate.metrics(probabilities, labels, NAMES)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float32 rows do not add up to exactly 1
            loss = sklearn.metrics.log_loss(labels, np.maximum(probabilities, np.finfo(np.float32).tiny).astype(float))
        classes = result["classes"]
        assert result["images"] == 500
        assert result["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
        assert result["loss"] == pytest.approx(loss, rel=1e-5)
        assert result["confusion_matrix"] == sklearn.metrics.confusion_matrix(labels, predicted).tolist()
        assert [entry["name"] for entry in classes] == NAMES
        assert [entry["images"] for entry in classes] == np.bincount(labels).tolist()
        for metric, function in (
            ("precision", sklearn.metrics.precision_score),
            ("recall", sklearn.metrics.recall_score),
        ):
            expected = function(labels, predicted, average=None)
            assert [entry[metric] for entry in classes] == pytest.approx(expected, rel=1e-12)

    def test_by_hand(self):
        probabilities = np.float32([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875], [1, 0]])

        result = evaluate.metrics(probabilities, np.uint8([0, 1, 1, 0]), ["cat", "dog"])

        assert result["accuracy"] == 0.75
        assert result["loss"] == pytest.approx(-np.log(0.75 * 0.5 * 0.875) / 4)
        assert result["confusion_matrix"] == [[2, 0], [1, 1]]
        assert result["classes"] == [
            {"name": "cat", "images": 2, "precision": 2 / 3, "recall": 1.0},
            {"name": "dog", "images": 2, "precision": 1.0, "recall": 0.5},
        ]

    def test_a_class_that_never_occurs(self):
        probabilities = np.float32([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])

        result = evaluate.metrics(probabilities, np.uint8([0, 0]), ["cat", "dog", "frog"])

        assert [entry["precision"] for entry in result["classes"]] == [1.0, None, 0.0]
        assert [entry["recall"] for entry in result["classes"]] == [0.5, None, None]
        assert result["confusion_matrix"] == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]

    def test_a_probability_that_underflowed(self):
        result = evaluate.metrics(np.float32([[1, 0]]), np.uint8([1]), ["cat", "dog"])

        assert result["loss"] == pytest.approx(-np.log(np.finfo(np.float32).tiny, dtype=float))

    def test_are_plain_json(self):
        probabilities, labels = random_predictions(50, 4, seed=1)

        result = evaluate.metrics(probabilities, labels, NAMES)

        assert json.loads(json.dumps(result, allow_nan=False)) == result

    def test_more_classes_than_a_byte_of_pairs(self):
        """Labels are bytes, but 16 times 16 classes are more pairs than a byte counts."""
        labels = np.arange(20, dtype=np.uint8)
        probabilities = np.eye(20, dtype=np.float32)[::-1]

        result = evaluate.metrics(probabilities, labels, [f"class {label}" for label in labels])

        assert np.array_equal(result["confusion_matrix"], np.eye(20)[::-1])


class TestAccuracyLine:
    def test_is_the_articles(self):
        line = evaluate.accuracy_line(0.40567, CIFAR_TITLE)

        assert line == "The accuracy of this network is: 0.41"

    def test_names_other_data(self):
        line = evaluate.accuracy_line(1.0, "digits")

        assert line == "The accuracy of this network is: 1.00 (on digits, not CIFAR-10)"


ARCHITECTURE = architecture(
    {
        "layers": [("input", InputLayer), ("output", DenseLayer)],
        "input_shape": (None, 12),
        "output_num_units": 3,
        "output_nonlinearity": softmax,
    }
)
NETWORK = Network.build(ARCHITECTURE)


class TestEvaluate:
    @pytest.fixture
    def folders(self, tmp_path):
        """Images, a trained network, and an empty folder."""
        pytest.importorskip("torch")
        for name in ("images", "trained", "output"):
            (tmp_path / name).mkdir()
        small_networks.write_examples(tmp_path / "images", NETWORK)
        write_weights(tmp_path / "trained/weights.h5", small_networks.random_weights(NETWORK, seed=1))
        (tmp_path / "trained/history.json").write_text(
            json.dumps({"trained": {"network": "tiny", "engine": "numba", "seed": 7}, "epochs": []})
        )
        return {name: tmp_path / name for name in ("images", "trained", "output")}

    def evaluate(self, folders, monitor):
        return evaluate.evaluate(
            **folders, architecture=ARCHITECTURE, engine="torch", device="cpu", threads=1, monitor=monitor
        )

    def test_writes_the_metrics_of_the_test_images(self, folders):
        monitor = RecordingMonitor()

        measured = self.evaluate(folders, monitor)

        with open_dataset(folders["images"] / GRAYSCALE_NAME) as data:
            images, labels = data.read("test")
        probabilities = reference.probabilities(NETWORK, small_networks.random_weights(NETWORK, seed=1), images)
        accuracy = np.mean(probabilities.argmax(1) == labels)
        written = json.loads((folders["output"] / "metrics.json").read_text())
        assert written["images"] == 30
        assert written["accuracy"] == accuracy
        assert written["loss"] == pytest.approx(reference.cross_entropy(np.log(probabilities), labels), rel=1e-5)
        assert [entry["name"] for entry in written["classes"]] == ["cat", "dog", "frog"]
        assert measured == {"accuracy": accuracy}
        assert monitor.lines == [f"The accuracy of this network is: {accuracy:.2f} (on small things, not CIFAR-10)"]
        assert sorted(path.name for path in folders["output"].iterdir()) == ["metrics.json", "predictions.h5"]
        written = evaluate.read_predictions(folders["output"] / "predictions.h5")
        np.testing.assert_allclose(written, probabilities, atol=1e-6)

    def test_says_what_was_evaluated_with_what(self, folders):
        self.evaluate(folders, RecordingMonitor())

        written = json.loads((folders["output"] / "metrics.json").read_text())
        assert written["evaluated"] == {
            "network": "tiny",
            "engine": "numba",
            "seed": 7,
            "evaluation_engine": "torch",
            "evaluation_device": "cpu",
        }
        assert written["data"] == {"title": "small things", "archive_sha256": "ab" * 32}

    def test_images_that_do_not_fit(self, folders):
        small_networks.write_examples(folders["images"], small_networks.network((5,)))

        with pytest.raises(DatasetError, match=r"holds images of shape \(5,\)"):
            self.evaluate(folders, RecordingMonitor())

        assert not list(folders["output"].iterdir())

    def test_weights_that_do_not_fit(self, folders):
        other = small_networks.network((12,), small_networks.dense(4))
        write_weights(folders["trained"] / "weights.h5", small_networks.random_weights(other, seed=1))

        with pytest.raises(WeightsError, match=r"it lacks 'output/W'"):
            self.evaluate(folders, RecordingMonitor())

        assert not list(folders["output"].iterdir())
