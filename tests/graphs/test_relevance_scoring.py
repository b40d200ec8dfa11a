"""Graphs whose channels are kept by relevance: planted ones, and those of the sums."""

from __future__ import annotations

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.errors import MissingDataError
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, planted_channels, write_store

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


def by_hand(store, layer, members):
    usable = ~RUN.is_unreadable
    product, gradient, mean = (
        store.read(f"relevance/{layer}/{part}").astype(np.float64)
        for part in ("product", "gradient", "mean")
    )
    relevance = product - mean[usable].mean(0) * gradient
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


def test_graph__has_errors_by_blocks(store):
    graph = attribution_graph(store, "class 001", scoring="relevance", jackknife=5)

    assert graph.errors is not None
    scores = SubsetGraphs(store).graph("class 001", scoring="relevance").score
    np.testing.assert_allclose(graph.score, scores, atol=1e-9)


def test_graph__inner_layer_without_relevance_is_named(tmp_path):
    run = PlantedRun(influence_ranks=3, share=0.7)
    store = write_store(tmp_path / "run.zarr", run)
    aggregate(store, [named_subsets(store, "label")])

    with pytest.raises(MissingDataError, match="relevance = "):
        attribution_graph(store, "class 001", scoring="relevance")
