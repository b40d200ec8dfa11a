"""What does a class rest on? Attribution graphs of the subsets of a store.

Graphs of aggregated subsets are made from aggregates: no network, and no pass over the
instances. Other sets of instances are counted first, from the stored facts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.totals import SubsetTotals, count_blocks
from nnviz.errors import ConfigError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.full_graphs import FullGraphs, output_layer
from nnviz.graphs.jackknife import jackknife_errors
from nnviz.graphs.layout import (
    GraphLayout,
    arrange_graph,
    reference_places,
)
from nnviz.graphs.presets import (
    GraphSelection,
    directed_selection,
    kept_graph,
    summit_selection,
)
from nnviz.graphs.scores import in_strength, out_strength, specificity
from nnviz.graphs.selection import SUMMIT_SHARE
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "GraphChoices",
    "GraphOptions",
    "InnerLayers",
    "Preset",
    "Scoring",
    "SubsetGraphs",
    "Weight",
    "attribution_graph",
]

Preset = Literal["directed", "summit"]
InnerLayers = Literal["composed", "nodes"]
Weight = Literal["count", "sum"]
Scoring = Literal["evidence", "in_strength", "out_strength", "specificity"]

CACHED_PLACES = 4
"""One for each choice of layers."""


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How an attribution graph is made.

    Raises
    ------
    ConfigError
        If an option has no such value, or does not go with the preset.
    """

    preset: Preset = "directed"
    """``directed``: what the class's output rests on, from the output down; for other
    subsets than classes, what the network's outputs for them rest on. ``summit``: as
    published by SUMMIT."""
    share: float | None = None
    """Of each layer's scores that is kept, in (0, 1]; None: 0.075, as in SUMMIT.
    ``directed`` keeps at least five nodes of a layer."""
    inner: InnerLayers = "composed"
    """Whether layers that are not shown are composed away, or are nodes too."""
    weight: Weight = "count"
    """By what walks of ``directed`` choose their arcs: in how many instances a source
    is among the strongest, or the sum of what it contributes. With the extraction's
    signal ``peak`` these contributions add up, and the graph is a decomposition."""
    scoring: Scoring = "evidence"
    """By what ``directed`` keeps nodes: the share of the evidence that runs through a
    node, the sum of the arcs that enter or leave it, or how much more often it is a top
    channel here than anywhere."""

    def __post_init__(self) -> None:
        _check("preset", self.preset, ("directed", "summit"))
        _check("inner", self.inner, ("composed", "nodes"))
        _check("weight", self.weight, ("count", "sum"))
        _check("scoring", self.scoring, ("evidence", *_RANKINGS))
        if self.share is not None and not 0 < self.share <= 1:
            msg = f"share is {self.share}; it is a fraction above 0 and at most 1"
            raise ConfigError(msg)
        others = self.weight, self.scoring
        if self.preset == "summit" and others != ("count", "evidence"):
            msg = (
                f"the preset 'summit' has no weight {self.weight!r} with scoring "
                f"{self.scoring!r}; leave both out, or take the preset 'directed'"
            )
            raise ConfigError(msg)

    @property
    def kept_share(self) -> float:
        """Of each layer's scores that is kept."""
        return SUMMIT_SHARE if self.share is None else self.share


class GraphChoices(TypedDict, total=False):
    """The options of :class:`GraphOptions`, as keywords."""

    preset: Preset
    share: float | None
    inner: InnerLayers
    weight: Weight
    scoring: Scoring


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


def _check(name: str, value: str, known: tuple[Any, ...]) -> None:
    if value not in known:
        msg = f"{name} is {value!r}; it is one of {', '.join(known)}"
        raise ConfigError(msg)
