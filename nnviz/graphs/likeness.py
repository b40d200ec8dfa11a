"""How alike are two attribution graphs? By what both keep, whatever it counts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from nnviz.graphs.attribution_graph import AttributionGraph

__all__ = ["GraphSimilarity", "graph_similarity"]

Node = tuple[str, int]


@dataclass(frozen=True, slots=True)
class GraphSimilarity:
    """How alike two graphs are, each in [0, 1]; NaN where both have nothing."""

    node_jaccard: float
    """Shared nodes by all nodes."""
    arc_jaccard: float
    """Shared arcs by all arcs."""
    count_overlap: float
    """Smaller shares by larger shares, summed over all nodes (weighted Jaccard)."""
    layers: dict[str, float]
    """Shared nodes by all nodes, in each layer."""


def graph_similarity(
    first: AttributionGraph, second: AttributionGraph
) -> GraphSimilarity:
    """Return how alike two graphs are."""
    shares = [
        dict(zip(graph.keys(), _weights(graph), strict=True))
        for graph in (first, second)
    ]
    names = dict.fromkeys([*first.layers, *second.layers])
    keys = {*shares[0], *shares[1]}
    pairs = [(shares[0].get(key, 0.0), shares[1].get(key, 0.0)) for key in keys]
    larger = sum(max(pair) for pair in pairs)
    return GraphSimilarity(
        _jaccard(shares[0], shares[1]),
        _jaccard(first.arc_keys(), second.arc_keys()),
        sum(min(pair) for pair in pairs) / larger if larger > 0 else np.nan,
        {
            name: _jaccard(
                [key for key in shares[0] if key[0] == name],
                [key for key in shares[1] if key[0] == name],
            )
            for name in names
        },
    )


def _weights(graph: AttributionGraph) -> list[float]:
    """Return shares, or parts of the largest count where the size is not known."""
    largest = int(graph.count.max(initial=0))
    size = graph.n_instances if graph.n_instances > 0 else max(1, largest)
    return [count / size for count in graph.count.tolist()]


def _jaccard(first: Sequence[Hashable] | dict[Node, float], second: object) -> float:
    a, b = set(first), set(second)  # type: ignore[call-overload]  # both are iterable
    return len(a & b) / len(a | b) if a | b else np.nan
