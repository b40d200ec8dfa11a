"""Rows of a small sparse matrix, added with weights.

A graph of few instances is mostly what SciPy's checks of small matrices take: what is
known of these matrices is not looked at again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.known_csr import known_csr, plain_arrays

__all__ = ["weighted_row"]


def weighted_row(
    rows: sparse.csr_array, weights: NDArray[np.int64]
) -> sparse.csr_array:
    """Return the sum of rows, each taken so many times.

    Parameters
    ----------
    rows
        Shape (B, n); with no element twice.
    weights
        How many times each is taken, shape (B,).

    Returns
    -------
    csr_array
        Shape (1, n), of the dtype of the rows: what is not 0, in ascending order.
        Leave it as it is, since it may share memory with the rows.

    Examples
    --------
    >>> rows = sparse.csr_array([[0, 2, 1], [5, 0, 1]])
    >>> weighted_row(rows, np.array([1, 3])).toarray()
    array([[15,  2,  4]])
    """
    if not rows.has_sorted_indices:
        rows = rows.sorted_indices()
    taken = np.flatnonzero(weights)
    if len(taken) == 1 and weights[taken[0]] == 1:
        part = slice(*rows.indptr[taken[0] : taken[0] + 2].tolist())
        data, indices = rows.data[part], rows.indices[part]
        if not data.all():
            is_there = data != 0
            data, indices = data[is_there], indices[is_there]
    else:
        # Compiled code takes a second to load, and stored graphs need none.
        from nnviz.aggregation.row_kernels import added_rows  # noqa: PLC0415

        arrays = plain_arrays(rows, rows.data.dtype, rows.indices.dtype)
        indices, data = added_rows(*arrays, weights.astype(rows.dtype))
    bounds = np.array([0, len(data)], dtype=indices.dtype)
    return known_csr(data, indices, bounds, (1, rows.shape[1]))
