"""Compiled passes over an operation's input: extremes of channels, and single patches.

Inputs are given as they lie in memory: flat, with strides for (instance, channel, and
three position axes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnviz.network.influence.vectors import compiled

__all__ = ["channel_extremes", "gather_patches"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Strides = tuple[int, int, int, int, int]


@compiled
def channel_extremes(
    x: Floats,
    strides: Strides,
    instances: tuple[int, int],
    read: tuple[Indices, Indices, Indices],
    maxima: Floats,
    minima: Floats,
) -> None:
    """Extend maxima and minima (instances, channels) by the elements that are read."""
    n_channels = maxima.shape[1]
    for n in range(instances[0], instances[1]):
        high = maxima[n]
        low = minima[n]
        for z in read[0]:
            for y in read[1]:
                from_y = n * strides[0] + z * strides[2] + y * strides[3]
                if strides[1] == 1:
                    for p in read[2]:
                        start = from_y + p * strides[4]
                        row = x[start : start + n_channels]
                        for c in range(n_channels):
                            high[c] = row[c] if row[c] > high[c] else high[c]
                            low[c] = row[c] if row[c] < low[c] else low[c]
                else:
                    for c in range(n_channels):
                        start = from_y + c * strides[1]
                        for p in read[2]:
                            value = x[start + p * strides[4]]
                            high[c] = max(high[c], value)
                            low[c] = min(low[c], value)


@compiled
def gather_patches(
    x: Floats,
    strides: Strides,
    instances: Indices,
    first_channels: Indices,
    tables: tuple[Indices, Indices, Indices],
    patches: Floats,
) -> None:
    """Gather what single positions read: `patches` (patches, taps, channels).

    Patch m is of instance ``instances[m]`` and of the channels from
    ``first_channels[m]`` on; ``tables[axis][m, t]`` is the element that tap t of this
    axis reads, -1 for a zero.
    """
    n_channels = patches.shape[2]
    for m in range(len(instances)):
        origin = instances[m] * strides[0] + first_channels[m] * strides[1]
        tap = 0
        for z in tables[0][m]:
            for y in tables[1][m]:
                for p in tables[2][m]:
                    if z < 0 or y < 0 or p < 0:
                        patches[m, tap] = 0.0
                    else:
                        start = (
                            origin + z * strides[2] + y * strides[3] + p * strides[4]
                        )
                        for c in range(n_channels):
                            patches[m, tap, c] = x[start + c * strides[1]]
                    tap += 1
