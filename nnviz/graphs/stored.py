"""How are the graphs of all subsets made once, and kept in the store?

``nnviz derive`` makes them on the cluster, a block of subsets for each task, and writes
them one after another: kept nodes and arcs of all subsets, and where each one's begin.

Symbols: S subsets, V nodes and E arcs of all graphs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.engine.tasks import run_tasks
from nnviz.errors import MissingDataError, NnvizError, TaskError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.layout import GraphLayout, count_crossings
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import Preset
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StoredGraphs", "has_influences", "stored_graphs", "write_graphs"]

SUBSETS_PER_TASK = 32

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


@dataclass(frozen=True, slots=True)
class _Made:
    """What a task returns of one subset."""

    graph: AttributionGraph
    x: NDArray[np.float64]


class StoredGraphs:
    """The graphs of one collection and preset, as derivation wrote them.

    Parameters
    ----------
    store
        The opened store.
    subsets
        Name of the collection.
    preset
        Of the graphs.
    """

    def __init__(self, store: Store, subsets: str, preset: Preset) -> None:
        path = _path(subsets, preset)
        attributes = store.groups.attributes(path)
        self.names: tuple[str, ...] = tuple(attributes["names"])
        """Name of each subset."""
        self._row = {name: row for row, name in enumerate(self.names)}
        self._attributes = attributes
        self._preset = preset
        others = ("x", "n_instances", "node_offset", "arc_offset")
        self._arrays: dict[str, Any] = {
            name: store.groups.read(f"{path}/{name}")
            for name in (*NODE_FIELDS, *ARC_FIELDS, *others)
        }

    def graph(self, subset: str) -> tuple[AttributionGraph, GraphLayout]:
        """Return one graph, and where its nodes stand.

        Raises
        ------
        MissingDataError
            If there is none of this subset.
        """
        if subset not in self._row:
            msg = (
                f"there is no stored graph of {subset!r}; those stored are of "
                f"{', '.join(self.names[:5])}{'...' if len(self.names) > 5 else ''}: "
                "run 'nnviz derive' after 'nnviz aggregate'"
            )
            raise MissingDataError(msg)
        row, arrays, attributes = self._row[subset], self._arrays, self._attributes
        nodes = slice(*arrays["node_offset"][row : row + 2].tolist())
        arcs = slice(*arrays["arc_offset"][row : row + 2].tolist())
        layers = tuple(attributes["layers"])
        parts: dict[str, Any] = {name: arrays[name][nodes] for name in NODE_FIELDS}
        parts |= {name: arrays[name][arcs] for name in ARC_FIELDS}
        graph = AttributionGraph(
            subset=subset,
            preset=self._preset,
            n_instances=int(arrays["n_instances"][row]),
            n_total=int(attributes["n_total"]),
            layers=layers,
            problems=tuple(attributes["problems"].get(subset, ())),
            **parts,
        )
        x = arrays["x"][nodes]
        rows = len(layers) - 1 - graph.layer.astype(np.int64)
        ends = np.stack([graph.target, graph.source]).astype(np.int64)
        return graph, GraphLayout(x, rows, count_crossings(rows, ends, x))


def stored_graphs(
    store: Store, subsets: str = "label", preset: Preset = "directed"
) -> StoredGraphs:
    """Return the graphs that derivation wrote.

    Raises
    ------
    MissingDataError
        If it wrote none of this collection and preset.
    """
    return StoredGraphs(store, subsets, preset)


def has_influences(store: Store, subsets: str) -> bool:
    """Whether there is what graphs of a collection are made from."""
    return store.groups.has_array(f"aggregates/{subsets}/influence_counts")


def write_graphs(
    store: Store, subsets: str, preset: Preset, client: Client | None = None
) -> int:
    """Make and write the graphs of a collection; return their number.

    Parameters
    ----------
    store
        With aggregates of influences; opened for writing.
    subsets
        Name of the collection.
    preset
        Of all graphs, with its defaults.
    client
        Of a running cluster, whose workers can open the store; None computes here. The
        bytes are the same.

    Raises
    ------
    TaskError
        If a task failed on a worker.
    """
    names = aggregates_of(store, subsets).names
    blocks = [
        names[start : start + SUBSETS_PER_TASK]
        for start in range(0, len(names), SUBSETS_PER_TASK)
    ]
    made: dict[tuple[str, ...], list[_Made]] = {}
    if client is None:
        made = {b: _make_graphs(b, store.url, subsets, preset) for b in blocks}
    else:
        arguments = (store.url, subsets, preset)
        for outcome in run_tasks(client, _make_graphs, blocks, arguments=arguments):
            if isinstance(outcome.error, NnvizError):
                raise outcome.error
            if outcome.error is not None:
                msg = f"the graphs of {outcome.item[0]!r} failed: {outcome.error!r}"
                raise TaskError(msg) from outcome.error
            made[outcome.item] = outcome.value
    graphs = [one for block in blocks for one in made[block]]
    arrays = _packed(graphs)
    first = graphs[0].graph
    attributes = {
        "names": list(names),
        "layers": list(first.layers),
        "n_total": first.n_total,
        "problems": {
            one.graph.subset: list(one.graph.problems)
            for one in graphs
            if one.graph.problems
        },
    }
    store.groups.write(_path(subsets, preset), arrays, attributes, _dimensions(arrays))
    return len(graphs)


def _make_graphs(
    names: tuple[str, ...], url: str, subsets: str, preset: Preset
) -> list[_Made]:
    """Make the graphs of some subsets on a worker."""
    graphs = SubsetGraphs(Store.open(url), subsets)
    return [
        _Made(graph, graphs.layout(graph).x)
        for graph in graphs.graphs(names, preset=preset)
    ]


def _packed(graphs: Sequence[_Made]) -> Arrays:
    arrays: Arrays = {
        name: np.concatenate([getattr(one.graph, name) for one in graphs])
        for name in (*NODE_FIELDS, *ARC_FIELDS)
    }
    arrays["x"] = np.concatenate([one.x for one in graphs])
    sizes = {
        "node_offset": [one.graph.n_nodes for one in graphs],
        "arc_offset": [one.graph.n_arcs for one in graphs],
    }
    for name, lengths in sizes.items():
        arrays[name] = np.cumsum([0, *lengths], dtype=np.int64)
    sizes_of = [one.graph.n_instances for one in graphs]
    arrays["n_instances"] = np.array(sizes_of, dtype=np.int64)
    return arrays


def _dimensions(arrays: Arrays) -> dict[str, tuple[str, ...]]:
    axes: dict[str, tuple[str, ...]] = dict.fromkeys(arrays, ("node",))
    axes |= dict.fromkeys(ARC_FIELDS, ("arc",))
    axes |= {name: ("node", "rank") for name in arrays if arrays[name].ndim == 2}
    axes |= {"n_instances": ("subset",)}
    return axes | dict.fromkeys(("node_offset", "arc_offset"), ("subset + 1",))


def _path(subsets: str, preset: str) -> str:
    return f"artifacts/attribution_graphs/{subsets}/{preset}"
