"""HDF5 files from elsewhere: values that lie in other files, that are more than there seem to be, or that are none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from pipeline.data.dataset import SPLITS, DatasetWriter, describe_dataset
from pipeline.errors import DatasetError, WeightsError
from pipeline.networks.weights import draw_weights, read_weights, write_weights
from tests import small_networks
from tests.small_networks import dense

NETWORK = small_networks.network((16,), dense(20))
NAME = "layer1/W"
SHAPE = NETWORK.weight_shapes[NAME]
SECRET = b"root:x:0:0:" * 400

READ = textwrap.dedent("""
    import resource, sys
    from pathlib import Path
    from pipeline.data.dataset import describe_dataset, DatasetWriter, SPLITS, open_dataset
    from pipeline.networks.weights import draw_weights, read_weights, write_weights
    from pipeline.errors import PipelineError
    from tests.test_hdf5 import NETWORK
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    try:
        if sys.argv[1] == "weights":
            read_weights(Path(sys.argv[2]), NETWORK)
        else:
            with open_dataset(Path(sys.argv[2])) as data:
                data.read("train")
    except PipelineError as error:
        print(error)
""")


def elsewhere(folder: Path) -> Path:
    """Write a file with sound values under the same name."""
    path = folder / "elsewhere.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(NAME, data=np.ones(SHAPE, np.float32))
    (folder / "secret").write_bytes(SECRET)
    return path


class Place(NamedTuple):
    """Where a data set is to be spoilt: its file, its name, and its shape and type; and another file."""

    file: h5py.File
    name: str
    shape: tuple[int, ...]
    kind: type
    other: Path


def external_link(place):
    place.file[place.name] = h5py.ExternalLink(place.other, NAME)


def external_values(place):
    place.file.create_dataset(
        place.name, place.shape, place.kind, external=[(str(place.other.with_name("secret")), 0, h5py.h5f.UNLIMITED)]
    )


def virtual_values(place):
    layout = h5py.VirtualLayout(place.shape, place.kind)
    place.file.create_virtual_dataset(place.name, layout)


def soft_link(place):
    place.file[place.name] = h5py.SoftLink("/elsewhere")


def circle_of_links(place):
    place.file[place.name] = h5py.SoftLink(f"/{place.name}")


def compressed(place):
    place.file.create_dataset(place.name, place.shape, place.kind, compression="gzip", chunks=place.shape)


def bomb(place):
    chunk = (1 << 28, *place.shape[1:]) if len(place.shape) == 1 else (1 << 20, *place.shape[1:])
    empty = place.file.create_dataset(
        place.name, place.shape, place.kind, maxshape=(None, *place.shape[1:]), compression="gzip", chunks=chunk
    )
    empty[...] = 0


def objects(place):
    place.file.create_dataset(place.name, place.shape, h5py.special_dtype(vlen=str))


def references(place):
    place.file.create_dataset(place.name, place.shape, h5py.ref_dtype)


def nothing(place):
    place.file[place.name] = h5py.Empty(place.kind)


def one_value(place):
    place.file[place.name] = np.zeros((), place.kind)


def a_type(place):
    place.file[place.name] = np.dtype(place.kind)


def group(place):
    place.file.create_group(place.name)


def huge(place):
    place.file.create_dataset(place.name, (1 << 40, 1 << 10), place.kind, chunks=(1, 1))


WAYS = [
    external_link,
    external_values,
    virtual_values,
    soft_link,
    circle_of_links,
    compressed,
    bomb,
    objects,
    references,
    nothing,
    one_value,
    a_type,
    group,
    huge,
]


def read_in_little_memory(kind, path):
    """Read in a process that may take 64 MiB more than it has at first, and 10 seconds; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", READ, kind, path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def spoil_weights(path, way, other):
    write_weights(path, draw_weights(NETWORK, seed=1))
    with h5py.File(path, "r+") as file:
        del file[NAME]
        way(Place(file, NAME, SHAPE, np.float32, other))


def spoil_dataset(path, way, other, name="train/images"):
    with DatasetWriter(path) as writer:
        for split in SPLITS:
            writer.put(split, 0, np.zeros((5, 12), np.uint8), np.zeros(5, np.uint8), total=5)
        writer.describe("small things", ["cat"], "ab" * 32)
    with h5py.File(path, "r+") as file:
        shape = file[name].shape
        del file[name]
        way(Place(file, name, shape, np.uint8, other))


@pytest.mark.parametrize("way", WAYS)
class TestHostileFiles:
    def test_weights(self, tmp_path, way):
        path = tmp_path / "weights.h5"
        spoil_weights(path, way, elsewhere(tmp_path))

        with pytest.raises(WeightsError, match=rf"^{path}: .*'{NAME}'.* Train the network again: .*\.$"):
            read_weights(path, NETWORK)

    @pytest.mark.parametrize("name", ["train/images", "train/labels"])
    def test_images(self, tmp_path, way, name):
        path = tmp_path / "images.h5"
        spoil_dataset(path, way, elsewhere(tmp_path), name)

        with pytest.raises(DatasetError, match=rf"^{path}: .*{name}'.* Delete the folder {tmp_path}"):
            describe_dataset(path)


class TestBoundedMemory:
    @pytest.mark.parametrize("way", [bomb, huge])
    def test_weights(self, tmp_path, way):
        path = tmp_path / "weights.h5"
        spoil_weights(path, way, elsewhere(tmp_path))

        assert path.stat().st_size < 4 << 20
        assert f"{path}: '{NAME}' has " in read_in_little_memory("weights", path)

    @pytest.mark.parametrize("way", [bomb, huge])
    def test_images(self, tmp_path, way):
        path = tmp_path / "images.h5"
        spoil_dataset(path, way, elsewhere(tmp_path))

        assert path.stat().st_size < 4 << 20
        assert "has its values in chunks; expected them in one piece" in read_in_little_memory("images", path)

    def test_values_that_do_not_exist(self, tmp_path):
        """Of 2**40 values in one piece, none is in the file."""
        path = tmp_path / "images.h5"

        def unwritten(place):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            space = h5py.h5s.create_simple((1 << 40, 12))
            h5py.h5d.create(place.file.id, place.name.encode(), h5py.h5t.NATIVE_UINT8, space, properties)

        spoil_dataset(path, unwritten, tmp_path)

        assert "does not have as many values as its shape requires" in read_in_little_memory("images", path)

    def test_many_groups(self, tmp_path):
        path = tmp_path / "weights.h5"
        write_weights(path, draw_weights(NETWORK, seed=1))
        with h5py.File(path, "r+") as file:
            for number in range(5000):
                file.create_group(f"group{number}")

        assert "it holds 'group0', which the network does not have" in read_in_little_memory("weights", path)


def test_a_circle_of_groups_is_refused(tmp_path):
    path = tmp_path / "weights.h5"
    write_weights(path, draw_weights(NETWORK, seed=1))
    with h5py.File(path, "r+") as file:
        file["layer1/again"] = file["layer1"]

    with pytest.raises(WeightsError, match="it holds 'layer1/again', which the network does not have"):
        read_weights(path, NETWORK)
