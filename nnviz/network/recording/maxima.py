"""How strongly is each channel active? The maxima of its map.

The activation of a channel is the maximum of its map over all positions.

Symbols: N instances, C channels, P positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from nnviz.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["channel_activations", "relu_activations"]

_TILE = 4096
"""Values that are rectified and read again at once: 16 KiB."""


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
