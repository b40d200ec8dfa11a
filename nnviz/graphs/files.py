"""How do graphs and comparisons leave nnviz? As networkx, JSON, GraphML and CSV.

Every format has every number: layers, counts, base rates, lifts, scores and places.
Numbers that are not known or not defined are left out, or empty in CSV.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from nnviz.errors import DatasetError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import ComparedParts, GraphComparison
from nnviz.graphs.layout import (
    GraphLayout,
    arrange_graph,
    arrange_rows,
    count_crossings,
)
from nnviz.graphs.summit_files import to_summit_json
from nnviz.spreadsheets import LINE_END, defused

if TYPE_CHECKING:  # what shows graphs and saves none does not wait for it
    import networkx as nx

__all__ = [
    "ComparisonFormat",
    "GraphFormat",
    "arrange_union",
    "comparison_files",
    "graph_files",
    "known_number",
    "known_numbers",
    "network_file",
    "table_file",
    "to_networkx",
]

GraphFormat = Literal["json", "graphml", "csv", "summit"]


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no character of XML 1.0, section 2.2."""

Number: TypeAlias = int | float | str


def to_networkx(
    graph: AttributionGraph, layout: GraphLayout | None = None
) -> nx.DiGraph[str]:
    """Return a graph as networkx has it.

    Parameters
    ----------
    graph
        Any graph.
    layout
        Places of its nodes; None: :func:`~nnviz.graphs.layout.arrange_graph`.

    Returns
    -------
    networkx.DiGraph
        Nodes are called ``<layer>-<channel>`` as in SUMMIT. Arcs lead from source to
        target, towards the output. Attributes of the graph, of each node and of each
        arc are numbers and texts.

    Examples
    --------
    >>> from nnviz.graphs.summit_files import from_summit_json
    >>> to_networkx(from_summit_json('{"late": [], "early": []}')).number_of_nodes()
    0
    """
    import networkx as nx  # noqa: PLC0415

    result: nx.DiGraph[str] = nx.DiGraph(
        subset=graph.subset,
        preset=graph.preset,
        layers=",".join(graph.layers),
        n_instances=graph.n_instances,
        n_total=graph.n_total,
    )
    if len(graph.reach):
        result.graph["reach"] = ",".join(f"{share:.6g}" for share in graph.reach)
    if graph.halves is not None:
        halves = {
            "half_nodes_jaccard": graph.halves.nodes,
            "half_arcs_jaccard": graph.halves.arcs,
        }
        result.graph.update(known_numbers(halves))
    names = _names(graph)
    for name, numbers in zip(names, _node_rows(graph, layout), strict=True):
        del numbers["node"]
        result.add_node(name, **known_numbers(numbers))
    for numbers in _arc_rows(graph):
        source, target = str(numbers.pop("source")), str(numbers.pop("target"))
        result.add_edge(source, target)
        result.edges[source, target].update(known_numbers(numbers))
    return result


def graph_files(
    graph: AttributionGraph,
    stem: str,
    format: GraphFormat = "json",  # noqa: A002  the word of the command's option
    *,
    layout: GraphLayout | None = None,
) -> dict[str, bytes]:
    """Return the files of a graph by their names.

    Parameters
    ----------
    graph
        Any graph.
    stem
        Name of the file, without a suffix.
    format
        ``json``: networkx' node-link data; ``graphml``; ``csv``: two tables, of nodes
        and of arcs; ``summit``: as SUMMIT's page reads it.
    layout
        Places of its nodes; None: they are computed.
    """
    if format == "summit":
        return {f"{stem}.json": to_summit_json(graph).encode()}
    if format == "csv":
        return {
            f"{stem}-nodes.csv": table_file(
                (*_NODE_COLUMNS, *(["name"] if graph.channel_names else [])),
                _node_rows(graph, layout),
            ),
            f"{stem}-arcs.csv": table_file(_ARC_COLUMNS, _arc_rows(graph)),
        }
    return network_file(to_networkx(graph, layout), stem, format)


def network_file(
    network: nx.DiGraph[str],
    stem: str,
    format: Literal["json", "graphml"],  # noqa: A002
) -> dict[str, bytes]:
    """Return the file of a network by its name: node-link data, or GraphML.

    Raises
    ------
    DatasetError
        If a name holds a character that XML cannot hold, not even escaped.
    """
    if format == "graphml":
        _check_xml(network)
        from networkx.readwrite.graphml import GraphMLWriter  # noqa: PLC0415

        writer = GraphMLWriter(named_key_ids=True)
        writer.add_graph_element(network)
        # As it is, readers of XML would take it for the end of a line.
        text = str(writer).replace("\r", "&#13;")
        return {f"{stem}.graphml": text.encode()}
    import networkx as nx  # noqa: PLC0415

    value = nx.node_link_data(network, edges="links")
    return {f"{stem}.json": json.dumps(value, allow_nan=False, indent=1).encode()}


def _check_xml(network: nx.DiGraph[str]) -> None:
    """Refuse texts that XML 1.0 cannot hold, before a file is written."""
    texts: list[object] = [*network.graph.values(), *network.nodes]
    for _, values in network.nodes(data=True):
        texts += values.values()
    for _, _, values in network.edges(data=True):
        texts += values.values()
    for text in texts:
        found = _NOT_XML.search(text) if isinstance(text, str) else None
        if found is not None:
            msg = (
                f"GraphML cannot hold the character U+{ord(found[0]):04X} in "
                f"{text!r}: XML has no way to write it; export as json or csv, or "
                f"give the class another name with a class map"
            )
            raise DatasetError(msg)


def table_file(columns: Sequence[str], rows: Iterable[Mapping[str, Number]]) -> bytes:
    """Return rows as CSV; what a row lacks, and NaN, is empty.

    A spreadsheet runs none of its texts.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator=LINE_END)
    writer.writeheader()
    for row in rows:
        known = known_numbers(row)
        writer.writerow({name: defused(value) for name, value in known.items()})
    return stream.getvalue().encode()


def known_number(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if math.isnan(value) else value


def known_numbers(row: Mapping[str, Number]) -> dict[str, Number]:
    """Return what is known of a row: everything but NaN."""
    return {
        name: value
        for name, value in row.items()
        if not (isinstance(value, float) and math.isnan(value))
    }


_NODE_COLUMNS = (
    "node",
    "layer",
    "channel",
    "count",
    "share",
    "base_rate",
    "lift",
    "lift_low",
    "lift_high",
    "score",
    "score_error",
    "replication",
    "reach",
    "x",
    "y",
)


_ARC_COLUMNS = (
    "source",
    "target",
    "count",
    "share",
    "base_rate",
    "lift",
    "lift_low",
    "lift_high",
    "replication",
)


def _node_rows(
    graph: AttributionGraph, layout: GraphLayout | None
) -> list[dict[str, Number]]:
    layout = arrange_graph(graph) if layout is None else layout
    low, high = graph.lift_interval()
    names = [graph.layers[i] for i in graph.layer.tolist()]
    errors, unknown = graph.errors, [math.nan] * graph.n_nodes
    columns = (
        _names(graph),
        names,
        graph.channel.tolist(),
        graph.count.tolist(),
        graph.share.tolist(),
        graph.base_rate.tolist(),
        graph.lift.tolist(),
        low.tolist(),
        high.tolist(),
        graph.score.tolist(),
        unknown if errors is None else errors.score.tolist(),
        unknown if errors is None else errors.replication.tolist(),
        graph.reach[graph.layer].tolist() if len(graph.reach) else unknown,
        layout.x.tolist(),
        layout.y.tolist(),
    )
    rows = zip(*columns, strict=True)
    found = [dict(zip(_NODE_COLUMNS, row, strict=True)) for row in rows]
    if graph.channel_names:
        for numbers, (layer, channel) in zip(found, graph, strict=True):
            has_name = layer in graph.channel_names
            numbers["name"] = graph.called(layer, channel) if has_name else ""
    return found


def _arc_rows(graph: AttributionGraph) -> list[dict[str, Number]]:
    names = np.array(_names(graph), dtype=object)
    low, high = graph.arc_lift_interval()
    columns = (
        names[graph.source].tolist(),
        names[graph.target].tolist(),
        graph.arc_count.tolist(),
        graph.arc_share.tolist(),
        graph.arc_base_rate.tolist(),
        graph.arc_lift.tolist(),
        low.tolist(),
        high.tolist(),
        [math.nan] * graph.n_arcs
        if graph.errors is None
        else graph.errors.arc_replication.tolist(),
    )
    rows = zip(*columns, strict=True)
    return [dict(zip(_ARC_COLUMNS, row, strict=True)) for row in rows]


def _names(graph: AttributionGraph) -> list[str]:
    return [f"{layer}-{channel}" for layer, channel in graph]


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


SCORE_COLUMNS = (
    "score_difference",
    "score_error",
    "score_p_value",
    "score_adjusted_p_value",
)
"""Of nodes, where errors of the scores were asked for."""

MATCH_COLUMNS = ("other_channel", "correlation")
"""Of nodes of two networks: the second one's channel that each is matched with."""

_SCORE_FIELDS = ("difference", "error", "p_value", "adjusted_p_value")


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
    columns: tuple[str, ...] = COLUMNS
    if found.scores is not None:
        columns = (*COLUMNS, *SCORE_COLUMNS)
        scores = [getattr(found.scores, name).tolist() for name in _SCORE_FIELDS]
        for row, *numbers in zip(nodes, *scores, strict=True):
            row |= dict(zip(SCORE_COLUMNS, numbers, strict=True))
    if found.matches is not None:
        columns = (*columns, *MATCH_COLUMNS)
        for row, node in zip(nodes, found.nodes, strict=True):
            partner = found.matches.partner(*node)
            if partner is not None:
                row |= dict(zip(MATCH_COLUMNS, partner, strict=True))
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
            f"{stem}-nodes.csv": table_file(("node", *columns), node_rows),
            f"{stem}-arcs.csv": table_file(("source", "target", *COLUMNS), arc_rows),
        }
    import networkx as nx  # noqa: PLC0415

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
