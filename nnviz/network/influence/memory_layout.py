"""How the maps of one instance lie in memory while their influences are computed.

Every channel's map is copied once into a flat buffer with its padding, split into one
part for each remainder of the stride, so that every tap of a kernel reads neighbouring
elements for neighbouring outputs: tap t of position q is ``buffer[q + offsets[t]]``.
Rows keep their padding, so some q are no position of the network; a mask closes them.

What single positions or single elements need is gathered from the maps as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.compiling import compiled
from nnviz.network.influence.channel_operations import Axis
from nnviz.network.influence.vectors import LANES

__all__ = [
    "MapLayout",
    "Strides",
    "aligned_zeros",
    "buffers",
    "channel_extremes",
    "counted_extremes",
    "counted_masks",
    "flat",
    "gather_patches",
    "lay_out",
    "position_tables",
    "vector",
]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
T = TypeVar("T")
Tables = tuple[Indices, Indices, Indices]
Strides = tuple[int, int, int, int, int]
_MANY_POSITIONS = 16 * 4 * LANES
"""From here on wide tiles lose little at the end of a map."""
_LARGEST_TILE_COUNT = 96
"""Tiles of a map; they are sorted by their maxima, which costs more than linearly."""


@dataclass(frozen=True, eq=False)
class MapLayout:
    """Where elements, positions and tiles stand in a channel's buffer."""

    size: int
    """Elements of a channel's buffer, the reads past its end included."""
    offsets: Indices
    """Where each tap reads relative to a position, shape (taps,)."""
    mask: Floats
    """0 for positions of the network, minus infinity for others, shape (buffer,)."""
    positions: Indices
    """Where each position of the network stands in the buffer, row-major."""
    starts: Indices
    """First position of every tile, shape (tiles,)."""
    blocks: int
    """Blocks of `block` positions in one tile."""
    block: int
    """Positions that one instruction evaluates."""
    spans: Indices
    """(first element relative to the tile, vectors) that a tile reads, shape (n, 2)."""
    into: Tables
    """Index in the buffer of every element that is read, one part for each axis."""
    elements: Tables
    """The element of the input that belongs there, for each axis."""


@lru_cache(maxsize=512)
def lay_out(axes: tuple[Axis, ...]) -> MapLayout:
    """Lay out the maps of a convolution with one to three position axes."""
    lifted = (Axis((0,), 1, 1, 1, 1),) * (3 - len(axes)) + axes
    parts = [-(-len(axis.source) // axis.stride) for axis in lifted]
    pitches = [parts[1] * parts[2], parts[2], 1]
    area = int(np.prod(parts))
    strides = [axis.stride for axis in lifted]
    steps = [area * strides[1] * strides[2], area * strides[2], area]
    indices = [
        np.arange(len(axis.source)) % axis.stride * step
        + np.arange(len(axis.source)) // axis.stride * pitch
        for axis, step, pitch in zip(lifted, steps, pitches, strict=True)
    ]
    taps = [
        index[np.arange(axis.n_taps) * axis.dilation]
        for axis, index in zip(lifted, indices, strict=True)
    ]
    offsets = np.array([sum(tap) for tap in product(*taps)], np.int64)
    outputs = [
        np.arange(axis.n_outputs) * pitch
        for axis, pitch in zip(lifted, pitches, strict=True)
    ]
    positions = np.add.outer(np.add.outer(outputs[0], outputs[1]), outputs[2]).ravel()
    n_positions = int(positions[-1]) + 1

    block = _block(n_positions)
    n_blocks = -(-n_positions // block)
    blocks = -(-n_blocks // _LARGEST_TILE_COUNT)
    tile = blocks * block
    starts = np.arange(0, n_blocks * block, tile)
    starts[-1] = max(0, n_blocks * block - tile)
    mask = np.full(int(starts[-1]) + tile, -np.inf, np.float32)
    mask[positions] = 0.0
    end = int(starts[-1]) + tile + int(offsets.max()) + LANES
    end = max(end, area * int(np.prod(strides)))
    used = [_used(axis) for axis in lifted]
    return MapLayout(
        # An odd number of vectors keeps channels out of each other's cache lines.
        size=(-(-end // LANES) | 1) * LANES,
        offsets=offsets,
        mask=mask,
        positions=positions,
        starts=starts,
        blocks=blocks,
        block=block,
        spans=_spans(offsets, tile),
        into=_three(index[r] for index, r in zip(indices, used, strict=True)),
        elements=_three(
            np.asarray(axis.source, np.int64)[r]
            for axis, r in zip(lifted, used, strict=True)
        ),
    )


def _three(values: Iterable[T]) -> tuple[T, T, T]:
    z, y, x = values
    return z, y, x


def _block(n_positions: int) -> int:
    """Choose how many positions one instruction evaluates."""
    if 4 * LANES < n_positions <= 5 * LANES:
        return 5 * LANES
    wide = n_positions >= _MANY_POSITIONS or 2 * LANES < n_positions <= 4 * LANES
    return (4 if wide else 2) * LANES


def _used(axis: Axis) -> Indices:
    """Return the padded elements that an output reads and that are not zero."""
    outputs = np.arange(axis.n_outputs)[:, None] * axis.stride
    padded = np.unique(outputs + np.arange(axis.n_taps)[None] * axis.dilation)
    return padded[np.asarray(axis.source)[padded] >= 0]


def _spans(offsets: Indices, tile: int) -> Indices:
    spans: list[list[int]] = []
    for offset in sorted(offsets.tolist()):
        if spans and offset <= spans[-1][1]:
            spans[-1][1] = offset + tile
        else:
            spans.append([offset, offset + tile])
    return np.array([[first, -(-(end - first) // LANES)] for first, end in spans])


def buffers(
    layout: MapLayout, n_channels: int, n_sources: int
) -> tuple[Floats, Floats, Floats, Floats, Indices, Floats, Indices, Floats]:
    """Allocate what ``rank_bounded`` needs to hold `n_channels` maps at a time."""
    tiles = (n_channels, len(layout.starts))
    return (
        np.zeros((n_channels, layout.size), np.float32),
        np.empty(n_channels, np.float32),
        np.empty(n_channels, np.float32),
        np.empty(tiles, np.float32),
        np.empty(tiles, np.int64),
        vector(n_sources),
        np.empty(2 * n_sources + 16, np.int64),
        np.empty(n_sources + 16, np.float32),
    )


def vector(n_sources: int) -> Floats:
    """Allocate whole vectors for a value of each source; the rest is never largest."""
    return np.full(-(-n_sources // LANES) * LANES, -np.inf, np.float32)


def aligned_zeros(shape: tuple[int, ...]) -> Floats:
    """Allocate zeros that begin at a whole vector: others take two reads for one."""
    n, n_bytes = math.prod(shape), 4 * LANES
    room = np.zeros(n + LANES, np.float32)
    first = -room.ctypes.data % n_bytes // 4
    return room[first : first + n].reshape(shape)


def flat(x: torch.Tensor) -> tuple[Floats, Strides]:
    """Return a CPU tensor (n, channels, *positions) as it lies in memory, with strides.

    No copy is made of float32 tensors in either memory format, nor of every second of
    their positions, which takes longer than to read these where they are.
    """
    x = x.detach().float()
    if 0 in x.stride():
        x = x.contiguous()
    extent = 1 + sum(
        (size - 1) * step for size, step in zip(x.shape, x.stride(), strict=True)
    )
    memory = torch.as_strided(x, (extent,), (1,), x.storage_offset()).numpy()
    steps = (0,) * (5 - x.ndim) + x.stride()[2:]
    z, y, p = _three(steps)
    return memory, (x.stride(0), x.stride(1), z, y, p)


def position_tables(axes: tuple[Axis, ...], positions: Indices) -> Tables:
    """Return the elements that single positions read, one table for each of three axes.

    `positions` are flat indices into the output, shape (m,); table a has shape (m, taps
    along axis a) and is -1 where a zero is read.
    """
    tables = [np.zeros((len(positions), 1), np.int64)] * (3 - len(axes))
    shape = tuple(axis.n_outputs for axis in axes)
    outputs = np.unravel_index(positions, shape) if axes else ()
    for axis, output in zip(axes, outputs, strict=True):
        tables.append(np.ascontiguousarray(axis.evaluated[output]))
    return tables[0], tables[1], tables[2]


@compiled
def channel_extremes(
    x: Floats,
    strides: Strides,
    instances: tuple[int, int],
    elements: tuple[Indices, Indices, Indices],
    maxima: Floats,
    minima: Floats,
) -> None:
    """Extend maxima and minima (instances, channels) by the elements that are read."""
    n_channels = maxima.shape[1]
    for n in range(instances[0], instances[1]):
        high = maxima[n]
        low = minima[n]
        for z in elements[0]:
            for y in elements[1]:
                from_y = n * strides[0] + z * strides[2] + y * strides[3]
                if strides[1] == 1:
                    for p in elements[2]:
                        start = from_y + p * strides[4]
                        row = x[start : start + n_channels]
                        for c in range(n_channels):
                            high[c] = row[c] if row[c] > high[c] else high[c]
                            low[c] = row[c] if row[c] < low[c] else low[c]
                else:
                    for c in range(n_channels):
                        start = from_y + c * strides[1]
                        for p in elements[2]:
                            value = x[start + p * strides[4]]
                            high[c] = max(high[c], value)
                            low[c] = min(low[c], value)


@compiled
def counted_extremes(
    x: Floats,
    strides: Strides,
    instances: tuple[int, int],
    tables: tuple[Indices, Indices, Indices],
    counted: NDArray[np.bool_],
    maxima: Floats,
    minima: Floats,
) -> None:
    """Set maxima and minima (instances, channels) over the positions that count.

    ``tables[axis][p, 0]`` is the element that position p reads, -1 for a zero;
    `counted` has shape (instances, positions). Where nothing counts both are 0.
    """
    n_channels = maxima.shape[1]
    for n in range(instances[0], instances[1]):
        is_first = True
        maxima[n, :] = 0.0
        minima[n, :] = 0.0
        for p in range(counted.shape[1]):
            if not counted[n, p]:
                continue
            z, y, c0 = tables[0][p, 0], tables[1][p, 0], tables[2][p, 0]
            start = n * strides[0] + z * strides[2] + y * strides[3] + c0 * strides[4]
            is_zero = z < 0 or y < 0 or c0 < 0
            for c in range(n_channels):
                value = np.float32(0.0) if is_zero else x[start + c * strides[1]]
                if is_first or value > maxima[n, c]:
                    maxima[n, c] = value
                if is_first or value < minima[n, c]:
                    minima[n, c] = value
            is_first = False


def counted_masks(layout: MapLayout, counted: NDArray[np.bool_] | None) -> Floats:
    """Return the mask of each instance, (n, buffer); of all the same: (1, buffer)."""
    if counted is None:
        return layout.mask[None]
    masks = np.repeat(layout.mask[None], len(counted), axis=0)
    masks[:, layout.positions] = np.where(counted, np.float32(0.0), -np.inf)
    return masks


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
