"""Rows of a small sparse matrix, added with weights.

A graph of few instances is mostly what SciPy's checks of small matrices take: what is
known of these matrices is not looked at again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
    taken = np.flatnonzero(weights)
    if len(taken) == 1 and weights[taken[0]] == 1 and rows.has_sorted_indices:
        part = slice(*rows.indptr[taken[0] : taken[0] + 2].tolist())
        data, indices = rows.data[part], rows.indices[part]
        if not data.all():
            is_there = data != 0
            data, indices = data[is_there], indices[is_there]
        entries = data, indices, np.array([0, len(data)], dtype=indices.dtype)
        return sparse.csr_array(entries, shape=(1, rows.shape[1]))
    total = sparse.csr_array(
        sparse.csr_array(weights[None, :].astype(rows.dtype)) @ rows
    )
    total.sort_indices()
    return total
