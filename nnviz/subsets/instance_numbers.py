"""Which instances does an array mean? Their numbers, from numbers or from a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnviz.errors import ShapeError

__all__ = ["instances_of"]


def instances_of(
    value: ArrayLike, *, what: str = "these instances"
) -> tuple[NDArray[np.int64], int | None]:
    """Return indices of instances, from indices or from a mask.

    Parameters
    ----------
    value
        Whole numbers, or one truth value for each instance: a list, an array, or an
        index or series of pandas, which is taken by position.
    what
        What they are, for messages.

    Returns
    -------
    tuple of ndarray and int or None
        int64, ascending, none twice; and the length of the mask, if it is one.

    Raises
    ------
    ShapeError
        If it is neither, or holds a negative index.

    Examples
    --------
    >>> instances_of([True, False, True])
    (array([0, 2]), 3)
    >>> instances_of([2, 0, 2])
    (array([0, 2]), None)
    """
    values = _as_array(value)
    is_known = values.ndim == 1 and (values.dtype.kind in "biu" or not values.size)
    if not is_known:
        shown = repr(value)
        msg = (
            f"{what} cannot be made from {shown[:80]}{'...' if shown[80:] else ''} "
            f"(shape {values.shape}, dtype {values.dtype}); give whole numbers, or one "
            "truth value for each instance"
        )
        raise ShapeError(msg)
    if values.dtype.kind == "b":
        return np.flatnonzero(values).astype(np.int64, copy=False), len(values)
    indices = values.astype(np.int64)
    # Most are as they should be, and a million numbers take NumPy a while to sort.
    if (indices[1:] <= indices[:-1]).any():
        indices = np.unique(indices)
    if len(indices) and indices[0] < 0:
        msg = f"{what} has the instance {indices[0]}; they are numbered from 0"
        raise ShapeError(msg)
    return indices, None


def _as_array(value: ArrayLike) -> NDArray[Any]:
    """Return an array; truth values and whole numbers among objects get their dtype."""
    try:
        values = np.asarray(value)
    except ValueError:  # rows of several lengths
        return np.empty((0, 0), dtype=object)
    if values.dtype.kind == "O" and values.ndim == 1 and values.size:
        for dtype, kinds in (
            (np.bool_, (bool, np.bool_)),
            (np.int64, (int, np.integer)),
        ):
            if all(isinstance(each, kinds) for each in values):
                return values.astype(dtype)
    # Mixed lists of truth values and numbers are neither; NumPy makes them numbers.
    is_mixed = (
        isinstance(value, (list, tuple))
        and values.dtype.kind in "iu"
        and any(isinstance(each, (bool, np.bool_)) for each in value)
    )
    return np.array(value, dtype=object) if is_mixed else values
