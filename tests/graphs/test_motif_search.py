"""Parts that many graphs share."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from nnviz.errors import ConfigError
from nnviz.graphs.kept_parts import kept_parts
from nnviz.graphs.motif_chance import chance_of, shuffled_parts, surprise
from nnviz.graphs.motif_search import find_motifs
from nnviz.graphs.motifs import Motifs
from tests.graphs.random_graphs import graph_of, random_graphs
from tests.oracles.shared_parts import closed_parts

BREEDS = frozenset(range(0, 56, 4))
PATH = [(0, 3), (1, 5), (2, 7), (3, 9)]
OTHERS, OTHER_PATH = frozenset(range(20, 44)), [(1, 1), (2, 2), (3, 3)]


def arcs_of(graphs):
    return {graph.subset: set(graph.arc_keys()) for graph in graphs}


@pytest.mark.parametrize("seed", range(6))
def test_motifs__of_small_tables__are_those_that_trying_everything_finds(seed):
    graphs = random_graphs(seed, 9, layers=3, channels=7)

    found = find_motifs(graphs, "label", shuffles=0, most=1000)

    known = closed_parts(arcs_of(graphs), 3)
    assert len(found) > 3
    for motif in found:
        assert set(motif.subsets) == known[frozenset(motif.arcs)]
        assert {*motif.nodes} == {end for arc in motif.arcs for end in arc}
    # None that trying everything finds is more surprising than the first of the list.
    parts = kept_parts(graphs, 3)
    chance = chance_of(parts)
    pairs = zip(parts.source.tolist(), parts.target.tolist(), strict=True)
    place = {(parts.nodes[a], parts.nodes[b]): i for i, (a, b) in enumerate(pairs)}
    bits = []
    for arcs, names in known.items():
        if len(arcs) < 2:
            continue
        nodes = [parts.nodes.index(x) for x in {end for arc in arcs for end in arc}]
        log = chance.log_node[:, nodes].sum(axis=1)
        log = log + chance.log_arc[[place[arc] for arc in arcs]].sum()
        bits.append(surprise(len(names), float(np.exp(log).sum()), len(graphs)))
    assert found[0].bits == pytest.approx(max(bits))


@pytest.mark.parametrize("seed", range(4))
def test_motifs__that_are_planted__come_out_on_top_and_once(seed):
    planted = [(BREEDS, PATH), (OTHERS, OTHER_PATH)]
    graphs = random_graphs(seed, 60, channels=40, planted=planted)

    found = find_motifs(graphs, "label")

    by_arcs = arcs_of(graphs)
    named = [(f"layer {layer}", channel) for layer, channel in PATH]
    path = set(itertools.pairwise(named))
    wanted = {name for name, arcs in by_arcs.items() if path <= arcs}
    assert found.by_chance > 0
    assert any(
        set(one.subsets) == wanted and path == set(one.arcs) for one in found[:2]
    )
    assert len({one.subsets for one in found}) == len(found)
    # What is planted is told once: of what is left, little is beyond chance.
    assert 2 <= len(found) <= 4
    assert all(one.new_bits > found.by_chance for one in found)
    new = [one.new_bits for one in found]
    assert new == sorted(new, reverse=True)


def test_motifs__of_few_graphs__say_what_it_would_take():
    few, many = (
        find_motifs(random_graphs(3, n, channels=40), "label") for n in (10, 60)
    )

    assert len(many.remarks()) == 1
    said = few.remarks()[1]
    assert said.startswith("10 graphs are few: a part of 3 of them is listed")
    told = float(said.split("give it to ")[1].split(" of them")[0])
    # The inequality, written out: what is told is where it has the bits of chance.
    x, y = 0.3, np.geomspace(1e-9, 0.29, 200_000)
    bits = 10 * (x * np.log2(x / y) + (1 - x) * np.log2((1 - x) / (1 - y)))
    assert told == pytest.approx(10 * y[bits >= few.by_chance].max(), rel=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("crowded", [1, 2])
def test_motifs__of_independent_graphs__are_hardly_ever_listed(crowded):
    listed = [
        bool(find_motifs(random_graphs(seed, 16, crowded=crowded, kept=3), "label"))
        for seed in range(40)
    ]

    # 5 % of 40 tables are 2; more than 6 come up in one of 200 times.
    assert stats.binom.sf(6, 40, 1 / 20) < 0.005
    assert sum(listed) <= 6


def test_shuffling__keeps_both_margins_and_forgets_the_rest():
    graphs = random_graphs(1, 60, channels=40, crowded=2, planted=[(BREEDS, PATH)])
    parts = kept_parts(graphs)

    dealt, _ = shuffled_parts(parts, chance_of(parts), np.random.default_rng(0))

    assert (dealt.has_node.sum(axis=0) == parts.has_node.sum(axis=0)).all()
    for layer in range(4):
        columns = parts.layer == layer
        of_graph = [x.has_node[:, columns].sum(axis=1) for x in (parts, dealt)]
        assert (of_graph[0] == of_graph[1]).all()
    assert (dealt.has_node != parts.has_node).mean() > 0.1


def test_chance__keeps_margins_in_the_mean():
    parts = kept_parts(random_graphs(2, 30, crowded=3))

    p = np.exp(chance_of(parts).log_node)

    np.testing.assert_allclose(p.sum(axis=0), parts.has_node.sum(axis=0), rtol=1e-3)
    np.testing.assert_allclose(p.sum(axis=1), parts.has_node.sum(axis=1), rtol=1e-3)


def test_chance__keeps_margins_beside_nodes_of_all_graphs_and_graphs_of_all_nodes():
    parts = kept_parts(random_graphs(2, 30, crowded=3))
    has = parts.has_node.copy()
    has[:, ::7], has[3], has[4], has[4, ::7] = True, True, False, True
    parts = dataclasses.replace(parts, has_node=has)

    p = np.exp(chance_of(parts).log_node)

    assert (p[:, ::7] == 1).all()
    assert (p[3] == 1).all()
    np.testing.assert_allclose(p.sum(axis=0), has.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(p.sum(axis=1), has.sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize(("k", "mean", "n"), [(5, 0.5, 10), (14, 0.2, 1000), (9, 3, 9)])
def test_surprise__is_no_more_than_the_chance_of_so_many_allows(k, mean, n):
    bits = surprise(k, mean, n)

    exact = -np.log2(stats.binom.sf(k - 1, n, mean / n))
    assert 0 < bits <= exact + 1e-9
    assert bits > 0.8 * exact


def test_motifs__leave_out_what_all_graphs_have():
    always = {((0, 0), (1, 0)), ((1, 0), (2, 0))}
    some = {((0, 1), (1, 1)), ((1, 1), (2, 1))}
    graphs = [
        graph_of(i, [{0, 1}] * 3, always | (some if i < 4 else set())) for i in range(9)
    ]

    (only,) = find_motifs(graphs, "label", shuffles=0)

    assert len(only.subsets) == 4
    assert {c for arc in only.arcs for _, c in arc} == {1}


def test_motifs__of_graphs_without_arcs__are_none():
    graphs = [graph_of(i, [{1}, {2}], set()) for i in range(5)]

    assert len(find_motifs(graphs, "label")) == 0
    assert len(find_motifs([], "label")) == 0


@pytest.mark.parametrize("name", ["at_least", "most", "shuffles"])
def test_motifs__with_a_number_too_small__are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is -1"):
        find_motifs([], "label", **{name: -1})


def test_motifs__say_what_they_are_in_print_csv_and_json():
    graphs = random_graphs(0, 60, channels=40, planted=[(BREEDS, PATH)])
    found = find_motifs(graphs, "label")

    assert Motifs.from_json(found.to_json()) == found
    lines = found.to_csv().splitlines()
    assert len(lines) == 1 + sum(len(one.arcs) for one in found)
    assert "layer 0,3,layer 1,5" in found.to_csv()
    assert f"{found[0].subsets[0]}, {found[0].subsets[1]}" in repr(found)
    assert "shared by" in found._repr_html_()
    assert "is not known" in repr(find_motifs(graphs, "label", shuffles=0))
