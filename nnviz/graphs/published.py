"""A graph that SUMMIT published, beside ours of the same class: what agrees?

Layers are taken by their names, and channels by their numbers, so that our network has
to be the one of the file. The published nodes are scored anew, by what our graph scores
all channels by; how both orders agree is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.attribution_graph import UNKNOWN, AttributionGraph
from nnviz.graphs.comparison import GraphComparison, compare_graphs
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphChoices
from nnviz.store.store import Store

__all__ = ["compare_published", "compare_with_published", "order_agreement"]

LEAST_RANKED = 3
"""Channels of a layer, for their order to agree or not."""


def compare_published(
    store: Store,
    subset: str,
    published: AttributionGraph,
    *,
    subsets: str | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the graph of a subset with a published one, in the layers that both have.

    Parameters
    ----------
    store
        Of the network that the published graph is of.
    subset
        Name of the same class.
    published
        As :func:`nnviz.graphs.summit_files.from_summit_json` reads it.
    subsets
        Name of the collection; None: the usual one.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Returns
    -------
    GraphComparison
        Ours is the first; the second has our scores. Nothing is tested: a file does not
        say how many instances it is of, nor what it did not keep.

    Raises
    ------
    ConfigError
        If the graphs share no layer, or an option has no such value.
    ShapeError
        If the published graph has channels that our layer has not.
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    """
    graphs = SubsetGraphs(store, subsets)
    return compare_with_published(graphs, subset, published, **options)


def compare_with_published(
    graphs: SubsetGraphs,
    subset: str,
    published: AttributionGraph,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare with a published graph one of a collection that is open already.

    Parameters
    ----------
    graphs
        The graphs of a collection.
    subset, published, **options
        As in :func:`compare_published`.

    Raises
    ------
    ConfigError, ShapeError, UnknownNameError, MissingDataError
        As in :func:`compare_published`.
    """
    made = graphs.graph(subset, **options)
    every: GraphChoices = {**options, "share": 1.0}
    scored = graphs.graph(subset, **every)
    layers = [name for name in made.layers if name in published.layers]
    if not layers:
        msg = (
            f"the graph of {subset!r} has the layers {', '.join(made.layers)}, and the "
            f"published one {', '.join(published.layers)}; compare it with that of the "
            "network that it is of, whose layers have these names"
        )
        raise ConfigError(msg)
    ours, theirs = _in_layers(made, layers), _in_layers(published, layers)
    _check_channels(graphs.store, theirs)
    scores = dict(zip(scored.keys(), scored.score.tolist(), strict=True))
    new = np.array([scores.get(node, 0.0) for node in theirs])
    full = graphs.full(graphs.totals(subset), made.layers)
    note = (
        f"of {len(made.layers)} and {len(published.layers)} layers the graphs share "
        f"{len(layers)}; a published file does not say what it left out, so that "
        "nothing is tested"
    )
    return compare_graphs(
        ours,
        dataclasses.replace(theirs, score=new),
        first_full=full,
        notes=[note, *_agreement(theirs, new)],
    )


def _in_layers(graph: AttributionGraph, layers: Sequence[str]) -> AttributionGraph:
    """Return what a graph has in some layers, and between them."""
    place = {name: i for i, name in enumerate(layers)}
    number = np.array([place.get(name, UNKNOWN) for name in graph.layers], np.int32)
    nodes = np.flatnonzero(number[graph.layer] >= 0)
    new = np.full(graph.n_nodes, UNKNOWN, dtype=np.int32)
    new[nodes] = np.arange(len(nodes))
    arcs = np.flatnonzero((new[graph.source] >= 0) & (new[graph.target] >= 0))
    strongest = graph.strongest_layer[nodes]
    return AttributionGraph(
        subset=graph.subset,
        preset=graph.preset,
        n_instances=graph.n_instances,
        n_total=graph.n_total,
        layers=tuple(layers),
        layer=number[graph.layer[nodes]],
        channel=graph.channel[nodes],
        count=graph.count[nodes],
        base_count=graph.base_count[nodes],
        score=graph.score[nodes],
        source=new[graph.source[arcs]],
        target=new[graph.target[arcs]],
        arc_count=graph.arc_count[arcs],
        arc_base_count=graph.arc_base_count[arcs],
        strongest_layer=np.where(strongest < 0, UNKNOWN, number[strongest]),
        strongest_channel=graph.strongest_channel[nodes],
        strongest_count=graph.strongest_count[nodes],
        problems=graph.problems,
        output_names=graph.output_names if layers[-1] == graph.layers[-1] else (),
        channel_names=graph.channel_names,
    )


def _check_channels(store: Store, published: AttributionGraph) -> None:
    for name in published.layers:
        rows = published.nodes_of(name)
        largest, n = (
            published.channel[rows].max(initial=0),
            store.layer(name).n_channels,
        )
        if largest >= n:
            msg = (
                f"the published graph has channel {largest} in {name!r}, and the layer "
                f"of this run has {n} channels; it is of another network"
            )
            raise ShapeError(msg)


def order_agreement(
    published: AttributionGraph, by: NDArray[np.float64 | np.int64], layer: str
) -> float:
    """Return the rank correlation of one layer's published scores with other numbers.

    Parameters
    ----------
    published
        Graph with V nodes.
    by
        Of all nodes, shape (V,).
    layer
        Its nodes alone are looked at.

    Returns
    -------
    float
        NaN where the layer has fewer than three nodes, or all are alike in one of both.
    """
    # Slow to import, and other graphs do not need it.
    from scipy.stats import spearmanr  # noqa: PLC0415

    rows = published.nodes_of(layer)
    one, two = published.score[rows], by[rows]
    if len(rows) < LEAST_RANKED or np.ptp(one) == 0 or np.ptp(two) == 0:
        return np.nan
    return float(spearmanr(one, two).statistic)


def _agreement(published: AttributionGraph, new: NDArray[np.float64]) -> list[str]:
    """Return how the published scores of nodes and ours agree, in words."""
    found = {x: order_agreement(published, new, x) for x in published.layers}
    listed = ", ".join(
        f"{r:.2f} in {name}" for name, r in found.items() if not np.isnan(r)
    )
    if not listed:
        return []
    return [f"the published channels are in our order by a correlation of {listed}"]
