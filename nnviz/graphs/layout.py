"""Where does each node stand? Rows are layers; few arcs cross.

1. Every node begins in a given order: that of a layout seen before, else by channel.
2. Sweeps from the output down and back up sort each row by the mean place of the
   neighbours in the rows before (the barycentre), ties in the order they had.
3. The order with the fewest crossings of all sweeps is kept, so that a given order
   changes only where that saves crossings. Further tries begin with seeded shuffles.

Counting crossings takes time E squared; a graph has a few hundred arcs.

Symbols: V nodes, E arcs.

References
----------
.. [1] Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical
   system structures", IEEE Transactions on Systems, Man and Cybernetics 11(2), 1981.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import FullGraph

__all__ = [
    "GraphLayout",
    "arrange_graph",
    "arrange_rows",
    "count_crossings",
    "reference_places",
]

N_SWEEPS = 12
N_SHUFFLES = 3
"""Further tries; none where there is an order from before."""

REFERENCE_SWEEPS = 3
"""Sweeps up and down for places of all channels; the order hardly changes after."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphLayout:
    """A place for every node of a graph."""

    x: NDArray[np.float64]
    """Shape (V,): the places of a row are 1 apart, centred on 0."""
    y: NDArray[np.int64]
    """Row of each node, shape (V,): 0 is the last layer, at the top."""

    def order(self, graph: AttributionGraph) -> dict[tuple[str, int], float]:
        """Return x by (layer, channel), to lay out another graph like this one."""
        return dict(zip(graph.keys(), self.x.tolist(), strict=True))


def arrange_graph(
    graph: AttributionGraph,
    *,
    previous: Mapping[tuple[str, int], float] | None = None,
    seed: int = 0,
) -> GraphLayout:
    """Lay out a graph in rows.

    Parameters
    ----------
    graph
        Any number of nodes.
    previous
        Places of another graph's nodes (:meth:`GraphLayout.order`); nodes that both
        have keep their order to each other as far as crossings allow.
    seed
        Seed of the further tries.

    Returns
    -------
    GraphLayout
        The same for the same arguments.
    """
    rows = len(graph.layers) - 1 - graph.layer.astype(np.int64)
    known = previous or {}
    keys = graph.keys()
    wanted = np.array([known.get(key, np.nan) for key in keys], dtype=np.float64)
    start = _places(rows, graph.channel.astype(np.float64), wanted)
    x = arrange_rows(
        rows,
        np.stack([graph.target, graph.source]).astype(np.int64),
        start,
        n_shuffles=0 if known else N_SHUFFLES,
        seed=seed,
    )
    return GraphLayout(x, rows)


def reference_places(full: FullGraph) -> dict[tuple[str, int], float]:
    """Return a place for every channel, from which all graphs of a run are laid out.

    Graphs that begin with the same places agree on the order of what they share, as far
    as crossings allow, in whatever order they are looked at.

    Parameters
    ----------
    full
        Full graph of all instances.

    Returns
    -------
    dict
        By (layer, channel), in [0, 1]: where sweeps to the mean place of the
        neighbours, weighted by the arcs, leave each channel in its layer. [1]
    """
    spans = full.spans
    x = np.concatenate(
        [_ranks(np.arange(float(len(counts)))) for counts in full.counts]
    )
    for layers in [full.layers, full.layers[::-1]] * REFERENCE_SWEEPS:
        for name in layers:
            sums, weights = np.zeros(len(x)), np.zeros(len(x))
            for (target, source), matrix in full.arcs.items():
                other = source if name == target else target
                if name not in (target, source) or target == source:
                    continue
                ways = matrix if name == target else matrix.T
                sums[spans[name]] += ways @ x[spans[other]]
                weights[spans[name]] += ways @ np.ones(ways.shape[1])
            span = spans[name]
            has_arcs = weights[span] > 0
            means = sums[span] / np.where(has_arcs, weights[span], 1)
            x[span] = _ranks(np.where(has_arcs, means, x[span]))
    return {
        (name, channel): float(place)
        for name, span in spans.items()
        for channel, place in enumerate(x[span].tolist())
    }


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in [0, 1], evenly apart, in the order of the values."""
    ranks = np.empty(len(values))
    order = np.argsort(values, kind="stable")
    ranks[order] = np.arange(len(values)) / max(1, len(values) - 1)
    return ranks


def arrange_rows(
    rows: NDArray[np.int64],
    arcs: NDArray[np.int64],
    start: NDArray[np.float64],
    *,
    n_shuffles: int = N_SHUFFLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Order the nodes of each row so that few arcs cross.

    Parameters
    ----------
    rows
        Row of each node, shape (V,).
    arcs
        The two nodes of each arc, shape (2, E).
    start
        Places to begin with, shape (V,).
    n_shuffles
        Further tries that begin with shuffled rows.
    seed
        Seed of these.

    Returns
    -------
    ndarray
        Places, shape (V,), 1 apart and centred on 0 in each row; crossings are never
        more than with the order of `start`.
    """
    rng = np.random.default_rng(seed)
    best = _centred(rows, start)
    fewest = count_crossings(rows, arcs, best)
    for attempt in range(1 + n_shuffles):
        x = best if attempt == 0 else _centred(rows, rng.random(len(rows)))
        for sweep in range(N_SWEEPS):
            if fewest == 0:
                return best
            x = _swept(rows, arcs, x, downwards=sweep % 2 == 0)
            crossings = count_crossings(rows, arcs, x)
            if crossings < fewest:
                best, fewest = x, crossings
    return best


def count_crossings(
    rows: NDArray[np.int64], arcs: NDArray[np.int64], x: NDArray[np.float64]
) -> int:
    """Return how many pairs of arcs between the same two rows cross.

    Parameters
    ----------
    rows
        Shape (V,).
    arcs
        Shape (2, E).
    x
        Places, shape (V,).

    Examples
    --------
    >>> rows, arcs = np.array([0, 0, 1, 1]), np.array([[0, 1], [2, 3]])
    >>> count_crossings(rows, arcs, np.array([0.0, 1.0, 1.0, 0.0]))
    1
    """
    total = 0
    width = int(rows.max(initial=0)) + 1
    pair = rows[arcs[0]] * width + rows[arcs[1]]
    for value in np.unique(pair):
        upper, lower = x[arcs[:, pair == value]]
        product = np.subtract.outer(upper, upper) * np.subtract.outer(lower, lower)
        total += int((product < 0).sum()) // 2
    return total


def _swept(
    rows: NDArray[np.int64],
    arcs: NDArray[np.int64],
    x: NDArray[np.float64],
    *,
    downwards: bool,
) -> NDArray[np.float64]:
    """Sort each row by the mean place of its neighbours in the rows before."""
    x = x.copy()
    ends = np.concatenate([arcs, arcs[::-1]], axis=1)
    is_before = rows[ends[0]] < rows[ends[1]]
    ends = ends[
        :, is_before if downwards else ~is_before & (rows[ends[0]] != rows[ends[1]])
    ]
    order = np.unique(rows)
    for row in order if downwards else order[::-1]:
        nodes = np.flatnonzero(rows == row)
        into = ends[:, rows[ends[1]] == row]
        sums = np.bincount(into[1], x[into[0]], minlength=len(rows))[nodes]
        degrees = np.bincount(into[1], minlength=len(rows))[nodes]
        means = np.where(degrees > 0, sums / np.maximum(degrees, 1), x[nodes])
        ranks = np.lexsort((x[nodes], means))
        x[nodes[ranks]] = np.arange(len(nodes)) - (len(nodes) - 1) / 2
    return x


def _centred(
    rows: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return places that are 1 apart and centred in each row, in the values' order."""
    x = np.zeros(len(rows))
    for row in np.unique(rows):
        nodes = np.flatnonzero(rows == row)
        order = nodes[np.argsort(values[nodes], kind="stable")]
        x[order] = np.arange(len(nodes)) - (len(nodes) - 1) / 2
    return x


def _places(
    rows: NDArray[np.int64], channel: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return places to begin with: those of before, new nodes to their right."""
    is_new = np.isnan(wanted)
    places = np.zeros(len(rows))
    for row in np.unique(rows):
        nodes = np.flatnonzero(rows == row)
        order = nodes[
            np.lexsort((channel[nodes], np.nan_to_num(wanted[nodes]), is_new[nodes]))
        ]
        places[order] = np.arange(len(order))
    return places
