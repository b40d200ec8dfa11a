"""Which graphs has derivation stored, and are they those that are asked for?

Kept nodes and arcs of all subsets stand one after another, with where each one's begin.
Beside them stands what they were made from and how: graphs that were made from other
aggregates, in another way, or that are damaged, are not there.

Symbols: S subsets, V nodes and E arcs of all graphs together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import Aggregates
from nnviz.errors import StoreFormatError
from nnviz.graphs.attribution_graph import AttributionGraph, HalfLikeness
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphOptions
from nnviz.store.store import Store

__all__ = ["StoredGraphs", "has_influences", "stored_graphs", "write_graphs"]

RULES = 2
"""Number of the rules by which graphs are made: stored ones of others are not read."""

NODE_FIELDS = (
    "layer",
    "channel",
    "count",
    "base_count",
    "score",
    "strongest_layer",
    "strongest_channel",
    "strongest_count",
)
ARC_FIELDS = ("source", "target", "arc_count", "arc_base_count")

Arrays = dict[str, NDArray[Any]]


class StoredGraphs:
    """The graphs of one collection and preset, as derivation wrote them.

    Parameters
    ----------
    store
        The opened store.
    path
        Path of a complete group of graphs.

    Raises
    ------
    StoreFormatError
        If stored data are damaged.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._attributes = store.groups.attributes(path)
        self._channel_names = store.plan.architecture.channel_names
        self.names: tuple[str, ...] = tuple(self._attributes["names"])
        """Name of each subset."""
        self._row = {name: row for row, name in enumerate(self.names)}
        others = ("n_instances", "node_offset", "arc_offset", "reach")
        found = self._attributes.get("motifs")
        self.motifs = None if found is None else Motifs.from_json(found)
        """What the graphs share; None where that was not looked for."""
        self._arrays: dict[str, Any] = {
            name: store.groups.read(f"{path}/{name}")
            for name in (*NODE_FIELDS, *ARC_FIELDS, *others)
        }
        # Graphs of earlier versions were stored without.
        self._halves: list[list[float]] = (
            store.groups.read(f"{path}/halves").tolist()
            if store.groups.has_array(f"{path}/halves")
            else []
        )

    def graph(self, subset: str) -> AttributionGraph | None:
        """Return the graph of one subset, or None if there is none."""
        if subset not in self._row:
            return None
        row, arrays, attributes = self._row[subset], self._arrays, self._attributes
        nodes = slice(*arrays["node_offset"][row : row + 2].tolist())
        arcs = slice(*arrays["arc_offset"][row : row + 2].tolist())
        parts: dict[str, Any] = {name: arrays[name][nodes] for name in NODE_FIELDS}
        parts |= {name: arrays[name][arcs] for name in ARC_FIELDS}
        return AttributionGraph(
            subset=subset,
            preset=str(attributes["made"]["options"]["preset"]),
            n_instances=int(arrays["n_instances"][row]),
            n_total=int(attributes["n_total"]),
            layers=tuple(attributes["layers"]),
            problems=tuple(attributes["problems"].get(subset, ())),
            reach=_known(arrays["reach"][row]),
            halves=self._likeness(row),
            channel_names=self._channel_names,
            **parts,
        )

    def _likeness(self, row: int) -> HalfLikeness | None:
        known = self._halves and not np.isnan(self._halves[row][0])
        return HalfLikeness(*self._halves[row]) if known else None


def stored_graphs(
    store: Store, aggregates: Aggregates, everything: Aggregates, options: GraphOptions
) -> StoredGraphs | None:
    """Return the graphs that derivation has stored, if they are those asked for.

    Parameters
    ----------
    store
        The opened store.
    aggregates
        Aggregates of the collection, as they are now.
    everything
        Full graph of all instances.
    options
        How the graphs are made.

    Returns
    -------
    StoredGraphs or None
        None if there are none, if they were made with other options, from other
        aggregates, or by other rules, and if they are damaged: ``nnviz verify`` says
        so.
    """
    path = _path(aggregates.name, options)
    made = _made(aggregates, everything, options)
    if None in made.values():
        return None
    try:
        if not store.groups.is_complete(path):
            return None
        if store.groups.attributes(path).get("made") != made:
            return None
        return StoredGraphs(store, path)
    except StoreFormatError:
        return None


def has_influences(store: Store, subsets: str) -> bool:
    """Whether there is what graphs of a collection are made from."""
    return store.groups.has_array(f"aggregates/{subsets}/influence_counts")


def write_graphs(
    store: Store,
    aggregates: Aggregates,
    everything: Aggregates,
    options: GraphOptions,
    graphs: Sequence[AttributionGraph],
    motifs: Motifs | None = None,
) -> None:
    """Write graphs of a collection, in the order of its subsets.

    Parameters
    ----------
    store
        Opened for writing.
    aggregates, everything
        What they were made from.
    options
        How they were made; those of one preset replace each other.
    graphs
        One for each subset.
    motifs
        What they share; None where that was not looked for.
    """
    arrays = _packed(graphs)
    attributes = {
        "names": [graph.subset for graph in graphs],
        "layers": list(graphs[0].layers) if graphs else [],
        "n_total": graphs[0].n_total if graphs else 0,
        "problems": {
            graph.subset: list(graph.problems) for graph in graphs if graph.problems
        },
        "made": _made(aggregates, everything, options),
        "motifs": None if motifs is None else motifs.to_json(),
    }
    path = _path(aggregates.name, options)
    store.groups.write(path, arrays, attributes, _dimensions(arrays))


def _made(
    aggregates: Aggregates, everything: Aggregates, options: GraphOptions
) -> dict[str, Any]:
    """Return from what, and how, graphs are made; None for what is not known."""
    return {
        "aggregates": aggregates.fingerprint,
        "everything": everything.fingerprint,
        "options": {**dataclasses.asdict(options), "share": options.kept_share},
        "rules": RULES,
    }


def _packed(graphs: Sequence[AttributionGraph]) -> Arrays:
    arrays: Arrays = {
        name: np.concatenate([getattr(graph, name) for graph in graphs])
        for name in (*NODE_FIELDS, *ARC_FIELDS)
    }
    sizes = {
        "node_offset": [graph.n_nodes for graph in graphs],
        "arc_offset": [graph.n_arcs for graph in graphs],
    }
    for name, lengths in sizes.items():
        arrays[name] = np.cumsum([0, *lengths], dtype=np.int64)
    n_instances = [graph.n_instances for graph in graphs]
    arrays["n_instances"] = np.array(n_instances, dtype=np.int64)
    arrays["reach"] = np.stack(
        [
            graph.reach if len(graph.reach) else np.full(len(graph.layers), np.nan)
            for graph in graphs
        ]
    )
    arrays["halves"] = np.array(
        [
            (np.nan, np.nan) if alike is None else (alike.nodes, alike.arcs)
            for alike in (graph.halves for graph in graphs)
        ]
    ).reshape(-1, 2)
    return arrays


def _known(reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the reach of the layers; nothing where the preset has none."""
    return np.zeros(0) if np.isnan(reach).all() else reach


def _dimensions(arrays: Arrays) -> dict[str, tuple[str, ...]]:
    axes: dict[str, tuple[str, ...]] = dict.fromkeys(arrays, ("node",))
    axes |= dict.fromkeys(ARC_FIELDS, ("arc",))
    axes |= {name: ("node", "rank") for name in arrays if arrays[name].ndim == 2}
    axes |= {"n_instances": ("subset",), "reach": ("subset", "layer")}
    axes |= {"halves": ("subset", "node or arc")}
    return axes | dict.fromkeys(("node_offset", "arc_offset"), ("subset + 1",))


def _path(subsets: str, options: GraphOptions) -> str:
    return f"artifacts/attribution_graphs/{subsets}/{options.preset}"
