"""Full graphs: influences cut into layers, inner layers composed away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from nnviz.errors import ShapeError
from nnviz.graphs.full_graph import (
    EnteringEdge,
    FullGraph,
    composed,
    influence_matrices,
    truncated_to_direct_degree,
    widest_product,
)
from tests.oracles import attribution_graph as oracle

COUNTS = st.sampled_from([0, 0, 0, 1, 2, 2, 7])


def csr(rows):
    return sparse.csr_array(np.array(rows, dtype=np.int64))


@given(
    arrays.arrays(np.int64, (4, 3), elements=COUNTS),
    arrays.arrays(np.int64, (3, 5), elements=COUNTS),
)
@settings(max_examples=50, deadline=None)
def test_widest_product__agrees_with_plain_loops(outer, inner):
    found = widest_product(csr(outer), csr(inner))

    assert found.toarray().tolist() == oracle.widest(outer.tolist(), inner.tolist())
    assert found.has_canonical_format


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_widest_product__of_many_targets__is_that_of_dense_matrices(share):
    rng = np.random.default_rng(0)
    outer = rng.integers(1, 100, (6_000, 60)) * (rng.random((6_000, 60)) < share)
    inner = rng.integers(1, 100, (60, 50)) * (rng.random((60, 50)) < 0.3)
    widest = np.zeros((6_000, 50), dtype=np.int64)
    for over in range(60):
        np.maximum(widest, np.minimum.outer(outer[:, over], inner[over]), out=widest)

    found = widest_product(csr(outer), csr(inner))

    assert np.array_equal(found.toarray(), widest)
    assert found.has_canonical_format


@given(
    arrays.arrays(np.int64, (5, 6), elements=COUNTS),
    arrays.arrays(np.int64, (5, 4), elements=COUNTS),
)
@settings(max_examples=50, deadline=None)
def test_truncation__agrees_with_plain_loops(way, direct):
    found = truncated_to_direct_degree(csr(way), [csr(direct)])

    wanted = oracle.truncated(way.tolist(), direct.tolist())
    assert found.toarray().tolist() == wanted


def test_influence_matrices__of_branches_and_of_identity__keep_every_count():
    counts = np.arange(24).reshape(2, 12)  # sources: a (4), b (3), a again (4), c (1)
    edges = [EnteringEdge(*edge) for edge in (("a", 4), ("b", 3), ("a", 4), ("c", 1))]
    flat = np.flatnonzero(counts)

    found = influence_matrices(flat, counts.ravel()[flat], edges, 2)

    assert list(found) == ["a", "b", "c"]
    assert found["a"].toarray().tolist() == counts[:, 7:11].tolist()
    assert found["b"].toarray().tolist() == counts[:, 4:7].tolist()
    assert found["c"].toarray().tolist() == counts[:, 11:].tolist()


def test_composed__residual_block__keeps_the_wider_of_identity_and_branch():
    matrices = {
        ("first", "stem"): csr([[5, 0], [2, 9]]),
        ("sum", "first"): csr([[4, 7], [0, 1]]),
        ("sum", "stem"): csr([[6, 0], [0, 0]]),
    }

    found = composed(matrices, ("stem", "first", "sum"), ("stem", "sum"))

    assert list(found) == [("sum", "stem")]
    # To 0 from 0: identity 6 beats min(4, 5). From 1: over the second inner channel.
    assert found["sum", "stem"].toarray().tolist() == [[6, 7], [1, 1]]


def test_composed__two_inner_layers_in_a_row__is_the_widest_path_through_both():
    rng = np.random.default_rng(0)
    one, two, three = (rng.integers(0, 9, (4, 4)) for _ in range(3))
    matrices = {("b", "a"): csr(one), ("c", "b"): csr(two), ("d", "c"): csr(three)}

    found = composed(matrices, "abcd", ("a", "d"))

    wanted = oracle.widest(three.tolist(), oracle.widest(two.tolist(), one.tolist()))
    assert found["d", "a"].toarray().tolist() == wanted


def test_composed__inner_layer_that_rests_on_nothing__leaves_no_arc():
    found = composed({("b", "a"): csr([[3]])}, ("a", "b"), ("b",))

    assert found == {}


def test_composed__with_truncation__cuts_only_channels_behind_a_bottleneck():
    matrices = {
        ("neck", "below"): csr([[3, 2, 1], [3, 3, 3]]),
        ("mixed", "below"): csr([[1, 1, 0], [0, 0, 0]]),
        ("mixed", "neck"): csr([[0, 0], [9, 2]]),
    }

    found = composed(
        matrices, ("below", "neck", "mixed"), ("below", "mixed"), truncated=True
    )

    assert found["mixed", "below"].toarray().tolist() == [[1, 1, 0], [3, 2, 0]]


def test_full_graph__arcs_of_another_shape__are_refused():
    counts = (np.zeros(2, np.int64), np.zeros(3, np.int64))

    with pytest.raises(ShapeError, match=r"shape \(1, 1\); the layers have \(3, 2\)"):
        FullGraph(("a", "b"), counts, {("b", "a"): csr([[1]])}, 1)


def test_full_graph__knows_where_its_nodes_are():
    graph = oracle.random_graph(0, (2, 3, 4), skips=True)

    assert graph.span("layer2") == slice(5, 9)
    assert graph.spans["layer1"] == slice(2, 5)
    assert graph.sources_of("layer2") == ["layer0", "layer1"]
    assert graph.n_nodes == 9
