"""Scores of nodes agree with networkx and with plain walks."""

import numpy as np
import pytest
from scipy import sparse

from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.scores import (
    count_personalization,
    downward_pagerank,
    downward_walks,
    has_cycles,
    in_strength,
    out_strength,
    specificity,
    touched_nodes,
    undirected_pagerank,
)
from tests.oracles import attribution_graph as oracle

SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("density", [0.05, 0.5], ids=["parts", "dense"])
def test_undirected_pagerank__agrees_with_networkx(seed, density):
    graph = oracle.random_graph(seed, (9, 12, 8, 10), density=density)

    scores = undirected_pagerank(graph, count_personalization(graph))

    np.testing.assert_allclose(scores, oracle.summit_pagerank(graph), atol=1e-8)
    assert scores.sum() == pytest.approx(1, abs=1e-12)
    assert (scores[~touched_nodes(graph)] == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("skips", [False, True], ids=["chain", "skips"])
def test_downward_pagerank__agrees_with_networkx(seed, skips):
    graph = oracle.random_graph(seed, (9, 12, 8, 10), density=0.3, skips=skips)
    start = np.random.default_rng(seed).random(graph.n_nodes)

    scores = downward_pagerank(graph, start)

    wanted = oracle.downward_pagerank(graph, start.tolist())
    np.testing.assert_allclose(scores, wanted, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_downward_walks__without_damping__are_shares_of_paths(seed):
    graph = oracle.random_graph(seed, (4, 5, 4, 3), density=0.6, skips=True)
    start = np.zeros(graph.n_nodes)
    start[graph.span("layer3").start] = 1

    passing = downward_walks(graph, start, damping=1.0)

    wanted = oracle.share_of_paths(graph, ("layer3", 0))
    np.testing.assert_allclose(passing, wanted, atol=1e-14)


def test_downward_walks__in_a_chain_without_dead_ends__conserve_the_evidence():
    graph = oracle.random_graph(1, (6, 6, 6), density=1.0)
    start = np.zeros(graph.n_nodes)
    start[-1] = 1

    passing = downward_walks(graph, start, damping=1.0)

    sums = [passing[span].sum() for span in graph.spans.values()]
    np.testing.assert_allclose(sums, 1, atol=1e-14)


def test_downward_pagerank__with_cycles__agrees_with_networkx():
    rng = np.random.default_rng(3)
    arcs = {
        pair: sparse.csr_array(rng.integers(0, 5, (4, 4)))
        for pair in (("b", "a"), ("a", "b"), ("b", "b"))
    }
    graph = FullGraph(("a", "b"), (np.ones(4, int), np.ones(4, int)), arcs, 5)
    start = rng.random(8)

    scores = downward_pagerank(graph, start)

    assert has_cycles(graph)
    wanted = oracle.downward_pagerank(graph, start.tolist())
    np.testing.assert_allclose(scores, wanted, atol=1e-10)


@pytest.mark.parametrize("score", [undirected_pagerank, downward_pagerank])
def test_pagerank__without_any_count__is_zero(score):
    graph = oracle.random_graph(0, (3, 3))

    assert (score(graph, np.zeros(6)) == 0).all()


def test_personalization__of_nodes_without_arcs__is_zero():
    arcs = {("b", "a"): sparse.csr_array(np.array([[0, 2], [0, 0]]))}
    graph = FullGraph(("a", "b"), (np.array([4, 2]), np.array([3, 0])), arcs, 4)

    assert count_personalization(graph).tolist() == [0, 0.5, 1, 0]


def test_strengths__are_sums_of_arcs():
    graph = oracle.random_graph(2, (3, 4, 2), skips=True)
    arcs = oracle.arcs_of(graph)

    entering, leaving = {}, {}
    for (t_layer, t, s_layer, s), value in arcs.items():
        entering[t_layer, t] = entering.get((t_layer, t), 0) + value
        leaving[s_layer, s] = leaving.get((s_layer, s), 0) + value
    assert in_strength(graph).tolist() == oracle.flat(graph, entering)
    assert out_strength(graph).tolist() == oracle.flat(graph, leaving)


def test_specificity__is_a_lift_that_is_sure():
    here = FullGraph(("a",), (np.array([50, 500, 1, 0]),), {}, 500)
    everywhere = FullGraph(("a",), (np.array([1000, 1000, 2, 0]),), {}, 10_000)

    usual, often, once, never = specificity(here, everywhere)

    assert 0.7 < usual < 1
    assert 9.9 < often < 10
    assert once < 10 / 5
    assert never == 0
