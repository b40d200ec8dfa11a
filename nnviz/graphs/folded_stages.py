"""How are stages of a deep network folded in the drawing of its graph?

Of a stage that is folded only the last layer is drawn, the one that the next stage
reads. Its nodes keep their numbers, and so does every arc between nodes that are drawn.
What leads through the layers that are not drawn is drawn as one arc from end to end: of
all paths of kept arcs between the two the strongest, whose number is that of its
weakest arc. A path is in no more instances than its weakest arc, so the number is a
bound, never too small, and is called so; it has neither base rate nor lift. To each
node lead at most three of them. The graph itself is not changed, nor are its files.

Symbols: S drawn nodes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import N_STRONGEST
from nnviz.graphs.drawing import GraphDrawing
from nnviz.graphs.drawn_parts import Contrast, DrawnArc, Side

__all__ = ["fold"]


def fold(drawing: GraphDrawing, stages: Mapping[str, str]) -> GraphDrawing:
    """Return the drawing with folded stages.

    Parameters
    ----------
    drawing
        Of one graph, or of two that are compared; without places.
    stages
        Name of the folded stage of each layer; other layers are drawn as they are.

    Returns
    -------
    GraphDrawing
        The same drawing where nothing is folded.
    """
    has_nodes = {node.layer for node in drawing.nodes}
    last = {
        stages[name]: name
        for name in drawing.layers
        if name in stages and name in has_nodes
    }
    hidden = {
        name: stages[name]
        for name in drawing.layers
        if name in stages and last.get(stages[name], name) != name
    }
    if not hidden:
        return drawing
    shown = [name for name in drawing.layers if name not in hidden]
    row = {name: len(shown) - 1 - i for i, name in enumerate(shown)}
    kept = [i for i, node in enumerate(drawing.nodes) if node.layer not in hidden]
    index = {node: i for i, node in enumerate(kept)}
    nodes = tuple(
        dataclasses.replace(drawing.nodes[i], row=row[drawing.nodes[i].layer])
        for i in kept
    )
    direct = [
        dataclasses.replace(arc, source=index[arc.source], target=index[arc.target])
        for arc in drawing.arcs
        if arc.source in index and arc.target in index
    ]
    through = _through(drawing, index, hidden)
    known = {(arc.source, arc.target) for arc in direct}
    added = [arc for arc in through if (arc.source, arc.target) not in known]
    return dataclasses.replace(
        drawing, nodes=nodes, arcs=(*direct, *added), folded=hidden, places=()
    )


def _through(
    drawing: GraphDrawing, index: Mapping[int, int], hidden: Mapping[str, str]
) -> list[DrawnArc]:
    """Return the strongest paths through hidden nodes, between drawn ones."""
    first = _widest(
        drawing, index, [(a, a.count) for a in drawing.arcs if _has(a, "first")]
    )
    second = _widest(
        drawing,
        index,
        [
            (a, a.contrast.second_count)
            for a in drawing.arcs
            if a.contrast is not None and _has(a, "second")
        ],
    )
    place = {name: i for i, name in enumerate(drawing.layers)}
    skipped = np.cumsum([name in hidden for name in drawing.layers])
    kept = {at: node for node, at in index.items()}

    def n_layers(source: int, target: int) -> int:
        ends = (drawing.nodes[kept[end]].layer for end in (source, target))
        low, high = (int(skipped[place[name]]) for name in ends)
        return high - low

    arcs = []
    for ends in _strongest(first, second):
        n_first, n_second = first.get(ends, 0), second.get(ends, 0)
        side: Side = (
            "both" if n_first and n_second else "first" if n_first else "second"
        )
        contrast = None
        if drawing.versus:
            share = _share(n_second, drawing.n_versus)
            unknown = (math.nan, math.nan, math.nan)
            contrast = Contrast(side, n_second, share, *unknown)
        arcs.append(
            DrawnArc(
                *ends,
                count=n_first,
                share=_share(n_first, drawing.n_instances),
                base_rate=math.nan,
                lift=math.nan,
                lift_low=math.nan,
                lift_high=math.nan,
                contrast=contrast,
                n_folded=n_layers(*ends),
            )
        )
    return arcs


def _has(arc: DrawnArc, side: str) -> bool:
    return arc.contrast is None or arc.contrast.side in ("both", side)


def _share(count: int, n: int) -> float:
    return count / n if n > 0 else math.nan


def _widest(
    drawing: GraphDrawing,
    index: Mapping[int, int],
    arcs: Iterable[tuple[DrawnArc, int]],
) -> dict[tuple[int, int], int]:
    """Return the count of the widest path through hidden nodes, by its drawn ends."""
    place = {name: i for i, name in enumerate(drawing.layers)}
    # From input to output: what enters a node is complete before it is passed on.
    ordered = sorted(arcs, key=lambda arc: place[drawing.nodes[arc[0].source].layer])
    width: dict[
        int, NDArray[np.int64]
    ] = {}  # of each hidden node, from every drawn one
    found = np.zeros((len(index), len(index)), dtype=np.int64)
    for arc, count in ordered:
        source, target = index.get(arc.source), index.get(arc.target)
        if source is not None and target is not None:
            continue
        if source is None:
            if arc.source not in width:
                continue  # a path that begins in a hidden layer
            reached = np.minimum(width[arc.source], count)
        else:
            reached = np.zeros(len(index), dtype=np.int64)
            reached[source] = count
        if target is not None:
            np.maximum(found[target], reached, out=found[target])
        elif arc.target in width:
            np.maximum(width[arc.target], reached, out=width[arc.target])
        else:
            width[arc.target] = reached
    targets, sources = np.nonzero(found)
    pairs = zip(sources.tolist(), targets.tolist(), strict=True)
    return {(source, target): int(found[target, source]) for source, target in pairs}


def _strongest(
    *found: Mapping[tuple[int, int], int],
) -> Sequence[tuple[int, int]]:
    """Return the ends of the strongest paths that lead to each target."""
    by_target: dict[int, list[tuple[int, int]]] = {}
    largest = {ends: max(f.get(ends, 0) for f in found) for f in found for ends in f}
    for ends in sorted(largest, key=lambda ends: (-largest[ends], ends)):
        of_target = by_target.setdefault(ends[1], [])
        if len(of_target) < N_STRONGEST:
            of_target.append(ends)
    return sorted(ends for of_target in by_target.values() for ends in of_target)
