"""What did the network do with single instances, where that was asked and stored?

``nnviz explain`` runs the network on an instance; this finds what it has found, and its
graph beside those of the classes, and otherwise says which command asks for it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDataError, NnvizError, UnknownNameError
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.explanation.own_graph import own_graph
from nnviz.explanation.stored import explanation_of, has_explanation
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.from_totals import FullGraphs
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphOptions
from nnviz.results.graph_results import GraphRequest, GraphResults
from nnviz.results.instance_pictures import InstancePictures
from nnviz.store.store import Store

__all__ = ["BesideClass", "ExplainedInstances", "GraphPlaces", "explain_words"]

CACHED_EXPLANATIONS = 16
"""Each is some hundred kilobytes, of large networks a few megabytes."""

SMALL_SIDE, LARGE_SIDE = 48, 160
"""Longer sides of pictures of where a channel fired, in pixels. They are smooth, and
may be enlarged."""

CACHED_HEATS = 4096

MADE_GRAPHS = 20
"""Of other classes, where none are stored: each takes some milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphPlaces:
    """A graph, and where each of its nodes stands in its row."""

    graph: AttributionGraph
    x: NDArray[np.float64]
    """Shape (V,): places of a row are 1 apart, centred on 0."""


@dataclass(frozen=True, slots=True, eq=False)
class BesideClass:
    """The graph of one instance beside those of classes."""

    own: GraphPlaces
    classes: tuple[GraphPlaces, ...]
    """Of the class that is explained, then of the instance's own where it is another;
    of all instances where there are no classes."""
    others: tuple[tuple[str, int], ...]
    """Every other class by name, with how many of the instance's channels are in its
    graph, the most first; empty where they are many, and not stored."""

    def n_common(self, number: int) -> int:
        """Return how many of the instance's channels are in the graph of a class."""
        theirs = set(self.classes[number].graph.keys())
        return len(theirs.intersection(self.own.graph.keys()))


def explain_words(
    store: Store, instance_id: str, output: str | int | None = None
) -> tuple[str, ...]:
    """Return the words of the command that explains an instance.

    Parameters
    ----------
    store
        The run.
    instance_id
        Its id.
    output
        Class by its name, or number; None for the prediction.
    """
    words = () if output is None else ("--of", str(output))
    if instance_id.startswith("-"):
        return ("nnviz", "explain", *words, "--", store.url, instance_id)
    return ("nnviz", "explain", store.url, instance_id, *words)


class ExplainedInstances:
    """What is stored of single instances of one run; may be shared by threads.

    Parameters
    ----------
    store
        Opened read-only.
    kind
        Collection of the classes whose graphs stand beside.
    graphs
        Attribution graphs of the run.
    pictures
        Of its instances.
    """

    def __init__(
        self, store: Store, kind: str, graphs: GraphResults, pictures: InstancePictures
    ) -> None:
        self._store, self._kind = store, kind
        self._graphs, self._pictures = graphs, pictures
        self._lock = threading.Lock()
        self._read = functools.lru_cache(CACHED_EXPLANATIONS)(
            functools.partial(explanation_of, store)
        )
        self._full = functools.lru_cache(1)(lambda: FullGraphs(store, kind))
        self._places = functools.lru_cache(1)(lambda: SubsetGraphs(store, kind))
        self.heat = functools.lru_cache(CACHED_HEATS)(self._heat)
        """Return where a channel fired as a PNG that is laid over the picture, by
        instance, output, number of the shown layer, channel, and whether it is to be
        large; empty where there is none."""

    def found(self, instance: int, output: int) -> InstanceExplanation | None:
        """Return what was explained; None if nothing was, or it is damaged."""
        try:
            if not has_explanation(self._store, instance, output):
                return None
            return self._read(instance, output)
        except NnvizError:
            return None

    def beside(
        self, explanation: InstanceExplanation, labels: Sequence[int]
    ) -> BesideClass:
        """Return the instance's own graph, beside those of classes.

        Parameters
        ----------
        explanation
            What the network did with it.
        labels
            Classes whose graphs stand beside it, by index; of those that have none,
            nothing stands there.

        Raises
        ------
        NnvizError
            If the run has no graphs.
        """
        with self._lock:
            own = own_graph(self._store, explanation, graphs=self._full())
            names = self._names(labels)
            places = [self._placed(own)]
            for name in names:
                try:
                    request = GraphRequest(self._kind, name, "", GraphOptions())
                    places.append(self._placed(self._graphs.graph(request)))
                except (MissingDataError, UnknownNameError):
                    continue  # the data have no instance of this class
            others = self._others(own, {place.graph.subset for place in places[1:]})
        return BesideClass(places[0], tuple(places[1:]), others)

    def token_values(
        self, explanation: InstanceExplanation, layer: str, channel: int
    ) -> list[float]:
        """Return how strong a channel is at every token of a text, in [0, 1].

        Parameters
        ----------
        explanation
            Of an instance with tokens.
        layer, channel
            The channel. At a token that several positions see it is the largest of
            them, at one that none sees 0, as at negative values.

        Raises
        ------
        UnknownNameError
            If its map was not kept.
        """
        values = explanation.layer(layer).map_of(channel)
        of = self._store.layer(layer)
        n = len(explanation.tokens)
        if of.token_axis is None or of.token_axis >= values.ndim:
            return [0.0] * n
        by_place = np.moveaxis(values, of.token_axis, 0).reshape(
            values.shape[of.token_axis], -1
        )
        strength = np.nan_to_num(by_place.astype(np.float64)).max(axis=1)
        found = np.zeros(n)
        for place, value in enumerate(strength.tolist()):
            first, stop = place, place + 1
            if of.token_field is not None:
                ((low, high),) = of.token_field.box((place,))
                first, stop = max(0, math.floor(low)), max(0, math.ceil(high))
            found[first:stop] = np.maximum(found[first:stop], value)
        top = float(found.max(initial=0.0))
        return [round(value / top, 3) if top > 0 else 0.0 for value in found.tolist()]

    def _names(self, labels: Sequence[int]) -> list[str]:
        aggregates = self._graphs.collection(self._kind)
        if aggregates.kind not in ("label", "prediction"):
            return [*aggregates.names[:1]] if self._kind == "all" else []
        known = aggregates.all_names
        return [known[i] for i in dict.fromkeys(labels) if 0 <= i < len(known)]

    def _placed(self, graph: AttributionGraph) -> GraphPlaces:
        return GraphPlaces(graph, self._places().layout(graph).x)

    def _others(
        self, own: AttributionGraph, shown: set[str]
    ) -> tuple[tuple[str, int], ...]:
        graphs, mine = self._places(), set(own.keys())
        aggregates = self._graphs.collection(self._kind)
        names = [n for n in graphs.names if aggregates.size(n) and n not in shown]
        is_stored = graphs.stored(GraphOptions()) is not None
        if aggregates.kind not in ("label", "prediction") or not (
            is_stored or len(names) <= MADE_GRAPHS
        ):
            return ()
        counts = [
            (graph.subset, len(mine.intersection(graph.keys())))
            for graph in graphs.graphs(names)
        ]
        return tuple(sorted(counts, key=lambda pair: -pair[1]))

    def _heat(
        self,
        instance: int,
        output: int,
        layer: int,
        channel: int,
        *,
        is_large: bool = False,
    ) -> bytes:
        explanation = self.found(instance, output)
        shown = self._store.shown_layers
        if explanation is None or not 0 <= layer < len(shown):
            return b""
        try:
            values = explanation.layer(shown[layer].name).map_of(channel)
        except UnknownNameError:
            return b""
        side = LARGE_SIDE if is_large else SMALL_SIDE
        return self._pictures.heat(instance, values, shown[layer], side)
