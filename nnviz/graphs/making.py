"""What does a class rest on? Attribution graphs of the subsets of a store.

Graphs of aggregated subsets are made from aggregates: no network, and no pass over the
instances. Other sets of instances are counted first, from the stored facts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.totals import (
    AggregateTotals,
    InfluenceTotal,
    SubsetTotals,
    count_blocks,
)
from nnviz.errors import ConfigError, MissingDataError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import (
    EnteringEdge,
    FullGraph,
    composed,
    influence_matrices,
)
from nnviz.graphs.jackknife import jackknife_errors
from nnviz.graphs.layout import GraphLayout, arrange_graph, reference_places
from nnviz.graphs.matching import permuted_graph
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.graphs.presets import (
    GraphSelection,
    directed_selection,
    kept_graph,
    summit_selection,
)
from nnviz.graphs.scores import in_strength, out_strength, specificity
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import STANDARD_KINDS, Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["FullGraphs", "SubsetGraphs", "attribution_graph", "output_layer"]

CACHED_PLACES = 4
"""One for each choice of layers."""


def attribution_graph(
    store: Store,
    subset: str | Subset,
    *,
    subsets: str = "label",
    jackknife: int = 0,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> AttributionGraph:
    """Return the attribution graph of one subset.

    Parameters
    ----------
    store
        With aggregates of influences.
    subset
        Name of a subset: of a class, for instance. Or any set of instances, which is
        counted first: no network is run, but the instances' facts are read.
    subsets
        Name of the collection that it is in.
    jackknife
        In how many blocks of instances errors of the scores are estimated: the graph is
        made again without each of them. 0: none are. 20 is a usual number.
    client
        Of a running cluster, for subsets that are counted; None counts here.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, each as in
        :class:`GraphOptions`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If an option has no such value.
    """
    graphs = SubsetGraphs(store, subsets)
    return graphs.graph(subset, jackknife=jackknife, client=client, **options)


class SubsetGraphs:
    """The graphs of one collection of subsets; what they share is read once.

    Parameters
    ----------
    store
        With aggregates of influences.
    subsets
        Name of the collection.
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
        subsets: str = "label",
        channels: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        self._store = store
        self._full = FullGraphs(store, subsets, channels)
        self._places = functools.lru_cache(CACHED_PLACES)(self._reference_places)
        self.names = self._full.names
        """Name of each subset."""

    def graphs(
        self,
        subsets: Iterable[str] | None = None,
        **options: Unpack[GraphChoices],
    ) -> Iterator[AttributionGraph]:
        """Yield the graphs of some subsets, or of all.

        Parameters
        ----------
        subsets
            Names; None: all, in order.
        **options
            As in :func:`attribution_graph`.
        """
        for subset in self.names if subsets is None else subsets:
            yield self.graph(subset, **options)

    def graph(
        self,
        subset: str | Subset,
        *,
        jackknife: int = 0,
        client: Client | None = None,
        **options: Unpack[GraphChoices],
    ) -> AttributionGraph:
        """Return the graph of one subset; parameters as :func:`attribution_graph`."""
        chosen = GraphOptions(**options)
        if jackknife < 0:
            msg = f"jackknife is {jackknife}; it is a number of blocks, 0 for none"
            raise ConfigError(msg)
        if isinstance(subset, str) and not jackknife:
            return self._made(self._full.totals(subset), chosen)[0]
        named, class_index = self._named(subset)
        blocks = count_blocks(
            self._store,
            named,
            n_blocks=max(1, jackknife),
            class_index=class_index,
            client=client,
        )
        graph, whole = self._made(blocks, chosen)
        if blocks.n_blocks < 2:
            if jackknife:
                text = (
                    f"errors need two instances at least; {named.name!r} has "
                    f"{blocks.n_instances}"
                )
                problems = (*graph.problems, text)
                graph = dataclasses.replace(graph, problems=problems)
            return graph
        without = [
            self._selected(blocks.without(block), chosen).selection
            for block in range(blocks.n_blocks)
        ]
        return dataclasses.replace(graph, errors=jackknife_errors(whole, without))

    def full(self, subset: str | Subset, layers: tuple[str, ...]) -> FullGraph:
        """Return the full graph of one subset over some layers.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        totals: SubsetTotals = (
            self._full.totals(subset)
            if isinstance(subset, str)
            else count_blocks(self._store, subset)
        )
        return self._full.full(totals, layers=layers)

    def layout(self, graph: AttributionGraph) -> GraphLayout:
        """Return places for the nodes of one of these graphs.

        All graphs of the store begin with the same places, which all instances give:
        what two graphs share stands in one order in both, as far as crossings allow.
        """
        return arrange_graph(graph, previous=self._places(graph.layers))

    def _reference_places(
        self, layers: tuple[str, ...]
    ) -> dict[tuple[str, int], float]:
        return reference_places(self._full.everything(layers))

    def _named(self, subset: str | Subset) -> tuple[Subset, int | None]:
        if isinstance(subset, Subset):
            return subset, None
        totals = self._full.totals(subset)
        return self._full.instances(subset), totals.class_index

    def _made(
        self, totals: SubsetTotals, options: GraphOptions
    ) -> tuple[AttributionGraph, GraphSelection]:
        found = self._selected(totals, options)
        graph = kept_graph(
            found.full,
            found.selection,
            subset=totals.name,
            preset=options.preset,
            everything=self._full.everything(found.full.layers),
            problems=found.problems,
        )
        return graph, found.selection

    def _selected(self, totals: SubsetTotals, options: GraphOptions) -> _Selected:
        layers = self._layers(options)
        if options.preset == "summit":
            full = self._full.full(totals, layers=layers, truncated=True)
            return _Selected(full, summit_selection(full, share=options.kept_share))
        full = self._full.full(totals, layers=layers)
        start, problems = self._full.start(totals, full)
        rank = _RANKINGS.get(options.scoring)
        selection = directed_selection(
            full,
            start,
            weights=self._full.sums(totals) if options.weight == "sum" else None,
            ranking=None if rank is None else rank(full, self._full.everything(layers)),
            share=options.kept_share,
        )
        return _Selected(full, selection, problems)

    def _layers(self, options: GraphOptions) -> tuple[str, ...]:
        if options.inner == "nodes":
            return self._full.recorded_layers
        output = output_layer(self._store)
        shown = self._full.shown_layers
        if options.preset == "summit" or output is None or output in shown:
            return shown
        return (*shown, output)


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    full: FullGraph
    selection: GraphSelection
    problems: tuple[str, ...] = ()


_RANKINGS: dict[str, Callable[[FullGraph, FullGraph], NDArray[np.float64]]] = {
    "in_strength": lambda graph, _: in_strength(graph),
    "out_strength": lambda graph, _: out_strength(graph),
    "specificity": specificity,
}
"""Scores of a subset's full graph, given that of all instances."""


Start = tuple[str, NDArray[np.float64]]
"""The layer where walks start, and how many at each of its channels."""


CACHED_BASES = 4
"""Full graphs of all instances that are kept: one for each choice of layers."""


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
        subsets: str = "label",
        channels: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        self._store = store
        self._channels = dict(channels or {})
        aggregates = aggregates_of(store, subsets)
        everything = aggregates_of(store, "all")
        self.names = aggregates.names
        """Name of each subset of the collection."""
        self._collection = aggregates
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
        self._edges = {
            target: _entering_edges(store, target) for target in self._targets
        }
        self._base = functools.lru_cache(CACHED_BASES)(self._everything_graph)

    @property
    def recorded_layers(self) -> tuple[str, ...]:
        """Names of all layers that are recorded, in order of computation."""
        return tuple(layer.name for layer in self._store.layers)

    @property
    def shown_layers(self) -> tuple[str, ...]:
        """Names of the layers that are shown, in order of computation."""
        return tuple(layer.name for layer in self._store.shown_layers)

    def totals(self, subset: str) -> SubsetTotals:
        """Return what is counted in one subset of the collection.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        return self._totals.of(subset)

    def instances(self, subset: str) -> Subset:
        """Return which instances are in one subset of the collection.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        row, name = self._collection.row(subset), self._collection.name
        if self._collection.kind in STANDARD_KINDS:
            membership = named_subsets(self._store, name).membership[[row]]
        else:
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
        """Return the full graph of one subset.

        Parameters
        ----------
        totals
            What is counted in it.
        layers
            Those that are nodes; None: all recorded ones. Others are composed away.
        truncated
            Whether composed arcs are cut as SUMMIT does.
        """
        whole = self._full(totals, "influence_counts")
        return _reduced(whole, layers, truncated=truncated)

    def sums(self, totals: SubsetTotals) -> FullGraph:
        """Return sums of influences in place of counts, with all recorded layers."""
        return self._full(totals, "influence_sums")

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
            if index is not None:
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
        return self.full(self._everything, layers=layers)

    def _full(self, totals: SubsetTotals, what: InfluenceTotal) -> FullGraph:
        arcs: dict[tuple[str, str], sparse.csr_array] = {}
        for target in self._targets:
            row, edges = totals.influences(target, what), self._edges[target]
            n_targets = self._store.layer(target).n_channels
            matrices = influence_matrices(row.indices, row.data, edges, n_targets)
            arcs |= {(target, source): found for source, found in matrices.items()}
        layers = tuple(layer.name for layer in self._store.layers)
        counts = tuple(totals.counts(name) for name in layers)
        graph = FullGraph(layers, counts, arcs, totals.n_instances)
        return permuted_graph(graph, self._channels) if self._channels else graph


def output_layer(store: Store) -> str | None:
    """Return the name of the last layer, if its channels are the network's classes."""
    shape = store.plan.architecture.output_shape
    last = store.layers[-1]
    return last.name if shape and last.n_channels == shape[0] > 1 else None


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
        for edge in store.plan.architecture.edges
        if edge.target == target
    ]
