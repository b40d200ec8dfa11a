"""What does a class rest on? Attribution graphs of the subsets of a store.

Graphs that derivation has stored are read. Others of aggregated subsets are made from
aggregates: no network, and no pass over the instances. Other sets of instances are
counted first, from the stored facts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.relevance import SIGNALS, signal_named
from nnviz.aggregation.totals import BlockTotals, SubsetTotals, count_blocks
from nnviz.errors import ConfigError, QueryError, UnknownNameError, did_you_mean
from nnviz.graphs.attribution_graph import AttributionGraph, HalfLikeness
from nnviz.graphs.from_totals import FullGraphs, with_names
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.jackknife import NodeScores, block_errors, half_weights, node_scores
from nnviz.graphs.layout import GraphLayout, arrange_graph, reference_places
from nnviz.graphs.likeness import graph_similarity
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.graphs.presets import (
    GraphSelection,
    directed_selection,
    kept_graph,
    summit_selection,
)
from nnviz.graphs.scores import RANKINGS
from nnviz.graphs.stored import StoredGraphs, stored_graphs
from nnviz.store.store import Store
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["SubsetGraphs", "attribution_graph"]

CACHED_PLACES = 4
"""One for each choice of layers."""

HALVED_INSTANCES = 20_000
"""Up to so many of a subset are counted in two random halves without being asked."""


def attribution_graph(
    store: Store,
    subset: str | Subset,
    *,
    subsets: str | None = None,
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
        Name of a subset: of a class, for instance. Or a query, a saved subset, or any
        set of instances, which is counted first: no network is run, but the instances'
        facts are read.
    subsets
        Name of the collection that it is in; None:
        :func:`nnviz.aggregation.aggregates.usual_collection`.
    jackknife
        In how many blocks of instances errors of the scores are estimated: the graph is
        made again without each of them. 0: none are. 20 is a usual number.
    client
        Client of a running cluster, for subsets that are counted; None counts here.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, each as in
        :class:`GraphOptions`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    QueryError
        If the text is neither a name nor a query of this store.
    MissingDataError
        If nothing has been aggregated, no influences were extracted, or the subset has
        no instances.
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
        Name of the collection; None: the usual one.
    channels
        For each layer, the store's channel at each channel of another network, shape
        (C,): graphs are then in the numbers of that network.
    use_stored
        Whether graphs that derivation has stored are read.

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
        *,
        use_stored: bool = True,
    ) -> None:
        self.store = store
        self._full = FullGraphs(store, subsets, channels)
        self._use_stored = use_stored and not channels
        self._places = functools.lru_cache(CACHED_PLACES)(self._reference_places)
        self.stored = functools.cache(self._read_stored)
        self._finder = SubsetFinder(store, IndexedChannels(store))
        self.collection = self._full.aggregates.name
        """Name of the collection."""
        self.names = self._full.aggregates.names
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
        if not jackknife:
            totals = self.totals(subset, client=client)
            graph = self.graph_of(totals, **options)
            if isinstance(totals, BlockTotals):
                graph = self.with_halves(graph, totals, **options)
            return graph
        blocks = self.counted(subset, jackknife, client)
        if "influence_counts" not in blocks.blocks:  # of aggregates they may be known
            graph = self.graph_of(self.totals(subset, client=client), **options)
            text = "errors need influences of instances, and the store has none"
            return dataclasses.replace(graph, problems=(*graph.problems, text))
        chosen = GraphOptions(**options)
        graph, whole = self._made(blocks, chosen)
        if blocks.n_blocks < 2:
            text = (
                f"errors need two instances at least; {blocks.name!r} has "
                f"{blocks.n_instances}"
            )
            return dataclasses.replace(graph, problems=(*graph.problems, text))
        scores = self.node_scores(blocks, **options)
        errors = block_errors(whole, scores, self._maker(blocks, chosen))
        graph = dataclasses.replace(graph, errors=errors)
        return self.with_halves(graph, blocks, **options)

    def with_halves(
        self,
        graph: AttributionGraph,
        blocks: BlockTotals,
        **options: Unpack[GraphChoices],
    ) -> AttributionGraph:
        """Say of a graph how alike those of two halves of its blocks are.

        Parameters
        ----------
        graph, **options
            Of the same instances, made with these options.
        blocks
            Of :meth:`counted`; one block, or one without influences, tells nothing.
        """
        if blocks.n_blocks < 2 or "influence_counts" not in blocks.blocks:
            return graph
        halves = self.half_likeness(blocks, **options)
        return dataclasses.replace(graph, halves=halves)

    @property
    def is_partition(self) -> bool:
        """Whether no instance is in two subsets of the collection."""
        kind = self._full.aggregates.kind
        has_one = kind == "label" and not self.store.plan.has_label_sets
        return has_one or kind in ("prediction", "outcome")

    def has(self, subset: str) -> bool:
        """Whether the collection has a subset of this name, or by this label."""
        return self._full.aggregates.named(subset) in self.names

    def instances(self, subset: str | Subset) -> Subset:
        """Return the instances that :meth:`totals` counts, usable or not.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        if isinstance(subset, Subset):
            return subset
        name = self._full.aggregates.named(subset)
        try:
            return self._full.instances(name)
        except UnknownNameError as error:
            return self._asked(name, error)

    def node_scores(
        self,
        blocks: BlockTotals,
        *,
        against: SubsetTotals | None = None,
        **options: Unpack[GraphChoices],
    ) -> NodeScores:
        """Return the scores of all nodes, kept or not, with their errors.

        Parameters
        ----------
        blocks
            What :meth:`counted` has counted, two blocks at least.
        against
            As in :meth:`graph_of`.
        **options
            As in :func:`attribution_graph`.
        """
        chosen = GraphOptions(**options)
        found = self._selected(blocks, chosen, against)
        made = self._maker(blocks, chosen, against)
        spans, n_blocks = found.full.spans, blocks.n_blocks
        return node_scores(found.selection, spans, n_blocks, made)

    def _maker(
        self,
        blocks: BlockTotals,
        chosen: GraphOptions,
        against: SubsetTotals | None = None,
    ) -> Callable[[NDArray[np.int64]], GraphSelection]:
        """Return what makes the selection with each block taken so many times."""
        return lambda weights: (
            self._selected(blocks.weighted(weights), chosen, against).selection
        )

    def half_likeness(
        self,
        blocks: BlockTotals,
        *,
        against: SubsetTotals | None = None,
        **options: Unpack[GraphChoices],
    ) -> HalfLikeness:
        """Return how alike the graphs of the two halves of the blocks are.

        Parameters
        ----------
        blocks, against, **options
            As in :meth:`node_scores`.
        """
        chosen = GraphOptions(**options)
        one, two = (
            self._made(blocks.weighted(half), chosen, against)[0]
            for half in half_weights(blocks.n_blocks)
        )
        alike = graph_similarity(one, two)
        return HalfLikeness(alike.node_jaccard, alike.arc_jaccard)

    def totals(
        self, subset: str | Subset, *, client: Client | None = None
    ) -> SubsetTotals:
        """Return what is counted in one subset, for :meth:`graph_of` and :meth:`full`.

        Parameters
        ----------
        subset
            The name of one of the collection, or any set of instances, which is counted
            now, and in two blocks if it is not too large.
        client
            Client of a running cluster, for sets that are counted; None counts here.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        MissingDataError
            If it has no instances.
        """
        if isinstance(subset, str):
            name = self._full.aggregates.named(subset)
            try:
                return self._full.totals(name)
            except UnknownNameError as error:
                subset = self._asked(name, error)
        n_blocks = 2 if len(subset) <= HALVED_INSTANCES else 1
        return count_blocks(self.store, subset, n_blocks=n_blocks, client=client)

    def _asked(self, text: str, unknown: UnknownNameError) -> Subset:
        """Return the subset of a text that is no name of the collection's."""
        try:
            return self._finder.find(text)
        except QueryError:
            # A name with a slip of the pen is more likely than a query with one.
            if did_you_mean(text, self.names) or text.isidentifier():
                raise unknown from None
            raise

    def counted(
        self,
        subset: str | Subset,
        n_blocks: int,
        client: Client | None = None,
    ) -> BlockTotals:
        """Return what is counted in random blocks of one subset's instances.

        Parameters
        ----------
        subset, client
            As in :meth:`totals`.
        n_blocks
            At most its usable instances; see
            :func:`nnviz.aggregation.totals.count_blocks`.

        Raises
        ------
        ConfigError
            If it is no number of blocks.
        """
        if n_blocks < 1:
            msg = f"jackknife is {n_blocks}; it is a number of blocks, 0 for none"
            raise ConfigError(msg)
        class_index = None
        if isinstance(subset, str):
            name = self._full.aggregates.named(subset)
            try:
                class_index = self._full.totals(name).class_index
                subset = self._full.instances(name)
            except UnknownNameError as error:
                subset = self._asked(name, error)
        return count_blocks(
            self.store,
            subset,
            n_blocks=n_blocks,
            class_index=class_index,
            client=client,
        )

    def graph_of(
        self,
        totals: SubsetTotals,
        *,
        against: SubsetTotals | None = None,
        **options: Unpack[GraphChoices],
    ) -> AttributionGraph:
        """Return the graph of what :meth:`totals` has counted.

        Parameters
        ----------
        totals
            Totals of one subset.
        against
            Totals of another one, against whose mean activations the relevance of
            channels is told; None: against those of all instances. Other scorings do
            not look at it.
        **options
            As in :func:`attribution_graph`.
        """
        chosen = GraphOptions(**options)
        is_aggregated = self._full.is_aggregated(totals)
        if is_aggregated and (against is None or chosen.scoring != "relevance"):
            stored = self.stored(chosen)
            found = None if stored is None else stored.graph(totals.name)
            if found is not None:
                return self._noted(found, is_aggregated=True)
        made, _ = self._made(totals, chosen, against)
        return self._noted(made, is_aggregated=is_aggregated)

    def _noted(
        self, graph: AttributionGraph, *, is_aggregated: bool = False
    ) -> AttributionGraph:
        """Say of a graph that the store has grown since it was counted."""
        note = self._full.everything_aggregates.note
        if is_aggregated:
            note = self._full.aggregates.note or note
        elif note:
            note = f"base rates are {note}"
        problems = (*graph.problems, note) if note else graph.problems
        return dataclasses.replace(graph, problems=problems) if note else graph

    def full(self, totals: SubsetTotals, layers: tuple[str, ...]) -> FullGraph:
        """Return the full graph of what :meth:`totals` has counted, over some layers.

        Leave it as it is: it may be shared with later calls.
        """
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

    def _read_stored(self, options: GraphOptions) -> StoredGraphs | None:
        if not self._use_stored:
            return None
        return stored_graphs(
            self.store,
            self._full.aggregates,
            self._full.everything_aggregates,
            options,
        )

    def _made(
        self,
        totals: SubsetTotals,
        options: GraphOptions,
        against: SubsetTotals | None = None,
    ) -> tuple[AttributionGraph, GraphSelection]:
        found = self._selected(totals, options, against)
        graph = kept_graph(
            found.full,
            found.selection,
            subset=totals.name,
            preset=options.preset,
            everything=self._full.everything(found.full.layers),
            problems=found.problems,
        )
        return with_names(self.store, graph), found.selection

    def _selected(
        self,
        totals: SubsetTotals,
        options: GraphOptions,
        against: SubsetTotals | None = None,
    ) -> _Selected:
        layers = self._full.layers_of(options)
        if options.preset == "summit":
            full = self._full.full(totals, layers=layers, truncated=True)
            return _Selected(full, summit_selection(full, share=options.kept_share))
        full = self._full.full(totals, layers=layers)
        start, problems = self._full.start(totals, full)
        ranking = None
        if options.scoring in SIGNALS:
            ranking = self._full.relevance(
                totals, full, start, against, signal=signal_named(options.scoring)
            )
        elif options.scoring in RANKINGS:
            everything = self._full.everything(layers)
            ranking = RANKINGS[options.scoring](full, everything)
        weighs_sums = options.weighs_sums(self.store.plan.extraction)
        selection = directed_selection(
            full,
            start,
            weights=self._full.sums(totals) if weighs_sums else None,
            ranking=ranking,
            share=options.kept_share,
        )
        return _Selected(full, selection, problems)


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    full: FullGraph
    selection: GraphSelection
    problems: tuple[str, ...] = ()
