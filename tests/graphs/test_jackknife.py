"""Errors of graphs, and graphs of any instances: against graphs made by leaving out."""

import dataclasses

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset, collect_subsets
from nnviz.testing import PlantedRun, write_store

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
def test_jackknife__is_that_of_graphs_without_each_block(store, options):
    """Leave out each block by hand; a plain loop for the formula."""
    label = 3
    instances = usable_instances(store, label)
    n = len(instances)
    groups = [[] for _ in range(N_BLOCKS)]
    for place, instance in enumerate(instances):
        groups[place * N_BLOCKS // n].append(instance)
    options = {"share": 1.0, **options}

    found = attribution_graph(store, RUN.names[label], jackknife=N_BLOCKS, **options)

    plain = attribution_graph(store, RUN.names[label], **options)
    assert dataclasses.replace(found, errors=None) == plain
    assert found.errors.n_blocks == N_BLOCKS
    without = []
    for group in groups:
        rest = [i for i in instances if i not in group]
        subsets = [
            Subset(name, rest if index == label else [])
            for index, name in enumerate(RUN.names)
        ]
        # Of predictions, so that walks start at the class's output.
        collection = dataclasses.replace(
            collect_subsets(subsets, 90, name="rest"), kind="prediction"
        )
        aggregate(store, [collection])
        without.append(
            attribution_graph(
                Store.open(store.url), RUN.names[label], subsets="rest", **options
            )
        )
    for node, key in enumerate(found.keys()):
        scores = [
            graph.score[graph.node(*key)] if key in graph.keys() else 0.0  # noqa: SIM118
            for graph in without
        ]
        mean = sum(scores) / N_BLOCKS
        squares = sum((score - mean) ** 2 for score in scores)
        wanted = ((N_BLOCKS - 1) / N_BLOCKS * squares) ** 0.5
        assert found.errors.score[node] == pytest.approx(wanted, abs=1e-12)
        kept = sum(key in graph.keys() for graph in without) / N_BLOCKS  # noqa: SIM118
        assert found.errors.kept[node] == pytest.approx(kept)
    for arc, key in enumerate(found.arc_keys()):
        kept = sum(key in graph.arc_keys() for graph in without) / N_BLOCKS
        assert found.errors.arc_kept[arc] == pytest.approx(kept)


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
