"""Each reduction against plain loops, and at its edges. The laws: test_laws."""

import numpy as np
import pytest
from scipy import sparse

from nnviz.aggregation.reductions import (
    ActivationCounts,
    ActivationMoments,
    InfluenceRows,
    InfluenceTotals,
)
from nnviz.errors import ShapeError
from nnviz.network.top_channels import top_channels
from tests.oracles import aggregates as oracle

MEMBERS = [[0, 2, 5], [], [1, 2, 3, 4, 5], [3]]


@pytest.fixture
def membership():
    dense = np.zeros((len(MEMBERS), 6), dtype=bool)
    for row, members in enumerate(MEMBERS):
        dense[row, members] = True
    return sparse.csr_array(dense)


@pytest.fixture
def activations():
    values = np.random.default_rng(0).normal(1, 2, (6, 300)).astype(np.float16)
    values[2] = -values[2].__abs__()
    return values


def influence_rows(n=6, n_targets=4, n_sources=7, seed=1):
    rng = np.random.default_rng(seed)
    target = np.full((n, 3), -1, np.int32)
    source = np.full((n, 3, 2), -1, np.int32)
    for row in range(n):
        kept = np.sort(rng.choice(n_targets, rng.integers(0, 4), replace=False))
        target[row, : len(kept)] = kept
        for place in range(len(kept)):
            n_ranks = rng.integers(0, 3)
            source[row, place, :n_ranks] = rng.choice(n_sources, n_ranks, replace=False)
    influence = np.where(source >= 0, rng.random(source.shape), 0).astype(np.float32)
    return InfluenceRows(target, source, influence)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.5, 1.0])
def test_activation_counts__agree_with_plain_loops(membership, activations, share):
    reduction = ActivationCounts(4, 300)

    partial = reduction.chunk(membership, top_channels(activations, share=share))

    counts = reduction.finalize(partial)["activation_counts"]
    assert counts.dtype == np.int64
    assert counts.toarray().tolist() == [
        oracle.counts(activations, members, share=share) for members in MEMBERS
    ]


def test_activation_moments__agree_with_plain_loops(membership, activations):
    reduction = ActivationMoments(4, 300)

    result = reduction.finalize(reduction.chunk(membership, activations))

    n = np.maximum(1, [len(members) for members in MEMBERS])[:, None]
    mean = result["activation_sum"] / n
    variance = result["activation_sum_of_squares"] / n - mean**2
    for row, members in enumerate(MEMBERS):
        if members:
            wanted = oracle.moments(activations, members)
            np.testing.assert_allclose(mean[row], wanted[0], rtol=1e-12)
            np.testing.assert_allclose(variance[row], wanted[1], rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(result["activation_maximum"][row], wanted[2])


def test_activation_moments__of_an_empty_subset_are_zero_sums_and_no_maximum(
    membership, activations
):
    reduction = ActivationMoments(4, 300)

    result = reduction.finalize(reduction.chunk(membership, activations))

    assert not result["activation_sum"][1].any()
    assert np.isnan(result["activation_maximum"][1]).all()


def test_activation_moments__never_look_at_an_instance_of_no_subset():
    values = np.array([[1.0], [np.nan], [np.inf], [3.0]], np.float16)
    membership = sparse.csr_array(np.array([[True, False, False, True]]))
    reduction = ActivationMoments(1, 1)

    result = reduction.finalize(reduction.chunk(membership, values))

    assert [array.item() for array in result.values()] == [4.0, 10.0, 3.0]


def test_activation_moments__have_one_zero_only():
    membership = sparse.csr_array(np.array([[True]]))
    reduction = ActivationMoments(1, 1)

    result = reduction.finalize(reduction.chunk(membership, np.array([[-0.0]], "f4")))

    assert not np.signbit([array.item() for array in result.values()]).any()


def test_activation_moments__do_not_overflow_where_float16_would():
    values = np.full((100, 1), 60_000, np.float16)
    membership = sparse.csr_array(np.ones((1, 100), dtype=bool))
    reduction = ActivationMoments(1, 1)

    result = reduction.finalize(reduction.chunk(membership, values))

    stored = float(np.float16(60_000))
    assert result["activation_sum"].item() == 100 * stored
    assert result["activation_sum_of_squares"].item() == 100 * stored**2


def test_influence_totals__agree_with_plain_loops(membership):
    rows = influence_rows()
    reduction = InfluenceTotals(4, 4, 7)

    result = reduction.finalize(reduction.chunk(membership, rows))

    for row, members in enumerate(MEMBERS):
        counts, sums = oracle.influences(
            rows.target, rows.source, rows.influence, members, n_targets=4, n_sources=7
        )
        found = result["influence_counts"][[row]].toarray().reshape(4, 7)
        assert found.tolist() == counts
        total = result["influence_sums"][[row]].toarray().reshape(4, 7)
        np.testing.assert_allclose(total, sums, rtol=1e-12)


@pytest.mark.parametrize(
    ("reduction", "values"),
    [
        pytest.param(ActivationCounts(4, 3), sparse.csr_array((5, 3)), id="counts"),
        pytest.param(ActivationMoments(4, 3), np.zeros((5, 3)), id="moments"),
        pytest.param(InfluenceTotals(4, 4, 7), influence_rows(5), id="influences"),
    ],
)
def test_chunk__refuses_values_of_other_instances(membership, reduction, values):
    with pytest.raises(ShapeError, match="6 instances and the values for 5"):
        reduction.chunk(membership, values)
