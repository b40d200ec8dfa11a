"""How does a comparison of two graphs leave nnviz? As JSON, GraphML and CSV."""

from __future__ import annotations

from typing import Any, Literal

import networkx as nx
import numpy as np

from nnviz.graphs.comparison import ComparedParts, GraphComparison
from nnviz.graphs.files import known_numbers, network_file, table_file
from nnviz.graphs.layout import arrange_rows, count_crossings

__all__ = ["ComparisonFormat", "arrange_union", "comparison_files"]

ComparisonFormat = Literal["json", "graphml", "csv"]

COLUMNS = (
    "kept_in",
    "first_count",
    "second_count",
    "difference",
    "effect",
    "p_value",
    "adjusted_p_value",
)


def arrange_union(found: GraphComparison) -> tuple[list[float], list[int], int]:
    """Return one layout for both graphs.

    Parameters
    ----------
    found
        The comparison, with V nodes.

    Returns
    -------
    tuple
        Place in its row and row (0: the last layer) of every node, and the number of
        crossings.
    """
    place = {name: index for index, name in enumerate(found.first.layers)}
    rows = np.array(
        [len(place) - 1 - place[layer] for layer, _ in found.nodes], dtype=np.int64
    )
    number = {node: index for index, node in enumerate(found.nodes)}
    ends = [(number[target], number[source]) for source, target in found.arcs]
    arcs = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    start = np.array([channel for _, channel in found.nodes], dtype=np.float64)
    x = arrange_rows(rows, arcs, start)
    return x.tolist(), rows.tolist(), count_crossings(rows, arcs, x)


def comparison_files(
    found: GraphComparison,
    stem: str,
    format: ComparisonFormat = "csv",  # noqa: A002
) -> dict[str, bytes]:
    """Return the files of a comparison by their names.

    Parameters
    ----------
    found
        The comparison.
    stem
        Name of the file, without a suffix.
    format
        ``json``: networkx' node-link data; ``graphml``; ``csv``: two tables, of nodes
        and of arcs. Numbers that are not defined are left out, or empty in CSV.
    """
    nodes, arcs = _rows(found.node_parts), _rows(found.arc_parts)
    names = [f"{layer}-{channel}" for layer, channel in found.nodes]
    ends = [tuple(f"{a}-{b}" for a, b in pair) for pair in found.arcs]
    if format == "csv":
        node_rows = [
            {"node": name, **row} for name, row in zip(names, nodes, strict=True)
        ]
        arc_rows = [
            {"source": source, "target": target, **row}
            for (source, target), row in zip(ends, arcs, strict=True)
        ]
        return {
            f"{stem}-nodes.csv": table_file(("node", *COLUMNS), node_rows),
            f"{stem}-arcs.csv": table_file(("source", "target", *COLUMNS), arc_rows),
        }
    union: nx.DiGraph[str] = nx.DiGraph(
        first=found.first.subset,
        second=found.second.subset,
        layers=",".join(found.first.layers),
    )
    x, y, _ = arrange_union(found)
    for index, (name, row) in enumerate(zip(names, nodes, strict=True)):
        layer, channel = found.nodes[index]
        places = {"layer": layer, "channel": channel, "x": x[index], "y": y[index]}
        union.add_node(name, **places, **known_numbers(row))
    for (source, target), row in zip(ends, arcs, strict=True):
        union.add_edge(source, target, **known_numbers(row))
    return network_file(union, stem, format)


def _rows(parts: ComparedParts) -> list[dict[str, Any]]:
    kept = parts.in_first + 2 * parts.in_second.astype(np.int64)
    columns = (
        [("none", "first", "second", "both")[code] for code in kept.tolist()],
        parts.first_count.tolist(),
        parts.second_count.tolist(),
        parts.difference.tolist(),
        parts.effect.tolist(),
        parts.p_value.tolist(),
        parts.adjusted_p_value.tolist(),
    )
    rows = zip(*columns, strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
