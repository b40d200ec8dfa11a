"""What is written above a drawn graph, and below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from nnviz.formatting import instances_text
from nnviz.graphs.attribution_graph import reach_text
from nnviz.graphs.drawing import GraphDrawing
from nnviz_dashboards.shared.theme import format_count, format_percent

__all__ = ["note", "title", "unreached"]


def title(drawing: GraphDrawing) -> str:
    """Return whose graph it is, or whose two are compared, with their instances."""
    first = _named(drawing.subset, drawing.n_instances)
    if not drawing.versus:
        return first
    return f"{first} and {_named(drawing.versus, drawing.n_versus)}"


def _named(name: str, n: int) -> str:
    return name if n < 0 else f"{name} ({instances_text(n)})"


def note(drawing: GraphDrawing) -> str:
    """Return how large the graph is and how far it reaches, or what two share."""
    n_nodes, n_arcs = len(drawing.nodes), len(drawing.arcs)
    likeness = drawing.similarity
    tops = {node.channel for node in drawing.nodes if node.row == 0 and node.name}
    start = f"; begins at {len(tops)} outputs" if len(tops) > 1 else ""
    if likeness is None:
        return (
            f"{format_count(n_nodes)} channels, {format_count(n_arcs)} arcs{start}"
            f"{_arriving(drawing)}{_own_halves(drawing)}"
        )
    if drawing.is_equal:
        return "nothing differs: the same channels and arcs, as often"
    return (
        f"shared: {format_percent(likeness.node_jaccard)} of the channels"
        f"{_halves(drawing)}, "
        f"{format_percent(likeness.arc_jaccard)} of the arcs; "
        f"counts overlap by {format_percent(likeness.count_overlap)}"
        f"{start}"
    )


def _halves(drawing: GraphDrawing) -> str:
    """Say how alike random halves of each subset are: what chance would give."""
    said = [
        format_percent(half.nodes)
        for half in drawing.halves
        if half is not None and isfinite(half.nodes)
    ]
    return f" (random halves of each: {' and '.join(said)})" if said else ""


def _arriving(drawing: GraphDrawing) -> str:
    """Say how much of the evidence arrives at the lowest layer, where that is known."""
    graph = drawing.files
    if not len(graph.reach):
        return ""
    share = reach_text(float(graph.reach[0]))
    return f"; {share} of the evidence arrives at {graph.layers[0]}"


def _own_halves(drawing: GraphDrawing) -> str:
    """Say how alike the graphs of two random halves are, where that was counted."""
    halves = drawing.files.halves
    if halves is None or not isfinite(halves.nodes):
        return ""
    return f"; two random halves share {format_percent(halves.nodes)} of their channels"


def unreached(labels: Mapping[str, str], names: Sequence[str], n_rows: int) -> str:
    """Return how far back the graph goes, where that is not to the first layer."""
    if n_rows >= len(names):
        return ""
    return f"; reaches back to {labels[names[-n_rows]]}"
