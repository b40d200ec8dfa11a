"""The compiled loops: the strongest sources of targets, exactly and with few products.

For every (instance, target) pair all sources get an upper bound from their extremes,
``maximum * (sum of positive weights) + minimum * (sum of negative weights)``. Sources
are evaluated in the order of their bounds until no bound reaches the K-th strongest
value found, and of a map only the tiles whose own bound does. What is skipped cannot
be among the K strongest, so the result is that of the full computation, bit by bit.

All functions maximise; for minima the caller negates the weights. The result is a pair
of arrays (pairs, ranks), `values` and `ranked`: influences in descending order and the
numbers of their sources, full of 0 and -1 at first; several edges may fill it in turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnviz.network.influence_vectors import (
    LANES,
    address,
    advance,
    compiled,
    first_maximum,
    span_maximum,
    span_minimum,
    tile_maximum_narrow,
    tile_maximum_wide,
)

__all__ = ["rank_bounded", "rank_exact", "rank_identity", "rank_patches", "rank_rows"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Sources = NDArray[np.int32]
Strides = tuple[int, int, int, int, int]


@compiled
def insert(
    values: Floats, ranked: Sources, n_ranks: int, value: float, source: int
) -> None:
    """Put a value into its place in one row of the ranks; ties go to the lower source.

    `values` and `ranked` are pointers to the row.
    """
    rank = n_ranks - 1
    if value < values[rank] or (value == values[rank] and source > ranked[rank]):
        return
    while rank > 0 and (
        value > values[rank - 1]
        or (value == values[rank - 1] and source < ranked[rank - 1])
    ):
        values[rank] = values[rank - 1]
        ranked[rank] = ranked[rank - 1]
        rank -= 1
    values[rank] = value
    ranked[rank] = source


@compiled
def rank_products(
    products: Floats,
    n_vectors: int,
    n_sources: int,
    sources: Sources,
    values: Floats,
    ranked: Sources,
    n_ranks: int,
) -> None:
    """Insert the largest of exact influences into a row; uses `products` up.

    Arguments are pointers; `products` has minus infinity after the last source.
    """
    for _ in range(n_sources):
        i = first_maximum(products, n_vectors)
        value = products[i]
        if value <= 0.0 or value < values[n_ranks - 1]:
            break
        products[i] = -np.inf
        if sources[i] >= 0:
            insert(values, ranked, n_ranks, value, sources[i])


@compiled
def fill_maps(
    maps: Floats,
    size: int,
    x: Floats,
    strides: Strides,
    n_channels: int,
    into: tuple[Indices, Indices, Indices],
    read: tuple[Indices, Indices, Indices],
) -> None:
    """Copy the maps of some channels into their buffers; the padding stays zero.

    `maps` and `x` are pointers to the first of the channels.
    """
    for z in range(len(into[0])):
        for y in range(len(into[1])):
            row = advance(x, read[0][z] * strides[2] + read[1][y] * strides[3])
            place = advance(maps, into[0][z] + into[1][y])
            if strides[1] == 1:
                for p in range(len(into[2])):
                    values = advance(row, read[2][p] * strides[4])
                    column = advance(place, into[2][p])
                    for c in range(n_channels):
                        column[c * size] = values[c]
            else:
                for c in range(n_channels):
                    values = advance(row, c * strides[1])
                    line = advance(place, c * size)
                    for p in range(len(into[2])):
                        line[into[2][p]] = values[read[2][p] * strides[4]]


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
    lowest = np.float32(np.inf)
    for number in range(len(starts)):
        highest = np.float32(-np.inf)
        for s in range(len(spans)):
            read = advance(maps, starts[number] + spans[s, 0])
            highest = max(highest, span_maximum(read, spans[s, 1]))
            lowest = min(lowest, span_minimum(read, spans[s, 1]))
        highest += np.float32(slack) * abs(highest)
        place = number
        while place > 0 and tile_maxima[place - 1] < highest:
            tile_maxima[place] = tile_maxima[place - 1]
            tile_order[place] = tile_order[place - 1]
            place -= 1
        tile_maxima[place] = highest
        tile_order[place] = starts[number]
    return lowest - np.float32(slack) * abs(lowest)


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
    best = np.float32(-np.inf)
    for number in range(n_tiles):
        if tile_maxima[number] * positive + constant <= threshold:
            break
        for b in range(blocks):
            position = tile_order[number] + b * block
            read = advance(maps, position)
            closed = advance(mask, position)
            if block == 2 * LANES:
                value = tile_maximum_narrow(read, offsets, weights, n_taps, closed)
            else:
                value = tile_maximum_wide(read, offsets, weights, n_taps, closed)
            best = max(best, value)
        threshold = max(threshold, best)
    return best


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
    workspace: tuple[Floats, Floats, Floats, Indices, Floats],
    offsets: Indices,
    mask: Floats,
    starts: Indices,
    block: int,
    blocks: int,
    spans: Indices,
    into: tuple[Indices, Indices, Indices],
    read: tuple[Indices, Indices, Indices],
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
        minima (channels,); maxima and order of tiles (channels, tiles); and a vector of
        bounds for a group's sources.
    offsets, mask, starts, block, blocks, spans, into, read
        See ``influence_layout.MapLayout``.

    Returns
    -------
    int
        Pairs of channels that were evaluated, for the benchmark.
    """
    maps, minima, tile_maxima, tile_order, bounds = workspace
    channels_at_once, size = maps.shape
    n_tiles = len(starts)
    n_targets, n_group, n_taps = weights.shape
    n_channels = len(sources)
    n_ranks = values.shape[1]
    targets_of_group = n_targets // (n_channels // n_group)
    upper = address(bounds)
    evaluated = 0
    for n in range(instances[0], instances[1]):
        if pair_starts[n] == pair_starts[n + 1]:
            continue
        for low in range(0, n_channels, channels_at_once):
            high = min(low + channels_at_once, n_channels)
            own = advance(address(x), n * strides[0] + low * strides[1])
            fill_maps(address(maps), size, own, strides, high - low, into, read)
            for c in range(high - low):
                minima[c] = bound_tiles(
                    advance(address(maps), c * size),
                    starts,
                    spans,
                    slack,
                    advance(address(tile_maxima), c * n_tiles),
                    advance(address(tile_order), c * n_tiles),
                )
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
                for i in range(count):
                    c = begin - low + i
                    upper[i] = tile_maxima[c, 0] * positive[i] + minima[c] * negative[i]
                for i in range(count, n_vectors * LANES):
                    upper[i] = -np.inf
                for _ in range(count):
                    i = first_maximum(upper, n_vectors)
                    threshold = own_values[n_ranks - 1]
                    if upper[i] <= threshold:
                        break
                    upper[i] = -np.inf
                    if sources[begin + i] < 0:
                        continue
                    c = begin - low + i
                    evaluated += 1
                    value = evaluate(
                        advance(address(maps), c * size),
                        address(offsets),
                        advance(address(weights), (first + i) * n_taps),
                        n_taps,
                        address(mask),
                        block,
                        blocks,
                        advance(address(tile_maxima), c * n_tiles),
                        advance(address(tile_order), c * n_tiles),
                        n_tiles,
                        positive[i],
                        minima[c] * negative[i],
                        threshold,
                    )
                    if value > 0.0:
                        insert(
                            own_values, own_ranked, n_ranks, value, sources[begin + i]
                        )
    return evaluated


@compiled
def rank_exact(
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    maxima: Floats,
    minima: Floats,
    weights: Floats,
    sources: Sources,
    products: Floats,
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank sources whose influence follows from their extremes: one tap, linear maps.

    `maxima` and `minima` are over the positions that the operation evaluates, shape
    (instances, channels); `weights` has shape (targets, sources of a group). Rounding
    is monotone, so the product with the extreme is the extreme of the products.
    """
    n_targets, n_group = weights.shape
    n_channels = len(sources)
    n_ranks = values.shape[1]
    targets_of_group = n_targets // (n_channels // n_group)
    n_vectors = len(products) // LANES
    found = address(products)
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            j = pair_targets[pair]
            group = j // targets_of_group * n_group
            weight = advance(address(weights), j * n_group)
            upper = advance(address(maxima), n * n_channels + group)
            lower = advance(address(minima), n * n_channels + group)
            for i in range(n_group):
                high = weight[i] * upper[i]
                low = weight[i] * lower[i]
                found[i] = high if high > low else low
            row = pair_rows[pair] * n_ranks
            rank_products(
                found,
                n_vectors,
                n_group,
                advance(address(sources), group),
                advance(address(values), row),
                advance(address(ranked), row),
                n_ranks,
            )


@compiled
def rank_patches(
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    patches: Floats,
    weights: Floats,
    sources: Sources,
    products: Floats,
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank the sources of operations with few positions: lanes are sources, not places.

    `patches` has shape (instances of this call, positions, groups, taps, sources of a
    group), `weights` (targets, taps, sources of a group).
    """
    n_targets, n_taps, n_group = weights.shape
    n_positions, n_groups = patches.shape[1:3]
    n_ranks = values.shape[1]
    targets_of_group = n_targets // n_groups
    n_vectors = len(products) // LANES
    found = address(products)
    sums = np.empty(n_group, np.float32)
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            j = pair_targets[pair]
            group = j // targets_of_group
            products[:n_group] = -np.inf
            for position in range(n_positions):
                sums[:] = 0.0
                for tap in range(n_taps):
                    weight = weights[j, tap]
                    patch = patches[n - instances[0], position, group, tap]
                    for i in range(n_group):
                        sums[i] += weight[i] * patch[i]
                for i in range(n_group):
                    products[i] = max(products[i], sums[i])
            row = pair_rows[pair] * n_ranks
            rank_products(
                found,
                n_vectors,
                n_group,
                advance(address(sources), group * n_group),
                advance(address(values), row),
                advance(address(ranked), row),
                n_ranks,
            )


@compiled
def rank_identity(
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_channels: Indices,
    pair_rows: Indices,
    influences: Floats,
    sources: Sources,
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank the one source that an identity brings to each target."""
    n_ranks = values.shape[1]
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            c = pair_channels[pair]
            row = pair_rows[pair] * n_ranks
            if sources[c] >= 0 and influences[n, c] > 0.0:
                insert(
                    advance(address(values), row),
                    advance(address(ranked), row),
                    n_ranks,
                    influences[n, c],
                    sources[c],
                )


@compiled
def rank_rows(
    contributions: Floats,
    sources: Sources,
    rows: Indices,
    products: Floats,
    values: Floats,
    ranked: Sources,
) -> None:
    """Insert the contributions (pairs, sources) of each pair into its row."""
    n_sources = contributions.shape[1]
    n_ranks = values.shape[1]
    for m in range(len(rows)):
        products[:n_sources] = contributions[m]
        row = rows[m] * n_ranks
        rank_products(
            address(products),
            len(products) // LANES,
            n_sources,
            advance(address(sources), m * n_sources),
            advance(address(values), row),
            advance(address(ranked), row),
            n_ranks,
        )
