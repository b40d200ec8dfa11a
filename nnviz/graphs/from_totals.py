"""How do the totals of a subset become its full graph?

Read from a collection's aggregates, or from what was counted: the same numbers, and so
the same graph. What several graphs need is kept, in bounded numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates, aggregates_of
from nnviz.aggregation.relevance import Signal, check_relevance
from nnviz.aggregation.totals import AggregateTotals, InfluenceTotal, SubsetTotals
from nnviz.errors import MissingDataError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import (
    EnteringEdge,
    FullGraph,
    composed,
    influence_matrices,
)
from nnviz.graphs.matching import permuted_graph
from nnviz.graphs.options import GraphOptions
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import STANDARD_KINDS, Subset

__all__ = ["FullGraphs", "Start", "output_layer", "output_names", "with_names"]

Start = tuple[str, NDArray[np.float64]]
"""The layer where walks start, and how many at each of its channels."""


CACHED_BASES = 4
"""Full graphs of all instances that are kept: one for each choice of layers."""

CACHED_GRAPHS = 8
"""Full graphs of subsets that are kept: two are compared, by counts or by sums."""


class FullGraphs:
    """Makes the full graphs of subsets; shared between threads.

    Parameters
    ----------
    store
        With aggregates of influences.
    subsets
        Name of a collection.
    channels
        For each layer, the store's channel at each channel of another network, shape
        (C,): graphs are then in the numbers of that network.

    Raises
    ------
    UnknownNameError
        If there is no such collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    """

    def __init__(
        self,
        store: Store,
        subsets: str | None = None,
        channels: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        self._store = store
        self._channels = dict(channels or {})
        aggregates = aggregates_of(store, subsets)
        subsets = aggregates.name
        everything = aggregates if subsets == "all" else aggregates_of(store, "all")
        self.aggregates: Aggregates = aggregates
        """Of the collection."""
        self.everything_aggregates: Aggregates = everything
        """Of all instances, which are the base rates."""
        self._totals = AggregateTotals(store, aggregates)
        self._everything = AggregateTotals(store, everything).of(everything.names[0])
        path = f"aggregates/{subsets}/influence_counts"
        self._targets = store.groups.names(path) if store.groups.has_array(path) else []
        if not self._targets:
            msg = (
                f"the store {store.url!r} has no influences in {subsets!r}; make a run "
                'with extraction.targets = "top" or "all", and aggregate it'
            )
            raise MissingDataError(msg)
        self._widths = {layer.name: layer.n_channels for layer in store.layers}
        self._edges = {
            target: _entering_edges(store, target) for target in self._targets
        }
        # Made of the column of all instances, whichever subset is asked for.
        self._named = functools.lru_cache(1)(lambda: named_subsets(store, subsets))
        self._base = functools.lru_cache(CACHED_BASES)(self._everything_graph)
        self._whole = functools.lru_cache(CACHED_GRAPHS)(self._make_whole)
        self._reduced = functools.lru_cache(CACHED_GRAPHS)(self._make_reduced)

    @property
    def recorded_layers(self) -> tuple[str, ...]:
        """Names of all layers that are recorded, in order of computation."""
        return tuple(layer.name for layer in self._store.layers)

    @property
    def shown_layers(self) -> tuple[str, ...]:
        """Names of the layers that are shown, in order of computation."""
        return tuple(layer.name for layer in self._store.shown_layers)

    def layers_of(self, options: GraphOptions) -> tuple[str, ...]:
        """Return the names of the layers whose channels are nodes, in order."""
        if options.inner == "nodes":
            return self.recorded_layers
        output = output_layer(self._store)
        shown = self.shown_layers
        if options.preset == "summit" or output is None or output in shown:
            return shown
        return (*shown, output)

    def totals(self, subset: str) -> SubsetTotals:
        """Return what is counted in one subset of the collection.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        return self._totals.of(subset)

    def is_aggregated(self, totals: SubsetTotals) -> bool:
        """Whether these are totals of the collection, and not of a set on its own."""
        return self._totals.has(totals)

    def instances(self, subset: str) -> Subset:
        """Return which instances are in one subset of the collection.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        row, name = self.aggregates.row(subset), self.aggregates.name
        if self.aggregates.kind in STANDARD_KINDS:
            return self._named().subset(subset)
        path = f"aggregates/{name}/membership"
        membership = self._store.groups.read_csr(path, slice(row, row + 1))
        return Subset(subset, membership.indices.astype(np.int64))

    def full(
        self,
        totals: SubsetTotals,
        *,
        layers: tuple[str, ...] | None = None,
        truncated: bool = False,
    ) -> FullGraph:
        """Return the full graph of one subset; leave it as it is.

        Parameters
        ----------
        totals
            What is counted in it.
        layers
            Those that are nodes; None: all recorded ones. Others are composed away.
        truncated
            Whether composed arcs are cut as SUMMIT does.
        """
        if layers is None or layers == self.recorded_layers:
            return self._whole(totals, "influence_counts")
        return self._reduced(totals, layers, truncated=truncated)

    def sums(self, totals: SubsetTotals) -> FullGraph:
        """Return sums of influences in place of counts, with all recorded layers."""
        return self._whole(totals, "influence_sums")

    def relevance(
        self,
        totals: SubsetTotals,
        full: FullGraph,
        start: Start,
        against: SubsetTotals | None = None,
        *,
        signal: Signal = "relevance",
    ) -> NDArray[np.float64]:
        """Return the mean relevance of each node where it is positive, shape (V,).

        The network's outputs have it where walks start; of them none need have been
        recorded.

        Parameters
        ----------
        totals
            What is counted in the subset.
        full
            Its full graph.
        start
            As :meth:`start` returns it.
        against
            Totals of the instances whose mean activations are the reference; None:
            all.
        signal
            What is taken in place of the relevance.

        Raises
        ------
        MissingDataError
            If the run has recorded no relevance of a layer, or not this signal.
        """
        check_relevance(self._store, signal)
        everything = self.everything_aggregates
        found = []
        for name in full.layers:
            if name == start[0]:
                found.append(np.asarray(start[1], dtype=np.float64))
                continue
            others = (
                everything.relevance_sums(name)
                if against is None
                else (against.relevance(name))
            )
            reference = others.position_mean[0]
            values = totals.relevance(name).mean_of(signal, reference)[0]
            chosen = self._channels.get(name)
            values = values if chosen is None else values[chosen]
            found.append(np.maximum(np.nan_to_num(values), 0.0))
        return np.concatenate(found)

    def everything(self, layers: tuple[str, ...]) -> FullGraph:
        """Return the full graph of all instances, for base rates; leave it as it is.

        Parameters
        ----------
        layers
            Those that are nodes; others are composed away.
        """
        return self._base(layers)

    def start(
        self, totals: SubsetTotals, full: FullGraph
    ) -> tuple[Start, tuple[str, ...]]:
        """Return where walks from the output start, and what is not as expected.

        Parameters
        ----------
        totals
            What is counted in the subset. Of a class: the class's output. Of others:
            the outputs that are top channels, by their counts; of a class whose output
            never is, too.
        full
            Its full graph.

        Returns
        -------
        tuple
            The start, and one sentence for each thing that is not as expected.
        """
        output = output_layer(self._store)
        problems: tuple[str, ...] = ()
        if output is not None and output in full.layers:
            has_arcs = _has_sources(full, output)
            index = totals.class_index
            if index is not None and index < len(has_arcs):  # one logit of two classes
                if has_arcs[index]:
                    start = np.zeros(len(has_arcs))
                    start[index] = 1.0
                    return (output, start), ()
                text = (
                    f"the output of {totals.name!r} is a top channel in none of the "
                    "instances: the graph starts at the outputs that are"
                )
                problems = (text,)
            counts = full.counts[full.layers.index(output)] * has_arcs
            if counts.any():
                return (output, counts.astype(np.float64)), problems
        # Without an output that rests on something, the last layer that does.
        why = "no output was recorded"
        if output is not None:
            why = "no output is above 0 in these instances, so that none is on top"
            problems = ()
        for name in full.layers[::-1]:
            counts = full.counts[full.layers.index(name)] * _has_sources(full, name)
            if counts.any():
                text = f"{why}: the graph starts at the layer {name!r}"
                return (name, counts.astype(np.float64)), (*problems, text)
        nothing = np.zeros(len(full.counts[-1])) if full.counts else np.zeros(0)
        text = f"{why}: the graph is empty"
        if totals.n_instances == 0:
            text = "no influences were counted in this subset: the graph is empty"
        return (full.layers[-1], nothing), (text,)

    def _everything_graph(self, layers: tuple[str, ...]) -> FullGraph:
        return self.full(self._everything, layers=layers)

    def _make_reduced(
        self, totals: SubsetTotals, layers: tuple[str, ...], *, truncated: bool
    ) -> FullGraph:
        whole = self._whole(totals, "influence_counts")
        counts = dict(zip(whole.layers, whole.counts, strict=True))
        arcs = composed(whole.arcs, whole.layers, layers, truncated=truncated)
        kept = tuple(counts[name] for name in layers)
        return FullGraph(layers, kept, arcs, whole.n_instances)

    def _make_whole(self, totals: SubsetTotals, what: InfluenceTotal) -> FullGraph:
        arcs: dict[tuple[str, str], sparse.csr_array] = {}
        for target in self._targets:
            row = totals.influences(target, what)
            matrices = influence_matrices(
                row.indices, row.data, self._edges[target], self._widths[target]
            )
            arcs |= {(target, source): found for source, found in matrices.items()}
        layers = tuple(layer.name for layer in self._store.layers)
        counts = tuple(totals.counts(name) for name in layers)
        graph = FullGraph(layers, counts, arcs, totals.n_instances)
        return permuted_graph(graph, self._channels) if self._channels else graph


def with_names(store: Store, graph: AttributionGraph) -> AttributionGraph:
    """Return a graph of a store with the names that its channels have."""
    names = store.plan.architecture.channel_names
    return replace(graph, channel_names=names) if names else graph


def output_layer(store: Store) -> str | None:
    """Return the name of the last layer, if its channels are the network's outputs."""
    shape = store.plan.architecture.output_shape
    last = store.layers[-1]
    return last.name if shape and last.n_channels == shape[0] else None


def output_names(store: Store, layer: str) -> tuple[str, ...]:
    """Return the names of a layer's channels, if they are the outputs for classes."""
    names = store.class_names
    is_named = store.layer(layer).n_channels == len(names)
    return names if is_named and layer == output_layer(store) else ()


def _has_sources(full: FullGraph, layer: str) -> NDArray[np.bool_]:
    has_arcs = np.zeros(len(full.counts[full.layers.index(layer)]), dtype=np.bool_)
    for source in full.sources_of(layer):
        has_arcs |= np.diff(full.arcs[layer, source].indptr) > 0
    return has_arcs


def _entering_edges(store: Store, target: str) -> list[EnteringEdge]:
    return [
        EnteringEdge(edge.source, store.layer(edge.source).n_channels)
        for edge in store.plan.architecture.edges
        if edge.target == target
    ]
