"""Which nodes and arcs of a full graph are kept? Each rule a small function.

- :func:`nodes_until_share`: nnviz' cut, in each layer the fewest nodes that hold a
  share of the layer's scores; :func:`connected_upwards` then adds what links them to
  the start.
- :func:`nodes_above_next_value`, :func:`nodes_with_raised_shares` and
  :func:`arcs_that_continue`: SUMMIT's cut, its repair, and its filter of arcs.

Rules marked [1]_ are those of SUMMIT's published notebook attribution-graph, with the
settings of its published data.

Symbols: V nodes, E kept arcs.

References
----------
.. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, section 6.3, and its notebook
   attribution-graph: ``get_prob_mass``, ``get_threshold``,
   ``get_prev_nodes_with_valid_edges``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.full_graph import FullGraph, arcs_into, row_sums
from nnviz.graphs.options import SUMMIT_SHARE

__all__ = [
    "KeptArcs",
    "arcs_between",
    "arcs_that_continue",
    "connected_upwards",
    "nodes_above_next_value",
    "nodes_until_share",
    "nodes_with_raised_shares",
]

Mask = NDArray[np.bool_]

SHARE_STEP = 0.005
"""How far SUMMIT raises the share of a layer without arcs. [1]"""


@dataclass(frozen=True, slots=True, eq=False)
class KeptArcs:
    """Arcs by the numbers of their nodes in the full graph."""

    source: NDArray[np.int64]
    """Shape (E,)."""
    target: NDArray[np.int64]
    """Shape (E,)."""
    value: NDArray[np.int64 | np.float64]
    """Shape (E,)."""

    def where(self, keep: Mask) -> KeptArcs:
        """Return some of them."""
        return KeptArcs(self.source[keep], self.target[keep], self.value[keep])


def nodes_until_share(
    values: NDArray[np.float64], share: float, *, at_least: int = 1
) -> Mask:
    """Keep the largest values of one layer until they hold a share of its sum.

    Parameters
    ----------
    values
        Scores of one layer, shape (C,), not negative.
    share
        In [0, 1]; the value that reaches it is kept.
    at_least
        So many are kept, if they are positive.

    Returns
    -------
    ndarray
        Bool, shape (C,). Of equal values the lower channel is taken first; zeros never.

    Examples
    --------
    >>> nodes_until_share(np.array([4.0, 1.0, 5.0, 0.0]), 0.6)
    array([ True, False,  True, False])
    """
    order = np.argsort(-values, kind="stable")
    sums = np.cumsum(values[order])
    n_kept = int(np.searchsorted(sums, share * sums[-1])) + 1 if len(values) else 0
    n_kept = max(n_kept, at_least)
    keep = np.zeros(len(values), dtype=np.bool_)
    keep[order[:n_kept]] = True
    return keep & (values > 0)


def nodes_above_next_value(values: NDArray[np.float64], share: float) -> Mask:
    """Keep what is above the value after the share is reached: SUMMIT's cut. [1]_.

    Parameters
    ----------
    values
        Scores of one layer, shape (C,), not negative.
    share
        In [0, 1].

    Returns
    -------
    ndarray
        Bool, shape (C,). Equal values at the cut are left out together; where the share
        is reached with the last value, all that are positive are kept.

    Examples
    --------
    >>> nodes_above_next_value(np.array([5.0, 2.0, 2.0, 1.0]), 0.6)
    array([ True, False, False, False])
    """
    ordered = np.sort(values)[::-1]
    sums = np.cumsum(ordered)
    n_counted = int(np.searchsorted(sums, share * sums[-1])) + 1 if len(values) else 0
    threshold = ordered[n_counted] if n_counted < len(ordered) else 0.0
    return np.asarray(values > threshold)


def nodes_with_raised_shares(
    graph: FullGraph, scores: NDArray[np.float64], share: float = SUMMIT_SHARE
) -> Mask:
    """Cut every layer, and raise the share where no arc is left: SUMMIT's repair. [1]_.

    Parameters
    ----------
    graph
        The full graph.
    scores
        Shape (V,).
    share
        Where every layer begins.

    Returns
    -------
    ndarray
        Bool, shape (V,).

    Notes
    -----
    A layer with no arc to a kept node below gets 0.005 more, and so does the layer
    below, until there is one or all of both is kept. The layer below is the nearest
    one from which arcs come; layers into which no arc leads need none.
    """
    spans = graph.spans
    shares = dict.fromkeys(graph.layers, share)
    below = {name: graph.sources_of(name) for name in graph.layers}
    while True:
        keep = np.zeros(graph.n_nodes, dtype=np.bool_)
        for name, span in spans.items():
            keep[span] = nodes_above_next_value(scores[span], min(1.0, shares[name]))
        poor = [
            name
            for name, sources in below.items()
            if sources
            and min(shares[name], shares[sources[-1]]) < 1
            and not _has_kept_arc(graph, name, keep)
        ]
        if not poor:
            return keep
        for name in poor:
            shares[name] += SHARE_STEP
            shares[below[name][-1]] += SHARE_STEP


def connected_upwards(
    graph: FullGraph, scores: NDArray[np.float64], keep: Mask
) -> Mask:
    """Add nodes until every kept node is fed into one above, up to the start.

    Parameters
    ----------
    graph
        The full graph, layered.
    scores
        Scores of walks from targets to sources, shape (V,): what passes through each
        node.
    keep
        Nodes that are kept, shape (V,).

    Returns
    -------
    ndarray
        Bool, shape (V,): `keep`, and for each node that feeds no kept one, the target
        through which most of its score comes, from the first layer to the last.
    """
    keep, spans = keep.copy(), graph.spans
    rates = _flow_rates(graph, scores)
    for source in graph.layers:
        span = spans[source]
        found = [
            _arcs_from(graph, source, target, keep[span], rates)
            for target in graph.layers
            if (target, source) in graph.arcs
        ]
        if not found:
            continue
        columns, targets, flow = map(np.concatenate, zip(*found, strict=True))
        n_kept_above = np.bincount(
            columns[keep[targets] & (flow > 0)], minlength=span.stop - span.start
        )
        is_open = (n_kept_above[columns] == 0) & (flow > 0)
        columns, targets, flow = columns[is_open], targets[is_open], flow[is_open]
        order = np.lexsort((targets, -flow, columns))
        _, first = np.unique(columns[order], return_index=True)
        keep[targets[order][first]] = True
    return keep


def _flow_rates(graph: FullGraph, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each node's score by the sum of its arcs to sources, shape (V,)."""
    totals, spans = np.zeros(graph.n_nodes), graph.spans
    for (target, _), matrix in graph.arcs.items():
        totals[spans[target]] += row_sums(matrix)
    rates: NDArray[np.float64] = scores / np.where(totals > 0, totals, np.inf)
    return rates


def _arcs_from(
    graph: FullGraph,
    source: str,
    target: str,
    is_kept: Mask,
    rates: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return source channel, target node and flow of the arcs from kept channels."""
    matrix, first = graph.arcs[target, source], graph.spans[target].start
    is_wanted = is_kept[matrix.indices]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[is_wanted]
    columns = matrix.indices[is_wanted].astype(np.int64)
    return columns, rows + first, matrix.data[is_wanted] * rates[rows + first]


def arcs_between(graph: FullGraph, keep: Mask) -> KeptArcs:
    """Return all arcs with both ends kept.

    Parameters
    ----------
    graph
        The full graph.
    keep
        Shape (V,).

    Returns
    -------
    KeptArcs
        By target, then by source layer and channel.
    """
    found = []
    spans = graph.spans
    for target in graph.layers:
        rows = np.flatnonzero(keep[spans[target]])
        for source in graph.sources_of(target):
            row, column, value = arcs_into(graph.arcs[target, source], rows)
            is_kept = keep[spans[source]][column]
            sources = column[is_kept] + spans[source].start
            targets = rows[row[is_kept]] + spans[target].start
            found.append((sources, targets, value[is_kept]))
    if not found:
        empty = np.zeros(0, dtype=np.int64)
        return KeptArcs(empty, empty, empty)
    source_nodes, target_nodes, values = map(np.concatenate, zip(*found, strict=True))
    order = np.lexsort((source_nodes, target_nodes))
    return KeptArcs(source_nodes[order], target_nodes[order], values[order])


def arcs_that_continue(graph: FullGraph, arcs: KeptArcs) -> KeptArcs:
    """Drop arcs whose lower end has no arc further down: SUMMIT's filter. [1]_.

    Parameters
    ----------
    graph
        The full graph.
    arcs
        With both ends kept.

    Returns
    -------
    KeptArcs
        In the same order. Lower ends in layers into which no arc leads are exempt. One
        pass, not repeated: nodes without arcs stay, as they do in the published graphs.
    """
    continues = np.zeros(graph.n_nodes, dtype=np.bool_)
    continues[arcs.target] = True
    for name, span in graph.spans.items():
        if not graph.sources_of(name):
            continues[span] = True
    return arcs.where(continues[arcs.source])


def _has_kept_arc(graph: FullGraph, target: str, keep: Mask) -> bool:
    spans = graph.spans
    rows = np.flatnonzero(keep[spans[target]]).tolist()
    for source in graph.sources_of(target):
        matrix, columns = graph.arcs[target, source], keep[spans[source]]
        for row in rows:
            indices = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
            if columns[indices].any():
                return True
    return False
