"""Rows 24, 25 and 29: another model, data set or option, and stores of old formats."""

import contextlib
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zarr

import nnviz
from nnviz.aggregation.index import index_state
from nnviz.errors import PlanMismatchError, StoreFormatError
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.store import Store, open_store
from nnviz.upkeep.verification import verify
from tests.faults.small_run import (
    RUN,
    create,
    later_stages,
    one_worker,
    write_inputs,
    write_weights,
)

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture
def run(tmp_path):
    folder = write_inputs(tmp_path)
    create(folder)
    return folder


def rewrite(folder, **arrays):
    with np.load(folder / "rows.npz") as known:
        columns = {**known, **arrays}
    np.savez(folder / "rows.npz", **columns)


def other_weights(folder):
    write_weights(folder, seed=1)


def fewer_rows(folder):
    with np.load(folder / "rows.npz") as known:
        columns = {name: values[:38] for name, values in known.items()}
    np.savez(folder / "rows.npz", **columns)


def option(line):
    def change(folder):
        (folder / "run.toml").write_text(RUN + line + "\n")

    return change


def preprocessing(folder):
    (folder / "run.toml").write_text(RUN.replace("scale = 1.0", "scale = 2.0"))


def classes(folder):
    text = RUN.replace('["a", "b", "c"]', '["a", "b", "d"]')
    (folder / "run.toml").write_text(text)


CHANGES = {
    "weights": (other_weights, r"fingerprints\.model"),
    "listing": (fewer_rows, r"fingerprints\.dataset"),
    "labels": (lambda f: rewrite(f, label=np.arange(40) % 2), r"fingerprints\.dataset"),
    "column": (lambda f: rewrite(f, age=np.arange(40) + 0.5), r"fingerprints\.dataset"),
    "preprocessing": (preprocessing, r"preprocessing\.scale: 1\.0, not 2\.0"),
    "classes": (classes, r"class_names\[2\]: 'c', not 'd'"),
    "share": (option("share = 0.5"), r"extraction\.share: 0\.03, not 0\.5"),
    "precision": (option('precision = "bfloat16"'), r"extraction\.precision"),
    "threads": (option("threads_per_worker = 2"), r"extraction\.threads_per_worker"),
    "device": (option('device = "cpu"'), r"extraction\.device: 'auto', not 'cpu'"),
    "layers": (option('layers = ["first"]'), r"extraction\.layers"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_plan__of_something_else__is_refused_with_the_field(run, kind):
    """Row 24, 25: what decides the numbers is compared field by field."""
    change, field = CHANGES[kind]
    change(run)

    with pytest.raises(PlanMismatchError, match=field):
        create(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(other_weights, "the network has changed", id="weights"),
        pytest.param(fewer_rows, "the data set has changed", id="listing"),
    ],
)
def test_extract__of_something_else__is_refused(run, change, message):
    """Row 24: between the plan, or the first part of a run, and the rest of it."""
    change(run)

    with one_worker() as client, pytest.raises(PlanMismatchError, match=message):
        nnviz.extract(Store.open(run / "run.zarr", writable=True), client=client)

    assert open_store(run / "run.zarr").chunks.missing() == [0, 1, 2]


@pytest.fixture
def old(tmp_path):
    """Return the folder with the store that the first format's last nnviz wrote."""
    return unpacked("format-1", tmp_path)


def unpacked(name, folder):
    with tarfile.open(FIXTURES / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_fixture__is_small():
    assert sum(path.stat().st_size for path in FIXTURES.iterdir()) < 100_000


def test_store_of_format_1__is_read(old):
    """Row 29: every stage's output."""
    store = open_store(old / "format-1.zarr")

    assert store.chunks.missing() == []
    assert store.instances().shape == (40, 7)
    assert list(np.flatnonzero(~store.usable())) == [7]
    assert store.activations("first").shape == (40, 8)
    assert nnviz.aggregates_of(store, "label").n_instances.tolist() == [14, 12, 13]
    assert nnviz.attribution_graph(store, "a") is not None


@pytest.mark.slow
def test_store_of_format_1__is_written_on(old):
    """Row 29: aggregates again, and damage is found as far as that format tells."""
    url = old / "format-1.zarr"
    store = Store.open(url, writable=True)
    clean = nnviz.aggregates_of(store, "label").mean("first")

    assert verify(url).damages == []
    later_stages(store)
    again = nnviz.aggregates_of(open_store(url), "label").mean("first")
    np.testing.assert_array_equal(again, clean)

    piece = url / "activations/first/c/1/0"
    piece.write_bytes(piece.read_bytes()[:-1] + b"\0")
    (damage,) = verify(url, repair=False).damages
    assert (damage.array, damage.chunk) == ("activations/first", 1)


def test_store_of_format_2__is_read_with_the_numbers_that_are_in_it(tmp_path):
    """Row 29: every array, and all that was made of them; no stage is asked for."""
    url = unpacked("format-2", tmp_path) / "format-2.zarr"
    root = zarr.open_group(url, mode="r")

    store = open_store(url)

    assert store.records["format_version"] == 2
    assert len(store.chunks.arrays) == 28
    for path in store.chunks.arrays:
        found, expected = store.read(path), root[path][:]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind in "biuf":
            assert found.tobytes() == expected.tobytes(), path
    assert list(np.flatnonzero(~store.usable())) == [7]
    assert index_state(store).is_current.all()
    assert nnviz.aggregates_of(store, "label").n_instances.tolist() == [14, 12, 13]
    assert verify(url, contents=False).damages == []


@pytest.mark.slow
def test_store_of_format_2__is_written_on_in_its_format(tmp_path):
    """Row 29: a chunk that is damaged is extracted again, and no file is another."""
    url = unpacked("format-2", tmp_path) / "format-2.zarr"
    before = {path.relative_to(url) for path in url.rglob("*")}
    flipped = url / "relevance/first/product/c/1/0"
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"\0")

    report = verify(url)
    with one_worker() as client, contextlib.chdir(tmp_path):
        nnviz.extract(Store.open(url, writable=True), client=client)
        later_stages(Store.open(url, writable=True))

    (damage,) = report.damages
    assert (damage.array, damage.chunk) == ("relevance/first/product", 1)
    assert verify(url).damages == []
    after = {path.relative_to(url) for path in url.rglob("*")}
    # What graphs of halves share is new in graphs that are derived again.
    assert {path for path in after if "halves" not in path.parts} == before


def test_store_of_a_later_format__is_refused_with_what_to_do(old):
    """Row 29: not read as something it is not."""
    hierarchy = Hierarchy.open(str(old / "format-1.zarr"), writable=True)
    hierarchy.set_attributes({**hierarchy.attributes(), "format_version": 99})

    with pytest.raises(StoreFormatError, match=r"format 99.* extract again into a new"):
        open_store(old / "format-1.zarr")


def test_store_that_vanished__says_so(old):
    """Row 12: all of it."""
    shutil.rmtree(old / "format-1.zarr")

    with pytest.raises(nnviz.errors.StoreError, match="there is no store"):
        verify(old / "format-1.zarr")
