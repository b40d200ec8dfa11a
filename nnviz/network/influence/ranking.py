"""The compiled loops that rank influences which are known exactly.

The result is a pair of arrays (pairs, ranks), `values` and `ranked`: influences in
descending order and the numbers of their sources, full of 0 and -1 at first; several
edges may fill it in turn. Only positive influences are ranked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnviz.compiling import compiled
from nnviz.network.influence.vectors import (
    LANES,
    address,
    advance,
    first_maximum,
)

__all__ = [
    "insert",
    "rank_exact",
    "rank_identity",
    "rank_patches",
    "rank_products",
    "rank_rows",
]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Sources = NDArray[np.int32]


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
    counted: NDArray[np.bool_] | None,
    weights: Floats,
    sources: Sources,
    products: Floats,
    values: Floats,
    ranked: Sources,
) -> None:
    """Rank the sources of operations with few positions: lanes are sources, not places.

    `patches` has shape (instances of this call, positions, groups, taps, sources of a
    group), `weights` (targets, taps, sources of a group), `counted` (all instances,
    positions); None: all positions count.
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
                if counted is not None and not counted[n, position]:
                    continue
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
