"""Columns that the index has packed: those of the store, or nothing at all."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns, StoredChannels
from nnviz.subsets.packed_columns import PackedColumns, PackedTexts, pack_columns
from nnviz.testing import PlantedRun, write_store
from nnviz.upkeep.verification import verify

N = 200
rng = np.random.default_rng(3)
PLACES = np.array(["Łódź", "", "São Paulo", "北京", "Turku"], dtype=object)
EVERY_SEPARATOR = "\0\n\x1e\x1f\x1d\x1c\x01\x02\x03\x04"
RUN = PlantedRun(
    n_classes=4,
    n_instances=N,
    n_unreadable=5,
    instances_per_chunk=30,
    examples_per_channel=0,
    metadata={
        "place": PLACES[rng.integers(0, 5, N)],
        "note": np.array([f"line {i}\0\nend {i % 3}" for i in range(N)], dtype=object),
        "odd": np.array([EVERY_SEPARATOR, "plain"] * (N // 2), dtype=object),
        "size": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
        "year": rng.integers(1990, 2020, N),
        "flipped": rng.random(N) < 0.5,
    },
)


@pytest.fixture
def store(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    make_index(store)
    return Store.open(store.url)


def unpacked(packed):
    """Return the values of each instance, one by one."""
    if not isinstance(packed, PackedTexts):
        return packed.tolist()
    return [packed.texts[code] for code in packed.codes.tolist()]


def test_packed__have_the_values_of_the_store(store):
    packed = PackedColumns(store)
    read = {name: packed.read(name) for name in store.columns}

    assert [name for name, values in read.items() if values is None] == ["odd"]
    for name in set(read) - {"odd"}:
        expected = store.column(name).tolist()
        assert repr(unpacked(read[name])) == repr(expected), name


def test_packed__without_an_index__are_nothing(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    packed = PackedColumns(store)

    assert packed.read("place") is None
    make_index(store)
    assert packed.read("place") is not None


def test_columns__are_equal_with_and_without_them(store):
    bare = Store.open(store.url, writable=True)
    with_them = InstanceColumns(store, StoredChannels(store))
    assert with_them.column("place").values.dtype == np.int16  # packed, that is
    columns = [with_them.column(name) for name in with_them.names]
    bare.groups.remove_member("index/columns")
    without = InstanceColumns(bare, StoredChannels(bare))

    np.testing.assert_array_equal(with_them.usable, without.usable)
    for name, one in zip(with_them.names, columns, strict=True):
        other = without.column(name)
        assert one.kind == other.kind
        assert one.texts == other.texts
        np.testing.assert_array_equal(one.null, other.null, err_msg=name)
        np.testing.assert_array_equal(one.values, other.values, err_msg=name)


def test_pack__twice__writes_once(store):
    assert not pack_columns(Store.open(store.url, writable=True))


@pytest.mark.parametrize("name", ["values/place", "texts/place", "values/year"])
def test_packed__with_a_damaged_byte__are_nothing_and_are_made_again(store, name):
    column = name.rpartition("/")[2]
    expected = store.column(column).tolist()
    path = Path(store.url, "index", "columns", name, "c", "0")
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)

    assert PackedColumns(Store.open(store.url)).read(column) is None
    report = verify(store.url)
    assert [d.array for d in report.damages] == [f"index/columns/{name}"]
    make_index(Store.open(store.url))
    assert unpacked(PackedColumns(Store.open(store.url)).read(column)) == expected
    assert verify(store.url).is_sound


def test_packed__of_a_chunk_that_was_extracted_again__are_made_again(store):
    writable = Store.open(store.url, writable=True)
    start, stop = writable.chunks.spans[2]
    arrays = {p: writable.read(p, start, stop) for p in writable.chunks.arrays}
    arrays["instances/confidence"] = np.full(stop - start, 0.125, np.float32)
    counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
    writable.chunks.write(2, arrays, counts)
    fresh = Store.open(store.url)

    before = PackedColumns(fresh).read("confidence")
    make_index(fresh)

    assert before is None
    found = PackedColumns(Store.open(store.url)).read("confidence")
    assert (found[start:stop] == 0.125).all()


def test_packed__in_object_storage__have_the_same_values():
    store = write_store("memory://packed/run.zarr", dataclasses.replace(RUN, seed=4))
    make_index(store)
    packed = PackedColumns(Store.open(store.url))

    for name in ("place", "note", "size", "label"):
        expected = store.column(name).tolist()
        assert repr(unpacked(packed.read(name))) == repr(expected), name


def test_inspect__counts_pieces_not_columns(store):
    assert "index       1 piece" in repr(nnviz.open_store(store.url))


def test_index__of_another_layout__keeps_the_columns(store):
    shutil.copytree(f"{store.url}/index/00000", f"{store.url}/index/00007")

    make_index(Store.open(store.url))

    assert Store.open(store.url).groups.names("index") == ["00000", "columns"]
