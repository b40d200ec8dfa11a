"""Both presets, rule by rule, and at their edges."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from nnviz.errors import ShapeError, UnknownNameError
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.presets import (
    directed_graph,
    directed_selection,
    kept_graph,
    summit_graph,
)
from tests.oracles import attribution_graph as oracle


def output(n_channels, *channels):
    start = np.zeros(n_channels)
    start[list(channels)] = 1
    return start


@pytest.mark.parametrize("seed", range(4))
def test_summit__agrees_with_the_published_steps_in_plain_loops(seed):
    full = oracle.random_graph(seed, (15, 20, 18, 16), density=0.3)

    graph = summit_graph(full, subset="some")

    scores = np.array(oracle.summit_pagerank(full))
    kept = oracle.kept_with_raised_shares(full, scores, 0.075)
    arcs = oracle.arcs_that_continue(full, kept)
    assert set(graph.keys()) == kept
    assert {(t, s) for s, t in graph.arc_keys()} == arcs
    values = oracle.arcs_of(full)
    wanted = [values[(*target, *source)] for source, target in graph.arc_keys()]
    assert graph.arc_count.tolist() == wanted


def test_directed__scores_are_shares_of_the_outputs_evidence():
    full = oracle.random_graph(2, (8, 9, 8, 3), density=0.7, skips=True)

    graph = directed_graph(full, ("layer3", output(3, 1)), subset="some")

    wanted = oracle.share_of_paths(full, ("layer3", 1))
    offsets = full.offsets
    nodes = [offsets[layer] + channel for layer, channel in graph]
    np.testing.assert_allclose(graph.score, np.array(wanted)[nodes], atol=1e-14)
    assert graph.score[graph.node("layer3", 1)] == 1


def test_directed__every_node_leads_up_to_the_start():
    full = oracle.random_graph(7, (20, 20, 20, 5), density=0.15)

    graph = directed_graph(full, ("layer3", output(5, 0)), subset="some", share=0.3)

    feeding = set(graph.source.tolist())
    start = graph.node("layer3", 0)
    assert [n for n in range(len(graph)) if n not in feeding and n != start] == []


def test_directed__by_another_ranking__keeps_what_evidence_runs_through():
    full = oracle.random_graph(7, (20, 20, 5), density=0.15)
    start = ("layer2", output(5, 0))
    ranking = np.random.default_rng(0).random(full.n_nodes)

    selection = directed_selection(full, start, ranking=ranking, at_least=2)

    graph = kept_graph(full, selection, subset="some", preset="directed")
    evidence = np.array(oracle.share_of_paths(full, ("layer2", 0)))
    nodes = [full.offsets[layer] + channel for layer, channel in graph]
    assert (evidence[nodes] > 0).all()
    early = np.flatnonzero(evidence[full.span("layer0")])
    best = early[np.argmax(ranking[early])]
    assert ("layer0", int(best)) in graph.keys()  # noqa: SIM118  a list, not a dict


def test_base_rates__come_from_all_instances():
    full = oracle.random_graph(1, (6, 6), largest=20)
    everything = oracle.random_graph(2, (6, 6), largest=200, density=0.9)

    graph = summit_graph(full, subset="some", everything=everything, share=0.6)

    base = dict(zip(everything.layers, everything.counts, strict=True))
    arcs = oracle.arcs_of(everything)
    assert graph.base_count.tolist() == [base[n][c] for n, c in graph]
    wanted = [arcs.get((*target, *source), 0) for source, target in graph.arc_keys()]
    assert graph.arc_base_count.tolist() == wanted
    np.testing.assert_allclose(graph.lift, graph.share / graph.base_rate)


def test_strongest_sources__are_the_three_largest_of_the_full_graph():
    full = oracle.random_graph(3, (9, 9, 9), skips=True)

    graph = directed_graph(full, ("layer2", output(9, 4)), subset="some")

    node = graph.node("layer2", 4)
    into = sorted(
        (-value, s_layer, s)
        for (t_layer, t, s_layer, s), value in oracle.arcs_of(full).items()
        if (t_layer, t) == ("layer2", 4)
    )[:3]
    found = list(
        zip(
            (-graph.strongest_count[node]).tolist(),
            [graph.layers[i] for i in graph.strongest_layer[node]],
            graph.strongest_channel[node].tolist(),
            strict=True,
        )
    )
    assert found == into


def empty(n_instances):
    arcs = {("b", "a"): sparse.csr_array((3, 2), dtype=np.int64)}
    return FullGraph(
        ("a", "b"), (np.zeros(2, int), np.zeros(3, int)), arcs, n_instances
    )


@pytest.mark.parametrize("n_instances", [0, 1], ids=["no-instance", "one-instance"])
def test_presets__where_nothing_was_counted__are_empty(n_instances):
    full = empty(n_instances)

    summit = summit_graph(full, subset="none", everything=full)
    directed = directed_graph(full, ("b", np.zeros(3)), subset="none", everything=full)

    assert (summit.n_nodes, summit.n_arcs) == (directed.n_nodes, directed.n_arcs)
    assert (summit.n_nodes, summit.n_arcs) == (0, 0)
    assert "0 nodes, 0 arcs" in repr(directed)


def test_presets__of_one_instance__keep_its_path():
    arcs = {("b", "a"): sparse.csr_array(np.array([[0, 0], [1, 0], [0, 0]]))}
    counts = np.array([1, 0]), np.array([0, 1, 0])
    full = FullGraph(("a", "b"), counts, arcs, 1)

    for graph in (
        summit_graph(full, subset="one"),
        directed_graph(full, ("b", output(3, 1)), subset="one"),
    ):
        assert graph.keys() == [("a", 0), ("b", 1)]
        assert graph.arc_keys() == [(("a", 0), ("b", 1))]


def test_presets__of_disconnected_parts_and_a_layer_without_top_channels__work():
    first = np.zeros((4, 4), int)
    first[:2, :2] = 3
    arcs = {("b", "a"): sparse.csr_array(first), ("d", "c"): sparse.csr_array(first)}
    counts = (np.full(4, 3), np.full(4, 3), np.zeros(4, int), np.full(4, 3))
    full = FullGraph(("a", "b", "c", "d"), counts, arcs, 3)

    summit = summit_graph(full, subset="parts", share=0.5)
    directed = directed_graph(full, ("d", output(4, 0)), subset="parts")

    assert {layer for layer, _ in summit} <= {"a", "b", "c", "d"}
    assert {layer for layer, _ in directed} == {"c", "d"}
    assert directed.n_arcs > 0


def test_graph__equals_itself_and_no_other():
    full = oracle.random_graph(1, (5, 5))
    graph = summit_graph(full, subset="some", share=0.5)

    assert graph == summit_graph(full, subset="some", share=0.5)
    assert graph != dataclasses.replace(graph, subset="other")
    assert graph != 3


def test_graph__unknown_node__is_named():
    graph = summit_graph(oracle.random_graph(1, (5, 5)), subset="some", share=0.1)

    with pytest.raises(UnknownNameError, match="channel 99 of layer 'layer1'"):
        graph.node("layer1", 99)


def test_graph__with_arrays_of_other_lengths__is_refused():
    graph = summit_graph(oracle.random_graph(1, (5, 5)), subset="some", share=0.5)

    with pytest.raises(ShapeError, match="have other lengths"):
        dataclasses.replace(graph, count=graph.count[1:])
