"""Which values of a column make groups of instances? Few values, classes, quantiles.

Symbols: N instances.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nnviz.subsets.columns import Column
from nnviz.subsets.writing import quoted

__all__ = ["value_groups"]

MAX_VALUES = 100
"""Columns of texts with more distinct values are names, not groups."""

N_BINS = 5
"""Quantiles into which numbers are cut."""


def value_groups(
    name: str, column: Column, class_names: tuple[str, ...]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield a query and a mask for each value of a column that makes a group.

    Parameters
    ----------
    name
        Of the column.
    column
        Numbers are cut at quantiles; of texts with many values there are no groups.
    class_names
        By index.

    Yields
    ------
    str
        The query that means the group.
    ndarray
        Its instances, and some without a value, shape (N,).
    """
    shown = quoted(name)
    if column.members is not None:
        for index in np.flatnonzero(column.members.any(axis=0)):
            has = np.append(column.members[:, index], False)
            yield f"{shown} = {quoted(class_names[index])}", has[column.values]
    elif column.kind == "class":
        for index in np.unique(column.values[~column.null]):
            query = f"{shown} = {quoted(class_names[index])}"
            yield query, column.values == index
    elif column.kind == "truth":
        yield f"{shown} = true", column.values.astype(np.bool_)
        yield f"{shown} = false", ~column.values.astype(np.bool_)
    elif column.kind == "text" and len(column.texts) <= MAX_VALUES:
        for code, text in enumerate(column.texts):
            if text:
                yield f"{shown} = {quoted(text)}", column.values == code
    elif column.kind == "number":
        known = column.values[~column.null].astype(np.float64)
        if not len(known):
            return
        inner = np.linspace(0, 1, N_BINS + 1)[1:-1]
        ends = np.unique(np.quantile(known, inner, method="lower"))
        values = column.values.astype(np.float64)
        # Borders as they are written, so that the query means the same instances.
        texts = _written(ends)
        for low, high in zip([None, *texts], [*texts, None], strict=True):
            parts = [f"{shown} > {low}"] if low is not None else []
            parts += [f"{shown} <= {high}"] if high is not None else []
            above = values > float(low) if low is not None else True
            below = values <= float(high) if high is not None else True
            yield " and ".join(parts), np.broadcast_to(above & below, values.shape)


def _written(ends: NDArray[np.float64]) -> list[str]:
    """Return different numbers with as many digits as tell them apart, six at least."""
    for n_digits in range(6, 17):
        texts = [f"{end:.{n_digits}g}" for end in ends]
        if len({float(text) for text in texts}) == len(ends):
            return texts
    return [repr(float(end)) for end in ends]
