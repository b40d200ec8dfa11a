"""Graphs whose channels are kept by relevance: planted ones, and those of the sums."""

from __future__ import annotations

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.errors import MissingDataError
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, planted_channels, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(
    n_classes=6,
    n_instances=180,
    examples_per_channel=0,
    influence_ranks=3,
    share=0.7,
    n_unreadable=4,
    instances_per_chunk=32,
    has_relevance=True,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("graphs") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    return Store.open(store.url)


def by_hand(store, layer, members, reference=None):
    usable = ~RUN.is_unreadable
    product, gradient, mean = (
        store.read(f"relevance/{layer}/{part}").astype(np.float64)
        for part in ("product", "gradient", "mean")
    )
    reference = usable if reference is None else reference & usable
    relevance = product - mean[reference].mean(0) * gradient
    return np.maximum(relevance[members & usable].mean(0), 0)


@pytest.mark.parametrize("subset", ["class 002", "label = 'class 002'"])
def test_graph__scores_are_mean_relevances_of_channels_with_evidence(store, subset):
    graph = attribution_graph(store, subset, scoring="relevance", share=1.0)

    for layer, _, _ in RUN.layers:
        nodes = graph.nodes_of(layer)
        wanted = by_hand(store, layer, RUN.labels == 2)[graph.channel[nodes]]
        np.testing.assert_allclose(graph.score[nodes], wanted, atol=1e-9)
        best = nodes[np.argsort(-graph.score[nodes], kind="stable")][:3]
        assert sorted(graph.channel[best]) == planted_channels(RUN, layer, 2)
    assert graph.n_arcs


@pytest.mark.parametrize("subset", ["class 002", "label = 'class 002'"])
@pytest.mark.parametrize(
    ("scoring", "part"), [("gradient", "gradient"), ("gradient_norm", "norm")]
)
def test_graph__scores_are_other_signals_where_they_are_asked_for(
    store, subset, scoring, part
):
    graph = attribution_graph(store, subset, scoring=scoring, share=1.0)

    members = (RUN.labels == 2) & ~RUN.is_unreadable
    for layer, _, _ in RUN.layers:
        nodes = graph.nodes_of(layer)
        values = store.read(f"relevance/{layer}/{part}")[members].astype(np.float64)
        wanted = np.maximum(values.mean(0), 0)[graph.channel[nodes]]
        np.testing.assert_allclose(graph.score[nodes], wanted, atol=1e-9)


def test_graph__has_errors_by_blocks(store):
    graph = attribution_graph(store, "class 001", scoring="relevance", jackknife=5)

    assert graph.errors is not None
    scores = SubsetGraphs(store).graph("class 001", scoring="relevance").score
    np.testing.assert_allclose(graph.score, scores, atol=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [("class 002", "class 004"), ("class 002", "label = 'class 004'")],
)
@pytest.mark.parametrize("jackknife", [0, 5])
def test_compare__tells_the_relevance_of_each_against_the_other(
    store, first, second, jackknife
):
    found = compare_subsets(
        store, first, second, scoring="relevance", share=1.0, jackknife=jackknife
    )

    members = RUN.labels == 2, RUN.labels == 4
    for graph, own, other in (
        (found.first, *members),
        (found.second, *reversed(members)),
    ):
        for layer, _, _ in RUN.layers:
            nodes = graph.nodes_of(layer)
            wanted = by_hand(store, layer, own, other)[graph.channel[nodes]]
            np.testing.assert_allclose(graph.score[nodes], wanted, atol=1e-9)
    assert any("against the mean in the other" in note for note in found.notes)


def test_compare__by_another_scoring__has_the_graphs_of_each_alone(store):
    found = compare_subsets(store, "class 002", "class 004")

    alone = attribution_graph(store, "class 002")
    np.testing.assert_array_equal(found.first.score, alone.score)
    assert not any("relevance" in note for note in found.notes)


def test_graph__inner_layer_without_relevance_is_named(tmp_path):
    run = PlantedRun(influence_ranks=3, share=0.7)
    store = write_store(tmp_path / "run.zarr", run)
    aggregate(store, [named_subsets(store, "label")])

    with pytest.raises(MissingDataError, match="relevance = "):
        attribution_graph(store, "class 001", scoring="relevance")
