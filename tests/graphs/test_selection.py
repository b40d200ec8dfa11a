"""The rules by which nodes and arcs are kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.scores import (
    count_personalization,
    downward_walks,
    undirected_pagerank,
)
from nnviz.graphs.selection import (
    arcs_between,
    arcs_that_continue,
    connected_upwards,
    nodes_above_next_value,
    nodes_until_share,
    nodes_with_raised_shares,
)
from tests.oracles import attribution_graph as oracle

VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=1, max_size=9)


def keys_of(graph, keep):
    names = [
        (n, c)
        for n, k in zip(graph.layers, graph.counts, strict=True)
        for c in range(len(k))
    ]
    return {name for name, kept in zip(names, keep, strict=True) if kept}


@given(VALUES, st.sampled_from([0.075, 0.3, 0.5, 0.99, 1.0]))
@settings(max_examples=100, deadline=None)
def test_nodes_above_next_value__agree_with_get_threshold(values, share):
    keep = nodes_above_next_value(np.array(values), share)

    assert np.flatnonzero(keep).tolist() == oracle.kept_by_summit(values, share)


@given(VALUES, st.sampled_from([0.0, 0.075, 0.5, 1.0]))
@settings(max_examples=100, deadline=None)
def test_nodes_until_share__are_the_fewest_that_hold_it(values, share):
    values = np.array(values)

    keep = nodes_until_share(values, share)

    held = values[keep].sum()
    assert held >= share * values.sum() * (1 - 1e-12)
    assert (values[keep] > 0).all()
    smallest = values[keep].min(initial=np.inf)
    assert (values[~keep] <= smallest).all()
    assert keep.sum() <= 1 or held - smallest < share * values.sum()


def test_cuts__of_a_layer_without_channels__keep_nothing():
    assert nodes_until_share(np.zeros(0), 0.5).shape == (0,)
    assert nodes_above_next_value(np.zeros(0), 0.5).shape == (0,)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.03, 0.3], ids=["sparse", "dense"])
def test_summit_nodes_and_arcs__agree_with_plain_loops(seed, density):
    graph = oracle.random_graph(seed, (10, 14, 12, 9), density=density)
    scores = undirected_pagerank(graph, count_personalization(graph))

    keep = nodes_with_raised_shares(graph, scores)
    arcs = arcs_that_continue(graph, arcs_between(graph, keep))

    wanted = oracle.kept_with_raised_shares(graph, scores, 0.075)
    assert keys_of(graph, keep) == wanted
    names = [
        (n, c)
        for n, k in zip(graph.layers, graph.counts, strict=True)
        for c in range(len(k))
    ]
    found = {
        (names[t], names[s])
        for t, s in zip(arcs.target.tolist(), arcs.source.tolist(), strict=True)
    }
    assert found == oracle.arcs_that_continue(graph, wanted)


def test_raised_shares__where_no_arc_can_ever_be_kept__end():
    arcs = {("b", "a"): sparse.csr_array((2, 2), dtype=np.int64)}
    graph = FullGraph(("a", "b"), (np.ones(2, int), np.ones(2, int)), arcs, 1)

    keep = nodes_with_raised_shares(graph, np.array([0.3, 0.2, 0.3, 0.2]))

    assert keep.all()


def test_arcs_between__have_the_values_of_the_full_graph():
    graph = oracle.random_graph(4, (5, 6, 4), skips=True)
    keep = np.random.default_rng(4).random(graph.n_nodes) < 0.6

    arcs = arcs_between(graph, keep)

    kept = keys_of(graph, keep)
    wanted = [
        value
        for (t_layer, t, s_layer, s), value in sorted(oracle.arcs_of(graph).items())
        if (t_layer, t) in kept and (s_layer, s) in kept
    ]
    assert arcs.value.tolist() == wanted


@pytest.mark.parametrize("seed", range(5))
def test_connected_upwards__links_every_node_to_the_start(seed):
    graph = oracle.random_graph(seed, (12, 12, 12, 1), density=0.2)
    start = np.zeros(graph.n_nodes)
    start[-1] = 1
    scores = downward_walks(graph, start, damping=1.0)
    keep = np.concatenate(
        [nodes_until_share(scores[span], 0.2) for span in graph.spans.values()]
    )

    linked = connected_upwards(graph, scores, keep)

    arcs = arcs_between(graph, linked)
    assert (linked >= keep).all()
    feeding = set(arcs.source.tolist())
    assert [n for n in np.flatnonzero(linked)[:-1].tolist() if n not in feeding] == []
