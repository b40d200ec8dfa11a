"""Which attribution graphs has the run? Computed when asked for, shared by visitors.

A collection's influences are read when its first graph is asked for; that takes as long
as its arrays are large. Every further graph takes a few milliseconds. Collections,
graphs and comparisons are kept in bounded numbers, and may be asked for by any thread.
"""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from nnviz.aggregation.aggregates import Aggregates, aggregates_of
from nnviz.aggregation.subset_index import subset_index
from nnviz.engine.wanted import SharedWork
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import GraphComparison
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.making_comparisons import compare_made
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphOptions, InnerLayers, Preset, keywords
from nnviz.results.graphs_beside import Beside, GraphsBeside
from nnviz.results.missing import Missing
from nnviz.results.query_pool import QueryPool
from nnviz.results.subset_key import SubsetKey
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = ["OF_A", "OF_PAIR", "GraphRequest", "GraphResults", "subset_of"]

CACHED_COLLECTIONS = 3
CACHED_GRAPHS = 256
CACHED_COMPARISONS = 32
CACHED_QUERIES = 64

OF_A, OF_PAIR = "subset:a", "subset:a-b"
"""What stands for a collection where the graph is that of A, or of A against B."""


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """One graph, or two that are compared."""

    collection: str
    subset: str
    versus: str
    """Empty for none."""
    options: GraphOptions
    sets: tuple[SubsetKey, ...] = ()
    """Where no subset of the collection is meant: one or two sets of instances, which
    are counted first."""
    queries: tuple[str, ...] = ()
    """What they were asked for by; an empty one is of all other instances."""
    jackknife: int = 0
    """In how many blocks of instances errors are estimated; 0 for none."""
    beside: Beside | None = None
    """What the subset is compared with that is not of the run, in place of another
    one."""

    @property
    def is_pair(self) -> bool:
        """Whether two graphs are compared."""
        return bool(self.versus) or self.beside is not None


class GraphResults:
    """The attribution graphs of one run.

    Parameters
    ----------
    store
        Opened read-only.
    beside
        What stands beside its graphs; None for nothing.
    """

    def __init__(self, store: Store, beside: GraphsBeside | None = None) -> None:
        self._store = store
        self.beside = GraphsBeside(store) if beside is None else beside
        """What stands beside the graphs of the run."""
        self.collection = cache(lambda name: aggregates_of(store, name))
        """Return the aggregates of a collection of subsets by its name."""
        self._graphs = lru_cache(CACHED_COLLECTIONS)(
            lambda collection: SubsetGraphs(store, collection)
        )
        self._graph = lru_cache(CACHED_GRAPHS)(self._make_graph)
        self._comparison = lru_cache(CACHED_COMPARISONS)(self._make_comparison)
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._counting = SharedWork()
        self._warm: set[tuple[str, Preset, InnerLayers] | GraphRequest] = set()
        self._of_queries: OrderedDict[_SetsKey, AttributionGraph | GraphComparison]
        self._of_queries = OrderedDict()
        self.queries = QueryPool()
        """Makes what is not there at once."""

    def collections(self, first: str) -> tuple[str, ...]:
        """Return what graphs are made of: all collections of subsets, and A and B.

        Parameters
        ----------
        first
            Name of the collection that comes first.
        """
        names = self._store.groups.names("aggregates")
        stored = (first, *(name for name in names if name != first))
        has_facts = self._store.plan.extraction.targets != "none"
        can_count = has_facts and self.has_influences(first)
        return (*stored, OF_A, OF_PAIR) if can_count else stored

    def has_influences(self, collection: str) -> bool:
        """Whether influences were counted in a collection."""
        return self._store.groups.has_array(f"aggregates/{collection}/influence_counts")

    def missing(self, collection: str) -> Missing | None:
        """Return why a collection has no graphs, or None if it has some."""
        if self.has_influences(collection):
            return None
        if self._store.plan.extraction.targets == "none":
            return Missing(
                "This run has no influences",
                "A graph is made of what the channels of one layer contribute to those "
                'of the next. Write targets = "top" below [extraction] in the run '
                "file, make a new store, and extract, aggregate and derive it.",
                "nnviz plan run.toml --create NEW.zarr",
            )
        return Missing(
            "No influences are counted yet",
            "This counts how often each channel is among the strongest sources of "
            "another. Then reload the page.",
            f"nnviz aggregate {shlex.quote(self._store.url)}",
        )

    def is_warm(self, request: GraphRequest) -> bool:
        """Whether a graph would be there at once."""
        if request.sets and request.beside is None:
            return _sets_key(request) in self._of_queries
        return self._key(request) in self._warm

    def graph(self, request: GraphRequest) -> AttributionGraph:
        """Return the graph of the request's subset.

        Raises
        ------
        NnvizError
            If it cannot be read or made.
        """
        if request.sets:
            made = self._of_sets(request)
            assert isinstance(made, AttributionGraph)
            return made
        with self._lock_of(request.collection):
            graph = self._graph(
                request.collection, request.subset, request.options, request.jackknife
            )
        self._warm.add(self._key(request))
        return graph

    def stored_motifs(self, request: GraphRequest) -> Motifs | None:
        """Return what derivation has found that the request's graphs share, if it has.

        Raises
        ------
        NnvizError
            If it cannot be read.
        """
        with self._lock_of(request.collection):
            stored = self._graphs(request.collection).stored(request.options)
        return None if stored is None else stored.motifs

    def comparison(self, request: GraphRequest) -> GraphComparison:
        """Return what differs between the request's two subsets.

        Raises
        ------
        NnvizError
            If one cannot be read or made.
        """
        if request.sets and request.beside is None:
            made = self._of_sets(request)
            assert isinstance(made, GraphComparison)
            return made
        # What stands beside is read for a while, and classes need not wait.
        name = request.collection + (" beside" if request.beside else "")
        with self._lock_of(name):
            comparison = self._comparison(request)
        self._warm.add(self._key(request))
        return comparison

    def _of_sets(self, request: GraphRequest) -> AttributionGraph | GraphComparison:
        key = _sets_key(request)

        def make() -> AttributionGraph | GraphComparison:
            # A lock of its own: to count a large set takes long, and classes need not
            # wait.
            with self._lock_of(f"{request.collection} sets"):
                made = self._of_queries.get(key)
                if made is None:
                    made = self._make_of_sets(key)
                with self._lock:
                    self._of_queries[key] = made
                    self._of_queries.move_to_end(key)
                    while len(self._of_queries) > CACHED_QUERIES:
                        self._of_queries.popitem(last=False)
            return made

        return self._counting.run(key, make)

    def _make_of_sets(self, key: _SetsKey) -> AttributionGraph | GraphComparison:
        collection, sets, options, jackknife = key
        graphs = self._graphs(collection)
        first, *others = (one.subset for one in sets)
        if not others:
            return graphs.graph(first, jackknife=jackknife, **keywords(options))
        sides = (graphs, first), (graphs, others[0])
        return compare_made(
            *sides, jackknife=jackknife, halves=False, **keywords(options)
        )

    def warm_up(self, collection: str) -> None:
        """Read what the first graph of a collection needs.

        Raises
        ------
        NnvizError
            If it cannot be read.
        """
        sizes = self.collection(collection).n_instances
        if self.has_influences(collection) and sizes.any():
            subset = self.collection(collection).names[int(sizes.argmax())]
            self.graph(GraphRequest(collection, subset, "", GraphOptions(share=0.075)))

    def warm_up_sets(self, collection: str) -> None:
        """Read, and load, what the first graph of sets of instances needs.

        Two sets of two instances are compared: what is read for base rates, the
        compiled loops and SciPy's tests take a second, and the answer milliseconds.

        Raises
        ------
        NnvizError
            If it cannot be read.
        """
        some = np.flatnonzero(subset_index(self._store).usable)[:4]
        if OF_PAIR in self.collections(collection) and len(some) == 4:
            sides = Subset("one pair", some[:2]), Subset("another", some[2:])
            sets = SubsetKey(sides[0]), SubsetKey(sides[1])
            names = sides[0].name, sides[1].name
            options = GraphOptions(share=0.075)
            self.comparison(GraphRequest(collection, *names, options, sets))

    def _lock_of(self, collection: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(collection, threading.Lock())

    @staticmethod
    def _key(request: GraphRequest) -> tuple[str, Preset, InnerLayers] | GraphRequest:
        if request.jackknife or request.beside is not None:
            return request  # each takes as long as the first
        # Base rates are made once for each set of layers.
        options = request.options
        return request.collection, options.preset, options.inner

    def _make_graph(
        self, collection: str, subset: str, options: GraphOptions, jackknife: int
    ) -> AttributionGraph:
        graphs = self._graphs(collection)
        return graphs.graph(subset, jackknife=jackknife, **keywords(options))

    def _make_comparison(self, request: GraphRequest) -> GraphComparison:
        graphs = self._graphs(request.collection)
        if request.beside is not None:
            return self.beside.comparison(
                graphs,
                self.collection(request.collection),
                request.sets[0].subset if request.sets else request.subset,
                request.beside,
                options=request.options,
                query=request.queries[0] if request.queries else "",
                jackknife=request.jackknife,
            )
        return compare_made(
            (graphs, request.subset),
            (graphs, request.versus),
            jackknife=request.jackknife,
            halves=False,
            **keywords(request.options),
        )


_SetsKey = tuple[str, tuple[SubsetKey, ...], GraphOptions, int]


def _sets_key(request: GraphRequest) -> _SetsKey:
    return request.collection, request.sets, request.options, request.jackknife


def subset_of(aggregates: Aggregates, class_index: int, member: str) -> str | None:
    """Return the name of the subset that is meant, or None if there is none.

    Parameters
    ----------
    aggregates
        Aggregates of a collection.
    class_index
        The chosen class; a collection of classes has a subset for it, ``outcome`` two,
        whether they have instances or not.
    member
        ``wrong`` of the class, or a name of the collection; any other text is the
        first.
    """
    if aggregates.kind in ("label", "prediction"):
        return aggregates.all_names[class_index] if class_index >= 0 else None
    if aggregates.kind == "outcome":
        if class_index < 0:
            return None
        return aggregates.all_names[2 * class_index + (member == "wrong")]
    return (
        member if member in aggregates.all_names else next(iter(aggregates.names), None)
    )
