"""Arrays in .npy and .npz files and in Zarr."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig

DATA = np.arange(10 * 4 * 5 * 3).reshape(10, 4, 5, 3).astype(np.uint8)
COLUMNS = {
    "label": np.arange(10) % 3,
    "weight": np.linspace(0, 1, 10),
    "good": np.arange(10) > 4,
    "name": np.array([f"n{index}" for index in range(10)]),
    "other": np.zeros((10, 2)),
    "short": np.zeros(3),
}


def open_arrays(path, **options):
    return open_dataset(DatasetConfig(kind="arrays", path=str(path), **options))


@pytest.fixture(params=["npz", "compressed-npz", "zarr"])
def collection(request, tmp_path):
    """The same arrays, kept in three ways."""
    if request.param == "zarr":
        group = zarr.open_group(tmp_path / "a.zarr", mode="w")
        for name, values in {"data": DATA, **COLUMNS}.items():
            chunks = (3, *values.shape[1:])
            kind = str if values.dtype.kind == "U" else values.dtype
            array = group.create_array(
                name, shape=values.shape, dtype=kind, chunks=chunks
            )
            array[:] = values
        return tmp_path / "a.zarr"
    save = np.savez if request.param == "npz" else np.savez_compressed
    save(tmp_path / "a.npz", data=DATA, **COLUMNS)
    return tmp_path / "a.npz"


@pytest.mark.filterwarnings("ignore:The data type")
def test_collection__has_inputs_labels_and_columns(collection):
    dataset = open_arrays(collection)

    assert dataset.ids == [str(index) for index in range(10)]
    assert dataset.labels.tolist() == (np.arange(10) % 3).tolist()
    assert set(dataset.metadata) == {"weight", "good", "name"}
    assert dataset.metadata["weight"].tolist() == COLUMNS["weight"].tolist()
    assert dataset.metadata["good"].dtype == np.bool_
    assert dataset.metadata["name"].tolist() == COLUMNS["name"].tolist()
    for index in range(10):
        np.testing.assert_array_equal(dataset.read(index), DATA[index])


@pytest.mark.filterwarnings("ignore:The data type")
def test_collection__can_be_pickled_small_and_read_by_many_threads(collection):
    pickled = pickle.dumps(open_arrays(collection, limit=9))

    dataset = pickle.loads(pickled)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dataset.read, list(range(9)) * 20))

    assert len(pickled) < 1500
    np.testing.assert_array_equal(read, np.concatenate([DATA[:9]] * 20))


@pytest.mark.filterwarnings("ignore:The data type")
def test_collection__takes_named_arrays(collection):
    dataset = open_arrays(
        collection,
        data_array="other",
        label_array="good",
        id_column="name",
        metadata_columns=("w*",),
    )

    assert dataset.ids == COLUMNS["name"].tolist()
    assert dataset.labels.tolist()[3:6] == ["false", "false", "true"]
    assert list(dataset.metadata) == ["weight"]
    assert dataset.read(0).shape == (2,)


def test_npy__is_mapped_and_has_no_labels(tmp_path):
    np.save(tmp_path / "a.npy", DATA)

    dataset = open_arrays(tmp_path / "a.npy", limit=4)

    assert (len(dataset), dataset.labels, dataset.metadata) == (4, None, {})
    np.testing.assert_array_equal(dataset.read(3), DATA[3])


def test_npy__in_fortran_order_reads_the_same(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(DATA))
    np.savez(tmp_path / "a.npz", data=np.asfortranarray(DATA))

    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(open_arrays(tmp_path / name).read(7), DATA[7])


def test_zarr__takes_a_lone_array(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=DATA.shape, dtype=DATA.dtype, chunks=(3, 4, 5, 3)
    )
    array[:] = DATA

    np.testing.assert_array_equal(open_arrays(tmp_path / "a.zarr").read(9), DATA[9])


def test_zarr__damage_concerns_the_instances_there(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = group.create_array(
        "data", shape=(6, 1000), dtype=np.float32, chunks=(2, 1000)
    )
    array[:] = np.random.default_rng(0).random((6, 1000))
    (tmp_path / "a.zarr/data/c/1/0").write_bytes(b"damaged")

    dataset = open_arrays(tmp_path / "a.zarr")

    assert dataset.read(5).shape == (1000,)
    with pytest.raises(UnreadableInstanceError, match="cannot be read here"):
        dataset.read(2)


class Gadget:
    """Makes a folder as a marker where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.mark.parametrize("save", [np.save, np.savez], ids=["npy", "npz"])
def test_arrays__never_unpickle(tmp_path, save):
    marker = tmp_path / "marker"
    values = np.empty(2, dtype=object)
    values[:] = [Gadget(str(marker))] * 2
    name = "a.npy" if save is np.save else "a.npz"
    save(tmp_path / name, values) if save is np.save else save(
        tmp_path / name, data=values
    )

    with pytest.raises(DatasetError, match="run code"):
        open_arrays(tmp_path / name)

    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"data_array": "images"}, ConfigError, "data_array", id="data"),
        pytest.param({"data_array": "zero"}, DatasetError, "no axes", id="scalar"),
        pytest.param({"data_array": "none"}, DatasetError, "no instances", id="empty"),
        pytest.param({"id_column": "x"}, ConfigError, "id_column", id="id"),
        pytest.param({"id_column": "twins"}, DatasetError, "not unique", id="twins"),
    ],
)
def test_arrays__say_what_is_wrong(tmp_path, options, error, message):
    np.savez(
        tmp_path / "a.npz",
        data=DATA,
        zero=np.array(3),
        none=np.zeros((0, 3)),
        twins=np.zeros(10, dtype=int),
    )

    with pytest.raises(error, match=message):
        open_arrays(tmp_path / "a.npz", **options)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.zarr"])
def test_arrays__say_what_cannot_be_opened(tmp_path, name):
    with pytest.raises(DatasetError, match=r"cannot (read|open)"):
        open_arrays(tmp_path / name)
    (tmp_path / name).write_bytes(b"no arrays")
    with pytest.raises(DatasetError, match=r"cannot (read|open)"):
        open_arrays(tmp_path / name)


def test_arrays__fingerprint_sees_columns_and_other_values(tmp_path):
    prints = []
    for shift, name in ((0, "a"), (1, "a"), (1, "b")):
        np.savez(tmp_path / "a.npz", data=DATA + shift, label=[name] * 10)
        prints.append(open_arrays(tmp_path / "a.npz").fingerprint)

    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        pytest.param(
            np.eye(10), {}, DatasetError, r"\(10, 10\); labels are one", id="one-hot"
        ),
        pytest.param(np.zeros(9), {}, DatasetError, r"\(9,\); labels", id="shorter"),
        pytest.param(
            np.zeros(10),
            {"label_array": "y"},
            ConfigError,
            "label_array is 'y'",
            id="no",
        ),
    ],
)
def test_arrays__say_what_are_no_labels(tmp_path, labels, options, error, message):
    np.savez(tmp_path / "a.npz", data=DATA, label=labels)

    with pytest.raises(error, match=message):
        open_arrays(tmp_path / "a.npz", **options)
    assert open_arrays(tmp_path / "a.npz", label_array="").labels is None


def test_arrays__take_labels_in_a_column(tmp_path):
    np.savez(tmp_path / "a.npz", data=DATA, label=np.arange(10)[:, None])

    assert open_arrays(tmp_path / "a.npz").labels.tolist() == list(range(10))


@pytest.mark.parametrize("index", [1, 4, 8])
def test_arrays__fingerprint_sees_a_change_of_any_instance(tmp_path, index):
    changed = DATA.copy()
    changed[index, 2, 2] += 1
    for name, values in {"a": DATA, "b": changed}.items():
        np.save(tmp_path / f"{name}.npy", values)
        array = zarr.create_array(
            tmp_path / f"{name}.zarr",
            shape=DATA.shape,
            dtype=DATA.dtype,
            chunks=(3, 4, 5, 3),
        )
        array[:] = values

    for ending in ("npy", "zarr"):
        one, other = (open_arrays(tmp_path / f"{name}.{ending}") for name in "ab")
        assert one.fingerprint != other.fingerprint


def test_arrays__fingerprint_of_large_data_is_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("nnviz.inputs.datasets.arrays.HASHED_WHOLE_BYTES", 10)
    monkeypatch.setattr(
        "nnviz.inputs.datasets.arrays.HASHED_SAMPLE_BYTES", 5 * DATA[0].nbytes
    )
    prints = []
    for index in (None, 0, 2, 9, 1):
        changed = DATA.copy()
        if index is not None:
            changed[index] += 1
        np.save(tmp_path / "a.npy", changed)
        prints.append(open_arrays(tmp_path / "a.npy").fingerprint)

    assert len(set(prints[:4])) == 4
    assert prints[4] == prints[0]


def test_zarr__columns_come_in_one_order_each_time(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    names = [f"column {n}" for n in np.random.default_rng(0).permutation(30)]
    for name in ("data", *names):
        values = DATA if name == "data" else np.arange(10)
        array = group.create_array(name, shape=values.shape, dtype=values.dtype)
        array[:] = values

    opened = [open_arrays(tmp_path / "a.zarr") for _ in range(8)]

    assert [list(one.metadata) for one in opened] == [sorted(names)] * 8
    assert len({one.fingerprint for one in opened}) == 1
