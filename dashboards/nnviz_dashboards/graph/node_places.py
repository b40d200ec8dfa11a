"""Where do nodes stand, so that none moves that two graphs have in common?

1. The first graph is laid out with few crossings (``nnviz.graphs.layout``).
2. In every further one, nodes that the graph before had keep their places exactly.
3. Nodes that were seen earlier return to theirs, if these are free.
4. New nodes take free places next to each other, near the mean of their neighbours.

So going to a class and back shows the same picture twice. Crossings are not minimised
again until the visitor asks for it.

Symbols: V nodes, E arcs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from nnviz.graphs.layout import arrange_rows

__all__ = ["Places"]

Key = tuple[str, int]


class Places:
    """What is remembered of the places of one visitor's nodes."""

    def __init__(self) -> None:
        self._known: dict[Key, float] = {}
        self._shown: frozenset[Key] = frozenset()

    def forget(self) -> None:
        """Lay out the next graph as if it were the first."""
        self._known, self._shown = {}, frozenset()

    def place(
        self, keys: Sequence[Key], rows: NDArray[np.int64], arcs: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return a place for every node, and remember it.

        Parameters
        ----------
        keys
            Layer and channel of each node, V of them.
        rows
            Row of each node, shape (V,); 0 is at the top.
        arcs
            The two nodes of each arc, shape (2, E).

        Returns
        -------
        ndarray
            Shape (V,); different places of a row are whole steps apart.
        """
        stays = np.array([key in self._shown for key in keys], dtype=np.bool_)
        if any(key in self._known for key in keys):
            x = self._settled(keys, rows, arcs, stays)
        else:
            channels = np.array([channel for _, channel in keys], dtype=np.float64)
            x = arrange_rows(rows, arcs, channels)
        self._known.update(zip(keys, x.tolist(), strict=True))
        self._shown = frozenset(keys)
        return x

    def _settled(
        self,
        keys: Sequence[Key],
        rows: NDArray[np.int64],
        arcs: NDArray[np.int64],
        stays: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        x = np.full(len(keys), np.nan)
        x[stays] = [
            self._known[key] for key, stay in zip(keys, stays, strict=True) if stay
        ]
        for row in np.unique(rows).tolist():
            nodes = np.flatnonzero(rows == row)
            taken = set(x[nodes[stays[nodes]]].tolist())
            for node in nodes[~stays[nodes]].tolist():
                place = self._known.get(keys[node])
                if place is None or place in taken:
                    continue
                if not taken or (place - next(iter(taken))) % 1 == 0:
                    x[node] = place
                    taken.add(place)
            new = nodes[np.isnan(x[nodes])]
            if len(new):
                free = _free_places(taken, len(nodes))
                wanted = _neighbour_means(new, arcs, x)
                cost = np.abs(np.subtract.outer(wanted, free))
                order, places = optimize.linear_sum_assignment(cost)
                x[new[order]] = free[places]
        return x


def _free_places(taken: set[float], n: int) -> NDArray[np.float64]:
    """Return the free places of a range that holds n and is centred if it can be."""
    offset = next(iter(taken)) % 1 if taken else ((n - 1) / 2) % 1
    low = min(taken, default=offset)
    high = max(taken, default=offset - 1)
    while high - low + 1 < n:
        if abs(low - 1) < abs(high + 1):
            low -= 1
        else:
            high += 1
    return np.array(
        [place for place in np.arange(low, high + 0.5) if place not in taken]
    )


def _neighbour_means(
    nodes: NDArray[np.int64], arcs: NDArray[np.int64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean place of each node's neighbours that stand; 0 without any."""
    ends = np.concatenate([arcs, arcs[::-1]], axis=1)
    ends = ends[:, ~np.isnan(x[ends[1]])]
    sums = np.bincount(ends[0], x[ends[1]], minlength=len(x))
    degrees = np.bincount(ends[0], minlength=len(x))
    means: NDArray[np.float64] = sums[nodes] / np.maximum(degrees[nodes], 1)
    return means
