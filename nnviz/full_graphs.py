"""What does every channel rest on, by a store's aggregates? Full graphs of subsets.

Reads aggregates, a layer at a time and once for all subsets of a collection.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.artifacts.graph_building import (
    EnteringEdge,
    FullGraph,
    composed,
    influence_matrices,
)
from nnviz.errors import MissingDataError
from nnviz.network.architecture import Layer
from nnviz.queries import Aggregates, aggregates_of
from nnviz.store.store import Store

__all__ = ["FullGraphs"]

Start = tuple[str, NDArray[np.float64]]
"""The layer where walks start, and how many at each of its channels."""


CACHED_BASES = 4


class FullGraphs:
    """The full graphs of one collection of subsets.

    Parameters
    ----------
    store
        With aggregates of influences.
    subsets
        Name of the collection.

    Raises
    ------
    UnknownNameError
        If there is no such collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    """

    def __init__(self, store: Store, subsets: str = "label") -> None:
        self._store = store
        self._aggregates = aggregates_of(store, subsets)
        self._everything = aggregates_of(store, "all")
        self.names = self._aggregates.names
        """Name of each subset."""
        path = f"aggregates/{subsets}/influence_counts"
        self._targets = store.group_names(path) if store.has_array(path) else []
        if not self._targets:
            msg = (
                f"the store {store.url!r} has no influences in {subsets!r}; make a run "
                'with extraction.targets = "top" or "all", and aggregate it'
            )
            raise MissingDataError(msg)
        self._edges = {
            target: _entering_edges(store, target) for target in self._targets
        }
        self._read = functools.lru_cache(None)(store.read_csr)
        self._base = functools.lru_cache(CACHED_BASES)(self._everything_graph)

    @property
    def recorded_layers(self) -> tuple[str, ...]:
        """Names of all layers that are recorded, in order of computation."""
        return tuple(layer.name for layer in self._store.layers)

    @property
    def shown_layers(self) -> tuple[str, ...]:
        """Names of the layers that are shown, in order of computation."""
        return tuple(layer.name for layer in self._store.shown_layers)

    @property
    def output(self) -> Layer | None:
        """The last layer, if its channels are the network's outputs."""
        return self._store.architecture.output

    def full(
        self,
        subset: str,
        *,
        layers: tuple[str, ...] | None = None,
        truncated: bool = False,
    ) -> FullGraph:
        """Return the full graph of one subset.

        Parameters
        ----------
        subset
            Its name.
        layers
            Those that are nodes; None: all recorded ones. Others are composed away.
        truncated
            Whether composed arcs are cut as SUMMIT does.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        whole = self._full(self._aggregates, subset, "influence_counts")
        return _reduced(whole, layers, truncated=truncated)

    def sums(self, subset: str) -> FullGraph:
        """Return sums of influences in place of counts, with all recorded layers.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        return self._full(self._aggregates, subset, "influence_sums")

    def everything(self, layers: tuple[str, ...]) -> FullGraph:
        """Return the full graph of all instances, for base rates; leave it as it is.

        Parameters
        ----------
        layers
            Those that are nodes; others are composed away.
        """
        return self._base(layers)

    def start(self, subset: str, full: FullGraph) -> tuple[Start, tuple[str, ...]]:
        """Return where walks from the output start, and what is not as expected.

        Parameters
        ----------
        subset
            Its name. Of a class: the class's output. Of others: the outputs that are
            top channels, by their counts; of a class whose output never is, too.
        full
            Its full graph.

        Returns
        -------
        tuple
            The start, and one sentence for each thing that is not as expected.
        """
        layer = self.output
        kind = self._aggregates.kind
        problems: tuple[str, ...] = ()
        if layer is not None and layer.name in full.layers:
            has_arcs = _has_sources(full, layer.name)
            if kind in ("label", "prediction"):
                index = self._aggregates.row(subset)
                if has_arcs[index]:
                    start = np.zeros(layer.n_channels)
                    start[index] = 1.0
                    return (layer.name, start), ()
                text = (
                    f"the output of {subset!r} is a top channel in none of the "
                    "instances: the graph starts at the outputs that are"
                )
                problems = (text,)
            counts = full.counts[full.layers.index(layer.name)] * has_arcs
            if counts.any():
                return (layer.name, counts.astype(np.float64)), problems
        # Without an output that was recorded, the last layer that rests on something.
        for name in full.layers[::-1]:
            counts = full.counts[full.layers.index(name)] * _has_sources(full, name)
            if counts.any():
                text = f"no output was recorded: the graph starts at the layer {name!r}"
                return (name, counts.astype(np.float64)), (*problems, text)
        nothing = np.zeros(len(full.counts[-1])) if full.counts else np.zeros(0)
        text = "no influences were counted in this subset: the graph is empty"
        return (full.layers[-1], nothing), (text,)

    def _everything_graph(self, layers: tuple[str, ...]) -> FullGraph:
        everything = self._everything
        whole = self._full(everything, everything.names[0], "influence_counts")
        return _reduced(whole, layers, truncated=False)

    def _full(self, aggregates: Aggregates, subset: str, what: str) -> FullGraph:
        row = aggregates.row(subset)
        arcs: dict[tuple[str, str], sparse.csr_array] = {}
        for target in self._targets:
            path = f"aggregates/{aggregates.name}/{what}/{target}"
            matrix = self._read(path)
            part = slice(matrix.indptr[row], matrix.indptr[row + 1])
            n_targets = self._store.layer(target).n_channels
            matrices = influence_matrices(
                matrix.indices[part], matrix.data[part], self._edges[target], n_targets
            )
            arcs |= {(target, source): found for source, found in matrices.items()}
        layers = tuple(layer.name for layer in self._store.layers)
        counts = tuple(
            aggregates.counts(name)[[row]].toarray()[0].astype(np.int64)
            for name in layers
        )
        return FullGraph(layers, counts, arcs, int(aggregates.n_instances[row]))


def _reduced(
    whole: FullGraph, layers: tuple[str, ...] | None, *, truncated: bool
) -> FullGraph:
    if layers is None or layers == whole.layers:
        return whole
    counts = dict(zip(whole.layers, whole.counts, strict=True))
    arcs = composed(whole.arcs, whole.layers, layers, truncated=truncated)
    kept = tuple(counts[name] for name in layers)
    return FullGraph(layers, kept, arcs, whole.n_instances)


def _has_sources(full: FullGraph, layer: str) -> NDArray[np.bool_]:
    has_arcs = np.zeros(len(full.counts[full.layers.index(layer)]), dtype=np.bool_)
    for source in full.sources_of(layer):
        has_arcs |= np.diff(full.arcs[layer, source].indptr) > 0
    return has_arcs


def _entering_edges(store: Store, target: str) -> list[EnteringEdge]:
    return [
        EnteringEdge(edge.source, store.layer(edge.source).n_channels)
        for edge in store.architecture.edges
        if edge.target == target
    ]
