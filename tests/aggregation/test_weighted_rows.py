"""Rows that are added with weights, against dense ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from nnviz.aggregation.weighted_rows import weighted_row

SMALL = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 4), st.integers(0, 9)),
    elements=st.integers(0, 3),
)


@settings(deadline=None)
@given(SMALL, st.data())
def test_weighted_row__is_the_dense_sum_in_ascending_order(dense, data):
    weights = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(dense), max_size=len(dense)))
    )

    found = weighted_row(sparse.csr_array(dense), weights)

    assert found.shape == (1, dense.shape[1])
    assert found.dtype == dense.dtype
    np.testing.assert_array_equal(found.toarray()[0], weights @ dense)
    assert found.indices.tolist() == np.flatnonzero(weights @ dense).tolist()


@pytest.mark.parametrize("weights", [[0, 1], [1, 1]])
def test_weighted_row__leaves_stored_zeros_and_another_order_out(weights):
    rows = sparse.csr_array(
        ([3.0, 0.0, 2.0, 1.5], [0, 1, 2, 0], [0, 1, 4]), shape=(2, 3)
    )
    assert not rows.has_sorted_indices

    found = weighted_row(rows, np.array(weights))

    assert found.indices.tolist() == [0, 2]
    assert found.data.tolist() == [1.5 + 3.0 * weights[0], 2.0]
