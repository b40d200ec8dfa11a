"""What differs between two attribution graphs?

1. The union of their nodes and arcs: each is in both, only in the first, or only in the
   second.
2. Counts of all of them in both subsets, from the full graphs, kept or not.
3. For each, the difference of the shares, its effect size, and a p-value of Fisher's
   exact test, adjusted for the number of nodes and arcs together.

Symbols: V nodes and E arcs of the union.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError
from nnviz.formatting import html_table, text_table
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.network_matching import matched_channels
from nnviz.graphs.options import GraphChoices
from nnviz.statistics import (
    adjusted_p_values,
    difference_p_values,
    effect_sizes,
)
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "ComparedParts",
    "GraphComparison",
    "GraphSimilarity",
    "compare_graphs",
    "compare_made",
    "compare_networks",
    "compare_subsets",
    "graph_similarity",
]

Node = tuple[str, int]


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class ComparedParts:
    """Nodes, or arcs, of the union of two graphs."""

    in_first: NDArray[np.bool_]
    """Whether the first graph keeps it, shape (n,)."""
    in_second: NDArray[np.bool_]
    """Whether the second one does, shape (n,)."""
    first_count: NDArray[np.int64]
    """Count in the first subset, kept or not, shape (n,)."""
    second_count: NDArray[np.int64]
    """Count in the second subset, shape (n,)."""
    difference: NDArray[np.float64]
    """First share minus second, shape (n,), in [-1, 1]; NaN for an empty subset."""
    effect: NDArray[np.float64]
    """Cohen's h, shape (n,)."""
    p_value: NDArray[np.float64]
    """Of Fisher's exact test, shape (n,)."""
    adjusted_p_value: NDArray[np.float64]
    """Adjusted for the number of comparisons, nodes and arcs together, shape (n,)."""

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Whether both graphs keep it, shape (n,)."""
        return self.in_first & self.in_second

    def differs(self, rate: float = 0.05) -> NDArray[np.bool_]:
        """Return what only one graph keeps or what is significantly different, (n,).

        Parameters
        ----------
        rate
            Fraction of the significant ones that may be wrong.
        """
        return ~self.is_shared | (self.adjusted_p_value < rate)


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


@dataclass(frozen=True, slots=True, eq=False)
class GraphComparison:
    """The union of two graphs, with what differs."""

    first: AttributionGraph
    second: AttributionGraph
    nodes: tuple[Node, ...]
    """(Layer, channel) of every node of the union, by layer and channel."""
    arcs: tuple[tuple[Node, Node], ...]
    """(Source, target) of every arc of the union, by target and source."""
    node_parts: ComparedParts
    """The nodes' numbers, in the same order."""
    arc_parts: ComparedParts
    """The arcs' numbers, in the same order."""
    similarity: GraphSimilarity

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as one would expect of either graph; one sentence each."""
        said = [
            f"{graph.subset!r}: {text}"
            for graph in (self.first, self.second)
            for text in graph.problems
        ]
        return tuple(dict.fromkeys(said))

    def is_empty(self, rate: float = 0.05) -> bool:
        """Return whether nothing differs.

        Parameters
        ----------
        rate
            Fraction of the significant differences that may be wrong.
        """
        parts = (self.node_parts, self.arc_parts)
        return not any(part.differs(rate).any() for part in parts)

    def _columns(self) -> list[tuple[str, list[object]]]:
        parts = self.node_parts
        order = np.lexsort((-np.abs(np.nan_to_num(parts.effect)), parts.p_value))
        rows = [
            (
                f"{self.nodes[i][0]}-{self.nodes[i][1]}",
                ("", "first", "second", "both")[
                    int(parts.in_first[i]) + 2 * int(parts.in_second[i])
                ],
                int(parts.first_count[i]),
                int(parts.second_count[i]),
                float(parts.effect[i]),
                float(parts.adjusted_p_value[i]),
            )
            for i in order.tolist()
        ]
        names = ("node", "kept in", "first", "second", "effect", "adjusted p")
        return [(name, [row[i] for row in rows]) for i, name in enumerate(names)]

    def _title(self) -> str:
        shared, total = int(self.node_parts.is_shared.sum()), len(self.nodes)
        return (
            f"{shared} of {total} nodes and {int(self.arc_parts.is_shared.sum())} of "
            f"{len(self.arcs)} arcs shared"
        )

    def __repr__(self) -> str:
        names = f"{self.first.subset!r} {self.second.subset!r}"
        title = f"<nnviz.GraphComparison {names}> {self._title()}"
        return "\n".join([text_table(title, self._columns()), *self.problems])

    def _repr_html_(self) -> str:
        # The drawing is made of this class.
        from nnviz.graphs.drawing import draw_comparison  # noqa: PLC0415
        from nnviz.graphs.svg import drawing_svg  # noqa: PLC0415

        names = f"{self.first.subset!r} (first) and {self.second.subset!r} (second)"
        problems = "".join(f"<div>{html.escape(text)}</div>" for text in self.problems)
        table = html_table(f"{names}: {self._title()}", self._columns()) + problems
        if not self.nodes:
            return table
        drawing = draw_comparison(self, self.first.output_names)
        pictures = {**self.second.pictures, **self.first.pictures}
        return f"{table}<div>{drawing_svg(drawing, pictures)}</div>"


def compare_graphs(
    first: AttributionGraph,
    second: AttributionGraph,
    *,
    first_full: FullGraph | None = None,
    second_full: FullGraph | None = None,
) -> GraphComparison:
    """Compare two graphs over the same layers and channels.

    Parameters
    ----------
    first, second
        Graphs of two subsets of one network, or of two networks whose channels
        correspond.
    first_full, second_full
        The full graphs, for counts of what a graph does not keep; without them these
        are taken as 0.

    Raises
    ------
    ShapeError
        If the graphs have other layers.

    Notes
    -----
    Fisher's test supposes that the subsets share no instance. Where they do, as for two
    networks on the same data, p-values are too large rather than too small if the
    counts go together.
    """
    if first.layers != second.layers:
        msg = (
            f"the graphs have the layers {', '.join(first.layers)} and "
            f"{', '.join(second.layers)}; compare graphs over the same layers"
        )
        raise ShapeError(msg)
    place = {name: index for index, name in enumerate(first.layers)}

    def node_order(node: Node) -> tuple[int, int]:
        return place[node[0]], node[1]

    nodes = sorted({*first.keys(), *second.keys()}, key=node_order)
    arcs = sorted(
        {*first.arc_keys(), *second.arc_keys()},
        key=lambda arc: (node_order(arc[1]), node_order(arc[0])),
    )
    node_counts = [
        _counts(nodes, graph.keys(), graph.count, _node_counter(full))
        for graph, full in ((first, first_full), (second, second_full))
    ]
    arc_counts = [
        _counts(arcs, graph.arc_keys(), graph.arc_count, _arc_counter(full))
        for graph, full in ((first, first_full), (second, second_full))
    ]
    sizes = max(0, first.n_instances), max(0, second.n_instances)
    p_values = difference_p_values(
        np.concatenate([node_counts[0][1], arc_counts[0][1]]).clip(0, sizes[0]),
        sizes[0],
        np.concatenate([node_counts[1][1], arc_counts[1][1]]).clip(0, sizes[1]),
        sizes[1],
    )
    adjusted = adjusted_p_values(p_values)
    n = len(nodes)
    node_parts = _parts(node_counts, sizes, p_values[:n], adjusted[:n])
    arc_parts = _parts(arc_counts, sizes, p_values[n:], adjusted[n:])
    return GraphComparison(
        first,
        second,
        tuple(nodes),
        tuple(arcs),
        node_parts,
        arc_parts,
        graph_similarity(first, second),
    )


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


def _counts(
    union: Sequence[Key],
    kept: Sequence[Key],
    counts: NDArray[np.int64],
    counter: Callable[[Key], int],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which parts a graph keeps, and the counts of all of them."""
    known = dict(zip(kept, counts.tolist(), strict=True))
    is_kept = np.array([key in known for key in union], dtype=np.bool_)
    values = [known[key] if key in known else counter(key) for key in union]
    return is_kept, np.array(values, dtype=np.int64)


def _node_counter(full: FullGraph | None) -> Callable[[Node], int]:
    if full is None:
        return lambda _: 0
    counts = dict(zip(full.layers, full.counts, strict=True))
    return lambda node: int(counts[node[0]][node[1]])


def _arc_counter(full: FullGraph | None) -> Callable[[tuple[Node, Node]], int]:
    if full is None:
        return lambda _: 0

    def count(arc: tuple[Node, Node]) -> int:
        (source_layer, source), (target_layer, target) = arc
        matrix = full.arcs.get((target_layer, source_layer))
        return 0 if matrix is None else int(matrix[target, source])

    return count


def _parts(
    counted: Sequence[tuple[NDArray[np.bool_], NDArray[np.int64]]],
    sizes: tuple[int, int],
    p_values: NDArray[np.float64],
    adjusted: NDArray[np.float64],
) -> ComparedParts:
    (in_first, first), (in_second, second) = counted
    n, m = (size if size > 0 else np.nan for size in sizes)
    return ComparedParts(
        in_first,
        in_second,
        first,
        second,
        first / n - second / m,
        effect_sizes(first, sizes[0], second, sizes[1]),
        p_values,
        adjusted,
    )


def compare_subsets(
    store: Store,
    first: str | Subset,
    second: str | Subset,
    *,
    subsets: str | None = None,
    other_subsets: str | None = None,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the attribution graphs of two subsets of one network.

    Parameters
    ----------
    store
        With aggregates of influences.
    first, second
        Names of subsets, or any sets of instances.
    subsets
        Name of the collection of the first; None: the usual one.
    other_subsets
        Collection of the second one; None: the collection of the first.
    client
        Client of a running cluster, for sets that are counted; None counts here.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, no influences were extracted, or a subset has no
        instances.
    ConfigError
        If an option has no such value.
    """
    one = SubsetGraphs(store, subsets)
    is_same = other_subsets in (None, subsets)
    two = one if is_same else SubsetGraphs(store, str(other_subsets))
    return compare_made((one, first), (two, second), client=client, **options)


def compare_made(
    first: tuple[SubsetGraphs, str | Subset],
    second: tuple[SubsetGraphs, str | Subset],
    *,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the graphs of two subsets, each of a collection that is open already.

    Every set of instances is counted once, and once only if it is both of them.

    Parameters
    ----------
    first, second
        The graphs of a collection; and the name of one of its subsets, or any set of
        instances.
    client
        Client of a running cluster, for sets that are counted; None counts here.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such subset.
    MissingDataError
        If a subset has no instances.
    """
    one, two = first[0], second[0]
    totals = one.totals(first[1], client=client)
    is_same = one is two and first[1] is second[1]
    others = totals if is_same else two.totals(second[1], client=client)
    graphs = one.graph_of(totals, **options), two.graph_of(others, **options)
    layers = graphs[0].layers
    return compare_graphs(
        *graphs,
        first_full=one.full(totals, layers),
        second_full=two.full(others, layers),
    )


def compare_networks(
    first: Store,
    second: Store,
    subset: str,
    *,
    subsets: str | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the attribution graphs of one subset in two networks.

    Parameters
    ----------
    first, second
        Stores of two networks with the same layers over the same instances: before and
        after further training, for instance.
    subset
        Name of a subset that both have.
    subsets
        Name of its collection; None: the usual one of the first network.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Returns
    -------
    GraphComparison
        The second network's channels have the numbers of the first one's that they
        match (:func:`nnviz.graphs.network_matching.matched_channels`).

    Raises
    ------
    ShapeError
        If the networks have other layers.
    ConfigError
        If the stores share no instance, or an option has no such value.
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    """
    matches = matched_channels(first, second)
    one = SubsetGraphs(first, subsets)
    two = SubsetGraphs(second, one.collection, channels=matches)
    return compare_made((one, subset), (two, subset), **options)
