"""What does a class rest on? Attribution graphs of the subsets of a store.

Everything is made from aggregates: no network, and no pass over the instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.artifacts.attribution_graph import AttributionGraph
from nnviz.artifacts.graph_building import FullGraph
from nnviz.artifacts.graph_comparison import GraphComparison, compare_graphs
from nnviz.artifacts.graph_presets import directed_graph, summit_graph
from nnviz.artifacts.graph_scores import in_strength, out_strength, specificity
from nnviz.artifacts.graph_selection import SUMMIT_SHARE
from nnviz.errors import ConfigError
from nnviz.full_graphs import FullGraphs
from nnviz.store.store import Store

__all__ = [
    "InnerLayers",
    "Preset",
    "Scoring",
    "SubsetGraphs",
    "Weight",
    "attribution_graph",
    "compare_subsets",
]

Preset = Literal["directed", "summit"]
InnerLayers = Literal["composed", "nodes"]
Weight = Literal["count", "sum"]
Scoring = Literal["evidence", "in_strength", "out_strength", "specificity"]


def attribution_graph(
    store: Store,
    subset: str,
    *,
    subsets: str = "label",
    preset: Preset = "directed",
    share: float | None = None,
    inner: InnerLayers = "composed",
    weight: Weight = "count",
    scoring: Scoring = "evidence",
) -> AttributionGraph:
    """Return the attribution graph of one subset.

    Parameters
    ----------
    store
        With aggregates of influences.
    subset
        Name of a subset: of a class, for instance.
    subsets
        Name of its collection.
    preset
        ``directed``: what the class's output rests on, from the output down; for other
        subsets than classes, what the network's outputs for them rest on. ``summit``:
        as published by SUMMIT.
    share
        Of each layer's scores that is kept, in (0, 1]; None: 0.075, as in SUMMIT.
        ``directed`` keeps at least five nodes of a layer.
    inner
        Whether layers that are not shown are composed away, or are nodes too.
    weight
        By what walks of ``directed`` choose their arcs: in how many instances a source
        is among the strongest, or the sum of what it contributes. With the extraction's
        signal ``peak`` these contributions add up, and the graph is a decomposition.
    scoring
        By what ``directed`` keeps nodes: the share of the evidence that runs through a
        node, the sum of the arcs that enter or leave it, or how much more often it is a
        top channel here than anywhere.

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
    return graphs.graph(
        subset,
        preset=preset,
        share=share,
        inner=inner,
        weight=weight,
        scoring=scoring,
    )


def compare_subsets(
    store: Store,
    first: str,
    second: str,
    *,
    subsets: str = "label",
    preset: Preset = "directed",
    share: float | None = None,
) -> GraphComparison:
    """Compare the attribution graphs of two subsets of one collection.

    Parameters
    ----------
    store
        With aggregates of influences.
    first, second
        Names of the subsets.
    subsets
        Name of their collection.
    preset, share
        As in :func:`attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If `share` or `preset` has no such value.
    """
    graphs = SubsetGraphs(store, subsets)
    one, two = graphs.graphs((first, second), preset=preset, share=share)
    fulls = [graphs.full(name, one.layers) for name in (first, second)]
    return compare_graphs(one, two, first_full=fulls[0], second_full=fulls[1])


class SubsetGraphs:
    """The graphs of one collection of subsets; aggregates are read once for all.

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
        self._full = FullGraphs(store, subsets)
        self.names = self._full.names
        """Name of each subset."""

    def graphs(
        self,
        subsets: Iterable[str] | None = None,
        *,
        preset: Preset = "directed",
        share: float | None = None,
        inner: InnerLayers = "composed",
        weight: Weight = "count",
        scoring: Scoring = "evidence",
    ) -> Iterator[AttributionGraph]:
        """Yield the graphs of some subsets, or of all.

        Parameters
        ----------
        subsets
            Names; None: all, in order.
        preset, share, inner, weight, scoring
            As in :func:`attribution_graph`.
        """
        for subset in self.names if subsets is None else subsets:
            yield self.graph(
                subset,
                preset=preset,
                share=share,
                inner=inner,
                weight=weight,
                scoring=scoring,
            )

    def graph(
        self,
        subset: str,
        *,
        preset: Preset = "directed",
        share: float | None = None,
        inner: InnerLayers = "composed",
        weight: Weight = "count",
        scoring: Scoring = "evidence",
    ) -> AttributionGraph:
        """Return the graph of one subset; parameters as :func:`attribution_graph`."""
        _check("preset", preset, ("directed", "summit"))
        _check("inner", inner, ("composed", "nodes"))
        _check("weight", weight, ("count", "sum"))
        _check("scoring", scoring, ("evidence", *_RANKINGS))
        if share is not None and not 0 < share <= 1:
            msg = f"share is {share}; it is a fraction above 0 and at most 1"
            raise ConfigError(msg)
        if preset == "summit" and (weight, scoring) != ("count", "evidence"):
            msg = (
                f"the preset 'summit' has no weight {weight!r} with scoring "
                f"{scoring!r}; leave both out, or take the preset 'directed'"
            )
            raise ConfigError(msg)
        layers = self._layers(preset, inner)
        everything = self._full.everything(layers)
        if preset == "summit":
            return summit_graph(
                self._full.full(subset, layers=layers, truncated=True),
                subset=subset,
                everything=everything,
                share=SUMMIT_SHARE if share is None else share,
            )
        full = self._full.full(subset, layers=layers)
        start, problems = self._full.start(subset, full)
        weights = self._full.sums(subset) if weight == "sum" else None
        rank = _RANKINGS.get(scoring)
        return directed_graph(
            full,
            start,
            subset=subset,
            everything=everything,
            weights=weights,
            ranking=None if rank is None else rank(full, everything),
            share=SUMMIT_SHARE if share is None else share,
            problems=problems,
        )

    def full(self, subset: str, layers: tuple[str, ...]) -> FullGraph:
        """Return the full graph of one subset over some layers.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        return self._full.full(subset, layers=layers)

    def _layers(self, preset: Preset, inner: InnerLayers) -> tuple[str, ...]:
        if inner == "nodes":
            return self._full.recorded_layers
        output = self._full.output
        shown = self._full.shown_layers
        if preset == "summit" or output is None or output.name in shown:
            return shown
        return (*shown, output.name)


_RANKINGS: dict[str, Callable[[FullGraph, FullGraph], NDArray[np.float64]]] = {
    "in_strength": lambda graph, _: in_strength(graph),
    "out_strength": lambda graph, _: out_strength(graph),
    "specificity": specificity,
}
"""Scores of a subset's full graph, given that of all instances."""


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"{name} is {value!r}; it is one of {', '.join(known)}"
        raise ConfigError(msg)
