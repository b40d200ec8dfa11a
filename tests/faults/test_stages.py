"""Row 42: a stage that dies at any of its changes, and is repeated until it ends."""

import json
import shutil
from pathlib import Path

import pytest

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.store.store import Store
from tests.faults.crash_in_stages import ablate_labels, export, extend_rows, plan
from tests.faults.small_run import create, later_stages, one_worker, write_inputs
from tests.forked import Forked
from tests.oracles.files import tree_bytes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of a run with all its stages."""
    folder = write_inputs(tmp_path_factory.mktemp("stages"))
    store = create(folder)
    with one_worker() as client:
        nnviz.extract(store, client=client)
    writable = Store.open(store.url, writable=True)
    later_stages(writable)
    make_index(writable)
    ablate_labels(store.url)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """Return a copy of it, in which something may die."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def die_again_and_again(url, *stages):
    """Return how often stages died, and how much they change."""
    program = Forked("tests.faults.crash_in_stages", str(url), *stages)
    out, errors = program.communicate(timeout=240)
    assert program.returncode == 0, errors
    return [tuple(pair) for pair in json.loads(out)]


def bytes_of(store):
    """Return the bytes of all files but those that were being written."""
    files = tree_bytes(store)
    return {k: v for k, v in files.items() if not k.endswith(".partial")}


def test_stages__die_at_their_changes__end_in_the_same_bytes(whole, folder):
    """From nothing, and over what is there already."""
    store, before = folder / "run.zarr", bytes_of(whole / "run.zarr")
    for name in ("aggregates", "artifacts", "index"):
        shutil.rmtree(store / name)
    stages = ("aggregate", "index", "derive", "ablate")

    died = die_again_and_again(store, *stages)
    first = bytes_of(store)
    again = die_again_and_again(store, "aggregate", "derive", "ablate")

    assert first == bytes_of(store) == before
    assert all(n_deaths >= min(3, n_changes) for n_deaths, n_changes in died + again)


def test_verify__dies_at_its_changes__what_it_takes_back_is_made_again(whole, folder):
    """Everything that was made from what is damaged is gone, or nothing is."""
    store, before = folder / "run.zarr", bytes_of(whole / "run.zarr")
    for name in (
        "activations/float16/c/1/0",
        "instances/label/c/0",
        "aggregates/label/n_instances/zarr.json",
        "artifacts/classes/zarr.json",
    ):
        data = bytearray((store / name).read_bytes())
        data[len(data) // 2] ^= 1
        (store / name).write_bytes(bytes(data))

    ((n_deaths, _),) = die_again_and_again(store, "verify")
    opened = Store.open(store, writable=True)
    missing = opened.chunks.missing()
    with one_worker() as client:
        nnviz.extract(opened, client=client)
    later_stages(opened)
    make_index(opened)
    ablate_labels(str(store))

    assert n_deaths >= 3
    assert missing == [1]
    assert bytes_of(store) == before


def test_extend__dies_at_its_changes__is_finished_by_the_next(whole, folder, tmp_path):
    """The store is the old one, the new one, or says that it is to be repeated."""
    for place in (folder, Path(shutil.copytree(whole, tmp_path / "undisturbed"))):
        write_inputs(place, n=60)
    extend_rows(str(tmp_path / "undisturbed/run.zarr"))

    ((n_deaths, _),) = die_again_and_again(folder / "run.zarr", "extend")

    assert n_deaths >= 3
    assert bytes_of(folder / "run.zarr") == bytes_of(tmp_path / "undisturbed/run.zarr")


def test_export__dies_at_its_changes__leaves_all_of_it_or_nothing(whole, folder):
    export(str(whole / "run.zarr"))

    ((n_deaths, _),) = die_again_and_again(folder / "run.zarr", "export")

    assert n_deaths >= 2
    assert tree_bytes(folder / "run.zarr.tables") == tree_bytes(
        whole / "run.zarr.tables"
    )
    assert not list(folder.glob("*partial"))


def test_plan_create__dies_at_its_changes__another_one_makes_the_store(whole, folder):
    """What has been left is no store yet, and in nobody's way."""
    url = folder / "another.zarr"

    ((n_deaths, _),) = die_again_and_again(url, "plan")

    assert n_deaths >= 3
    plan(str(folder / "third.zarr"))
    assert sorted(bytes_of(url)) == sorted(bytes_of(folder / "third.zarr"))
    assert nnviz.open_store(url).chunks.missing() == [0, 1, 2]
