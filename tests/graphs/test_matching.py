"""Channels of two networks that correspond."""

import numpy as np
import pytest

from nnviz.errors import ShapeError
from nnviz.graphs.comparison import compare_graphs
from nnviz.graphs.matching import match_channels, permuted_graph
from nnviz.graphs.presets import summit_graph
from tests.oracles import attribution_graph as oracle


def test_matching__of_a_permuted_copy__finds_the_permutation():
    rng = np.random.default_rng(0)
    values = np.maximum(rng.standard_normal((300, 40)), 0).astype(np.float16)
    order = rng.permutation(40)

    matched, strength = match_channels(values, values[:, order])

    assert order[matched].tolist() == list(range(40))
    np.testing.assert_allclose(strength, 1, atol=1e-12)


def test_matching__with_fewer_channels__leaves_some_without():
    values = np.random.default_rng(1).random((50, 5))

    matched, strength = match_channels(values, values[:, [3, 1]])

    assert matched.tolist() == [-1, 1, -1, 0, -1]
    assert np.isnan(strength[[0, 2, 4]]).all()


def test_matching__of_constant_channels__correlates_with_nothing():
    values = np.zeros((5, 2))

    assert match_channels(values, values)[1].tolist() == [0, 0]


def test_matching__of_other_instances__is_refused():
    with pytest.raises(ShapeError, match="the same instances in both"):
        match_channels(np.zeros((3, 2)), np.zeros((4, 2)))


def test_comparison__with_a_permuted_copy__is_empty_once_matched():
    rng = np.random.default_rng(2)
    full = oracle.random_graph(2, (8, 9, 8))
    orders = {
        name: rng.permutation(len(counts))
        for name, counts in zip(full.layers, full.counts, strict=True)
    }
    copy = permuted_graph(full, orders)
    inverse = {name: np.argsort(order) for name, order in orders.items()}

    back = permuted_graph(copy, inverse)

    graphs = [summit_graph(g, subset="some", share=0.5) for g in (full, copy, back)]
    assert compare_graphs(graphs[0], graphs[2]).is_empty()
    assert not compare_graphs(graphs[0], graphs[1]).is_empty()
