"""Do our scores agree with those that SUMMIT published, of its own graphs?

A file has the nodes and arcs that were kept, and of each node its three strongest
sources, kept or not. PageRank by SUMMIT's rule is computed again of all that; the
published scores are of the whole graph, most of whose arcs no file has. So how near
both orders come says what the files can tell. Beside it stands what needs no arcs: the
order of the nodes' counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.formatting import html_table, text_table
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.published import order_agreement
from nnviz.graphs.scores import count_personalization, undirected_pagerank

__all__ = ["LayerAgreement", "Rescored", "RescoredGraph", "rescored_graph"]

REMARK = (
    "the files have the arcs that were kept and each node's three strongest sources; "
    "the published scores are of all arcs"
)


@dataclass(frozen=True, slots=True, eq=False)
class RescoredGraph:
    """One published graph with our scores of its V nodes."""

    graph: AttributionGraph
    """As it was published."""
    score: NDArray[np.float64]
    """Our scores of its nodes, shape (V,)."""


@dataclass(frozen=True, slots=True)
class LayerAgreement:
    """How well orders of one layer's nodes agree with the published one."""

    layer: str
    n_graphs: int
    """Graphs with at least three nodes there, whose orders can be compared."""
    score: float
    """Rank correlation of our scores with the published ones, mean over these."""
    score_error: float
    """Its standard error over them; NaN for a single one."""
    count: float
    """The same of the nodes' counts."""
    count_error: float


@dataclass(frozen=True, slots=True)
class Rescored:
    """Published graphs, scored anew."""

    graphs: tuple[RescoredGraph, ...]

    @property
    def layers(self) -> tuple[LayerAgreement, ...]:
        """How near the orders come, of every layer, in order of computation."""
        names = dict.fromkeys(x for one in self.graphs for x in one.graph.layers)
        return tuple(self._of(name) for name in names)

    def to_json(self) -> dict[str, Any]:
        """Return names, layers, and all nodes with both scores, as JSON values."""
        return {
            "graphs": [one.graph.subset for one in self.graphs],
            "layers": [
                {x: _json(getattr(one, x)) for x in LayerAgreement.__slots__}
                for one in self.layers
            ],
            "nodes": [
                [one.graph.subset, layer, channel, float(published), float(score)]
                for one in self.graphs
                for (layer, channel), published, score in zip(
                    one.graph.keys(), one.graph.score, one.score, strict=True
                )
            ],
        }

    def _of(self, layer: str) -> LayerAgreement:
        pairs = np.array(
            [
                [
                    order_agreement(one.graph, by, layer)
                    for by in (one.score, one.graph.count)
                ]
                for one in self.graphs
                if layer in one.graph.layers
            ]
        )
        pairs = pairs[~np.isnan(pairs).any(axis=1)]
        if not len(pairs):
            return LayerAgreement(layer, 0, np.nan, np.nan, np.nan, np.nan)
        means, errors = pairs.mean(axis=0), np.full(2, np.nan)
        if len(pairs) > 1:
            errors = pairs.std(axis=0, ddof=1) / len(pairs) ** 0.5
        return LayerAgreement(
            layer,
            len(pairs),
            *(float(x[i]) for i in range(2) for x in (means, errors)),
        )

    def _title(self) -> str:
        many = "graphs" if len(self.graphs) > 1 else "graph"
        return (
            f"{len(self.graphs)} published {many}: rank correlation with the published "
            "scores, of the nodes of each layer"
        )

    def _columns(self) -> list[tuple[str, list[object]]]:
        found = self.layers
        return [
            ("layer", [one.layer for one in found]),
            ("graphs", [one.n_graphs for one in found]),
            ("our scores", [_said(one.score, one.score_error) for one in found]),
            ("counts alone", [_said(one.count, one.count_error) for one in found]),
        ]

    def __repr__(self) -> str:
        return f"{text_table(self._title(), self._columns())}\n  {REMARK}"

    def _repr_html_(self) -> str:
        return f"{html_table(self._title(), self._columns())}<div>{REMARK}</div>"


def rescored_graph(graph: AttributionGraph) -> RescoredGraph:
    """Return a published graph with the scores of SUMMIT's rule, of what its file has.

    Parameters
    ----------
    graph
        As :func:`nnviz.graphs.summit_files.from_summit_json` reads it.
    """
    full = _full_graph(graph)
    scores = undirected_pagerank(full, count_personalization(full))
    offsets = np.array([full.offsets[name] for name in graph.layers], dtype=np.int64)
    return RescoredGraph(graph, scores[offsets[graph.layer] + graph.channel])


def _full_graph(graph: AttributionGraph) -> FullGraph:
    """Return all arcs that a graph knows of: kept ones, and those of strongest sources.

    Layers have as many channels as the largest number says; those that are not in the
    file have no arcs, and get nothing.
    """
    values: dict[tuple[int, int, int, int], int] = {}
    for node, rank in np.argwhere(graph.strongest_layer >= 0).tolist():
        key = (
            int(graph.layer[node]),
            int(graph.channel[node]),
            int(graph.strongest_layer[node, rank]),
            int(graph.strongest_channel[node, rank]),
        )
        values[key] = int(graph.strongest_count[node, rank])
    for source, target, count in zip(
        graph.source.tolist(),
        graph.target.tolist(),
        graph.arc_count.tolist(),
        strict=True,
    ):
        key = (
            int(graph.layer[target]),
            int(graph.channel[target]),
            int(graph.layer[source]),
            int(graph.channel[source]),
        )
        values[key] = count
    ends = np.array(list(values), dtype=np.int64).reshape(-1, 4)
    numbers = np.array(list(values.values()), dtype=np.int64)
    layers = np.concatenate([graph.layer, ends[:, 0], ends[:, 2]])
    channels = np.concatenate([graph.channel, ends[:, 1], ends[:, 3]])
    sizes = [
        int(channels[layers == place].max(initial=-1)) + 1
        for place in range(len(graph.layers))
    ]
    counts = [np.zeros(size, dtype=np.int64) for size in sizes]
    for place, channel, count in zip(
        graph.layer.tolist(), graph.channel.tolist(), graph.count.tolist(), strict=True
    ):
        counts[place][channel] = count
    arcs = {}
    for target, source in np.unique(ends[:, [0, 2]], axis=0).tolist():
        rows = (ends[:, 0] == target) & (ends[:, 2] == source)
        arcs[graph.layers[target], graph.layers[source]] = sparse.csr_array(
            (numbers[rows], (ends[rows, 1], ends[rows, 3])),
            shape=(sizes[target], sizes[source]),
        )
    return FullGraph(graph.layers, tuple(counts), arcs, graph.n_instances)


def _json(value: str | float) -> str | float | None:
    return None if isinstance(value, float) and np.isnan(value) else value


def _said(value: float, error: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")
