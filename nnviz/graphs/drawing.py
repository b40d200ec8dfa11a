"""What is drawn of an attribution graph, or of two that are compared?

Nodes and arcs with all their numbers, and the sizes that these have, as values: the
page and notebooks draw the same. Places are added where they are drawn. In a comparison
the first subset's numbers are a node's own, and the second's stand beside them. Where a
graph does not say of how many instances it is, sizes go by the largest count, as
SUMMIT's do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from nnviz.graphs.attribution_graph import (
    N_STRONGEST,
    AttributionGraph,
    GraphErrors,
    HalfLikeness,
)
from nnviz.graphs.comparison import (
    ComparedParts,
    ComparedScores,
    GraphComparison,
)
from nnviz.graphs.drawn_parts import Contrast, DrawnArc, DrawnNode, Key, Linked
from nnviz.graphs.likeness import GraphSimilarity
from nnviz.graphs.network_matching import Matches

__all__ = [
    "COLORS",
    "SIZES",
    "GraphDrawing",
    "arc_width",
    "draw_comparison",
    "draw_graph",
    "node_side",
]

SIZES = {"SLOT": 64, "LEAST": 20, "GAP": 26, "ROW_GAP": 30, "WIDEST": 11}
"""In pixels: side of the largest node and of one that is on top nowhere, least gap
between nodes and between rows, and width of an arc that all instances have."""

COLORS = {
    "text": "#1f2430",
    "muted": "#5b6475",
    "track": "#eceff3",
    "panel": "#ffffff",
    "arc": "#7d8696",
    "first": "#1b63d6",
    "second": "#8a2bb3",
    "shared": "#5b6475",
}
"""Of what is drawn, by role, on white: `first` and `second` are what one alone of two
compared graphs keeps, `shared` what both do."""


Part = TypeVar("Part", DrawnNode, DrawnArc)


@dataclass(frozen=True, slots=True, eq=False)
class GraphDrawing:
    """All that is drawn."""

    subset: str
    n_instances: int
    n_total: int
    layers: tuple[str, ...]
    """In order of computation."""
    nodes: tuple[DrawnNode, ...]
    arcs: tuple[DrawnArc, ...]
    problems: tuple[str, ...]
    files: AttributionGraph
    """The graph of the first subset, to be written as files."""
    compared: GraphComparison | None = None
    """What the two have in common, to be written as files where there are two."""
    versus: str = ""
    n_versus: int = 0
    similarity: GraphSimilarity | None = None
    halves: tuple[HalfLikeness | None, ...] = ()
    """How alike random halves of each of two subsets are, where that is known."""
    is_equal: bool = False
    """Whether nothing differs between the two."""
    places: tuple[float, ...] = field(default=())
    """Place of each node in its row."""
    folded: Mapping[str, str] = field(default_factory=dict)
    """The stage of each layer that is not drawn."""

    @property
    def shown_layers(self) -> list[str]:
        """Those that are drawn, in order of computation."""
        return [name for name in self.layers if name not in self.folded]

    @property
    def keys(self) -> list[Key]:
        """Layer and channel of every node."""
        return [(node.layer, node.channel) for node in self.nodes]


def node_side(share: float) -> float:
    """Return the side of a node in pixels, whose area beyond the least is a share.

    Examples
    --------
    >>> node_side(0.0), node_side(1.0)
    (20.0, 64.0)
    """
    least = SIZES["LEAST"]
    return least + (SIZES["SLOT"] - least) * math.sqrt(min(1.0, max(0.0, share)))


def arc_width(share: float) -> float:
    """Return the width of an arc in pixels.

    Examples
    --------
    >>> arc_width(0.0), arc_width(1.0)
    (0.8, 11.0)
    """
    return max(0.8, float(SIZES["WIDEST"] * share))


def draw_graph(graph: AttributionGraph, names: tuple[str, ...] = ()) -> GraphDrawing:
    """Return what is drawn of one graph.

    Parameters
    ----------
    graph
        The graph.
    names
        Of the channels of its last layer, if that is the network's output.
    """
    return GraphDrawing(
        subset=graph.subset,
        n_instances=graph.n_instances,
        n_total=graph.n_total,
        layers=graph.layers,
        nodes=_relative(
            _sure_nodes(_nodes(graph, None, names), graph.errors), graph.n_instances
        ),
        arcs=_relative(_sure_arcs(_arcs(graph, None), graph.errors), graph.n_instances),
        problems=(*graph.problems, *graph.cautions()),
        files=graph,
    )


def draw_comparison(
    comparison: GraphComparison, names: tuple[str, ...] = ()
) -> GraphDrawing:
    """Return what is drawn of two graphs: their union.

    Parameters
    ----------
    comparison
        What tells them apart.
    names
        Of the channels of their last layer, if that is the network's output.
    """
    first, second = comparison.first, comparison.second
    union = _union(comparison)
    problems = [
        f"{graph.subset}: {problem}"
        for graph in (first, second)
        for problem in graph.problems
    ]
    return GraphDrawing(
        subset=first.subset,
        n_instances=first.n_instances,
        n_total=first.n_total,
        layers=first.layers,
        nodes=_relative(
            _tested(
                _matched(
                    _nodes(
                        union,
                        _contrasts(comparison.node_parts, second.n_instances),
                        names,
                    ),
                    comparison.matches,
                ),
                comparison.scores,
            ),
            first.n_instances,
        ),
        arcs=_relative(
            _arcs(union, _contrasts(comparison.arc_parts, second.n_instances)),
            first.n_instances,
        ),
        problems=tuple(dict.fromkeys((*problems, *comparison.notes))),
        files=first,
        compared=comparison,
        versus=second.subset,
        n_versus=second.n_instances,
        similarity=comparison.similarity,
        halves=comparison.halves,
        is_equal=comparison.is_equal,
    )


def _relative(parts: tuple[Part, ...], n_instances: int) -> tuple[Part, ...]:
    """Give counts by the largest one, where it is not known of how many they are."""
    if n_instances >= 0:
        return parts
    largest = max((part.count for part in parts), default=0)
    if not largest:
        return parts
    return tuple(
        dataclasses.replace(part, relative=part.count / largest) for part in parts
    )


def _matched(
    nodes: tuple[DrawnNode, ...], matches: Matches | None
) -> tuple[DrawnNode, ...]:
    if matches is None:
        return nodes
    return tuple(
        dataclasses.replace(node, partner=matches.partner(node.layer, node.channel))
        for node in nodes
    )


def _sure_nodes(
    nodes: tuple[DrawnNode, ...], errors: GraphErrors | None
) -> tuple[DrawnNode, ...]:
    if errors is None:
        return nodes
    numbers = zip(errors.score.tolist(), errors.replication.tolist(), strict=True)
    return tuple(
        dataclasses.replace(node, score_error=error, replication=replication)
        for node, (error, replication) in zip(nodes, numbers, strict=True)
    )


def _sure_arcs(
    arcs: tuple[DrawnArc, ...], errors: GraphErrors | None
) -> tuple[DrawnArc, ...]:
    if errors is None:
        return arcs
    return tuple(
        dataclasses.replace(arc, replication=replication)
        for arc, replication in zip(arcs, errors.arc_replication.tolist(), strict=True)
    )


def _tested(
    nodes: tuple[DrawnNode, ...], scores: ComparedScores | None
) -> tuple[DrawnNode, ...]:
    if scores is None:
        return nodes
    numbers = zip(
        scores.difference.tolist(),
        scores.error.tolist(),
        scores.adjusted_p_value.tolist(),
        strict=True,
    )
    return tuple(
        dataclasses.replace(node, score_difference=d, score_error=e, score_p=p)
        for node, (d, e, p) in zip(nodes, numbers, strict=True)
    )


def _union(comparison: GraphComparison) -> AttributionGraph:
    """Return the union with the first subset's counts, whichever graph keeps a node."""
    graphs = (comparison.first, comparison.second)
    node_at = [{key: i for i, key in enumerate(graph.keys())} for graph in graphs]
    arc_at = [{key: i for i, key in enumerate(graph.arc_keys())} for graph in graphs]
    # A node's other numbers come from the first graph, if it keeps it.
    from_nodes = [
        (graphs[which], node_at[which][key])
        for key in comparison.nodes
        for which in [0 if key in node_at[0] else 1]
    ]
    from_arcs = [
        (graphs[which], arc_at[which][key])
        for key in comparison.arcs
        for which in [0 if key in arc_at[0] else 1]
    ]
    index = {key: i for i, key in enumerate(comparison.nodes)}

    def of_nodes(name: str, shape: tuple[int, ...] = ()) -> np.ndarray:
        values = [getattr(graph, name)[i] for graph, i in from_nodes]
        kind = getattr(comparison.first, name).dtype
        return np.array(values, dtype=kind).reshape(len(values), *shape)

    score = [
        graph.score[i] if graph is comparison.first else np.nan
        for graph, i in from_nodes
    ]
    return AttributionGraph(
        subset=comparison.first.subset,
        preset=comparison.first.preset,
        n_instances=comparison.first.n_instances,
        n_total=comparison.first.n_total,
        layers=comparison.first.layers,
        layer=of_nodes("layer"),
        channel=of_nodes("channel"),
        count=comparison.node_parts.first_count,
        base_count=of_nodes("base_count"),
        score=np.array(score, dtype=np.float64),
        source=np.array([index[source] for source, _ in comparison.arcs], np.int32),
        target=np.array([index[target] for _, target in comparison.arcs], np.int32),
        arc_count=comparison.arc_parts.first_count,
        arc_base_count=np.array(
            [graph.arc_base_count[i] for graph, i in from_arcs], dtype=np.int64
        ),
        strongest_layer=of_nodes("strongest_layer", (N_STRONGEST,)),
        strongest_channel=of_nodes("strongest_channel", (N_STRONGEST,)),
        channel_names=comparison.first.channel_names,
        strongest_count=of_nodes("strongest_count", (N_STRONGEST,)),
    )


def _contrasts(parts: ComparedParts, n_second: int) -> list[Contrast]:
    n = n_second if n_second > 0 else np.nan
    largest = parts.second_count.max(initial=0) if n_second < 0 else 0
    rows = zip(
        parts.in_first.tolist(),
        parts.in_second.tolist(),
        parts.second_count.tolist(),
        (parts.second_count / n).tolist(),
        parts.difference.tolist(),
        parts.effect.tolist(),
        parts.adjusted_p_value.tolist(),
        (parts.second_count / (largest or np.nan)).tolist(),
        strict=True,
    )
    return [
        Contrast(
            "both" if in_first and in_second else "first" if in_first else "second",
            *numbers,
        )
        for in_first, in_second, *numbers in rows
    ]


def _nodes(
    graph: AttributionGraph, contrasts: list[Contrast] | None, names: tuple[str, ...]
) -> tuple[DrawnNode, ...]:
    low, high = graph.lift_interval()
    columns = (
        len(graph.layers) - 1 - graph.layer,
        graph.count,
        graph.share,
        graph.base_rate,
        graph.lift,
        low,
        high,
        graph.score,
    )
    lists: list[list[Any]] = [list(part) for part in zip(*graph.keys(), strict=True)]
    lists = lists or [[], []]
    lists += [column.tolist() for column in columns]
    lists.append([_sources(graph, node) for node in range(graph.n_nodes)])
    lists.append(_targets(graph))
    lists.append([None] * graph.n_nodes if contrasts is None else contrasts)
    known = {**graph.channel_names, **({graph.layers[-1]: names} if names else {})}
    lists.append(
        [
            known[layer][channel] if channel < len(known.get(layer, ())) else ""
            for layer, channel in graph
        ]
    )
    return tuple(DrawnNode(*fields) for fields in zip(*lists, strict=True))


def _sources(graph: AttributionGraph, node: int) -> tuple[Linked, ...]:
    rows = zip(
        graph.strongest_layer[node].tolist(),
        graph.strongest_channel[node].tolist(),
        graph.strongest_count[node].tolist(),
        strict=True,
    )
    return tuple(
        Linked(graph.layers[layer], channel, count)
        for layer, channel, count in rows
        if layer >= 0
    )


def _targets(graph: AttributionGraph) -> list[tuple[Linked, ...]]:
    """Return the kept targets of each node that it feeds most often."""
    keys = graph.keys()
    found: list[list[Linked]] = [[] for _ in keys]
    for arc in np.argsort(-graph.arc_count, kind="stable").tolist():
        of_source = found[graph.source[arc]]
        if len(of_source) < N_STRONGEST:
            layer, channel = keys[graph.target[arc]]
            of_source.append(Linked(layer, channel, int(graph.arc_count[arc])))
    return [tuple(targets) for targets in found]


def _arcs(
    graph: AttributionGraph, contrasts: list[Contrast] | None
) -> tuple[DrawnArc, ...]:
    low, high = graph.arc_lift_interval()
    columns = (
        graph.source,
        graph.target,
        graph.arc_count,
        graph.arc_share,
        graph.arc_base_rate,
        graph.arc_lift,
        low,
        high,
    )
    lists = [column.tolist() for column in columns]
    lists.append([None] * graph.n_arcs if contrasts is None else contrasts)
    return tuple(DrawnArc(*numbers) for numbers in zip(*lists, strict=True))
