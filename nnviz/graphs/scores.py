"""How much does each channel matter in a subset's graph? Scores of nodes.

- :func:`downward_pagerank` follows arcs from target to source. A layered graph has no
  cycles, so that personalised PageRank is a finite sum, exact without iteration: layer
  by layer from the last to the first, each arc once. Graphs with cycles are summed
  until what is left is below a bound.
- :func:`undirected_pagerank` is SUMMIT's: both ways along every arc. The matrix is
  symmetric but for a scaling, so that conjugate gradients solve it, in a third of the
  products that the power iteration needs.
- :func:`in_strength`, :func:`out_strength` and :func:`specificity` are plain numbers.

With M the matrix of the walk's probabilities, p the personalisation and d the damping,
PageRank with dangling nodes that restart at p [1]_ is

    x = d (M x + (sum of x over dangling nodes) p) + (1 - d) p            eq. (1)

whose solution is proportional to that of ``(I - d M) y = p``            eq. (2)

because in eq. (1) p only has a factor.

Symbols: V nodes.

References
----------
.. [1] Page et al., "The PageRank Citation Ranking", 1999; Langville and Meyer, "Deeper
   inside PageRank", Internet Mathematics 1(3), 2004, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.graphs.full_graph import FullGraph, row_sums
from nnviz.statistics import lift_interval

__all__ = [
    "DAMPING",
    "RANKINGS",
    "TOLERANCE",
    "count_personalization",
    "downward_pagerank",
    "downward_walks",
    "has_cycles",
    "in_strength",
    "out_strength",
    "specificity",
    "touched_nodes",
    "undirected_pagerank",
]

Scores = NDArray[np.float64]

DAMPING = 0.85
"""Of SUMMIT and of networkx."""

TOLERANCE = 1e-10
"""Bound of the L1 error of scores that sum to 1."""

MAX_PRODUCTS = 2_000
"""Reached only with a damping very near 1 on a graph with cycles."""

Ranking = TypeVar("Ranking", bound=Callable[[FullGraph, FullGraph], Scores])

RANKINGS: dict[str, Callable[[FullGraph, FullGraph], Scores]] = {}
"""Scores that nodes can be kept by, each by the name of its function: given a subset's
full graph and that of all instances, one for each node, not negative, (V,). Each has a
row in ``nnviz.graphs.options.SCORINGS``."""


def _ranking(function: Ranking) -> Ranking:
    RANKINGS[function.__name__] = function
    return function


def touched_nodes(graph: FullGraph) -> NDArray[np.bool_]:
    """Return which nodes have an arc, shape (V,)."""
    is_touched = np.zeros(graph.n_nodes, dtype=np.bool_)
    spans = graph.spans
    for (target, source), matrix in graph.arcs.items():
        is_touched[spans[target]] |= np.diff(matrix.indptr) > 0
        is_touched[spans[source]][matrix.indices] = True
    return is_touched


def count_personalization(graph: FullGraph) -> Scores:
    """Return each count as a part of the largest of its layer, shape (V,).

    Zero for nodes without arcs, which are not in the graph.

    References
    ----------
    .. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, section 6.3.
    """
    parts = [counts / max(1, counts.max(initial=0)) for counts in graph.counts]
    values = np.concatenate(parts) if parts else np.zeros(0)
    return np.where(touched_nodes(graph), values, 0.0)


def downward_walks(
    graph: FullGraph, start: Scores, *, damping: float = DAMPING
) -> Scores:
    """Return how many walks from targets to sources pass through each node.

    Parameters
    ----------
    graph
        Arc values are the weights: a walk takes an arc in proportion to its value.
    start
        Walks that start at each node, shape (V,), not negative.
    damping
        Probability to walk on; below 1 on a graph with cycles.

    Returns
    -------
    ndarray
        Shape (V,), the solution y of eq. (2). With a damping of 1 and starts that sum
        to 1, the probability that a walk passes: the node's share of the evidence. On
        a layered graph exact to rounding, else with an L1 error below 1e-10 of the sum.
    """
    if has_cycles(graph):
        return _summed_series(graph, start, damping)
    passing, spans = start.astype(np.float64), graph.spans
    for target in graph.layers[::-1]:
        sources = graph.sources_of(target)
        if not sources or not passing[spans[target]].any():
            continue
        flow = damping * passing[spans[target]] / _out_weights(graph, target)
        for source in sources:
            passing[spans[source]] += _flowing(graph.arcs[target, source], flow)
    return passing


def downward_pagerank(
    graph: FullGraph, personalization: Scores, *, damping: float = DAMPING
) -> Scores:
    """Return personalised PageRank of walks from targets to sources.

    Parameters
    ----------
    graph
        Arc values are the weights.
    personalization
        Where walks start, shape (V,), not negative.
    damping
        Probability to walk on; below 1 on a graph with cycles.

    Returns
    -------
    ndarray
        Shape (V,), sum 1; all zero if the personalisation is. Exact as
        :func:`downward_walks`.
    """
    return _scaled(downward_walks(graph, personalization, damping=damping))


def undirected_pagerank(
    graph: FullGraph, personalization: Scores, *, damping: float = DAMPING
) -> Scores:
    """Return personalised PageRank of walks both ways along the arcs, as in SUMMIT.

    Parameters
    ----------
    graph
        Arc values are the weights.
    personalization
        Where walks start, shape (V,), not negative.
    damping
        Probability to walk on, below 1.

    Returns
    -------
    ndarray
        Shape (V,), sum 1, L1 error below 1e-10; all zero if the personalisation is.

    Notes
    -----
    With A the symmetric weights, D their row sums and y = D^(1/2) z, eq. (2) reads
    ``(I - d D^(-1/2) A D^(-1/2)) z = D^(-1/2) p``: symmetric with eigenvalues between
    1 - d and 1 + d. The L1 error of y is at most that of the residual by 1 - d.
    The published scores come from networkx, which stops at an L1 change of 1e-6 times
    the number of nodes, and are off by about 0.2 %.
    """
    if not personalization.any():
        return np.zeros(graph.n_nodes)
    blocks = [
        (graph.spans[target], graph.spans[source], matrix.astype(np.float64))
        for (target, source), matrix in graph.arcs.items()
    ]
    degree = np.zeros(graph.n_nodes)
    for rows, columns, matrix in blocks:
        degree[rows] += matrix.sum(axis=1)
        degree[columns] += np.bincount(
            matrix.indices, matrix.data, minlength=matrix.shape[1]
        )
    root = np.sqrt(np.where(degree > 0, degree, 1.0))
    pairs = [(rows, columns, matrix, matrix.T) for rows, columns, matrix in blocks]

    def product(values: Scores) -> Scores:
        scaled, out = values / root, np.zeros(len(values))
        for rows, columns, matrix, transposed in pairs:
            out[rows] += matrix @ scaled[columns]
            out[columns] += transposed @ scaled[rows]
        result: Scores = values - damping * out / root
        return result

    start = personalization / personalization.sum()
    solution = np.zeros(len(start))
    residual = start / root
    direction, squared = residual.copy(), float(residual @ residual)
    for _ in range(MAX_PRODUCTS):
        applied = product(direction)
        step = squared / float(direction @ applied)
        solution += step * direction
        residual -= step * applied
        # y sums to at least 1, so that this also bounds the error after scaling.
        if np.abs(residual * root).sum() < TOLERANCE * (1 - damping) / 2:
            break
        before, squared = squared, float(residual @ residual)
        direction = residual + (squared / before) * direction
    return _scaled(np.maximum(solution * root, 0.0))


def has_cycles(graph: FullGraph) -> bool:
    """Return whether an arc leads from a layer to itself or to an earlier one."""
    place = {name: index for index, name in enumerate(graph.layers)}
    return any(
        place[target] <= place[source] and matrix.nnz > 0
        for (target, source), matrix in graph.arcs.items()
    )


@_ranking
def in_strength(graph: FullGraph, everything: FullGraph | None = None) -> Scores:
    """Return the sum of all arcs that enter each node, shape (V,)."""
    strength, spans = np.zeros(graph.n_nodes), graph.spans
    for (target, _), matrix in graph.arcs.items():
        strength[spans[target]] += matrix.sum(axis=1)
    return strength


@_ranking
def out_strength(graph: FullGraph, everything: FullGraph | None = None) -> Scores:
    """Return the sum of all arcs that leave each node towards the output, (V,)."""
    del everything  # every ranking is called alike
    strength, spans = np.zeros(graph.n_nodes), graph.spans
    for (_, source), matrix in graph.arcs.items():
        strength[spans[source]] += matrix.sum(axis=0)
    return strength


@_ranking
def specificity(graph: FullGraph, everything: FullGraph) -> Scores:
    """Return how much more often each channel is on top here than anywhere, (V,).

    The lower end of the 95 % interval of its lift, so that a rare channel that is on
    top once by chance does not lead: 1 is usual, 0 is never.

    Parameters
    ----------
    graph
        Full graph of the subset.
    everything
        Full graph of all instances, with the same layers.
    """
    base = np.concatenate(everything.counts) / max(1, everything.n_instances)
    low, _ = lift_interval(np.concatenate(graph.counts), graph.n_instances, base)
    return np.nan_to_num(low)


def _summed_series(graph: FullGraph, start: Scores, damping: float) -> Scores:
    """Sum ``(d M)^k p`` until the rest is below the tolerance, or there is none."""
    spans = graph.spans
    weights = np.ones(graph.n_nodes)
    for target in graph.layers:
        weights[spans[target]] = _out_weights(graph, target)
    term = start.astype(np.float64)
    total = term.copy()
    for _ in range(MAX_PRODUCTS):
        flow, term = damping * term / weights, np.zeros(graph.n_nodes)
        for (target, source), matrix in graph.arcs.items():
            term[spans[source]] += _flowing(matrix, flow[spans[target]])
        total += term
        if term.sum() * damping <= TOLERANCE / 2 * (1 - damping) * total.sum():
            break
    return total


def _out_weights(graph: FullGraph, target: str) -> Scores:
    """Return the sum of each target's arcs to its sources, 1 where there are none."""
    n_targets = len(graph.counts[graph.layers.index(target)])
    weights = np.zeros(n_targets)
    for source in graph.sources_of(target):
        weights += row_sums(graph.arcs[target, source])
    return np.where(weights > 0, weights, 1.0)


def _flowing(matrix: sparse.csr_array, flow: Scores) -> Scores:
    """Return what flows from targets, shape (J,), into each source, shape (I,)."""
    weights = matrix.data * np.repeat(flow, np.diff(matrix.indptr))
    sums = np.bincount(matrix.indices, weights, minlength=matrix.shape[1])
    return np.asarray(sums, dtype=np.float64)


def _scaled(values: Scores) -> Scores:
    total = float(values.sum())
    return values / total if total > 0 else values
