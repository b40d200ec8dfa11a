"""Folded drawings, with every path of the whole graph walked by hand."""

import dataclasses
import itertools
import math

import pytest

from nnviz.graphs.drawing import GraphDrawing
from nnviz.graphs.drawn_parts import Contrast, DrawnArc, DrawnNode
from nnviz.graphs.folded_stages import fold

N, M = 40, 20
"""Instances of the first and the second subset."""
NAN = math.nan


def node(layer, channel, row):
    return DrawnNode(layer, channel, row, 8, 0.2, 0.1, 2.0, 1.0, 3.0, 0.5, (), ())


def arc(source, target, count, side="", second=0):
    contrast = None
    if side:
        contrast = Contrast(side, second, second / M, 0.1, 0.2, 0.03)
    return DrawnArc(source, target, count, count / N, 0.1, 2.0, 1.0, 3.0, contrast)


def drawing(layers, nodes, arcs, **more):
    rows = {name: len(layers) - 1 - i for i, name in enumerate(layers)}
    drawn = tuple(node(layer, channel, rows[layer]) for layer, channel in nodes)
    return GraphDrawing("cats", N, 100, tuple(layers), drawn, tuple(arcs), (), None,
                        **more)  # fmt: skip


LAYERS = ["stem", "a.0", "a.1", "a.2", "b.0", "b.1", "out"]
STAGES = {name: name[0] for name in LAYERS if name[1] == "."}


def deep():
    """Return two nodes in each layer, all joined; counts tell arcs apart."""
    nodes = [(layer, channel) for layer in LAYERS for channel in (0, 1)]
    numbers = itertools.count(7, 5)
    arcs = [
        arc(2 * i + low, 2 * i + 2 + high, next(numbers) % 31 + 1)
        for i in range(len(LAYERS) - 1)
        for low in (0, 1)
        for high in (0, 1)
    ]
    return drawing(LAYERS, nodes, arcs)


def widest_path(whole, source, target, hidden):
    """Return the largest of all paths' smallest counts, over hidden layers only."""
    best = 0

    def walk(at, width):
        nonlocal best
        for one in whole.arcs:
            if one.source != at:
                continue
            least = min(width, one.count)
            if one.target == target:
                best = max(best, least)
            elif whole.nodes[one.target].layer in hidden:
                walk(one.target, least)

    walk(source, N)
    return best


def test_fold__keeps_the_last_layer_of_a_stage_and_all_numbers():
    whole = deep()

    folded = fold(whole, STAGES)

    assert folded.shown_layers == ["stem", "a.2", "b.1", "out"]
    assert folded.folded == {"a.0": "a", "a.1": "a", "b.0": "b"}
    assert [n.row for n in folded.nodes] == [3, 3, 2, 2, 1, 1, 0, 0]
    by_key = dict(zip(whole.keys, whole.nodes, strict=True))
    for one in folded.nodes:
        assert dataclasses.replace(one, row=0) == dataclasses.replace(
            by_key[one.layer, one.channel], row=0
        )


def test_fold__direct_arcs_are_as_they_were():
    whole = deep()

    folded = fold(whole, STAGES)

    direct = [a for a in folded.arcs if not a.n_folded]
    keys = folded.keys
    found = {(keys[a.source], keys[a.target]): a.count for a in direct}
    wanted = {
        (whole.keys[a.source], whole.keys[a.target]): a.count
        for a in whole.arcs
        if whole.nodes[a.source].layer == "b.1"
    }
    assert found == wanted


def test_fold__paths_are_as_wide_as_their_weakest_arc():
    whole = deep()

    folded = fold(whole, STAGES)

    through = [a for a in folded.arcs if a.n_folded]
    assert through
    for one in through:
        ends = [whole.keys.index(folded.keys[end]) for end in (one.source, one.target)]
        assert one.count == widest_path(whole, *ends, folded.folded)
        assert one.share == one.count / N
        assert math.isnan(one.lift)
        assert math.isnan(one.base_rate)
    skipped = {(folded.nodes[a.source].layer, a.n_folded) for a in through}
    assert skipped == {("stem", 2), ("a.2", 1)}


def test_fold__no_path__no_arc():
    nodes = [("stem", 0), ("a.0", 0), ("a.1", 0), ("a.2", 0)]
    whole = drawing(LAYERS, nodes, [arc(0, 1, 5), arc(2, 3, 9)])

    assert fold(whole, STAGES).arcs == ()


def test_fold__direct_beside_a_path__is_drawn_as_it_is():
    nodes = [("stem", 0), ("a.0", 0), ("a.2", 0)]
    whole = drawing(LAYERS, nodes, [arc(0, 1, 30), arc(1, 2, 20), arc(0, 2, 3)])

    (only,) = fold(whole, STAGES).arcs
    assert (only.count, only.n_folded) == (3, 0)


def test_fold__many_paths_to_a_node__the_strongest_three():
    nodes = [*(("stem", c) for c in range(5)), ("a.0", 0), ("a.2", 0)]
    into = [arc(c, 5, 10 + c) for c in range(5)]
    whole = drawing(LAYERS, nodes, [*into, arc(5, 6, 30)])

    counts = sorted(a.count for a in fold(whole, STAGES).arcs)
    assert counts == [12, 13, 14]


def test_fold__comparison__walks_each_graph_by_itself():
    nodes = [("stem", 0), ("a.0", 0), ("a.0", 1), ("a.2", 0)]
    arcs = [
        arc(0, 1, 12, "both", 6),
        arc(1, 3, 9, "first", 1),
        arc(0, 2, 2, "second", 8),
        arc(2, 3, 3, "both", 5),
    ]
    whole = drawing(LAYERS, nodes, arcs, versus="dogs", n_versus=M)

    (only,) = fold(whole, STAGES).arcs

    assert (only.count, only.contrast.second_count) == (9, 5)
    assert only.contrast.second_share == 5 / M
    assert only.contrast.side == "both"
    assert math.isnan(only.contrast.adjusted_p)


def test_fold__last_layer_without_nodes__the_last_that_has_some():
    nodes = [("stem", 0), ("a.0", 0), ("a.1", 0), ("out", 0)]
    whole = drawing(LAYERS, nodes, [arc(0, 1, 6), arc(1, 2, 5), arc(2, 3, 4)])

    folded = fold(whole, {k: v for k, v in STAGES.items() if v == "a"})

    assert [n.layer for n in folded.nodes] == ["stem", "a.1", "out"]
    assert [a.count for a in folded.arcs] == [4, 5]


@pytest.mark.parametrize("stages", [{}, {"out": "o"}, {"elsewhere": "x"}])
def test_fold__nothing_to_fold__is_the_same(stages):
    whole = deep()

    assert fold(whole, stages) is whole
