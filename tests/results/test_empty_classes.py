"""Classes without instances have no rows, and everybody else keeps name and place."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

from nnviz.aggregation.aggregation import aggregate
from nnviz.cli.main import main
from nnviz.derivation.derivation import derive
from nnviz.errors import MissingDataError
from nnviz.graphs.making import attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.graphs.options import GraphOptions
from nnviz.results.graph_results import GraphRequest, GraphResults, subset_of
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(n_classes=8, n_instances=120, influence_ranks=3, share=0.7)
PRESENT = (1, 4, 6)
EMPTY = RUN.names[2]


def store_of(url, *, empty_subsets):
    """Write a run of which only some classes have usable instances."""
    store = write_store(url, RUN)
    is_present = np.isin(store.column("label"), PRESENT)
    status = np.where(is_present, "", "left out").astype(object)
    for index, (start, stop) in enumerate(store.chunks.spans):
        arrays = {}
        for path in store.chunks.arrays:
            by_chunk = path.startswith("peaks/")
            rows = (index, index + 1) if by_chunk else (start, stop)
            arrays[path] = store.read(path, *rows)
        arrays["instances/status"] = status[start:stop]
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, arrays, counts)
    store = Store.open(url, writable=True)
    names = ("label", "outcome")
    aggregate(
        store,
        [named_subsets(store, name) for name in names],
        empty_subsets=empty_subsets,
    )
    derive(store, pictures=False)
    return Store.open(url)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("few") / "run.zarr", empty_subsets=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("all") / "run.zarr", empty_subsets=True)


def test_derive__makes_graphs_of_present_classes_only(store, whole):
    path = "artifacts/attribution_graphs/label/directed"

    names = [one.groups.attributes(path)["names"] for one in (store, whole)]

    assert names == [[RUN.names[index] for index in PRESENT], list(RUN.names)]


@pytest.mark.parametrize("index", PRESENT)
def test_graph__of_a_class__starts_at_its_own_output(store, whole, index):
    found = attribution_graph(store, RUN.names[index])

    assert found == attribution_graph(whole, RUN.names[index])
    assert found.keys()[-1] == ("output", index)


def test_page__has_every_number_at_its_class(store, whole):
    few, many = RunResults(store), RunResults(whole)

    assert few.class_table().present.tolist() == list(PRESENT)
    for layer in ("early", "late"):
        for index in PRESENT:
            used, wanted = (one.channels(layer, index) for one in (few, many))
            assert used.subset == RUN.names[index]
            np.testing.assert_array_equal(used.count, wanted.count)
            np.testing.assert_array_equal(used.lift, wanted.lift)
        for channel in range(3):
            np.testing.assert_array_equal(
                few.share_by_subset(layer, channel),
                many.share_by_subset(layer, channel),
            )
        np.testing.assert_array_equal(few.similarity(layer), many.similarity(layer))
        assert few.embedding(layer).shape == (8, 2)
        np.testing.assert_array_equal(few.embedding(layer), many.embedding(layer))


def test_page__names_the_subset_of_every_class(store):
    graphs = GraphResults(store)
    classes, outcomes = graphs.collection("label"), graphs.collection("outcome")

    for index, name in enumerate(RUN.names):
        assert subset_of(classes, index, "") == name
        assert subset_of(outcomes, index, "wrong") == f"{name} wrong"


def test_comparison__of_present_classes__is_that_with_all(store, whole):
    names = RUN.names[1], RUN.names[6]

    found, wanted = (compare_subsets(one, *names) for one in (store, whole))

    assert (found.first, found.second) == (wanted.first, wanted.second)
    np.testing.assert_array_equal(
        found.node_parts.second_count, wanted.node_parts.second_count
    )


def test_commands__of_an_empty_class__say_that_it_has_no_instances(store):
    runner = CliRunner()

    graph = runner.invoke(main, ["graph", store.url, EMPTY])
    compare = runner.invoke(main, ["compare", store.url, RUN.names[1], EMPTY])

    for result in (graph, compare):
        assert result.exit_code == 1
        assert f"{EMPTY!r} of 'label' has no instances" in result.output
    with pytest.raises(MissingDataError, match="has no instances"):
        GraphResults(store).graph(GraphRequest("label", EMPTY, "", GraphOptions()))


def test_export__names_every_row(store, tmp_path):
    result = CliRunner().invoke(main, ["export", store.url, str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    with (tmp_path / "out/aggregates/label/late.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["subset"] for row in rows)) == [
        RUN.names[index] for index in PRESENT
    ]
    with (tmp_path / "out/classes.csv").open() as file:
        sizes = {row["class"]: int(row["n_instances"]) for row in csv.DictReader(file)}
    assert list(sizes) == list(RUN.names)
    assert [name for name, n in sizes.items() if n] == [
        RUN.names[index] for index in PRESENT
    ]


def test_aggregate__prints_how_many_subsets_it_has_made(store, scheduler_address):
    command = ["aggregate", store.url, "--scheduler", scheduler_address, "--quiet"]
    few, many = (
        CliRunner().invoke(main, [*command, *arguments])
        for arguments in ([], ["--empty-subsets"])
    )

    assert "label: 3 subsets" in few.output
    assert "label: 8 subsets" in many.output
