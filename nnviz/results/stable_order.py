"""In which order are a million values? Found by their bits, which takes a quarter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["stable_order"]

_BITS = {2: np.uint16, 4: np.uint32}
_HALF = 16
_MOST = (1 << _HALF) - 1


def stable_order(
    values: NDArray[Any], null: NDArray[np.bool_], *, largest_first: bool = True
) -> NDArray[np.int64]:
    """Return the order of some values; equal ones stay as they are.

    Parameters
    ----------
    values
        Numbers or dates, shape (n,).
    null
        Where there is no value: these come last, shape (n,).
    largest_first
        Whether the largest value is first.

    Returns
    -------
    ndarray
        Places, shape (n,).

    Notes
    -----
    NumPy sorts 16 bits stably by counting them, in a tenth of the time of a comparison
    of numbers. The bits of floats, all of them turned where the number is negative and
    else the first one, have the order of the numbers; 32 bits are sorted twice, by
    their lower half first. Whole numbers that are near each other have 16 bits, less
    the smallest one.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([1, 3, 2, 3], dtype=np.float16)
    >>> stable_order(values, np.array([False, False, True, False])).tolist()
    [1, 3, 0, 2]
    """
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < _MOST:
            # In 8 bits the difference of both ends would not be told from another.
            wide = values.astype(np.int16) if values.dtype.itemsize == 1 else values
            small = (high - wide if largest_first else wide - low).astype(np.uint16)
            small[null] = _MOST
            return np.argsort(small, kind="stable")
    if values.dtype.kind != "f" or values.dtype.itemsize not in _BITS:
        numbers = np.asarray(values, dtype=np.float64)
        floats = np.where(null, np.inf, -numbers if largest_first else numbers)
        return np.argsort(floats, kind="stable")
    dtype = np.dtype(_BITS[values.dtype.itemsize])
    bits = (values + values.dtype.type(0)).view(dtype)  # -0.0 equals 0.0
    first = dtype.type(1 << (8 * dtype.itemsize - 1))
    bits ^= np.where(bits & first, ~dtype.type(0), first)
    if largest_first:
        np.invert(bits, out=bits)
    bits[null] = ~dtype.type(0)
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    if dtype.itemsize == 2:
        return order
    upper = (bits >> dtype.type(_HALF)).astype(np.uint16)
    return order[np.argsort(upper[order], kind="stable")]
