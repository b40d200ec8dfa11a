"""The compiled loops that find the strongest sources exactly and with few products.

For every (instance, target) pair all sources get an upper bound from their extremes,
``maximum * (sum of positive weights) + minimum * (sum of negative weights)``. Sources
are evaluated in the order of their bounds until no bound reaches the K-th strongest
value found, and of a map only the tiles whose own bound does. What is skipped cannot
be among the K strongest, so the result is that of the full computation, bit by bit.

All functions maximise; for minima the caller negates the weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnviz.compiling import compiled
from nnviz.network.influence.ranking import insert
from nnviz.network.influence.vectors import (
    LANES,
    LOWEST,
    address,
    advance,
    first_maximum,
    span_maximum,
    span_minimum,
    tile_maximum_narrow,
    tile_maximum_single,
    tile_maximum_wide,
)

__all__ = ["rank_bounded"]

_BATCH = 4
"""Sources that are evaluated before their values are looked at: no value has to be
waited for, at the price of a few that a better threshold would have spared."""

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Sources = NDArray[np.int32]
Strides = tuple[int, int, int, int, int]


@compiled
def fill_maps(
    maps: Floats,
    size: int,
    x: Floats,
    strides: Strides,
    n_channels: int,
    into: tuple[Indices, Indices, Indices],
    elements: tuple[Indices, Indices, Indices],
) -> None:
    """Copy the maps of some channels into their buffers; the padding stays zero.

    `maps` and `x` are pointers to the first of the channels.
    """
    for z in range(len(into[0])):
        for y in range(len(into[1])):
            row = advance(x, elements[0][z] * strides[2] + elements[1][y] * strides[3])
            start = advance(maps, into[0][z] + into[1][y])
            if strides[1] == 1:
                for p in range(len(into[2])):
                    values = advance(row, elements[2][p] * strides[4])
                    column = advance(start, into[2][p])
                    for c in range(n_channels):
                        column[c * size] = values[c]
            else:
                for c in range(n_channels):
                    values = advance(row, c * strides[1])
                    line = advance(start, c * size)
                    for p in range(len(into[2])):
                        line[into[2][p]] = values[elements[2][p] * strides[4]]


@compiled
def bound_tiles(
    maps: Floats,
    starts: Indices,
    spans: Indices,
    slack: float,
    tile_maxima: Floats,
    tile_order: Indices,
) -> float:
    """Bound what every tile of one channel reads, and sort the tiles, largest first.

    `maps`, `tile_maxima` and `tile_order` are pointers to the channel's. The bounds are
    widened by `slack`, more than the rounding of a sum over taps.

    Returns
    -------
    float
        The minimum of all that is read, lowered likewise.
    """
    lowest: float = -LOWEST
    for number in range(len(starts)):
        highest = LOWEST
        for s in range(len(spans)):
            at = advance(maps, starts[number] + spans[s, 0])
            highest = max(highest, span_maximum(at, spans[s, 1]))
            lowest = min(lowest, span_minimum(at, spans[s, 1]))
        highest += slack * abs(highest)
        rank = number
        while rank > 0 and tile_maxima[rank - 1] < highest:
            tile_maxima[rank] = tile_maxima[rank - 1]
            tile_order[rank] = tile_order[rank - 1]
            rank -= 1
        tile_maxima[rank] = highest
        tile_order[rank] = starts[number]
    lowest -= slack * abs(lowest)
    return lowest


@compiled
def evaluate(
    maps: Floats,
    offsets: Indices,
    weights: Floats,
    n_taps: int,
    mask: Floats,
    block: int,
    blocks: int,
    tile_maxima: Floats,
    tile_order: Indices,
    n_tiles: int,
    positive: float,
    constant: float,
    threshold: float,
) -> float:
    """Return the influence of one source on one target if it is above `threshold`.

    Otherwise any value up to it. Array arguments are pointers.
    """
    best: float = LOWEST
    for number in range(n_tiles):
        if tile_maxima[number] * positive + constant <= threshold:
            break
        for b in range(blocks):
            position = tile_order[number] + b * block
            at = advance(maps, position)
            closed = advance(mask, position)
            if block == 2 * LANES:
                value = tile_maximum_narrow(at, offsets, weights, n_taps, closed)
            elif block == 5 * LANES:
                value = tile_maximum_single(at, offsets, weights, n_taps, closed)
            else:
                value = tile_maximum_wide(at, offsets, weights, n_taps, closed)
            best = max(best, value)
        threshold = max(threshold, best)
    return best


@compiled
def choose(
    bounds: Floats, n_vectors: int, most: int, threshold: float, chosen: Indices
) -> int:
    """Take the largest bounds above a threshold out; return how many; pointers."""
    n_chosen = 0
    while n_chosen < most:
        i = first_maximum(bounds, n_vectors)
        if bounds[i] <= threshold:
            break
        bounds[i] = -np.inf
        chosen[n_chosen] = i
        n_chosen += 1
    return n_chosen


@compiled
def list_above(bounds: Floats, count: int, threshold: float, left: Indices) -> int:
    """List the indices of bounds above a threshold; return how many; pointers."""
    n_left = 0
    for i in range(count):
        left[n_left] = i
        n_left += bounds[i] > threshold
    return n_left


@compiled
def rank_bounded(
    x: Floats,
    strides: Strides,
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    weights: Floats,
    weight_sums: Floats,
    sources: Sources,
    slack: float,
    workspace: tuple[Floats, Floats, Floats, Floats, Indices, Floats, Indices, Floats],
    offsets: Indices,
    masks: Floats,
    starts: Indices,
    block: int,
    blocks: int,
    spans: Indices,
    into: tuple[Indices, Indices, Indices],
    elements: tuple[Indices, Indices, Indices],
    values: Floats,
    ranked: Sources,
) -> int:
    """Rank the sources of the pairs of a range of instances, by bounds.

    Parameters
    ----------
    x
        The operation's input as it lies in memory, flat, with its `strides` for
        (instance, channel, and three position axes).
    instances
        First and past-last instance of this call.
    pair_starts, pair_targets, pair_rows
        Pairs of instance n are ``pair_starts[n]`` to ``pair_starts[n + 1]``: output
        channel of the operation, and row of the result.
    weights, weight_sums
        Shape (targets, sources of a group, taps), and the sums of the positive and of
        the negative ones, (2, targets, sources of a group).
    sources
        Number of each input channel among all sources of the target; -1: not one.
    workspace
        For as many channels as are held at a time: maps (channels, buffer), all zero;
        maxima and minima (channels,); maxima and order of tiles (channels, tiles);
        bounds, two lists of indices and values for the sources of a group.
    masks
        The mask of each instance, or one for all; see ``MapLayout.mask``.
    offsets, starts, block, blocks, spans, into, elements
        See ``layout.MapLayout``.

    Returns
    -------
    int
        Pairs of channels that were evaluated, for the benchmark.
    """
    maps, maxima, minima, tile_maxima, tile_order, bounds, candidates, results = (
        workspace
    )
    channels_at_once, size = maps.shape
    n_tiles = len(starts)
    n_targets, n_group, n_taps = weights.shape
    n_channels = len(sources)
    n_ranks = values.shape[1]
    targets_of_group = n_targets // (n_channels // n_group)
    upper = address(bounds)
    left = address(candidates)
    chosen = advance(left, n_group + 1)
    found = address(results)
    evaluated = 0
    for n in range(instances[0], instances[1]):
        if pair_starts[n] == pair_starts[n + 1]:
            continue
        mask = advance(address(masks), n * masks.shape[1] if len(masks) > 1 else 0)
        for low in range(0, n_channels, channels_at_once):
            high = min(low + channels_at_once, n_channels)
            own = advance(address(x), n * strides[0] + low * strides[1])
            fill_maps(address(maps), size, own, strides, high - low, into, elements)
            for c in range(high - low):
                minima[c] = bound_tiles(
                    advance(address(maps), c * size),
                    starts,
                    spans,
                    slack,
                    advance(address(tile_maxima), c * n_tiles),
                    advance(address(tile_order), c * n_tiles),
                )
                maxima[c] = tile_maxima[c, 0]
            for pair in range(pair_starts[n], pair_starts[n + 1]):
                j = pair_targets[pair]
                row = pair_rows[pair] * n_ranks
                own_values = advance(address(values), row)
                own_ranked = advance(address(ranked), row)
                group = j // targets_of_group * n_group
                begin = max(low, group)
                count = min(high, group + n_group) - begin
                if count <= 0:
                    continue
                first = j * n_group + begin - group
                positive = advance(address(weight_sums), first)
                negative = advance(positive, n_targets * n_group)
                n_vectors = -(-count // LANES)
                highest = advance(address(maxima), begin - low)
                lowest = advance(address(minima), begin - low)
                for i in range(count):
                    upper[i] = highest[i] * positive[i] + lowest[i] * negative[i]
                    if sources[begin + i] < 0:
                        upper[i] = -np.inf
                for i in range(count, n_vectors * LANES):
                    upper[i] = -np.inf
                threshold = own_values[n_ranks - 1]
                at_first = min(count, n_ranks)
                n_chosen = choose(upper, n_vectors, at_first, threshold, chosen)
                n_left = -1
                done = 0
                while n_chosen > 0:
                    evaluated += n_chosen
                    for k in range(n_chosen):
                        i = chosen[k]
                        c = begin - low + i
                        found[k] = evaluate(
                            advance(address(maps), c * size),
                            address(offsets),
                            advance(address(weights), (first + i) * n_taps),
                            n_taps,
                            mask,
                            block,
                            blocks,
                            advance(address(tile_maxima), c * n_tiles),
                            advance(address(tile_order), c * n_tiles),
                            n_tiles,
                            positive[i],
                            lowest[i] * negative[i],
                            threshold,
                        )
                    for k in range(n_chosen):
                        if found[k] > 0.0:
                            source = sources[begin + chosen[k]]
                            insert(own_values, own_ranked, n_ranks, found[k], source)
                    threshold = own_values[n_ranks - 1]
                    if n_left < 0:
                        n_left = list_above(upper, count, threshold, left)
                    n_chosen = 0
                    while n_chosen == 0 and done < n_left:
                        for k in range(done, min(done + _BATCH, n_left)):
                            chosen[n_chosen] = left[k]
                            n_chosen += upper[left[k]] > threshold
                        done += _BATCH
    return evaluated
