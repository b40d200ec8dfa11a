"""What does the chosen subset rest on? Its attribution graph, or two compared.

The model computes nothing while the graph is not looked at. A graph whose collection
has been read before is there at once; else it is made by ``run_later``, and until then
`is_loading` is true and the drawing before stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import Aggregates
from nnviz.engine.wanted import while_wanted
from nnviz.errors import MissingDataError, NnvizError
from nnviz.graphs.drawing import GraphDrawing, draw_comparison, draw_graph
from nnviz.graphs.drawn_parts import Key
from nnviz.graphs.from_totals import output_names
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.results.causal_effects import (
    ablate_words,
    causal_effect,
)
from nnviz.results.graph_results import (
    OF_A,
    OF_PAIR,
    GraphRequest,
    GraphResults,
    subset_of,
)
from nnviz.results.missing import Missing
from nnviz.results.query_pool import until_other
from nnviz.results.run_results import RunResults
from nnviz.results.subset_key import SubsetKey
from nnviz.subsets.subsets import Subset
from nnviz_dashboards.graph.code import graph_code
from nnviz_dashboards.graph.shown import (
    N_BLOCKS,
    OPTIONS,
    Effects,
    ShownGraph,
    SubsetChoices,
)
from nnviz_dashboards.layers.network_stages import StagesModel
from nnviz_dashboards.shared.channel_examples import Example, channel_examples
from nnviz_dashboards.shared.publishing import follow, publish
from nnviz_dashboards.shared.selection import Selection

__all__ = ["OUTCOMES", "GraphModel"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A graph, and what its channels look like."""

    drawing: GraphDrawing
    examples: Mapping[Key, tuple[Example, ...]]
    """Of every node of a shown layer, strongest first."""
    effects: Effects
    """What stored causal checks say of it; of two that are compared, of each."""


Found = Made | Missing
RunLater = Callable[[Callable[[], Found], Callable[[Found], None]], None]
"""Runs the first function, some time, and gives what it returns to the second."""

OUTCOMES = ("correct", "wrong")
A_HINT = "For B in the other network: ⇄ above"
PAIR_HINT = "For another network: Of Subset A; ⇄ above makes B that"


class GraphModel(ShownGraph):
    """The attribution graph of the chosen subset.

    Parameters
    ----------
    results
        The run; its classes must be readable.
    graphs
        Its graphs, shared by visitors.
    selection
        What the visitor has chosen.
    run_later
        Makes what is not there at once; None makes everything at once.
    stages
        Which stages are folded; None for none.
    """

    def __init__(
        self,
        results: RunResults,
        graphs: GraphResults,
        selection: Selection,
        *,
        run_later: RunLater | None = None,
        stages: StagesModel | None = None,
    ) -> None:
        super().__init__(
            selection, [layer.name for layer in results.layers], stages=stages
        )
        self._results = results
        self._graphs = graphs
        self._run_later = run_later or (lambda work, done: done(work()))
        self._wanted: GraphRequest | None = None
        self._asked: GraphRequest | None = None
        """What was asked for last, even if there is no answer."""
        follow(
            selection,
            [
                "view",
                "overlay",
                "subset",
                "collection",
                "member",
                "versus",
                "errors",
                "a",
                "b",
                *OPTIONS,
            ],
            self._update,
        )

    @property
    def request(self) -> GraphRequest | None:
        """What is looked at, or is being made; None where there is no graph."""
        return self._wanted

    def _update(self, changed: set[str]) -> None:
        selection = self.selection
        is_for_network = selection.view == "model" and selection.overlay == "reach"
        if selection.view != "graph" and not is_for_network:
            return
        collection = self._collection
        missing = self._results.missing_stage() or self._graphs.missing(collection)
        if missing is not None:
            self._show(None, missing)
            return
        try:
            request = self._request_of_sets() if self._is_of_sets else self._request()
        except NnvizError as error:
            self._show(None, Missing("This cannot be read", str(error)))
            return
        if isinstance(request, Missing):
            self._show(None, request)
        elif request != self._wanted:
            self._ask(request)

    def _ask(self, request: GraphRequest) -> None:
        self._wanted = self._asked = request
        url = self._results.store.url
        said = {
            "code": graph_code(url, request),
            "check_words": ablate_words(
                url,
                [names[0] for names in _checked(request)],
                request.options,
                "" if request.collection == self._results.kind else request.collection,
            ),
        }
        if self._graphs.is_warm(request):
            publish(self, said)
            self._show(request, self._made(request))
            return
        publish(self, {**said, "is_loading": True})
        is_wanted = until_other(lambda: self._asked is request)

        def work() -> Found:
            with while_wanted(is_wanted):
                return self._made(request)

        self._run_later(work, lambda found: self._show(request, found))

    def _show(self, request: GraphRequest | None, found: Found) -> None:
        """Publish what was found, unless something else has been asked for since."""
        if request is None:
            self._wanted = None
        elif request != self._wanted:
            return
        updates: dict[str, object] = {"is_loading": False, "missing": None}
        if isinstance(found, Missing):
            updates |= {"drawing": None, "missing": found}
            self._whole = None
            self._wanted = None  # so that it may be asked for again
        else:
            self._whole = found.drawing
            updates["drawing"] = self._placed(found.drawing)
            updates |= {"examples": found.examples, "effects": found.effects}
        publish(self, updates)

    @property
    def _is_of_sets(self) -> bool:
        """Whether the graph is that of A, or of A against B."""
        return self.selection.collection in (OF_A, OF_PAIR)

    @property
    def _collection(self) -> str:
        """Whose aggregates give what all graphs share."""
        return self._results.kind if self._is_of_sets else self.selection.collection

    def _request_of_sets(self) -> GraphRequest | Missing:
        """Return what is chosen where that is A, or A against B."""
        selection, pairs = self.selection, self._results.pairs
        a = selection.a or pairs.usual_query(selection.subset)
        collections = self._graphs.collections(self._results.kind)
        if not a:
            member = ""
        else:
            pair = pairs.pair(a, selection.b)
            member = pair.names[0]
        is_pair = selection.collection == OF_PAIR
        networks = self._graphs.beside.choices_of_set()
        there = () if is_pair else networks
        beside = next((one for one in there if one.key == selection.versus), None)
        if selection.versus and beside is None:
            selection.choose(versus="")
        chosen = SubsetChoices(
            collections,
            (),
            member,
            (),
            is_of_class=False,
            beside=tuple((one.key, one.label) for one in there),
            hint=(PAIR_HINT if is_pair else A_HINT) if networks else "",
        )
        publish(self, {"choices": chosen})
        if not a:
            return Missing("No subset is chosen", "Write a query above, as A.")
        sides = [
            (pair.names[0], pair.found.subset),
            (pair.names[1], pair.found.against),
        ]
        sides = sides if is_pair else sides[:1]
        for name, found in sides:
            if not len(found):
                return Missing(
                    f"No instance is in {name!r}",
                    "A graph needs at least one. Choose another class or subset.",
                )
        sets = tuple(SubsetKey(Subset(name, x.instances)) for name, x in sides)
        names = [name for name, _ in sides]
        return GraphRequest(
            self._collection,
            names[0],
            names[1] if len(names) > 1 else "",
            self._options(),
            sets,
            (a, selection.b)[: len(names)],
            self._n_blocks,
            beside,
        )

    def _request(self) -> GraphRequest | Missing:
        """Return what is chosen, and publish what can be."""
        choices = self.selection
        aggregates = self._graphs.collection(choices.collection)
        subset = subset_of(aggregates, choices.subset, choices.member)
        members: tuple[str, ...] = ()
        # An address may ask for anything; only the collection knows its names.
        is_of_class = aggregates.kind in ("label", "prediction")
        known = OUTCOMES if aggregates.kind == "outcome" else aggregates.all_names
        if choices.member and (is_of_class or choices.member not in known):
            choices.choose(member="")
        offered = self._graphs.beside
        is_beside = offered.offers(choices.versus)
        names = (*known, *aggregates.all_names)
        if choices.versus and not is_beside and choices.versus not in names:
            choices.choose(versus="")
        versus = "" if is_beside else choices.versus
        there = offered.choices(aggregates, subset) if subset is not None else ()
        member = subset or ""
        if aggregates.kind == "outcome":
            members = OUTCOMES
            member = "wrong" if choices.member == "wrong" else "correct"
            if versus:
                versus = subset_of(aggregates, choices.subset, versus) or ""
        elif not is_of_class:
            members = aggregates.names
        others = self._others(aggregates, member)
        publish(
            self,
            {
                "choices": SubsetChoices(
                    self._graphs.collections(self._results.kind),
                    members,
                    member,
                    others,
                    aggregates.kind in ("label", "prediction", "outcome"),
                    tuple((one.key, one.label) for one in there),
                    aggregates.filled_names,
                )
            },
        )
        if subset is None:
            return Missing("No class is chosen", "Choose one in the list of classes.")
        for name in (subset, versus):
            if name and not aggregates.size(name):
                return Missing(
                    f"No instance is in {name!r}",
                    "A graph needs at least one. Choose another class or subset.",
                )
        beside = next((one for one in there if one.key == choices.versus), None)
        if is_beside and beside is None:
            return Missing(
                f"SUMMIT's graph of {subset!r} is not here",
                "None of the files that are served is of this class: its file is "
                "called ag-N.json by the number of the class, or by its name. Choose "
                "another class, or compare with nothing.",
            )
        return GraphRequest(
            choices.collection,
            subset,
            versus,
            self._options(),
            jackknife=self._n_blocks,
            beside=beside,
        )

    def _others(self, aggregates: Aggregates, member: str) -> tuple[str, ...]:
        """Return what the subset can be compared with, what is most like it first.

        Of classes these are the ones that it is taken for, or that are taken for it,
        then the most similar ones of the layer; empty subsets are left out.
        """
        chosen = self.selection.subset
        if aggregates.kind == "outcome":
            names = aggregates.all_names[2 * chosen : 2 * chosen + 2]
            pairs = zip(OUTCOMES, names, strict=False)
            there = [o for o, name in pairs if o != member and aggregates.size(name)]
            return tuple(there)
        is_there = aggregates.n_instances > 0
        places = [
            (int(place), name)
            for place, name, there in zip(
                aggregates.index, aggregates.names, is_there, strict=True
            )
            if there and name != member
        ]
        if aggregates.kind in ("label", "prediction") and chosen >= 0:
            confusions = self._results.confusions()
            n_confused = (
                confusions[[chosen]].toarray().ravel()
                + confusions[:, [chosen]].toarray().ravel()
            )
            similarity = self._similarity(chosen)
            places.sort(key=lambda at: (-n_confused[at[0]], -similarity[at[0]]))
        return tuple(name for _, name in places)

    def _similarity(self, subset: int) -> NDArray[np.float32]:
        try:
            row = self._results.similarity(self.selection.layer)[subset]
        except MissingDataError:
            return np.zeros(len(self._results.store.class_names), np.float32)
        return np.asarray(np.nan_to_num(row), dtype=np.float32)

    @property
    def _n_blocks(self) -> int:
        return N_BLOCKS if self.selection.errors == "blocks" else 0

    def _options(self) -> GraphOptions:
        # The selection has no other values than those that nnviz knows.
        chosen = {name: getattr(self.selection, name) for name in OPTIONS}
        chosen["share"] = float(chosen["share"])
        if chosen["preset"] == "summit":
            del chosen["scoring"], chosen["weight"]  # it has ways of its own
        return GraphOptions(**cast("GraphChoices", chosen))

    def _made(self, request: GraphRequest) -> Found:
        try:
            if request.is_pair:
                compared = self._graphs.comparison(request)
                names = output_names(self._results.store, compared.first.layers[-1])
                drawing = draw_comparison(compared, names)
                if request.beside is not None:  # which has the same name elsewhere
                    here = f"{drawing.subset} here"
                    drawing = dataclasses.replace(drawing, subset=here)
            else:
                graph = self._graphs.graph(request)
                names = output_names(self._results.store, graph.layers[-1])
                drawing = draw_graph(graph, names)
            if drawing.nodes:
                return Made(drawing, self._examples(drawing), self._effects(request))
        except NnvizError as error:
            return Missing("This graph cannot be made", str(error))
        reasons = [text[:1].upper() + text[1:] + "." for text in drawing.problems]
        return Missing(
            f"The graph of {request.subset!r} is empty",
            " ".join(reasons) or "No channel is kept.",
        )

    def _effects(self, request: GraphRequest) -> Effects:
        store, options = self._results.store, request.options
        found = [
            (names[-1], causal_effect(store, request.collection, names, options))
            for names in _checked(request)
        ]
        return tuple((name, effect) for name, effect in found if effect is not None)

    def read_effects(self) -> None:
        """Look again for causal checks of the graph."""
        if self._wanted is not None and not self.is_loading:
            publish(self, {"effects": self._effects(self._wanted)})

    def _examples(self, drawing: GraphDrawing) -> dict[Key, tuple[Example, ...]]:
        results, subset = self._results, self.selection.subset
        shown = {layer.name for layer in results.layers}
        return {
            (layer, channel): channel_examples(results, layer, channel, subset)
            for layer, channel in drawing.keys
            if layer in shown
        }


def _checked(request: GraphRequest) -> list[tuple[str, ...]]:
    """Return what the subsets of a graph may be called by a check, a query first."""
    names = [request.subset, request.versus] if request.versus else [request.subset]
    if not request.queries:
        return [(name,) for name in names]
    first = request.queries[0]
    # An empty query is of all other instances.
    queries = [first, *(query or f"not ({first})" for query in request.queries[1:])]
    return list(zip(queries, names, strict=True))
