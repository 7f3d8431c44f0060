from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from pipeline.data.dataset import GRAYSCALE_NAME, open_dataset
from pipeline.engines import reference
from pipeline.engines.engine import Examples, Training, load_engine
from pipeline.errors import DatasetError, DivergedError, SettingError
from pipeline.networks.declaration import Hyperparameters, Network, architecture
from pipeline.networks.layers import DenseLayer, InputLayer, softmax
from pipeline.networks.weights import WEIGHTS_NAME, draw_weights, read_weights
from pipeline.progress.monitor import SILENT
from pipeline.training import train as training
from pipeline.training.examples import read_examples, split
from pipeline.training.film import FILM_NAME, first_of_each_class, read_film
from pipeline.training.history import HISTORY_NAME
from pipeline.training.train import fit, max_output_bytes
from tests import small_networks
from tests.available import require
from tests.monitors import RecordingMonitor

pytest.importorskip("torch")

ARCHITECTURE = architecture(
    {
        "layers": [("input", InputLayer), ("hidden", DenseLayer), ("output", DenseLayer)],
        "input_shape": (None, 12),
        "hidden_num_units": 7,
        "output_num_units": 3,
        "output_nonlinearity": softmax,
    }
)
NETWORK = Network.build(ARCHITECTURE)
HOW = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=3, batch_size=10, validation_fraction=0.25)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    small_networks.write_examples(folder, NETWORK)
    return folder


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def train(output, images, *, monitor=SILENT, **changes):
    settings = dict(
        network="tiny",
        architecture=ARCHITECTURE,
        engine="torch",
        device="cpu",
        seed=1,
        epochs=HOW.epochs,
        learning_rate=HOW.learning_rate,
        momentum=HOW.momentum,
        batch_size=HOW.batch_size,
        validation_fraction=HOW.validation_fraction,
        threads=1,
    )
    return training.train(output, images=images, monitor=monitor, **settings | changes)


def examples(images):
    """Read the images that train and those that validate."""
    with open_dataset(images / GRAYSCALE_NAME) as data:
        return read_examples(data, HOW.validation_fraction)


def history(output):
    return json.loads((output / HISTORY_NAME).read_text())


class TestSplit:
    @pytest.mark.parametrize("fraction", [0.5, 0.3, 0.25, 0.2, 0.1])
    @pytest.mark.parametrize("seed", range(8))
    def test_is_the_first_of_scikit_learns_stratified_folds(self, seed, fraction):
        random = np.random.default_rng(seed)
        counts = random.integers(10, 150, random.integers(2, 11))
        names = random.permutation(256)[: len(counts)]
        labels = random.permutation(np.repeat(names, counts)).astype(np.uint8)
        folds = StratifiedKFold(round(1 / fraction))

        validates = split(labels, fraction)

        _, expected = next(folds.split(np.zeros(len(labels)), labels))
        assert validates.dtype == bool
        assert np.array_equal(np.flatnonzero(validates), expected)

    def test_holds_out_the_first_thousand_of_each_class_of_cifar(self):
        labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10, dtype=np.uint8), 5000))

        validates = split(labels, 0.2)

        for label in range(10):
            places = np.flatnonzero(labels == label)
            assert validates[places[:1000]].all()
            assert not validates[places[1000:]].any()

    def test_classes_of_one_image(self):
        """Scikit-learn would warn, and share out the same."""
        validates = split(np.array([4, 2, 9, 7, 1], np.uint8), 0.2)

        assert validates.tolist() == [True, False, False, False, False]


class TestReadExamples:
    def test_parts_the_images_in_file_order(self, images):
        path = images / GRAYSCALE_NAME
        with open_dataset(path) as data:
            everything, labels = data.read("train")
            train, valid = read_examples(data, 0.25)
        validates = split(labels, 0.25)

        for part, chosen in ((train, ~validates), (valid, validates)):
            assert part.images.dtype == np.float32
            assert np.array_equal(part.images, everything[chosen])
            assert np.array_equal(part.labels, labels[chosen])

    @pytest.mark.parametrize("count", [256, 257, 700])
    def test_more_images_than_are_read_at_once(self, tmp_path, count):
        network = small_networks.NETWORKS["odd sizes"]
        small_networks.write_examples(tmp_path, network, train=count)
        path = tmp_path / GRAYSCALE_NAME
        with open_dataset(path) as data:
            everything, labels = data.read("train")
            train, valid = read_examples(data, 0.2)
        validates = split(labels, 0.2)

        assert np.array_equal(train.images, everything[~validates])
        assert np.array_equal(valid.images, everything[validates])
        assert len(train) + len(valid) == count


class TestTrain:
    def test_takes_the_steps_of_the_rules(self, output, images):
        train(output, images)

        train_examples, valid_examples = examples(images)
        losses, after = reference.trained(NETWORK, HOW, draw_weights(NETWORK, seed=1), train_examples)
        written = read_weights(output / WEIGHTS_NAME, NETWORK)
        for name, values in after.items():
            assert written[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name

        rows = history(output)["epochs"]
        sizes = [10] * (len(train_examples) // 10) + [len(train_examples) % 10] * (len(train_examples) % 10 > 0)
        expected = reference.validation(NETWORK, after, valid_examples)
        assert len(set(sizes)) == 2
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert [row["train_loss"] for row in rows] == pytest.approx(np.average(losses, axis=1, weights=sizes), rel=1e-5)
        assert rows[-1]["valid_loss"] == pytest.approx(expected.loss, rel=1e-5)
        assert rows[-1]["valid_accuracy"] == expected.accuracy

    def test_writes_the_weights_and_the_history(self, output, images):
        train(output, images)

        assert {path.name for path in output.iterdir()} == {"weights.h5", "history.json", "film.h5"}

    def test_history_says_how_it_was_trained(self, output, images):
        train(output, images)

        assert history(output)["trained"] == {
            "network": "tiny",
            "engine": "torch",
            "device": "cpu",
            "seed": 1,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "epochs": 3,
            "batch_size": 10,
            "validation_fraction": 0.25,
        }

    def test_history_names_the_data_and_its_classes(self, output, images):
        train(output, images)

        assert history(output)["data"] == {
            "title": "small things",
            "class_names": ["cat", "dog", "frog"],
            "archive_sha256": "ab" * 32,
        }

    def test_measures_each_epoch(self, output, images):
        measured = train(output, images)

        assert measured.keys() == {"epoch_seconds", "threads", "device_name"}
        assert measured["threads"] == 1
        assert len(measured["epoch_seconds"]) == 3
        assert min(measured["epoch_seconds"]) > 0

    def test_seed_and_data_decide_every_byte(self, tmp_path, images):
        other_images = tmp_path / "other images"
        other_images.mkdir()
        small_networks.write_examples(other_images, NETWORK, seed=1)
        runs = {
            "once": (images, {}),
            "again": (images, {}),
            "other seed": (images, {"seed": 2}),
            "other data": (other_images, {}),
        }
        for name, (source, changes) in runs.items():
            (tmp_path / name).mkdir()
            train(tmp_path / name, source, **changes)

        for file in (WEIGHTS_NAME, HISTORY_NAME, FILM_NAME):
            once, again, other_seed, other_data = ((tmp_path / name / file).read_bytes() for name in runs)
            assert once == again
            assert len({once, other_seed, other_data}) == 3

    def test_images_in_two_dimensions(self, output, tmp_path):
        network = small_networks.NETWORKS["like the article's"]
        small_networks.write_examples(tmp_path, network)
        declared = {
            "layers": [[entry.name, type(entry.layer).__name__] for entry in network.layers],
            **{
                f"{entry.name}_{option}": value
                for entry in network.layers
                for option, value in vars(entry.layer).items()
            },
        }

        train(output, tmp_path, architecture=declared)

        assert read_weights(output / WEIGHTS_NAME, network).keys() == network.weight_shapes.keys()


class TestFilm:
    def test_has_every_epoch(self, output, images):
        train(output, images)

        film = read_film(output / FILM_NAME)
        accuracies = np.trace(film.confusion, axis1=1, axis2=2) / film.confusion.sum((1, 2))
        assert accuracies.tolist() == [row["valid_accuracy"] for row in history(output)["epochs"]]

    def test_ends_with_the_trained_network(self, output, images):
        train(output, images)

        film, weights = read_film(output / FILM_NAME), read_weights(output / WEIGHTS_NAME, NETWORK)
        with open_dataset(images / GRAYSCALE_NAME) as data:
            test_images, labels = data.read("test")
        shown = reference.probabilities(NETWORK, weights, test_images[film.images])
        assert sorted(labels[film.images]) == [0, 1, 2]
        np.testing.assert_allclose(film.probabilities[-1], shown, atol=1e-6)
        expected = reference.validation(NETWORK, weights, examples(images)[1])
        np.testing.assert_array_equal(film.confusion[-1], expected.confusion)

    def test_is_kept_where_images_are_shown(self, tmp_path, images):
        """A checkpoint of a training that showed none is of no use to one that shows some."""
        with open_dataset(images / GRAYSCALE_NAME) as data:
            shown = first_of_each_class(data)
        training = Training(NETWORK, HOW, draw_weights(NETWORK, seed=1), *examples(images))

        without = fit(training, load_engine("torch"), checkpoints=tmp_path)
        kept = fit(training, load_engine("torch"), shown=shown, checkpoints=tmp_path)

        assert without.film is None
        assert kept.resumed_from_epoch == 0
        assert len(kept.film.confusion) == HOW.epochs

    @pytest.mark.parametrize("epochs", [1, 40])
    def test_the_maximum_size_covers_it(self, tmp_path, output, epochs):
        network = small_networks.network((1024,), small_networks.dense(30))
        small_networks.write_examples(tmp_path, network)
        checkpoints = tmp_path / "checkpoints"

        train(output, tmp_path, architecture=network.to_json(), epochs=epochs, checkpoints=checkpoints)

        files = [*output.iterdir(), max(checkpoints.iterdir(), key=lambda path: path.stat().st_size)]
        sizes = [path.stat().st_size for path in (*files, files[-1], files[-1])]
        assert sum(sizes) <= max_output_bytes(images=tmp_path, architecture=network.to_json(), epochs=epochs)


class TestWhatIsHeard:
    def test_the_table(self, output, images):
        monitor = RecordingMonitor()

        train(output, images, monitor=monitor)

        first, *header, one, two, three, last = monitor.lines
        validates = len(examples(images)[1])
        assert first == (
            f"tiny on small things: {60 - validates} images train, {validates} validate; 115 parameters; torch on cpu"
        )
        assert header == [
            "  epoch    train loss    valid loss    train/val    valid acc      dur",
            "-------  ------------  ------------  -----------  -----------  -------",
        ]
        epochs = history(output)["epochs"]
        accuracies = [row["valid_accuracy"] for row in epochs]
        best = accuracies.index(max(accuracies))
        assert last == f"best validation accuracy {accuracies[best]:.4f} in epoch {best + 1} of 3"
        for index, (line, row) in enumerate(zip((one, two, three), epochs, strict=True)):
            ratio = row["train_loss"] / row["valid_loss"]
            beginning = (
                f"{row['epoch']:7}  {row['train_loss']:12.5f}  {row['valid_loss']:12.5f}"
                f"  {ratio:11.5f}  {row['valid_accuracy']:11.5f}"
            )
            assert line.startswith(beginning)
            duration, mark = line[: len(header[0])].removeprefix(beginning), line[len(header[0]) :]
            assert re.fullmatch(r"  +\d+\.\d\ds", duration)
            assert mark == (" *" if row["valid_accuracy"] > max(accuracies[:index], default=-1) else "")

    def test_progress_over_all_epochs(self, output, images):
        monitor = RecordingMonitor()

        train(output, images, monitor=monitor)

        trained = len(examples(images)[0])
        done = [done for done, _, _ in monitor.steps]
        assert done == sorted(done)
        assert {trained, 2 * trained, 3 * trained} <= set(done)
        assert done[-1] == 3 * trained
        assert {step[1:] for step in monitor.steps} == {(3 * trained, "images")}


class TestTrouble:
    def test_a_loss_that_is_no_number(self, output, images):
        with pytest.raises(
            DivergedError,
            match=r"^the loss is (nan|inf) in epoch 1, minibatch [23], with learning rate 1e\+30: .*smaller",
        ):
            train(output, images, learning_rate=1e30)

        assert not list(output.iterdir())

    def test_a_training_that_fails_is_closed(self, output, images, monkeypatch):
        """The error holds the trainer, and so its memory and its processes, as long as a notebook keeps the error."""
        closed = []
        monkeypatch.setattr("pipeline.engines.torch.engine.TorchTrainer.close", lambda _: closed.append("trainer"))

        with pytest.raises(DivergedError, match="the loss is") as kept:
            train(output, images, learning_rate=1e30)

        assert (closed, kept.type) == (["trainer"], DivergedError)

    def test_a_last_step_after_which_the_loss_is_no_number(self, output, images):
        with pytest.raises(DivergedError, match=r"epoch 1.* learning rate 1e\+30: .*smaller"):
            train(output, images, learning_rate=1e30, batch_size=1000, epochs=1)

        assert not list(output.iterdir())

    @pytest.mark.parametrize("shape", [(13,), (1, 3, 4)])
    def test_images_of_another_shape(self, output, tmp_path, shape):
        small_networks.write_examples(tmp_path, small_networks.network(shape))

        with pytest.raises(
            DatasetError, match=rf"holds images of shape {re.escape(str(shape))} and type float32; .*12"
        ):
            train(output, tmp_path)

    def test_images_of_another_type(self, output, images):
        with h5py.File(images / GRAYSCALE_NAME, "r+") as file:
            for split in ("train", "test"):
                count = len(file[f"{split}/images"])
                del file[f"{split}/images"]
                file[f"{split}/images"] = np.zeros((count, 12), np.uint8)

        with pytest.raises(DatasetError, match=r"holds images of shape \(12,\) and type uint8; .* float32"):
            train(output, images)

    def test_another_number_of_classes(self, output, tmp_path):
        small_networks.write_examples(tmp_path, small_networks.network((12,), classes=2))

        with pytest.raises(
            DatasetError, match=r"holds 2 classes, .* last layer has 3 units\. Leave output_num_units out"
        ):
            train(output, tmp_path)

    @pytest.mark.parametrize(
        "engine",
        ["numba", "torch", pytest.param("theano", marks=[pytest.mark.registry, pytest.mark.xdist_group("theano")])],
    )
    def test_a_network_that_leaves_the_classes_to_the_data(self, output, tmp_path, engine):
        require(engine)
        left_open = {option: value for option, value in ARCHITECTURE.items() if option != "output_num_units"}
        small_networks.write_examples(tmp_path, small_networks.network((12,), classes=2))

        train(output, tmp_path, architecture=left_open, engine=engine)

        assert history(output)["data"]["class_names"] == ["cat", "dog"]
        assert read_weights(output / "weights.h5", Network.build(left_open, classes=2))["output/W"].shape == (7, 2)
        filled = left_open | {"output_num_units": 2}
        assert max_output_bytes(images=tmp_path, architecture=left_open, epochs=1) == max_output_bytes(
            images=tmp_path, architecture=filled, epochs=1
        )

    def test_no_images(self, output, tmp_path):
        with pytest.raises(DatasetError, match=r"grayscale\.h5 is not there"):
            train(output, tmp_path)

    def test_an_unknown_engine(self, output, images):
        with pytest.raises(SettingError, match=r"^engine is 'troch'; .* Did you mean 'torch'\?$"):
            train(output, images, engine="troch")


def test_examples_have_a_length():
    assert len(Examples(np.zeros((5, 2), np.float32), np.zeros(5, np.uint8))) == 5
