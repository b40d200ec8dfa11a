"""How strongly is each channel active? The maxima of its map.

The activation of a channel is the maximum of its map over all positions that count:
all of an image, and of a text those that are no padding.

Symbols: N instances, C channels, P positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from nnviz.compiling import compiled, compiled_with
from nnviz.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "FoundMaxima",
    "channel_activations",
    "found_maxima",
    "joined",
    "relu_activations",
]

_TILE = 2048
"""Values that are rectified and read again at once: 8 KiB."""

_WIDE = 64
"""Of few channels, the values of neighbouring positions are taken as one row: so many
in all, because a row of one vector costs more than its reading."""


class FoundMaxima(NamedTuple):
    """The maxima of a layer, and what is known of where they are."""

    activations: Tensor
    """Shape (N, C), float32."""
    since: Tensor | None = None
    """A position, counting all axes of positions in order, from which on each maximum
    is found for the first time soon, int32 (N, C); None: it is not known."""


def found_maxima(
    values: Tensor, channel_axis: int, counted: Tensor | None
) -> FoundMaxima:
    """Return what :func:`channel_activations` does; where they are is not known."""
    return FoundMaxima(
        channel_activations(values, channel_axis=channel_axis, counted=counted)
    )


def joined(parts: Sequence[FoundMaxima | None]) -> FoundMaxima | None:
    """Return the maxima of maps whose channels follow each other; None without all."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    if len(known) == 1:
        return known[0]
    since = [part.since for part in known if part.since is not None]
    return FoundMaxima(
        torch.cat([part.activations for part in known], 1),
        torch.cat(since, 1) if len(since) == len(known) else None,
    )


def channel_activations(
    values: Tensor, *, channel_axis: int = 1, counted: Tensor | None = None
) -> Tensor:
    """Return the maximum of each channel over all positions.

    Parameters
    ----------
    values
        Output of a layer, axes (instance, ..., channel, ...), of any float type.
    channel_axis
        Axis of the channels; all axes but this and the first are positions.
    counted
        Which positions count, bool (N, *positions), on the same device; None: all.

    Returns
    -------
    Tensor
        Shape (N, C), float32, on the device of `values`. NaN where the channel has a
        NaN at any position that counts, or where none counts. A layer without
        positions is its own maximum.

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
            return _largest_of_rows(channels_last, counted)
        channels_first = values.detach().movedim(axis, 1).flatten(2)
        if counted is not None and channels_first.is_contiguous():
            largest = values.new_empty(channels_first.shape[:2])
            rows = channels_first.numpy(), _flat(counted), largest.numpy()
            _counted_maxima_of_maps(*rows)
            return largest
    positions = [i for i in range(1, values.ndim) if i != axis]
    if counted is None:
        return values.amax(positions).float()
    largest = torch.where(counted.unsqueeze(axis), values, -torch.inf).amax(positions)
    nothing = ~counted.flatten(1).any(1, keepdim=True)
    return largest.float().masked_fill(nothing, torch.nan)


def relu_activations(
    values: Tensor, *, channel_axis: int = 1, counted: Tensor | None = None
) -> FoundMaxima | None:
    """Apply a ReLU in place and return the maxima of its result, in one pass.

    Reading a map again for its maxima costs as much as the ReLU itself.

    Parameters
    ----------
    values
        As for :func:`channel_activations`; written.
    channel_axis
        Axis of the channels.
    counted
        As for :func:`channel_activations`.

    Returns
    -------
    FoundMaxima or None
        Activations equal to what a ReLU and :func:`channel_activations` give; None,
        with nothing done, where there is no faster way: another device, type or layout.
    """
    if values.device.type != "cpu" or values.element_size() != 4 or values.ndim < 3:
        return None
    rows = values.movedim(channel_axis, -1).flatten(1, -2)
    is_view = rows.data_ptr() == values.data_ptr()
    if not (is_view and rows.numel()):
        return None
    largest = values.new_empty(rows.shape[0], rows.shape[2])
    if rows.is_contiguous():
        if counted is None:
            since = torch.empty(largest.shape, dtype=torch.int32)
            _relu_maxima(rows.numpy(), largest.numpy(), since.numpy())
            return FoundMaxima(largest, since)
        _relu_counted_maxima(rows.numpy(), _flat(counted), largest.numpy())
        return FoundMaxima(largest)
    maps = rows.movedim(2, 1)
    if counted is None or not maps.is_contiguous():
        return None
    _relu_counted_maxima_of_maps(maps.numpy(), _flat(counted), largest.numpy())
    return FoundMaxima(largest)


def _largest_of_rows(values: Tensor, counted: Tensor | None) -> Tensor:
    """Return the maximum over axis 1 of a contiguous float32 (N, P, C) on the CPU."""
    largest = values.new_empty(values.shape[0], values.shape[2])
    if counted is None:
        _maxima(values.numpy(), largest.numpy())
    else:
        _counted_maxima(values.numpy(), _flat(counted), largest.numpy())
    return largest


def _flat(counted: Tensor) -> NDArray[np.bool_]:
    """Return which positions count as an array (N, P)."""
    return np.ascontiguousarray(counted.flatten(1).numpy())


@compiled_with(inline="always")
def _larger(a: Any, b: Any) -> Any:
    """Return the larger one, or NaN if either is NaN."""
    return a if (b <= a or a != a) else b


@compiled
def _maxima(values: Any, largest: Any) -> None:
    for n in range(values.shape[0]):
        best = largest[n]
        for c in range(values.shape[2]):
            best[c] = values[n, 0, c]
        _update_maxima(values[n], best)


@compiled_with(inline="always")
def _rectified(value: Any) -> Any:
    """Return the value if it is positive or NaN, else 0."""
    return np.float32(0.0) if value <= 0 else value


@compiled
def _relu_maxima(values: Any, largest: Any, since: Any) -> None:
    # A few rows are rectified, then read again while they are in the first-level
    # cache: each of the two loops is simple enough to be compiled to vectors.
    n_rows, n_channels = values.shape[1], values.shape[2]
    n_beside = max(1, _WIDE // n_channels)
    width = n_beside * n_channels
    n_together = max(4, _TILE // width) * n_beside
    wide = np.empty(width, np.float32)
    for n in range(values.shape[0]):
        best, first = largest[n], since[n]
        flat = values[n].reshape(n_rows * n_channels)
        for c in range(n_channels):
            best[c] = np.float32(0.0)
            first[c] = 0
        for start in range(0, n_rows, n_together):
            stop = min(n_rows, start + n_together)
            part = flat[start * n_channels : stop * n_channels]
            for i in range(part.size):
                part[i] = _rectified(part[i])
            for i in range(width):
                wide[i] = np.float32(0.0)
            n_wide = (stop - start) // n_beside
            _update_maxima(part[: n_wide * width].reshape(n_wide, width), wide)
            for beside in range(n_channels, width, n_channels):
                for c in range(n_channels):
                    wide[c] = _larger(wide[c], wide[beside + c])
            if n_wide * n_beside < stop - start:
                rest = values[n, start + n_wide * n_beside : stop]
                _update_maxima(rest, wide[:n_channels])
            for c in range(n_channels):
                first[c] = start if wide[c] > best[c] else first[c]
                best[c] = _larger(best[c], wide[c])


@compiled_with(inline="always")
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


@compiled
def _counted_maxima(values: Any, counted: Any, largest: Any) -> None:
    found = np.empty(values.shape[1], np.int64)
    for n in range(values.shape[0]):
        n_found = _list_counted(counted[n], found)
        largest[n, :] = -np.inf if n_found else np.nan
        _update_chosen(values[n], found[:n_found], largest[n])


@compiled
def _counted_maxima_of_maps(maps: Any, counted: Any, largest: Any) -> None:
    found = np.empty(maps.shape[2], np.int64)
    for n in range(maps.shape[0]):
        n_found = _list_counted(counted[n], found)
        for c in range(maps.shape[1]):
            largest[n, c] = _largest_chosen(maps[n, c], found[:n_found])


@compiled
def _relu_counted_maxima_of_maps(maps: Any, counted: Any, largest: Any) -> None:
    found = np.empty(maps.shape[2], np.int64)
    for n in range(maps.shape[0]):
        n_found = _list_counted(counted[n], found)
        for c in range(maps.shape[1]):
            row = maps[n, c]
            for p in range(row.size):
                row[p] = _rectified(row[p])
            largest[n, c] = _largest_chosen(row, found[:n_found])


@compiled
def _relu_counted_maxima(values: Any, counted: Any, largest: Any) -> None:
    # What does not count is rectified, too: the network goes on with it.
    n_rows, n_channels = values.shape[1], values.shape[2]
    n_together = max(4, _TILE // n_channels)
    found = np.empty(n_rows, np.int64)
    for n in range(values.shape[0]):
        flat = values[n].reshape(n_rows * n_channels)
        largest[n, :] = np.float32(0.0) if counted[n].any() else np.float32(np.nan)
        for start in range(0, n_rows, n_together):
            stop = min(n_rows, start + n_together)
            part = flat[start * n_channels : stop * n_channels]
            for i in range(part.size):
                part[i] = _rectified(part[i])
            n_found = _list_counted(counted[n, start:stop], found)
            _update_chosen(values[n, start:stop], found[:n_found], largest[n])


@compiled_with(inline="always")
def _list_counted(counted: Any, found: Any) -> Any:
    """List the numbers of what counts; return how many there are."""
    n_found = 0
    for p in range(len(counted)):
        found[n_found] = p
        n_found += counted[p]
    return n_found


@compiled_with(inline="always")
def _largest_chosen(row: Any, chosen: Any) -> Any:
    """Return the largest of some of a row's values, NaN of none."""
    n_chosen = len(chosen)
    if n_chosen == 0:
        return np.float32(np.nan)
    first = second = third = fourth = row[chosen[0]]
    # Four at once: otherwise every step waits for the one before.
    for p in range(0, n_chosen - 3, 4):
        first = _larger(first, row[chosen[p]])
        second = _larger(second, row[chosen[p + 1]])
        third = _larger(third, row[chosen[p + 2]])
        fourth = _larger(fourth, row[chosen[p + 3]])
    for p in range(n_chosen - n_chosen % 4, n_chosen):
        first = _larger(first, row[chosen[p]])
    return _larger(_larger(first, second), _larger(third, fourth))


@compiled_with(inline="always")
def _update_chosen(rows: Any, chosen: Any, best: Any) -> None:
    # As in `_update_maxima`.
    n_chosen, n_channels = len(chosen), rows.shape[1]
    for p in range(0, n_chosen - 3, 4):
        first, second = rows[chosen[p]], rows[chosen[p + 1]]
        third, fourth = rows[chosen[p + 2]], rows[chosen[p + 3]]
        for c in range(n_channels):
            left = _larger(first[c], second[c])
            right = _larger(third[c], fourth[c])
            best[c] = _larger(best[c], _larger(left, right))
    for p in range(n_chosen - n_chosen % 4, n_chosen):
        row = rows[chosen[p]]
        for c in range(n_channels):
            best[c] = _larger(best[c], row[c])
