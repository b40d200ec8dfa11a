"""Rows of a small sparse matrix, added with weights.

A graph of few instances is mostly what SciPy's checks of small matrices take: what is
known of these matrices is not looked at again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.known_csr import known_csr

__all__ = ["weighted_row"]

FEW_ROWS = 4
"""So many are merged; NumPy adds up to eight numbers one after the other."""


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
    if len(taken) <= FEW_ROWS and rows.has_sorted_indices:
        times = weights[taken].astype(rows.dtype)
        parts = [slice(*rows.indptr[n : n + 2].tolist()) for n in taken.tolist()]
        if len(parts) == 1 and times[0] == 1:
            data, indices = rows.data[parts[0]], rows.indices[parts[0]]
        elif not parts:
            data, indices = rows.data[:0], rows.indices[:0]
        else:
            data, indices = _merged(rows, parts, times)
        if not data.all():
            is_there = data != 0
            data, indices = data[is_there], indices[is_there]
        bounds = np.array([0, len(data)], dtype=indices.dtype)
        return known_csr(data, indices, bounds, (1, rows.shape[1]))
    bounds = np.array([0, len(taken)], dtype=np.int32)
    times = known_csr(
        weights[taken].astype(rows.dtype),
        taken.astype(np.int32),
        bounds,
        (1, rows.shape[0]),
    )
    total = sparse.csr_array(times @ rows)
    total.sort_indices()
    return total


def _merged(
    rows: sparse.csr_array, parts: list[slice], times: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.integer]]:
    """Return sums and ascending columns of some rows, each taken so many times."""
    indices = np.concatenate([rows.indices[part] for part in parts])
    data = np.concatenate(
        [n * rows.data[part] for n, part in zip(times, parts, strict=True)]
    )
    order = np.argsort(indices, kind="stable")  # finds and merges what ascends
    data, indices = data[order], indices[order]
    first = np.flatnonzero(np.diff(indices, prepend=-1))
    if len(first) < len(indices):
        data, indices = np.add.reduceat(data, first), indices[first]
    return data, indices
