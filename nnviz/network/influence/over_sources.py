"""The compiled loop that finds the strongest sources of few targets: lanes are sources.

Where the network left the channels of a position beside each other, neighbouring
sources fill a vector: no map has to be turned, and none is bounded, which costs more
than it spares where an instance has few targets. All products are made, in the order of
:mod:`nnviz.network.influence.bounded`, and so the result is the same, bit by bit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnviz.compiling import compiled
from nnviz.network.influence.channel_operations import Axis
from nnviz.network.influence.memory_layout import lay_out
from nnviz.network.influence.ranking import rank_products
from nnviz.network.influence.vectors import (
    LANES,
    POSITIONS_AT_ONCE,
    address,
    advance,
    largest_sums,
    largest_sums_of_two,
)

__all__ = ["lanes_of", "places_between", "rank_over_sources"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Sources = NDArray[np.int32]
Strides = tuple[int, int, int, int, int]


def lanes_of(n_sources: int) -> int:
    """Return how many values whole vectors of so many sources have."""
    return -(-n_sources // LANES) * LANES


@lru_cache(maxsize=512)
def places_between(axes: tuple[Axis, ...], width: int) -> tuple[Indices, Indices]:
    """Return where positions and taps read if `width` values lie at each element.

    Returns
    -------
    tuple
        First value of each position, row-major, and of each tap relative to it.
    """
    layout = lay_out(axes)
    return layout.positions * width, layout.offsets * width


@compiled
def _fill(
    maps: Floats,
    width: int,
    x: Floats,
    strides: Strides,
    n_channels: int,
    into: tuple[Indices, Indices, Indices],
    elements: tuple[Indices, Indices, Indices],
) -> None:
    """Copy some channels of an instance to their places; the padding stays zero.

    `maps` and `x` are pointers to the first of the channels.
    """
    n = len(into[2])
    # Whether a row lies in one piece, there and here.
    is_whole = width == n_channels and strides[4] == n_channels
    for p in range(1, n):
        is_whole &= into[2][p] == into[2][p - 1] + 1
        is_whole &= elements[2][p] == elements[2][p - 1] + 1
    for z in range(len(into[0])):
        for y in range(len(into[1])):
            row = advance(x, elements[0][z] * strides[2] + elements[1][y] * strides[3])
            start = advance(maps, (into[0][z] + into[1][y]) * width)
            if is_whole:
                values = advance(row, elements[2][0] * strides[4])
                line = advance(start, into[2][0] * width)
                for i in range(n * n_channels):
                    line[i] = values[i]
            else:
                for p in range(n):
                    values = advance(row, elements[2][p] * strides[4])
                    line = advance(start, into[2][p] * width)
                    for c in range(n_channels):
                        line[c] = values[c]


@compiled
def _choose(places: Indices, counted: NDArray[np.bool_], chosen: Indices) -> int:
    """List the places of positions that count; return how many blocks they fill."""
    n = 0
    for p in range(len(places)):
        chosen[n] = places[p]
        n += counted[p]
    n_blocks = (n + POSITIONS_AT_ONCE - 1) // POSITIONS_AT_ONCE
    for p in range(n, n_blocks * POSITIONS_AT_ONCE):
        chosen[p] = chosen[n - 1]  # once more
    return n_blocks


@compiled
def rank_over_sources(
    x: Floats,
    strides: Strides,
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    weights: Floats,
    sources: Sources,
    maps: Floats,
    places: Indices,
    offsets: Indices,
    counted: NDArray[np.bool_],
    into: tuple[Indices, Indices, Indices],
    elements: tuple[Indices, Indices, Indices],
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank the sources of the pairs of a range of instances; all have one group.

    Parameters
    ----------
    x, strides, instances, pair_starts, pair_targets, pair_rows, sources
        As for :func:`nnviz.network.influence.bounded.rank_bounded`.
    weights
        Shape (targets, taps, sources), the sources filled up to whole vectors.
    maps
        Room for one instance, all zero, shape (elements, some sources); of whole
        vectors, as many as are looked at at a time.
    places, offsets
        From `places_between`, for the width of `maps`.
    counted
        Which positions count, shape (instances, positions), or (1, positions) for all.
    into, elements
        See ``memory_layout.MapLayout``.
    """
    n_taps, step = weights.shape[1:]
    n_channels = len(sources)
    n_ranks = values.shape[1]
    width = maps.shape[1]
    chosen = np.empty(len(places) + POSITIONS_AT_ONCE, np.int64)
    products = np.empty(2 * width, np.float32)
    first, second = address(products), advance(address(products), width)
    n_blocks = _choose(places, counted[0], chosen)
    for n in range(instances[0], instances[1]):
        if pair_starts[n] == pair_starts[n + 1]:
            continue
        if len(counted) > 1:
            n_blocks = _choose(places, counted[n], chosen)
        if n_blocks == 0:
            continue
        for low in range(0, n_channels, width):
            n_some = min(width, n_channels - low)
            n_vectors = (n_some + LANES - 1) // LANES
            own = advance(address(x), n * strides[0] + low * strides[1])
            _fill(address(maps), width, own, strides, n_some, into, elements)
            for pair in range(pair_starts[n], pair_starts[n + 1], 2):
                last = min(pair + 1, pair_starts[n + 1] - 1)
                weight = address(weights)
                one = advance(weight, pair_targets[pair] * n_taps * step + low)
                other = advance(weight, pair_targets[last] * n_taps * step + low)
                for v in range(0, n_vectors * LANES, LANES):
                    if last > pair:
                        largest_sums_of_two(
                            advance(address(maps), v),
                            address(chosen),
                            n_blocks,
                            address(offsets),
                            n_taps,
                            step,
                            advance(one, v),
                            advance(other, v),
                            advance(first, v),
                            advance(second, v),
                        )
                    else:
                        largest_sums(
                            advance(address(maps), v),
                            address(chosen),
                            n_blocks,
                            address(offsets),
                            n_taps,
                            step,
                            advance(one, v),
                            advance(first, v),
                        )
                for i in range(n_some, n_vectors * LANES):
                    first[i] = -np.inf
                    second[i] = -np.inf
                for number in range(pair, last + 1):
                    row = pair_rows[number] * n_ranks
                    rank_products(
                        first if number == pair else second,
                        n_vectors,
                        n_some,
                        advance(address(sources), low),
                        advance(address(values), row),
                        advance(address(ranked), row),
                        n_ranks,
                    )
