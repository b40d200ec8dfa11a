"""What differs between two attribution graphs?

1. The union of their nodes and arcs: each is in both, only in the first, or only in the
   second.
2. Counts of all of them in both subsets, from the full graphs, kept or not.
3. For each, the difference of the shares, its effect size, and a p-value of Fisher's
   exact test, adjusted for the number of nodes and arcs together. What only one graph
   keeps is no difference by itself: random halves of one class differ so in a fifth to
   a half of their nodes.
4. Where scores have errors, whether nodes differ in what they are kept by.

Symbols: V nodes and E arcs of the union.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError
from nnviz.formatting import html_table, text_table
from nnviz.graphs.attribution_graph import AttributionGraph, HalfLikeness
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.jackknife import NodeScores
from nnviz.graphs.likeness import GraphSimilarity, graph_similarity
from nnviz.significance import (
    adjusted_p_values,
    difference_tests,
    score_difference_p_values,
)
from nnviz.statistics import effect_sizes

if TYPE_CHECKING:
    from nnviz.graphs.network_matching import Matches

__all__ = [
    "ComparedParts",
    "ComparedScores",
    "GraphComparison",
    "compare_graphs",
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
    """Of Fisher's exact test, mid-p, shape (n,)."""
    adjusted_p_value: NDArray[np.float64]
    """Adjusted for the number of comparisons, nodes and arcs together, shape (n,); 1
    for those whose counts are too few to be significant ever. The only one to read:
    what is listed was chosen by the same counts."""

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Whether both graphs keep it, shape (n,)."""
        return self.in_first & self.in_second

    def differs(self, rate: float = 0.05) -> NDArray[np.bool_]:
        """Return what is significantly different, kept in both or in one, (n,).

        Parameters
        ----------
        rate
            Fraction of the significant ones that may be wrong.
        """
        return self.adjusted_p_value < rate


@dataclass(frozen=True, slots=True, eq=False)
class ComparedScores:
    """In what the nodes of the union are kept by, by errors of blocks of instances."""

    difference: NDArray[np.float64]
    """First score minus second, kept or not, shape (V,)."""
    error: NDArray[np.float64]
    """Its standard error, shape (V,)."""
    p_value: NDArray[np.float64]
    """Of Student's t with one degree of freedom less than blocks, (V,); NaN where the
    error is 0, as of the outputs at which graphs begin."""
    adjusted_p_value: NDArray[np.float64]
    """Adjusted for the number of nodes, shape (V,); NaN where there is none."""


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
    halves: tuple[HalfLikeness | None, HalfLikeness | None] = (None, None)
    """How alike two random halves of each subset are, for what is beyond chance; None
    where that is not known, or there are fewer than two instances."""
    scores: ComparedScores | None = None
    """Tests of the nodes' scores; None where their errors were not asked for."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the tests, a sentence each."""
    matches: Matches | None = None
    """Of two networks, which channels belong together; None where those of one number
    do."""

    @property
    def matched(self) -> dict[str, float] | None:
        """The median correlation of the channels that belong together, by layer."""
        return None if self.matches is None else self.matches.median()

    @property
    def is_equal(self) -> bool:
        """Whether both keep the same nodes and arcs, counted equally often."""
        return all(
            part.is_shared.all() and (part.first_count == part.second_count).all()
            for part in (self.node_parts, self.arc_parts)
        )

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
        """Return whether no difference is significant.

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
                f"{self.nodes[i][0]}-{self.first.called(*self.nodes[i])}",
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
        columns: list[tuple[str, list[object]]] = [
            (name, [row[i] for row in rows]) for i, name in enumerate(names)
        ]
        if self.scores is not None:
            found = self.scores
            columns += [
                ("score difference", [float(found.difference[i]) for i in order]),
                ("± error", [float(found.error[i]) for i in order]),
                ("its adjusted p", [float(found.adjusted_p_value[i]) for i in order]),
            ]
        return columns

    def _title(self) -> str:
        shared, total = int(self.node_parts.is_shared.sum()), len(self.nodes)
        return (
            f"{shared} of {total} nodes and {int(self.arc_parts.is_shared.sum())} of "
            f"{len(self.arcs)} arcs shared"
        )

    def remarks(self) -> list[str]:
        """Return what a reader should know of likeness and tests, a sentence each."""
        nodes, arcs = self.node_parts, self.arc_parts
        text = (
            f"{int(nodes.differs().sum()):,} of {len(self.nodes):,} nodes and "
            f"{int(arcs.differs().sum()):,} of {len(self.arcs):,} arcs differ "
            "significantly (adjusted p below 0.05)"
        )
        found = [text]
        halves = [
            f"{half.nodes:.0%} of {graph.subset!r}"
            for half, graph in zip(self.halves, (self.first, self.second), strict=True)
            if half is not None and np.isfinite(half.nodes)
        ]
        if halves:
            shared = self.similarity.node_jaccard
            found.append(
                f"the graphs share {shared:.0%} of their nodes; two random halves "
                f"share {' and '.join(halves)}"
            )
        return [*found, *self.notes]

    def __repr__(self) -> str:
        names = f"{self.first.subset!r} {self.second.subset!r}"
        title = f"<nnviz.GraphComparison {names}> {self._title()}"
        table = text_table(title, self._columns())
        lines = [*self.problems, *self.remarks()]
        return "\n".join([table, *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        # The drawing is made of this class.
        from nnviz.graphs.drawing import draw_comparison  # noqa: PLC0415
        from nnviz.graphs.svg import drawing_svg  # noqa: PLC0415

        names = f"{self.first.subset!r} (first) and {self.second.subset!r} (second)"
        problems = "".join(
            f"<div>{html.escape(text)}</div>"
            for text in (*self.problems, *self.remarks())
        )
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
    tested: tuple[FullGraph, FullGraph] | None = None,
    scores: tuple[NodeScores, NodeScores] | None = None,
    halves: tuple[HalfLikeness | None, HalfLikeness | None] = (None, None),
    notes: Sequence[str] = (),
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
    tested
        Full graphs of two sets without shared instances, whose counts are tested in
        place of the subsets' own.
    scores
        Scores of all nodes of both full graphs, with errors.
    halves, notes
        For the result.

    Raises
    ------
    ShapeError
        If the graphs have other layers.

    Notes
    -----
    Fisher's test supposes that the subsets share no instance. For two networks on the
    same data p-values are too large rather than too small if the counts go together.
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
    whole = [
        np.concatenate([node_counts[side][1], arc_counts[side][1]]) for side in (0, 1)
    ]
    tested_sizes = sizes
    if tested is not None:
        tested_sizes = tested[0].n_instances, tested[1].n_instances
        whole = [_counts_in(full, nodes, arcs) for full in tested]
    p_values, adjusted = difference_tests(
        whole[0].clip(0, tested_sizes[0]),
        tested_sizes[0],
        whole[1].clip(0, tested_sizes[1]),
        tested_sizes[1],
    )
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
        halves,
        None if scores is None else _compared_scores(nodes, *scores),
        tuple(notes),
    )


def _compared_scores(
    nodes: Sequence[Node], first: NodeScores, second: NodeScores
) -> ComparedScores:
    (a, ea), (b, eb) = first.at(nodes), second.at(nodes)
    error = np.hypot(ea, eb)
    freedom = min(first.n_blocks, second.n_blocks) - 1
    p_values = score_difference_p_values(a - b, error, freedom)
    adjusted = np.full_like(p_values, np.nan)
    known = ~np.isnan(p_values)
    adjusted[known] = adjusted_p_values(p_values[known])
    return ComparedScores(a - b, error, p_values, adjusted)


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


def _counts_in(
    full: FullGraph, nodes: Sequence[Node], arcs: Sequence[tuple[Node, Node]]
) -> NDArray[np.int64]:
    """Return the counts of nodes, then of arcs, in a full graph."""
    of_node, of_arc = _node_counter(full), _arc_counter(full)
    return np.array([*map(of_node, nodes), *map(of_arc, arcs)], dtype=np.int64)


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
        if matrix is None:
            return 0
        # Without the checks of SciPy's own look-up: there are thousands.
        row = slice(*matrix.indptr[target : target + 2].tolist())
        return int(matrix.data[row][matrix.indices[row] == source].sum())

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
