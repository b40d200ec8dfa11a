"""How does a full graph become an attribution graph? Two ways, made of small rules.

``summit``, as published [1]_:

1. personalised PageRank both ways along the arcs, personalised by activation counts;
2. in each layer, nodes above the value at which 7.5 % of the layer's sum is reached;
   layers without arcs get more;
3. arcs between kept nodes whose lower end has an arc further down. No cut on counts.

``directed``:

1. walks start at the output and follow arcs to sources: a node's score is the share of
   the evidence that runs through it;
2. in each layer, the fewest nodes that hold 7.5 % of the layer's sum, but at least
   five, and what connects them to the start;
3. all arcs between kept nodes.

References
----------
.. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, section 6.3, and its notebook
   attribution-graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import N_STRONGEST, UNKNOWN, AttributionGraph
from nnviz.graphs.full_graph import FullGraph, arcs_into
from nnviz.graphs.options import SUMMIT_SHARE
from nnviz.graphs.scores import (
    DAMPING,
    count_personalization,
    downward_walks,
    has_cycles,
    undirected_pagerank,
)
from nnviz.graphs.selection import (
    KeptArcs,
    arcs_between,
    arcs_that_continue,
    connected_upwards,
    nodes_until_share,
    nodes_with_raised_shares,
)

__all__ = [
    "DIRECTED_AT_LEAST",
    "GraphSelection",
    "directed_graph",
    "directed_selection",
    "kept_graph",
    "summit_graph",
    "summit_selection",
]

TINY = np.finfo(np.float64).tiny

DIRECTED_AT_LEAST = 5
"""Nodes of a layer: about as many as SUMMIT's graphs have, where layers are small."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphSelection:
    """What a preset keeps of a full graph with V nodes."""

    scores: NDArray[np.float64]
    """What nodes are kept by, of all nodes, shape (V,)."""
    keep: NDArray[np.bool_]
    """Kept nodes, shape (V,)."""
    arcs: KeptArcs
    """Kept arcs, whose ends are kept."""
    reach: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Share of the evidence that arrives at each layer, shape (L,), where it walks from
    the output; else empty."""


def summit_selection(
    graph: FullGraph, *, share: float = SUMMIT_SHARE, damping: float = DAMPING
) -> GraphSelection:
    """Select what SUMMIT publishes.

    Parameters
    ----------
    graph
        The subset's full graph, inner layers composed away and truncated.
    share
        Fraction of a layer's PageRank at which it is cut.
    damping
        Damping factor of PageRank.
    """
    scores = undirected_pagerank(graph, count_personalization(graph), damping=damping)
    keep = nodes_with_raised_shares(graph, scores, share)
    arcs = arcs_that_continue(graph, arcs_between(graph, keep))
    return GraphSelection(scores, keep, arcs)


def directed_selection(
    graph: FullGraph,
    start: tuple[str, NDArray[np.float64]],
    *,
    weights: FullGraph | None = None,
    ranking: NDArray[np.float64] | None = None,
    share: float = SUMMIT_SHARE,
    at_least: int = DIRECTED_AT_LEAST,
    damping: float = 1.0,
) -> GraphSelection:
    """Select what an output rests on.

    Parameters
    ----------
    graph
        The subset's full graph.
    start
        The layer where walks start, and how many at each of its channels, shape (C,):
        1 at a class's output. Scaled to sum 1.
    weights
        By which walks choose their arcs; may have further layers, through which walks
        pass. None: `graph`.
    ranking
        Scores to keep nodes by, shape (V,), not negative: of ``graph_scores``, or of
        one's own. Only nodes through which evidence runs are kept. Layers in which all
        are 0 (nothing enters the first) are ranked by the evidence, as all are by None.
    share
        Fraction of a layer's scores that the kept nodes hold.
    at_least
        Nodes of a layer that are kept, if evidence runs through that many.
    damping
        Probability to walk on. 1 gives shares of the evidence; where the layers have
        cycles at most 0.85.
    """
    weights = graph if weights is None else weights
    damping = min(damping, DAMPING) if has_cycles(weights) else damping
    layer, values = start
    starts = np.zeros(weights.n_nodes)
    starts[weights.span(layer)] = values / max(float(values.sum()), TINY)
    passing, spans = downward_walks(weights, starts, damping=damping), weights.spans
    scores = np.concatenate([passing[spans[name]] for name in graph.layers])
    reach = np.array([passing[spans[name]].sum() for name in graph.layers])
    ranked = scores if ranking is None else np.where(scores > 0, ranking, 0.0)
    keep = np.zeros(graph.n_nodes, dtype=np.bool_)
    for span in graph.spans.values():
        if not ranked[span].any():
            ranked[span] = scores[span]
        keep[span] = nodes_until_share(ranked[span], share, at_least=at_least)
    keep = connected_upwards(graph, scores, keep)
    return GraphSelection(ranked, keep, arcs_between(graph, keep), reach)


def summit_graph(
    graph: FullGraph,
    *,
    subset: str,
    everything: FullGraph | None = None,
    share: float = SUMMIT_SHARE,
    damping: float = DAMPING,
) -> AttributionGraph:
    """Make the graph that SUMMIT publishes.

    Parameters
    ----------
    graph, share, damping
        As in :func:`summit_selection`.
    subset
        Its name.
    everything
        The full graph of all instances, for base rates; not truncated.
    """
    selection = summit_selection(graph, share=share, damping=damping)
    return kept_graph(
        graph, selection, subset=subset, preset="summit", everything=everything
    )


def directed_graph(
    graph: FullGraph,
    start: tuple[str, NDArray[np.float64]],
    *,
    subset: str,
    everything: FullGraph | None = None,
    share: float = SUMMIT_SHARE,
) -> AttributionGraph:
    """Make the graph of what an output rests on.

    Parameters
    ----------
    graph, start, share
        As in :func:`directed_selection`.
    subset
        Its name.
    everything
        The full graph of all instances, for base rates.
    """
    selection = directed_selection(graph, start, share=share)
    return kept_graph(
        graph, selection, subset=subset, preset="directed", everything=everything
    )


def kept_graph(
    graph: FullGraph,
    selection: GraphSelection,
    *,
    subset: str,
    preset: str,
    everything: FullGraph | None = None,
    problems: Sequence[str] = (),
) -> AttributionGraph:
    """Collect all numbers of kept nodes and arcs.

    Parameters
    ----------
    graph
        The full graph with V nodes.
    selection
        What is kept of it.
    subset, preset
        Names.
    everything
        The full graph of all instances, for base rates; None: they are not known.
    problems
        Sentences to keep with the graph.
    """
    arcs = selection.arcs
    nodes = np.flatnonzero(selection.keep)
    number = np.cumsum(selection.keep) - 1
    bounds = np.array([span.start for span in graph.spans.values()], dtype=np.int64)
    layer = np.searchsorted(bounds, nodes, side="right") - 1
    channel = nodes - bounds[layer] if len(nodes) else nodes
    base, arc_base = np.full(len(nodes), UNKNOWN), np.full(len(arcs.source), UNKNOWN)
    if everything is not None:
        base = np.concatenate([*everything.counts, np.zeros(0, np.int64)])[nodes]
        arc_base = _values_at(everything, arcs, bounds)
    strongest = _strongest_sources(graph, layer, channel)
    return AttributionGraph(
        subset=subset,
        preset=preset,
        n_instances=graph.n_instances,
        n_total=UNKNOWN if everything is None else everything.n_instances,
        layers=graph.layers,
        layer=layer.astype(np.int32),
        channel=channel.astype(np.int32),
        count=np.concatenate([*graph.counts, np.zeros(0, np.int64)])[nodes],
        base_count=base.astype(np.int64),
        score=selection.scores[nodes],
        source=number[arcs.source].astype(np.int32),
        target=number[arcs.target].astype(np.int32),
        arc_count=arcs.value.astype(np.int64),
        arc_base_count=arc_base.astype(np.int64),
        strongest_layer=strongest[0].astype(np.int32),
        strongest_channel=strongest[1].astype(np.int32),
        strongest_count=strongest[2],
        problems=tuple(problems),
        reach=selection.reach,
    )


def _values_at(
    graph: FullGraph, arcs: KeptArcs, bounds: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the values of another full graph at the same arcs, 0 for none."""
    values = np.zeros(len(arcs.source), dtype=np.int64)
    to = np.searchsorted(bounds, arcs.target, side="right") - 1
    came = np.searchsorted(bounds, arcs.source, side="right") - 1
    pair = to * len(graph.layers) + came
    order = np.argsort(pair, kind="stable")
    cuts = np.flatnonzero(np.diff(pair[order])) + 1
    for some in np.split(order, cuts) if len(order) else []:
        t, s = divmod(int(pair[some[0]]), len(graph.layers))
        matrix = graph.arcs.get((graph.layers[t], graph.layers[s]))
        if matrix is None:
            continue
        # Arcs come by target and then by source, and so do those of the matrix.
        rows, row = np.unique(arcs.target[some] - bounds[t], return_inverse=True)
        wanted = row * matrix.shape[1] + (arcs.source[some] - bounds[s])
        row, column, value = arcs_into(matrix, rows)
        known = row * matrix.shape[1] + column
        place = np.searchsorted(known, wanted)
        is_there = np.append(known, -1)[place] == wanted
        values[some[is_there]] = value[place[is_there]]
    return values


def _strongest_sources(
    graph: FullGraph, layer: NDArray[np.int64], channel: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return layer, channel and count of each node's strongest sources, (3, V, 3)."""
    found = np.full((3, len(layer), N_STRONGEST), UNKNOWN, dtype=np.int64)
    found[2] = 0
    place = {name: index for index, name in enumerate(graph.layers)}
    for target, name in enumerate(graph.layers):
        nodes = np.flatnonzero(layer == target)
        parts = []
        for source in graph.sources_of(name):
            row, column, value = arcs_into(graph.arcs[name, source], channel[nodes])
            parts.append((row, np.full(len(row), place[source]), column, value))
        if not parts:
            continue
        row, came, column, value = map(np.concatenate, zip(*parts, strict=True))
        # By node, then by source layer and channel: of equal counts the first.
        order = np.argsort(row, kind="stable")
        left = value[order].astype(np.float64)
        starts = np.flatnonzero(np.diff(row[order], prepend=-1))
        n_arcs = np.diff(starts, append=len(order))
        for rank in range(N_STRONGEST if len(order) else 0):
            largest = np.maximum.reduceat(left, starts)
            is_largest = np.flatnonzero(left == np.repeat(largest, n_arcs))
            first = is_largest[np.searchsorted(is_largest, starts)]
            arc = order[first[largest >= 0]]
            found[:, nodes[row[arc]], rank] = came[arc], column[arc], value[arc]
            left[first] = -1  # taken
    return found
