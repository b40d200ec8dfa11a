"""Aggregates of a planted run against plain loops, and what aggregation refuses."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.aggregation import aggregate
from nnviz.engine.progress import StageDone, StageStarted, TaskDone
from nnviz.errors import DatasetError, MissingDataError, ShapeError, StoreFormatError
from nnviz.store.extending import finish_extension, root_attributes, stage_extension
from nnviz.store.store import Store, plan_attributes
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import (
    Subset,
    all_instances,
    class_subsets,
    collect_subsets,
)
from nnviz.testing import PlantedRun, planted_channels, write_store
from tests.oracles import aggregates as oracle
from tests.oracles.files import tree_bytes
from tests.oracles.stored_arrays import place_of

RUN = PlantedRun(
    n_classes=4,
    n_instances=120,
    layers=(("early", 12, (4, 4)), ("late", 16, (2, 2))),
    instances_per_chunk=50,
    n_unreadable=6,
)


class Recorder:
    def __init__(self):
        self.events = []

    def receive(self, event):
        self.events.append(event)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("run") / "run.zarr", RUN)
    names = ("label", "prediction", "outcome")
    aggregate(store, [named_subsets(store, name) for name in names])
    return Store.open(store.url)


@pytest.mark.parametrize("name", ["all", "label", "prediction", "outcome"])
@pytest.mark.parametrize("layer", ["early", "late", "output"])
def test_aggregates__agree_with_plain_loops(store, name, layer):
    found = aggregates_of(store, name)
    rows = store.activations(layer)
    collection = named_subsets(store, name)

    for row, subset in enumerate(collection):
        members = [i for i in subset.instances if store.usable()[i]]
        assert found.n_instances[row] == len(members)
        counts = found.counts(layer)[[row]].toarray()[0]
        assert counts.tolist() == oracle.counts(rows, members, share=RUN.share)
        mean, variance, maximum = oracle.moments(rows, members)
        np.testing.assert_allclose(found.mean(layer)[row], mean, rtol=1e-12)
        np.testing.assert_allclose(
            found.variance(layer)[row], variance, rtol=1e-6, atol=1e-12
        )
        np.testing.assert_array_equal(found.maximum(layer)[row], maximum)


def test_aggregates__find_what_was_planted(store):
    found = aggregates_of(store, "label")

    for class_index, name in enumerate(found.names):
        top = found.top("early", name, 3)
        assert set(top.channel) <= set(planted_channels(RUN, "early", class_index))


def test_aggregate__always_writes_the_base_rate(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)

    aggregate(store, [])

    everything = aggregates_of(Store.open(store.url), "all")
    assert everything.names == ("all",)
    assert everything.n_instances.tolist() == [RUN.n_instances - RUN.n_unreadable]


def test_aggregate__equals_that_of_a_run_without_the_unreadable_instances(
    store, tmp_path
):
    usable = np.flatnonzero(store.usable())
    subsets = collect_subsets([Subset("good", usable)], store.n_instances, name="good")
    other = write_store(tmp_path / "s.zarr", RUN)

    aggregate(other, [subsets])

    for part in ("activation_counts/late/data", "activation_sum/late"):
        one = store.groups.read(f"aggregates/all/{part}")
        two = Store.open(other.url).groups.read(f"aggregates/good/{part}")
        np.testing.assert_array_equal(one, two)


def test_aggregate__of_empty_subsets_too__writes_zeros(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    subsets = collect_subsets([Subset("none", [])], RUN.n_instances, name="mine")

    aggregate(store, [subsets], empty_subsets=True)

    found = aggregates_of(Store.open(store.url), "mine")
    assert found.n_instances.tolist() == [0]
    assert found.counts("late").nnz == 0
    assert np.isnan(found.mean("late")).all()
    assert np.isnan(found.variance("late")).all()
    assert np.isnan(found.maximum("late")).all()
    assert np.isnan(found.lift("late")).all()
    assert len(found.top("late", "none")) == 0


def test_aggregate__without_empty_subsets__keeps_their_names_and_everybodys_place(
    tmp_path,
):
    store = write_store(tmp_path / "s.zarr", RUN)
    labels = np.where(store.column("label") == 2, 5, store.column("label"))
    names = ["a", "b", "c", "d", "e", "f", "g"]
    other = write_store(tmp_path / "other.zarr", RUN)
    subsets = class_subsets(labels, names)

    aggregate(store, [subsets])
    aggregate(other, [subsets], empty_subsets=True)

    found = aggregates_of(Store.open(store.url), "label")
    whole = aggregates_of(Store.open(other.url), "label")
    assert found.names == ("a", "b", "d", "f")
    assert found.index.tolist() == [0, 1, 3, 5]
    assert found.all_names == whole.all_names == whole.names == tuple(names)
    assert whole.index.tolist() == list(range(7))
    rows = [whole.row(name) for name in found.names]
    assert found.n_instances.tolist() == whole.n_instances[rows].tolist()
    for layer in ("early", "late"):
        for kind in ("share", "lift", "mean", "variance", "maximum"):
            few, many = (getattr(one, kind)(layer) for one in (found, whole))
            np.testing.assert_array_equal(few, many[rows])
    assert (found.size("e"), whole.size("e")) == (0, 0)
    with pytest.raises(MissingDataError, match=r"'e' of 'label' has no instances"):
        found.top("early", "e")


@pytest.mark.slow
def test_aggregate__of_an_extended_store__finds_classes_that_were_empty(
    tmp_path, monkeypatch
):
    whole, url = grown(tmp_path, monkeypatch, 1)
    last = np.full(100, -1)
    last[80:] = 1
    last[::3] = 0
    store = Store.open(url, writable=True)
    aggregate(store, [class_subsets(last[:75], ["first", "last"])])
    assert aggregates_of(store, "label").names == ("first",)
    longer_store(whole, url, 100)

    aggregate(store, [class_subsets(last, ["first", "last"])])
    merged = tree_bytes(url / "aggregates")
    shutil.rmtree(url / "aggregates")
    aggregate(Store.open(url, writable=True), [class_subsets(last, ["first", "last"])])

    assert merged == tree_bytes(url / "aggregates")
    assert aggregates_of(Store.open(url), "label").names == ("first", "last")


@pytest.mark.slow
def test_aggregate__of_states_under_other_keys__starts_anew(tmp_path, monkeypatch):
    """An earlier nnviz kept them under what an event says, not source and layer."""
    whole, url = grown(tmp_path, monkeypatch, 1)
    aggregate_standard(url)
    store = Store.open(url, writable=True)
    for name in ("all", "label", "outcome"):
        attributes = store.groups.attributes(f"aggregates/{name}")
        states = attributes.pop("states")
        assert set(states) == {
            "activations/early",
            "activations/late",
            "activations/output",
        }
        attributes["states"] = {
            key.replace("/", " of "): state for key, state in states.items()
        }
        store.groups.finish(f"aggregates/{name}", attributes)
    longer_store(whole, url, 100)

    aggregate_standard(url)
    found = tree_bytes(url / "aggregates")
    shutil.rmtree(url / "aggregates")
    aggregate_standard(url)

    assert found == tree_bytes(url / "aggregates")


def test_aggregate__takes_a_run_of_which_nothing_is_usable(tmp_path):
    run = PlantedRun(n_instances=10, n_unreadable=10)
    store = write_store(tmp_path / "s.zarr", run)

    aggregate(store, [named_subsets(store, "label")])

    assert aggregates_of(store, "all").n_instances.tolist() == [0]


def test_aggregate__replaces_what_was_there(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    first = class_subsets(store.column("label"), store.class_names, name="mine")
    aggregate(store, [first])

    usable = np.flatnonzero(store.usable())
    aggregate(store, [collect_subsets([Subset("a", usable[:1])], 120, name="mine")])

    assert aggregates_of(Store.open(store.url), "mine").names == ("a",)


def test_aggregate__on_a_cluster_writes_the_same_bytes(store, tmp_path, client):
    other = write_store(tmp_path / "s.zarr", RUN)
    names = ("label", "prediction", "outcome")

    aggregate(other, [named_subsets(other, n) for n in names], client=client)

    here = tree_bytes(tmp_path / "s.zarr" / "aggregates")
    folder = type(tmp_path)(store.url) / "aggregates"
    assert tree_bytes(folder) == here


@pytest.mark.cluster
@pytest.mark.slow
def test_aggregate__on_processes_writes_the_same_bytes(store, tmp_path):
    distributed = pytest.importorskip("distributed")
    other = write_store(tmp_path / "s.zarr", RUN)
    names = ("label", "prediction", "outcome")
    subsets = [named_subsets(other, name) for name in names]

    with distributed.Client(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    ) as client:
        aggregate(other, subsets, client=client)

    folder = type(tmp_path)(store.url) / "aggregates"
    assert tree_bytes(tmp_path / "s.zarr" / "aggregates") == tree_bytes(folder)


def test_aggregate__tells_its_listeners(tmp_path):
    store, listener = write_store(tmp_path / "s.zarr", RUN), Recorder()

    aggregate(store, [], listeners=[listener])

    assert [type(event) for event in listener.events] == [
        StageStarted,
        TaskDone,
        TaskDone,
        TaskDone,
        StageDone,
    ]
    assert listener.events[1].task == "activations of early"
    assert listener.events[1].n_bytes > 0


def test_aggregate__refuses_an_incomplete_extraction(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN, missing_chunks=[1])

    with pytest.raises(MissingDataError, match="1 of 3 chunks; run 'nnviz extract"):
        aggregate(store, [all_instances(120)])


def test_aggregate__refuses_subsets_of_another_run(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)

    with pytest.raises(ShapeError, match="over 3 instances and the store over 120"):
        aggregate(store, [class_subsets([0, 0, 0], ["a"])])


def test_aggregate__refuses_two_collections_of_one_name(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)

    with pytest.raises(DatasetError, match=r"several collections.*'label'"):
        aggregate(store, [named_subsets(store, "label")] * 2)


def test_aggregate__refuses_damaged_activations_and_leaves_nothing_complete(
    tmp_path, client
):
    store = write_store(tmp_path / "s.zarr", RUN)
    piece = max((tmp_path / "s.zarr" / "activations" / "float16" / "c").rglob("0"))
    data = bytearray(piece.read_bytes())
    rows = RUN.instances_per_chunk
    first = place_of(store.url, "activations/late")[1]
    data[first // 16 * (rows * 16 * 2 + 4) + 100] ^= 1
    piece.write_bytes(data)

    with pytest.raises(StoreFormatError, match=r"'activations/late'.*is damaged"):
        aggregate(store, [], client=client)

    with pytest.raises(MissingDataError, match="run 'nnviz aggregate"):
        aggregates_of(Store.open(store.url), "all")


def test_aggregate__sums_influences_where_they_are_stored(tmp_path):
    store = write_influences(tmp_path / "s.zarr")

    aggregate(store, [class_subsets(store.column("label"), store.class_names)])

    parts = [
        store.read(f"influences/late/{part}")
        for part in ("target", "source", "influence")
    ]
    members = np.flatnonzero(store.column("label") == 1)
    counts, sums = oracle.influences(*parts, members, n_targets=16, n_sources=12)
    path = "aggregates/label/influence_{}/late"
    found = store.groups.read_csr(path.format("counts"))[[1]].toarray()
    assert found.reshape(16, 12).tolist() == counts
    found = store.groups.read_csr(path.format("sums"))[[1]].toarray()
    np.testing.assert_allclose(found.reshape(16, 12), sums, rtol=1e-12)


def write_influences(path):
    """Write a planted run with random influences."""
    run = PlantedRun(
        n_classes=3, n_instances=40, layers=RUN.layers, instances_per_chunk=16
    )
    plain = write_store(path.with_name("plain.zarr"), run)
    plan = plain.plan
    extraction = replace(plan.extraction, targets="all", ranks=3)
    plan = replace(plan, extraction=extraction)
    names = ("id", "label")
    store = Store.create(
        path,
        plan,
        static={f"instances/{name}": plain.column(name) for name in names},
    )
    rng = np.random.default_rng(0)
    for index, (start, stop) in enumerate(store.chunks.spans):
        chunk = {}
        for spec in plan.arrays:
            if spec.path.startswith("influences/"):
                shape = (stop - start, *spec.shape[1:])
                chunk[spec.path] = random_part(rng, spec.path, shape, spec.dtype)
            elif spec.path.startswith("peaks/"):
                chunk[spec.path] = plain.read(spec.path, index, index + 1)
            elif spec.rows_per_shard == 16:
                chunk[spec.path] = plain.read(spec.path, start, stop)
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, chunk, counts)
    return store


def random_part(rng, path, shape, dtype):
    """Return targets, sources (some are none) or influences of random instances."""
    if path.endswith("/influence"):
        return rng.random(shape).astype(dtype)
    if path.endswith("/target"):
        values = np.tile(np.arange(shape[1]), (shape[0], 1))
    else:
        values = rng.permuted(np.tile(np.arange(12), (*shape[:2], 1)), axis=2)
        values = values[:, :, : shape[2]]
    return np.where(rng.random(shape) < 0.3, -1, values).astype(dtype)


def test_aggregates__hold_no_entry_twice_and_are_sorted(store):
    counts = aggregates_of(store, "outcome").counts("late")

    assert isinstance(counts, sparse.csr_array)
    assert counts.has_canonical_format
    assert counts.dtype == np.int64


def grown(tmp_path, monkeypatch, rows_per_span):
    """Return stores of 70 and of 100 of the same instances, in chunks of ten."""
    monkeypatch.setattr("nnviz.aggregation.aggregation.VALUES_PER_SPAN", rows_per_span)
    whole = write_store(tmp_path / "whole.zarr", replace(GROWING, n_unreadable=0))
    short = tmp_path / "short.zarr"
    longer_store(whole, short, 75)
    return whole, short


def longer_store(whole, url, n):
    """Write the first instances of a store as a store, or lengthen it to `n`."""
    plan = whole.plan
    before = Store.open(url).n_instances if url.exists() else 0
    plan = replace(plan, n_instances=n, extensions=(before,) if before else ())
    paths = ("instances/id", "instances/label")
    columns = {path: whole.read(path, before, n) for path in paths}
    if before:
        static = sorted(s.path for s in plan.arrays if s.is_static)
        record = {
            **root_attributes(str(url)),
            **plan_attributes(plan),
            "static_arrays": static,
        }
        stage_extension(str(url), record, columns, np.arange(n))
        finish_extension(str(url), plan.arrays, before)
    else:
        Store.create(url, plan, static=columns)
    store = Store.open(url, writable=True)
    for index in store.chunks.missing():
        start, stop = store.chunks.spans[index]
        arrays = {path: whole.read(path, start, stop) for path in store.chunks.arrays}
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, arrays, counts)


GROWING = PlantedRun(
    n_classes=4,
    n_instances=100,
    layers=(("early", 8, (4, 4)), ("late", 12, (2, 2))),
    instances_per_chunk=10,
    examples_per_channel=0,
)


def aggregate_standard(url, client=None):
    store = Store.open(url, writable=True)
    subsets = [named_subsets(store, name) for name in ("label", "outcome")]
    aggregate(store, subsets, client=client)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_values", "is_on_cluster"),
    [
        pytest.param(1, False, id="chunks"),
        pytest.param(2**8, True, id="spans-on-a-cluster"),
        pytest.param(2**24, False, id="one-span"),
    ],
)
def test_aggregate__of_an_extended_store__has_the_bytes_of_one_from_the_start(
    tmp_path, monkeypatch, client, n_values, is_on_cluster
):
    whole, url = grown(tmp_path, monkeypatch, n_values)
    aggregate_standard(url)
    longer_store(whole, url, 100)

    aggregate_standard(url, client if is_on_cluster else None)
    merged = tree_bytes(url / "aggregates")
    shutil.rmtree(url / "aggregates")
    aggregate_standard(url)

    assert merged == tree_bytes(url / "aggregates")


@pytest.mark.slow
def test_aggregate__of_an_extended_store__reads_only_what_is_new(tmp_path, monkeypatch):
    whole, url = grown(tmp_path, monkeypatch, 1)
    aggregate_standard(url)
    longer_store(whole, url, 100)
    # Seven chunks were whole, and are summed already: they cannot be read any more.
    for index in range(7):
        (url / f"activations/float16/c/{index}/0").write_bytes(b"no shard")

    aggregate_standard(url)

    expected = whole.activations("late").astype(np.float64).sum(axis=0)
    found = Store.open(url).groups.read("aggregates/all/activation_sum/late")[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert Store.open(url).groups.attributes("aggregates/label")["n_rows"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("change", ["subsets", "facts"])
def test_aggregate__of_other_subsets_or_facts__starts_anew(
    tmp_path, monkeypatch, change
):
    whole, url = grown(tmp_path, monkeypatch, 1)
    aggregate_standard(url)
    longer_store(whole, url, 100)
    store = Store.open(url, writable=True)
    if change == "facts":
        arrays = {path: store.read(path, 0, 10) for path in store.chunks.arrays}
        arrays["activations/late"] = arrays["activations/late"] + np.float16(1)
        counts = {"n_instances": 10, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(0, arrays, counts)
        aggregate_standard(url)
    else:
        other = class_subsets((store.column("label") + 1) % 4, store.class_names)
        aggregate(store, [other])

    merged = tree_bytes(url / "aggregates/label")
    shutil.rmtree(url / "aggregates")
    if change == "facts":
        aggregate_standard(url)
    else:
        aggregate(store, [other])

    assert merged == tree_bytes(url / "aggregates/label")
