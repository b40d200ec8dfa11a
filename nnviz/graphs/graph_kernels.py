"""How are the widest ways over a layer found? A compiled loop over the hops there are.

Made when layers are composed away, and not before: stored graphs are read without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnviz.compiling import compiled

__all__ = ["widest_ways"]


@compiled
def widest_ways(
    outer_starts: Any,
    outer_columns: Any,
    outer_values: Any,
    starts: Any,
    columns: Any,
    values: Any,
    n_columns: int,
) -> Any:
    """Return the arrays of the matrix of widest ways over an inner layer.

    Parameters
    ----------
    outer_starts, outer_columns, outer_values
        From the inner layer, B channels, to J targets, as a CSR matrix: where each row
        begins, shape (J + 1,), columns and values, shape (arc,).
    starts, columns, values
        From the sources to the inner layer, likewise; of the same dtypes.
    n_columns
        Sources, I.

    Returns
    -------
    tuple of ndarray
        Where each row begins, shape (J + 1,), columns, ascending, and values of the
        matrix of shape (J, I), of which none is 0.
    """
    n_rows = len(outer_starts) - 1
    room = 0
    for row in range(n_rows):
        n_hops = 0
        for arc in range(outer_starts[row], outer_starts[row + 1]):
            inner = outer_columns[arc]
            n_hops += starts[inner + 1] - starts[inner]
        room += min(n_hops, n_columns)
    found_starts = np.zeros(n_rows + 1, starts.dtype)
    found_columns = np.empty(room, columns.dtype)
    found_values = np.empty(room, values.dtype)
    widest = np.zeros(n_columns, values.dtype)
    n_found = 0
    for row in range(n_rows):
        has_hops = False
        for arc in range(outer_starts[row], outer_starts[row + 1]):
            inner, way = outer_columns[arc], outer_values[arc]
            for hop in range(starts[inner], starts[inner + 1]):
                has_hops = True
                width, column = min(way, values[hop]), columns[hop]
                if width > widest[column]:
                    widest[column] = width
        if has_hops:
            for column in range(n_columns):
                if widest[column] > 0:
                    found_columns[n_found] = column
                    found_values[n_found] = widest[column]
                    widest[column] = 0
                    n_found += 1
        found_starts[row + 1] = n_found
    return found_starts, found_columns[:n_found].copy(), found_values[:n_found].copy()
