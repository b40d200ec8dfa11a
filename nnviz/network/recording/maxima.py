"""How strongly is each channel active, and which channels are an instance's top ones?

The activation of a channel is the maximum of its map over all positions. Top channels
are selected from the *stored* activations, so that a threshold can be changed later
without the network.

Symbols: N instances, C channels, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["channel_activations", "relu_activations", "top_channels"]

_TILE = 4096
"""Values that are rectified and read again at once: 16 KiB."""
_CANDIDATES = 64
"""Channels that are sorted first; hardly any instance needs more at small shares."""


def channel_activations(values: Tensor, *, channel_axis: int = 1) -> Tensor:
    """Return the maximum of each channel over all positions.

    Parameters
    ----------
    values
        Output of a layer, axes (instance, ..., channel, ...), of any float type.
    channel_axis
        Axis of the channels; all axes but this and the first are positions.

    Returns
    -------
    Tensor
        Shape (N, C), float32, on the device of `values`. NaN where the channel has a
        NaN anywhere. A layer without positions is its own maximum.

    Raises
    ------
    ShapeError
        If there are no channels or no positions.
    """
    axis = channel_axis % values.ndim
    if values.ndim < 2 or axis == 0:
        msg = (
            f"a layer's output has shape {tuple(values.shape)} and its channels on "
            f"axis {channel_axis}; instances must be on axis 0, channels on another"
        )
        raise ShapeError(msg)
    if values.ndim == 2:
        return values.float()
    if 0 in values.shape[1:]:
        msg = f"a layer's output of shape {tuple(values.shape)} has no positions"
        raise ShapeError(msg)
    if values.device.type == "cpu" and values.element_size() == 4:
        channels_last = values.detach().movedim(axis, -1).flatten(1, -2)
        if channels_last.is_contiguous():
            return _largest_of_rows(channels_last)
    positions = [i for i in range(1, values.ndim) if i != axis]
    return values.amax(positions).float()


def relu_activations(values: Tensor, *, channel_axis: int = 1) -> Tensor | None:
    """Apply a ReLU in place and return the maxima of its result, in one pass.

    Reading a map again for its maxima costs as much as the ReLU itself.

    Parameters
    ----------
    values
        As for :func:`channel_activations`; written.

    channel_axis
        Axis of the channels.

    Returns
    -------
    Tensor or None
        Shape (N, C), float32, equal to what a ReLU and :func:`channel_activations`
        give; None, with nothing done, where there is no faster way: another device,
        type or layout.
    """
    if values.device.type != "cpu" or values.element_size() != 4 or values.ndim < 3:
        return None
    rows = values.movedim(channel_axis, -1).flatten(1, -2)
    is_view = rows.data_ptr() == values.data_ptr()
    if not (is_view and rows.is_contiguous() and rows.numel()):
        return None
    largest = values.new_empty(rows.shape[0], rows.shape[2])
    _relu_maxima(rows.numpy(), largest.numpy())
    return largest


def _largest_of_rows(values: Tensor) -> Tensor:
    """Return the maximum over axis 1 of a contiguous float32 (N, P, C) on the CPU."""
    largest = values.new_empty(values.shape[0], values.shape[2])
    _maxima(values.numpy(), largest.numpy())
    return largest


@numba.njit(nogil=True, cache=True, inline="always")
def _larger(a: Any, b: Any) -> Any:
    """Return the larger one, or NaN if either is NaN."""
    return a if (b <= a or a != a) else b


@numba.njit(nogil=True, cache=True)
def _maxima(values: Any, largest: Any) -> None:
    for n in range(values.shape[0]):
        best = largest[n]
        for c in range(values.shape[2]):
            best[c] = values[n, 0, c]
        _update_maxima(values[n], best)


@numba.njit(nogil=True, cache=True, inline="always")
def _rectified(value: Any) -> Any:
    """Return the value if it is positive or NaN, else 0."""
    return np.float32(0.0) if value <= 0 else value


@numba.njit(nogil=True, cache=True)
def _relu_maxima(values: Any, largest: Any) -> None:
    # A few rows are rectified, then read again while they are in the first-level
    # cache: each of the two loops is simple enough to be compiled to vectors.
    n_rows, n_channels = values.shape[1], values.shape[2]
    n_together = max(4, _TILE // n_channels)
    for n in range(values.shape[0]):
        best = largest[n]
        flat = values[n].reshape(n_rows * n_channels)
        for c in range(n_channels):
            best[c] = np.float32(0.0)
        for start in range(0, n_rows, n_together):
            stop = min(n_rows, start + n_together)
            part = flat[start * n_channels : stop * n_channels]
            for i in range(part.size):
                part[i] = _rectified(part[i])
            _update_maxima(values[n, start:stop], best)


@numba.njit(nogil=True, cache=True, inline="always")
def _update_maxima(rows: Any, best: Any) -> None:
    # Four rows at once: otherwise every step waits for the row of maxima just stored.
    n_rows, n_channels = rows.shape
    for p in range(0, n_rows - 3, 4):
        first, second, third, fourth = rows[p], rows[p + 1], rows[p + 2], rows[p + 3]
        for c in range(n_channels):
            left = _larger(first[c], second[c])
            right = _larger(third[c], fourth[c])
            best[c] = _larger(best[c], _larger(left, right))
    for p in range(n_rows - n_rows % 4, n_rows):
        row = rows[p]
        for c in range(n_channels):
            best[c] = _larger(best[c], row[c])


def top_channels(
    activations: NDArray[np.floating],
    *,
    share: float | None = None,
    count: int | None = None,
    excluded: Sequence[int] = (),
) -> sparse.csr_array:
    """Select the top channels of each instance.

    Parameters
    ----------
    activations
        Stored activations of one layer, shape (N, C).
    share
        Share rule: ``max(a, 0)`` is sorted in descending order, ties to the lower
        channel, and channels are taken until their sum reaches this fraction of the
        layer's total; the channel that crosses it is included.
    count
        Count rule: the first so many channels in the same order, those with a positive
        activation only.
    excluded
        Channels that count nowhere, not in the total either.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (N, C), uint8, 1 for a top channel, with sorted indices. An instance
        without a positive activation has none, and so has one with NaN or infinity.

    Raises
    ------
    ShapeError
        If `activations` has other than two axes.
    ValueError
        Unless exactly one rule is given, with a share in (0, 1] or a count of at least
        1.

    Examples
    --------
    >>> import numpy as np
    >>> top_channels(np.array([[1.0, 6.0, 3.0]]), share=0.7).toarray()
    array([[0, 1, 1]], dtype=uint8)
    """
    if activations.ndim != 2:
        msg = (
            f"activations have shape {activations.shape}; expected two axes, "
            "(instance, channel)"
        )
        raise ShapeError(msg)
    if (share is None) == (count is None):
        msg = f"share={share} and count={count}; give exactly one of the two rules"
        raise ValueError(msg)
    if share is not None and not 0 < share <= 1:
        msg = f"share={share} is not a fraction in (0, 1]; the paper's value is 0.03"
        raise ValueError(msg)
    if count is not None and count < 1:
        msg = f"count={count} selects no channel; give at least 1"
        raise ValueError(msg)
    dtype = np.result_type(np.float32, activations.dtype)
    values = np.array(activations, dtype=dtype)
    values[~np.isfinite(values).all(axis=1)] = 0
    values[:, list(excluded)] = 0
    indptr = np.zeros(len(values) + 1, dtype=np.int64)
    indices = np.empty(values.size, dtype=np.int32)
    n = _select(values, share or 0.0, count or 0, _CANDIDATES, indptr, indices)
    return sparse.csr_array(
        (np.ones(n, dtype=np.uint8), indices[:n].copy(), indptr), shape=values.shape
    )


@numba.njit(nogil=True, cache=True)
def _select(
    values: Any, share: float, count: int, n_candidates: int, indptr: Any, indices: Any
) -> int:
    """Write the sorted top channels of each row, and return how many there are.

    The largest channels are found one after another while they are few; from then on
    the rest is sorted. Sums are in float64, in descending order of activation.
    """
    n_rows, n_channels = values.shape
    n = 0
    for row in range(n_rows):
        rest = values[row].copy()
        total = 0.0
        for c in range(n_channels):
            if rest[c] > 0:
                total += np.float64(rest[c])
        threshold = share * total
        start, taken, reached = n, 0, 0.0
        order = np.empty(0, np.int64)
        while total > 0:
            if taken < n_candidates:
                best = 0
                for c in range(1, n_channels):
                    if rest[c] > rest[best]:
                        best = c
            else:
                if taken == n_candidates:
                    order = np.argsort(-rest, kind="mergesort")
                if taken - n_candidates >= n_channels:
                    break
                best = order[taken - n_candidates]
            value = np.float64(rest[best])
            if value <= 0:
                break
            if taken < n_candidates:
                rest[best] = 0
            indices[n] = best
            n += 1
            taken += 1
            reached += value
            if (count > 0 and taken == count) or (count == 0 and reached >= threshold):
                break
        indices[start:n].sort()
        indptr[row + 1] = n
    return n
