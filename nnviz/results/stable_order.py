"""In which order are a million values? Found by their bits, and only where it is shown.

Every value becomes a whole number without a sign, its *key*, so that keys have the
order of the values. For a part of the order, say a page of forty, the keys are counted
by their first 16 bits; what can be in the part are those of a few counts, and only
these are sorted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["StableOrder", "stable_order"]

_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
_HALF = 16
_MOST = (1 << _HALF) - 1


class StableOrder:
    """The order of some values, of which any part can be asked for.

    Parameters
    ----------
    values
        Numbers or dates, shape (n,).
    null
        Where there is no value: these come last, shape (n,).
    largest_first
        Whether the largest value is first; equal ones stay as they are.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([1, 3, 2, 3], dtype=np.float16)
    >>> order = StableOrder(values, np.array([False, False, True, False]))
    >>> order.part(1, 3).tolist()
    [3, 0]
    """

    def __init__(
        self,
        values: NDArray[Any],
        null: NDArray[np.bool_],
        *,
        largest_first: bool = True,
    ) -> None:
        self._keys = _keys(values, null, largest_first=largest_first)
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def whole(self) -> NDArray[np.int64]:
        """Return all places in order, shape (n,)."""
        return _sorted(self._keys)

    def part(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the places of a part of the order, as those of a slice of `whole`.

        Parameters
        ----------
        start, stop
            First, and past-last of the part.
        """
        start, stop, _ = slice(start, stop).indices(len(self))
        if start >= stop:
            return np.zeros(0, dtype=np.int64)
        keys, found = self._keys, None
        for shift in range(8 * keys.itemsize - _HALF, -1, -_HALF):
            digits = _digits(keys, shift)
            ends = self._ends if found is None else None
            if ends is None:
                ends = np.cumsum(np.bincount(digits, minlength=_MOST + 1))
            if found is None:
                self._ends = ends  # of all keys: the next page needs the same
            low, high = np.searchsorted(ends, [start, stop - 1], side="right")
            before = int(ends[low - 1]) if low else 0
            inside = np.flatnonzero((digits >= low) & (digits <= high))
            found = inside if found is None else found[inside]
            keys, start, stop = keys[inside], start - before, stop - before
            if low != high:  # the next 16 bits alone would not tell their order
                break
        assert found is not None
        return found[_sorted(keys)[start:stop]]


def stable_order(
    values: NDArray[Any], null: NDArray[np.bool_], *, largest_first: bool = True
) -> NDArray[np.int64]:
    """Return the order of some values; equal ones stay as they are.

    Parameters
    ----------
    values, null, largest_first
        As for :class:`StableOrder`.

    Returns
    -------
    ndarray
        Places, shape (n,).

    Notes
    -----
    NumPy sorts 16 bits stably by counting them, and floats by comparing them; 32 bits
    are sorted twice, by their lower half first.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([1, 3, 2, 3], dtype=np.float16)
    >>> stable_order(values, np.array([False, False, True, False])).tolist()
    [1, 3, 0, 2]
    """
    return StableOrder(values, null, largest_first=largest_first).whole()


def _keys(
    values: NDArray[Any], null: NDArray[np.bool_], *, largest_first: bool
) -> NDArray[np.unsignedinteger]:
    """Return whole numbers without a sign that have the order of the values.

    The bits of floats, all of them turned where the number is negative and else the
    first one, have the order of the numbers. Whole numbers that are near each other
    have 16 bits, less the smallest one.
    """
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < _MOST:
            # In 8 bits the difference of both ends would not be told from another.
            wide = values.astype(np.int16) if values.dtype.itemsize == 1 else values
            small = (high - wide if largest_first else wide - low).astype(np.uint16)
            small[null] = _MOST
            return small
    if values.dtype.kind != "f" or values.dtype.itemsize not in _BITS:
        values = np.asarray(values, dtype=np.float64)
    n_bits, dtype = 8 * values.dtype.itemsize, np.dtype(_BITS[values.dtype.itemsize])
    first = dtype.type(1 << (n_bits - 1))
    bits = np.ascontiguousarray(values).view(dtype).copy()
    bits[bits == first] = 0  # -0.0 equals 0.0
    signed = bits.view(f"i{dtype.itemsize}")
    turned = (signed >> (n_bits - 1)).view(dtype)  # all ones where it is negative
    turned |= first
    bits ^= turned
    if largest_first:
        np.invert(bits, out=bits)
    bits[null] = ~dtype.type(0)
    return bits


def _digits(keys: NDArray[np.unsignedinteger], shift: int) -> NDArray[np.uint16]:
    """Return 16 bits of every key, from so many bits on."""
    moved = keys >> keys.dtype.type(shift) if shift else keys
    return moved.astype(np.uint16, copy=False)


def _sorted(keys: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Return the order of keys, equal ones as they are."""
    if keys.itemsize != 4:
        return np.argsort(keys, kind="stable")
    order = np.argsort(_digits(keys, 0), kind="stable")
    return order[np.argsort(_digits(keys, _HALF)[order], kind="stable")]
