"""Errors of graphs, and graphs of any instances: against graphs made by leaving out."""

import dataclasses
import itertools

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import make_index
from nnviz.derivation.derivation import derive
from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.files import to_networkx
from nnviz.graphs.jackknife import resampled_weights
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset, collect_subsets
from nnviz.testing import PlantedRun, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(
    n_classes=4,
    n_instances=90,
    influence_ranks=3,
    share=0.8,
    accuracy=0.7,
    n_unreadable=5,
    instances_per_chunk=16,
    examples_per_channel=0,
)
N_BLOCKS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("errors") / "run.zarr", RUN)
    mine = [Subset("odd", np.arange(1, 90, 2)), Subset("one", [7]), Subset("none", [])]
    collection = collect_subsets(mine, store.n_instances, name="mine")
    names = ("label", "outcome")
    collections = [*(named_subsets(store, name) for name in names), collection]
    aggregate(store, collections, empty_subsets=True)
    return Store.open(store.url)


def usable_instances(store, label):
    return [
        i
        for i, (one, status) in enumerate(
            zip(store.column("label"), store.column("status"), strict=True)
        )
        if one == label and not status
    ]


@pytest.mark.parametrize(
    ("subsets", "name", "instances"),
    [
        ("label", RUN.names[2], None),
        ("mine", "odd", range(1, 90, 2)),
        ("mine", "one", [7]),
        ("mine", "none", []),
    ],
    ids=["class", "odd", "one", "none"],
)
@pytest.mark.parametrize("preset", ["directed", "summit"])
def test_graph__of_instances__is_that_of_the_aggregated_subset(
    store, subsets, name, instances, preset
):
    if instances is None:
        instances = np.flatnonzero(store.column("label") == 2)

    counted = attribution_graph(store, Subset(name, list(instances)), preset=preset)

    wanted = attribution_graph(store, name, subsets=subsets, preset=preset)
    if subsets == "label" and preset == "directed":
        # It starts at all outputs that its instances have, not at that of the class.
        assert counted.n_instances == wanted.n_instances
        assert counted.layers == wanted.layers
    else:
        assert counted == wanted


@pytest.fixture(scope="module")
def groups(store):
    """Return the instances of each block of class 3, drawn by hand."""
    instances = usable_instances(store, 3)
    n = len(instances)
    groups = [[] for _ in range(N_BLOCKS)]
    places = np.random.default_rng(0).permutation(n)
    for place, instance in zip(places, instances, strict=True):
        groups[place * N_BLOCKS // n].append(instance)
    return groups


@pytest.fixture(scope="module")
def parts(groups, tmp_path_factory):
    """Return a store with aggregates of class 3 without each block, and of halves."""
    store = write_store(tmp_path_factory.mktemp("parts") / "run.zarr", RUN)
    left = [[g for g in groups if g is not group] for group in groups]
    chosen = {f"without-{i}": one for i, one in enumerate(left)}
    chosen |= {"half-1": groups[:2], "half-2": groups[2:]}
    aggregate(
        store,
        [
            of_class(3, sorted(itertools.chain(*of_part)), name)
            for name, of_part in chosen.items()
        ],
    )
    return Store.open(store.url)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "summit"},
        {"weight": "sum"},
        {"scoring": "specificity"},
    ],
    ids=["evidence", "summit", "sum", "specificity"],
)
def test_jackknife__is_that_of_graphs_without_each_block(store, parts, options):
    """Leave out each block by hand; a plain loop for the formula."""
    label = 3
    options = {"share": 1.0, **options}

    found = attribution_graph(store, RUN.names[label], jackknife=N_BLOCKS, **options)

    plain = attribution_graph(store, RUN.names[label], **options)
    assert dataclasses.replace(found, errors=None) == plain
    assert found.errors.n_blocks == N_BLOCKS

    def made(subsets):
        return attribution_graph(parts, RUN.names[label], subsets=subsets, **options)

    without = [made(f"without-{i}") for i in range(N_BLOCKS)]
    for node, key in enumerate(found.keys()):
        scores = [
            graph.score[graph.node(*key)] if key in set(graph.keys()) else 0.0
            for graph in without
        ]
        mean = sum(scores) / N_BLOCKS
        squares = sum((score - mean) ** 2 for score in scores)
        wanted = ((N_BLOCKS - 1) / N_BLOCKS * squares) ** 0.5
        assert found.errors.score[node] == pytest.approx(wanted, abs=1e-12)
    halves = [made(f"half-{i}") for i in (1, 2)]
    for name, share in (("keys", "nodes"), ("arc_keys", "arcs")):
        one, other = (set(getattr(half, name)()) for half in halves)
        wanted = len(one & other) / len(one | other)
        assert getattr(found.halves, share) == pytest.approx(wanted)


def of_class(label, chosen, name):
    """Return a collection in which some instances are all that a class has."""
    subsets = [
        Subset(of, chosen if index == label else [])
        for index, of in enumerate(RUN.names)
    ]
    # Of predictions, so that walks start at the class's output.
    return dataclasses.replace(
        collect_subsets(subsets, 90, name=name), kind="prediction"
    )


def graph_of_instances(store, label, chosen, options):
    aggregate(store, [of_class(label, chosen, "rest")])
    reopened = Store.open(store.url)
    return attribution_graph(reopened, RUN.names[label], subsets="rest", **options)


def test_halves__stand_beside_every_graph_of_an_indexed_store(store, tmp_path):
    """Of stored graphs and of sets that are asked for; halves are drawn by hand."""
    indexed = write_store(tmp_path / "run.zarr", RUN)
    aggregate(indexed, [named_subsets(indexed, "label")])
    make_index(indexed)
    derive(indexed, pictures=False)
    graphs = SubsetGraphs(Store.open(indexed.url))
    every, some = usable_instances(store, 3), Subset("some", np.arange(0, 90, 2))
    cases = [(RUN.names[3], every), (some, some.instances)]

    for subset, instances in cases:
        found = graphs.graph(subset)
        usable = np.intersect1d(instances, usable_store_rows(store))
        places = np.random.default_rng(0).permutation(len(usable))
        is_first = places * 2 // len(usable) == 0
        halves = [
            graphs.graph_of(graphs.counted(Subset("half", rows), 1))
            for rows in (usable[is_first], usable[~is_first])
        ]
        if subset != some:  # begins at its class's output, as a set of no name does not
            halves = [
                graph_of_instances(store, 3, usable[chosen], {})
                for chosen in (is_first, ~is_first)
            ]
        for name, share in (("keys", "nodes"), ("arc_keys", "arcs")):
            one, other = (set(getattr(half, name)()) for half in halves)
            wanted = len(one & other) / len(one | other)
            assert getattr(found.halves, share) == pytest.approx(wanted)
        said = f"graphs of two random halves share {found.halves.nodes:.0%}"
        assert said in found.remarks()[-1]
        attributes = to_networkx(found).graph
        assert attributes["half_nodes_jaccard"] == found.halves.nodes
    # Without an index they are not counted, and the graph is the same.
    assert graphs.graph(RUN.names[3]) == SubsetGraphs(store).graph(RUN.names[3])
    assert SubsetGraphs(store).graph(RUN.names[3]).halves is None


def usable_store_rows(store):
    return np.flatnonzero(store.column("status") == "")


def test_replication__is_how_often_a_node_is_kept_in_resampled_blocks(store):
    """Draw with the same weights from counts added up by hand."""
    label, options = 3, {"share": 0.3}
    found = attribution_graph(store, RUN.names[label], jackknife=N_BLOCKS, **options)
    graphs = SubsetGraphs(store)
    blocks = graphs.counted(RUN.names[label], N_BLOCKS)
    layers = [layer.name for layer in store.layers]
    rows = {name: blocks.blocks["activation_counts"][name].toarray() for name in layers}

    for weights in resampled_weights(N_BLOCKS)[:5]:
        drawn = blocks.weighted(weights)
        assert drawn.n_instances == (weights * blocks.sizes).sum()
        for name in layers:
            wanted = sum(w * row for w, row in zip(weights, rows[name], strict=True))
            assert drawn.counts(name).tolist() == wanted.tolist()
    assert resampled_weights(N_BLOCKS).sum(axis=1).tolist() == [N_BLOCKS] * 50
    assert ((found.errors.replication >= 0) & (found.errors.replication <= 1)).all()
    output = found.nodes_of(found.layers[-1])
    assert found.errors.replication[output].tolist() == [1.0]


def test_errors__of_a_sorted_subset_of_several_classes__are_those_of_a_shuffled_one(
    tmp_path,
):
    """Instances stand class by class in a folder; blocks of neighbours would not do."""
    run = dataclasses.replace(RUN, n_instances=240, n_unreadable=0, accuracy=1.0)
    store = write_store(tmp_path / "run.zarr", run)
    order = np.argsort(store.column("label"), kind="stable")
    aggregate(store, [named_subsets(store, "label")])
    graphs = SubsetGraphs(Store.open(store.url))

    blocks = graphs.counted(Subset("all", order), 20)

    last = store.layers[-1].name
    shares = blocks.blocks["activation_counts"][last].toarray() / blocks.sizes[:, None]
    top = shares.mean(axis=0)
    expected = np.sqrt(top * (1 - top) / 12)
    # Of neighbours, whole blocks would have one class: deviations of 0.43.
    assert (shares.std(axis=0) < 2 * expected + 0.02).all()


@pytest.mark.parametrize(("name", "n"), [("one", 1), ("none", 0)])
def test_jackknife__of_fewer_than_two_instances__says_so(store, name, n):
    graph = attribution_graph(store, name, subsets="mine", jackknife=5)

    assert graph.errors is None
    assert graph.problems[-1] == f"errors need two instances at least; {name!r} has {n}"


def test_jackknife__with_more_blocks_than_instances__leaves_out_single_ones(store):
    graph = attribution_graph(store, RUN.names[1], jackknife=1000)

    assert graph.errors.n_blocks == len(usable_instances(store, 1))


def test_jackknife__on_a_cluster__is_the_same(store, client):
    here = attribution_graph(store, RUN.names[1], jackknife=4)

    there = attribution_graph(store, RUN.names[1], jackknife=4, client=client)

    assert there == here


def test_graph__of_instances_that_are_not_there__says_how_many_there_are(store):
    with pytest.raises(ShapeError, match="3 to 90; the run has 90, from 0 on"):
        SubsetGraphs(store).graph(Subset("beyond", [3, 90]))


def test_jackknife__of_a_negative_number__is_refused(store):
    with pytest.raises(ConfigError, match="a number of blocks, 0 for none"):
        attribution_graph(store, RUN.names[1], jackknife=-1)
    with pytest.raises(ConfigError, match="a number of blocks, 0 for none"):
        compare_subsets(store, *RUN.names[:2], jackknife=-1)
