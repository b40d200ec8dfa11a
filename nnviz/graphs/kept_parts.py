"""Which graph keeps which node and which arc? The graphs of many subsets as one table.

Symbols: S graphs, V nodes and E arcs that any of them keeps, W words of 64 graphs each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import AttributionGraph

__all__ = [
    "Arc",
    "KeptParts",
    "Node",
    "Words",
    "kept_parts",
    "members",
    "n_members",
    "sets_of",
]

Node = tuple[str, int]
Arc = tuple[Node, Node]

Words = NDArray[np.uint64]
"""Sets of graphs, a bit for each graph, shape (..., W)."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptParts:
    """What each of several graphs keeps, as far as enough of them do."""

    names: tuple[str, ...]
    """Of the subsets, (S,); graphs without an arc are left out."""
    nodes: tuple[Node, ...]
    """(Layer, channel), by layer and channel, (V,)."""
    layer: NDArray[np.int64]
    """Number of each node's layer, shape (V,)."""
    has_node: NDArray[np.bool_]
    """Shape (S, V)."""
    source: NDArray[np.int64]
    """Node that each arc comes from, shape (E,)."""
    target: NDArray[np.int64]
    """Node that each arc leads to, shape (E,)."""
    graphs: Words
    """Which graphs have each arc, shape (E, W)."""


def kept_parts(graphs: Sequence[AttributionGraph], at_least: int = 1) -> KeptParts:
    """Return what some graphs keep.

    Parameters
    ----------
    graphs
        Over the same layers.
    at_least
        Nodes that fewer graphs keep are left out, and so are their arcs.
    """
    graphs = [graph for graph in graphs if graph.n_arcs]
    keys = [graph.keys() for graph in graphs]
    counts = Counter(node for of_graph in keys for node in of_graph)
    place = {name: i for i, name in enumerate(graphs[0].layers if graphs else ())}
    nodes = sorted(
        (node for node, n in counts.items() if n >= at_least),
        key=lambda node: (place[node[0]], node[1]),
    )
    number = {node: i for i, node in enumerate(nodes)}
    has_node = np.zeros((len(graphs), len(nodes)), dtype=np.bool_)
    rows, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for row, graph in enumerate(graphs):
        numbers = np.array([number.get(node, -1) for node in keys[row]], np.int64)
        has_node[row, numbers[numbers >= 0]] = True
        one, two = numbers[graph.source], numbers[graph.target]
        is_known = (one >= 0) & (two >= 0)
        codes.append((one * len(nodes) + two)[is_known])
        rows.append(np.full(len(codes[-1]), row))
    arcs, of_pair = np.unique(np.concatenate(codes), return_inverse=True)
    source, target = np.divmod(arcs, max(1, len(nodes)))
    return KeptParts(
        names=tuple(graph.subset for graph in graphs),
        nodes=tuple(nodes),
        layer=np.array([place[name] for name, _ in nodes], dtype=np.int64),
        has_node=has_node,
        source=source,
        target=target,
        graphs=sets_of(of_pair, np.concatenate(rows), (len(arcs), len(graphs))),
    )


def sets_of(
    row: NDArray[np.int64], graph: NDArray[np.int64], shape: tuple[int, int]
) -> Words:
    """Return sets of graphs.

    Parameters
    ----------
    row, graph
        Which set has which graph, shape (n,), each pair once.
    shape
        How many sets and graphs there are.
    """
    n_words = -(-shape[1] // 64)
    words = np.zeros(shape[0] * n_words, dtype=np.uint64)
    bits = np.uint64(1) << (graph % 64).astype(np.uint64)
    np.bitwise_or.at(words, row * n_words + graph // 64, bits)
    return words.reshape(shape[0], n_words)


def members(sets: Words, n: int) -> NDArray[np.bool_]:
    """Return which of n graphs are in each set, shape (..., n)."""
    little = np.ascontiguousarray(sets, "<u8").view(np.uint8)
    bits = np.unpackbits(little, axis=-1, count=n, bitorder="little")
    return bits.view(np.bool_)


def n_members(sets: Words) -> NDArray[np.int64]:
    """Return how many graphs are in each set, shape (...)."""
    return np.asarray(np.bitwise_count(sets).sum(axis=-1, dtype=np.int64))
