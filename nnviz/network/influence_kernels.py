"""The compiled loops: the strongest sources of targets, exactly and with few products.

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

from nnviz.network.influence_vectors import (
    LANES,
    compiled,
    first_maximum,
    span_maximum,
    span_minimum,
    tile_maximum_narrow,
    tile_maximum_wide,
)

__all__ = [
    "channel_extremes",
    "gather_patches",
    "rank_bounded",
    "rank_exact",
    "rank_identity",
    "rank_patches",
]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Sources = NDArray[np.int32]


@compiled
def insert(
    values: Floats, sources: Sources, row: int, value: float, source: int
) -> None:
    """Put a positive value into its place in a row of the ranks.

    Ties go to the lower source; a row is full of zeros and -1 at first.
    """
    last = values.shape[1] - 1
    if value < values[row, last] or (
        value == values[row, last] and source > sources[row, last]
    ):
        return
    rank = last
    while rank > 0 and (
        value > values[row, rank - 1]
        or (value == values[row, rank - 1] and source < sources[row, rank - 1])
    ):
        values[row, rank] = values[row, rank - 1]
        sources[row, rank] = sources[row, rank - 1]
        rank -= 1
    values[row, rank] = value
    sources[row, rank] = source


@compiled
def fill_maps(
    maps: Floats,
    size: int,
    x: Floats,
    instance: int,
    strides: tuple[int, int, int, int, int],
    channels: tuple[int, int],
    into: tuple[Indices, Indices, Indices],
    read: tuple[Indices, Indices, Indices],
) -> None:
    """Copy the maps of a range of channels into their buffers; padding stays zero."""
    first, last = channels
    n_channels = last - first
    origin = instance * strides[0] + first * strides[1]
    for z in range(len(into[0])):
        from_z = origin + read[0][z] * strides[2]
        for y in range(len(into[1])):
            from_y = from_z + read[1][y] * strides[3]
            into_y = into[0][z] + into[1][y]
            if strides[1] == 1:
                for p in range(len(into[2])):
                    start = from_y + read[2][p] * strides[4]
                    row = x[start : start + n_channels]
                    place = into_y + into[2][p]
                    for c in range(n_channels):
                        maps[place + c * size] = row[c]
            else:
                for c in range(n_channels):
                    start = from_y + c * strides[1]
                    place = c * size + into_y
                    for p in range(len(into[2])):
                        maps[place + into[2][p]] = x[start + read[2][p] * strides[4]]


@compiled
def bound_tiles(
    maps: Floats,
    size: int,
    n_channels: int,
    starts: Indices,
    spans: Indices,
    slack: float,
    maxima: Floats,
    minima: Floats,
    tile_maxima: Floats,
    tile_order: Indices,
) -> None:
    """Bound what every tile of every channel reads; sort the tiles, largest first.

    The bounds are widened by `slack`, more than the rounding of a sum over taps.
    """
    n_tiles = len(starts)
    for c in range(n_channels):
        lowest = float(np.inf)
        for number in range(n_tiles):
            highest = float(-np.inf)
            for s in range(len(spans)):
                start = c * size + starts[number] + spans[s, 0]
                highest = max(highest, span_maximum(maps, start, spans[s, 1]))
                lowest = min(lowest, span_minimum(maps, start, spans[s, 1]))
            highest = highest + slack * abs(highest)
            place = number
            while place > 0 and tile_maxima[c, place - 1] < highest:
                tile_maxima[c, place] = tile_maxima[c, place - 1]
                tile_order[c, place] = tile_order[c, place - 1]
                place -= 1
            tile_maxima[c, place] = highest
            tile_order[c, place] = starts[number]
        maxima[c] = tile_maxima[c, 0]
        minima[c] = lowest - slack * abs(lowest)


@compiled
def evaluate(
    maps: Floats,
    start: int,
    offsets: Indices,
    weights: Floats,
    first_weight: int,
    mask: Floats,
    block: int,
    blocks: int,
    tile_maxima: Floats,
    tile_order: Indices,
    positive: float,
    constant: float,
    threshold: float,
) -> float:
    """Largest value of one pair, or any value up to `threshold` if it is not above."""
    best = float(-np.inf)
    for number in range(len(tile_order)):
        if tile_maxima[number] * positive + constant <= threshold:
            break
        for b in range(blocks):
            position = tile_order[number] + b * block
            if block == 2 * LANES:
                value = tile_maximum_narrow(
                    maps,
                    start + position,
                    offsets,
                    weights,
                    first_weight,
                    mask,
                    position,
                )
            else:
                value = tile_maximum_wide(
                    maps,
                    start + position,
                    offsets,
                    weights,
                    first_weight,
                    mask,
                    position,
                )
            best = max(best, value)
        threshold = max(threshold, best)
    return best


@compiled
def rank_bounded(
    x: Floats,
    strides: tuple[int, int, int, int, int],
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    weights: Floats,
    weight_sums: Floats,
    sources: Sources,
    slack: float,
    channels_at_once: int,
    size: int,
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
    channels_at_once
        Channels whose maps are held at a time; whole groups, or parts of one.
    values, ranked
        The result, shape (pairs, ranks), which may hold ranks of other edges already.

    Returns
    -------
    int
        Pairs of channels that were evaluated, for the benchmark.
    """
    n_targets, n_group, n_taps = weights.shape
    n_channels = len(sources)
    targets_of_group = n_targets // (n_channels // n_group)
    flat = weights.reshape(-1)
    n_tiles = len(starts)
    maps = np.zeros(channels_at_once * size, np.float32)
    maxima = np.empty(channels_at_once, np.float32)
    minima = np.empty(channels_at_once, np.float32)
    tile_maxima = np.empty((channels_at_once, n_tiles), np.float32)
    tile_order = np.empty((channels_at_once, n_tiles), np.int64)
    bounds = np.empty(-(-n_group // LANES) * LANES, np.float32)
    last = values.shape[1] - 1
    evaluated = 0
    for n in range(instances[0], instances[1]):
        if pair_starts[n] == pair_starts[n + 1]:
            continue
        for low in range(0, n_channels, channels_at_once):
            high = min(low + channels_at_once, n_channels)
            fill_maps(maps, size, x, n, strides, (low, high), into, read)
            bound_tiles(
                maps,
                size,
                high - low,
                starts,
                spans,
                slack,
                maxima,
                minima,
                tile_maxima,
                tile_order,
            )
            for pair in range(pair_starts[n], pair_starts[n + 1]):
                j = pair_targets[pair]
                row = pair_rows[pair]
                group = j // targets_of_group * n_group
                begin = max(low, group)
                count = min(high, group + n_group) - begin
                if count <= 0:
                    continue
                n_vectors = -(-count // LANES)
                positive = weight_sums[0, j, begin - group : begin - group + count]
                negative = weight_sums[1, j, begin - group : begin - group + count]
                upper = maxima[begin - low : begin - low + count]
                lower = minima[begin - low : begin - low + count]
                for i in range(count):
                    bounds[i] = upper[i] * positive[i] + lower[i] * negative[i]
                for i in range(count, n_vectors * LANES):
                    bounds[i] = -np.inf
                for _ in range(count):
                    i = first_maximum(bounds, n_vectors)
                    threshold = values[row, last]
                    if bounds[i] <= threshold:
                        break
                    bounds[i] = -np.inf
                    c = begin - low + i
                    if sources[begin + i] < 0:
                        continue
                    evaluated += 1
                    value = evaluate(
                        maps,
                        c * size,
                        offsets,
                        flat,
                        (j * n_group + begin - group + i) * n_taps,
                        mask,
                        block,
                        blocks,
                        tile_maxima[c],
                        tile_order[c],
                        positive[i],
                        lower[i] * negative[i],
                        threshold,
                    )
                    if value > 0.0:
                        insert(values, ranked, row, value, sources[begin + i])
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
    targets_of_group = n_targets // (n_channels // n_group)
    n_vectors = -(-n_group // LANES)
    products = np.full(n_vectors * LANES, -np.inf, np.float32)
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            j = pair_targets[pair]
            group = j // targets_of_group * n_group
            weight = weights[j]
            upper = maxima[n, group : group + n_group]
            lower = minima[n, group : group + n_group]
            for i in range(n_group):
                high = weight[i] * upper[i]
                low = weight[i] * lower[i]
                products[i] = high if high > low else low
            rank_products(
                products,
                n_vectors,
                sources[group : group + n_group],
                pair_rows[pair],
                values,
                ranked,
            )


@compiled
def rank_products(
    products: Floats,
    n_vectors: int,
    sources: Sources,
    row: int,
    values: Floats,
    ranked: Sources,
) -> None:
    """Insert the largest of exact influences into a row; `products` is used up."""
    last = values.shape[1] - 1
    for _ in range(len(sources)):
        i = first_maximum(products, n_vectors)
        value = products[i]
        if value <= 0.0 or value < values[row, last]:
            break
        products[i] = -np.inf
        if sources[i] >= 0:
            insert(values, ranked, row, value, sources[i])


@compiled
def rank_patches(
    instances: tuple[int, int],
    pair_starts: Indices,
    pair_targets: Indices,
    pair_rows: Indices,
    patches: Floats,
    weights: Floats,
    sources: Sources,
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank the sources of operations with few positions: lanes are sources, not places.

    `patches` has shape (instances of this call, positions, groups, taps, sources of a
    group), `weights` (targets, taps, sources of a group).
    """
    n_targets, n_taps, n_group = weights.shape
    n_positions, n_groups = patches.shape[1:3]
    targets_of_group = n_targets // n_groups
    n_vectors = -(-n_group // LANES)
    products = np.full(n_vectors * LANES, -np.inf, np.float32)
    total = np.empty(n_group, np.float32)
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            j = pair_targets[pair]
            group = j // targets_of_group
            products[:n_group] = -np.inf
            for position in range(n_positions):
                total[:] = 0.0
                for tap in range(n_taps):
                    weight = weights[j, tap]
                    patch = patches[n - instances[0], position, group, tap]
                    for i in range(n_group):
                        total[i] += weight[i] * patch[i]
                for i in range(n_group):
                    products[i] = max(products[i], total[i])
            first = group * n_group
            rank_products(
                products,
                n_vectors,
                sources[first : first + n_group],
                pair_rows[pair],
                values,
                ranked,
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
    for n in range(instances[0], instances[1]):
        for pair in range(pair_starts[n], pair_starts[n + 1]):
            c = pair_channels[pair]
            if sources[c] >= 0 and influences[n, c] > 0.0:
                insert(values, ranked, pair_rows[pair], influences[n, c], sources[c])


@compiled
def channel_extremes(
    x: Floats,
    strides: tuple[int, int, int, int, int],
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
    strides: tuple[int, int, int, int, int],
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


@compiled
def rank_rows(
    contributions: Floats,
    sources: Sources,
    rows: Indices,
    values: Floats,
    ranked: Sources,
) -> None:
    """Insert the contributions (pairs, sources) of each pair into its row."""
    n_vectors = -(-contributions.shape[1] // LANES)
    products = np.full(n_vectors * LANES, -np.inf, np.float32)
    for m in range(len(rows)):
        products[: contributions.shape[1]] = contributions[m]
        rank_products(products, n_vectors, sources[m], rows[m], values, ranked)
