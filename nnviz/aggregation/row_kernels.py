"""How are rows of a sparse matrix added? Merged one by one, in a compiled loop.

Columns ascend in each row, so that two are merged in one pass over both; numbers are
added in the order of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnviz.compiling import compiled

__all__ = ["added_rows"]


@compiled
def added_rows(starts: Any, columns: Any, values: Any, times: Any) -> Any:
    """Return columns and values of the sum of rows, each taken so many times.

    Parameters
    ----------
    starts, columns, values
        A CSR matrix: where each row begins, shape (B + 1,), ascending columns and
        values, shape (n,).
    times
        How many times each row is taken, shape (B,), of the dtype of the values.

    Returns
    -------
    tuple of ndarray
        Columns, ascending, and values, none of them 0.
    """
    n = 0
    sum_columns = np.empty(0, columns.dtype)
    sum_values = np.empty(0, values.dtype)
    for row in range(len(times)):
        if times[row] == 0:
            continue
        at, end = starts[row], starts[row + 1]
        merged_columns = np.empty(n + end - at, columns.dtype)
        merged_values = np.empty(n + end - at, values.dtype)
        done = n_merged = 0
        while done < n or at < end:
            is_new = done == n or (at < end and columns[at] < sum_columns[done])
            is_old = at == end or (done < n and sum_columns[done] < columns[at])
            if is_new:
                column, value = columns[at], times[row] * values[at]
                at += 1
            elif is_old:
                column, value = sum_columns[done], sum_values[done]
                done += 1
            else:
                column = columns[at]
                value = sum_values[done] + times[row] * values[at]
                at += 1
                done += 1
            if value != 0:
                merged_columns[n_merged] = column
                merged_values[n_merged] = value
                n_merged += 1
        sum_columns, sum_values, n = merged_columns, merged_values, n_merged
    return sum_columns[:n], sum_values[:n]
