"""What differs between two graphs."""

import dataclasses

import numpy as np
import pytest

from nnviz.errors import ShapeError
from nnviz.graphs.comparison import compare_graphs
from nnviz.graphs.likeness import graph_similarity
from nnviz.graphs.presets import summit_graph
from nnviz.graphs.summit_files import from_summit_json
from tests.oracles import attribution_graph as oracle

SIZES = (8, 9, 8, 7)


def pair():
    fulls = [oracle.random_graph(seed, SIZES, largest=60) for seed in (1, 2)]
    return fulls, [summit_graph(full, subset="some", share=0.4) for full in fulls]


def test_comparison__with_itself__is_empty():
    fulls, (graph, _) = pair()

    found = compare_graphs(graph, graph, first_full=fulls[0], second_full=fulls[0])

    assert found.is_empty()
    assert (found.node_parts.difference == 0).all()
    assert found.similarity.node_jaccard == found.similarity.arc_jaccard == 1
    assert found.similarity.count_overlap == 1


def test_comparison__of_two__has_the_union_with_counts_of_both():
    (one, two), (first, second) = pair()

    found = compare_graphs(first, second, first_full=one, second_full=two)

    assert set(found.nodes) == {*first.keys(), *second.keys()}
    assert set(found.arcs) == {*first.arc_keys(), *second.arc_keys()}
    for full, counts in (
        (one, found.node_parts.first_count),
        (two, found.node_parts.second_count),
    ):
        wanted = [full.counts[full.layers.index(n)][c] for n, c in found.nodes]
        assert counts.tolist() == wanted
    arcs = oracle.arcs_of(two)
    wanted = [arcs.get((*target, *source), 0) for source, target in found.arcs]
    assert found.arc_parts.second_count.tolist() == wanted
    in_both = set(first.keys()) & set(second.keys())
    assert found.node_parts.is_shared.sum() == len(in_both)
    assert not found.is_empty()


def test_comparison__swapped__has_the_opposite_differences():
    (one, two), (first, second) = pair()

    found = compare_graphs(first, second, first_full=one, second_full=two)
    swapped = compare_graphs(second, first, first_full=two, second_full=one)

    np.testing.assert_array_equal(found.node_parts.effect, -swapped.node_parts.effect)
    np.testing.assert_allclose(found.arc_parts.p_value, swapped.arc_parts.p_value)
    assert (found.arc_parts.adjusted_p_value >= found.arc_parts.p_value).all()


def test_comparison__of_empty_graphs__is_empty():
    graph = from_summit_json('{"late": [], "early": []}')

    found = compare_graphs(graph, graph)

    assert found.is_empty()
    assert np.isnan(found.similarity.node_jaccard)


def test_comparison__over_other_layers__is_refused():
    first = from_summit_json('{"late": []}')

    with pytest.raises(ShapeError, match="compare graphs over the same layers"):
        compare_graphs(first, from_summit_json('{"other": []}'))


def test_published_bears__overlap_as_in_the_paper(shared):
    black, brown = (
        from_summit_json((shared / "data" / "summit-graphs" / name).read_text())
        for name in ("ag-295.json", "ag-294.json")
    )

    layers = graph_similarity(black, brown).layers

    late = ("mixed4b", "mixed4c", "mixed4d", "mixed4e", "mixed5a", "mixed5b")
    found = [layers[name] for name in late]
    np.testing.assert_allclose(found, [1.0, 0.56, 0.22, 0.25, 0.13, 0.13], atol=0.006)


def test_comparison__shows_the_clearest_difference_first():
    (one, two), (first, second) = pair()
    first = dataclasses.replace(first, subset="<b>one</b>")

    found = compare_graphs(first, second, first_full=one, second_full=two)

    assert "nodes and" in repr(found)
    assert "<b>one" not in found._repr_html_()
