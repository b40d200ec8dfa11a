"""Which instances are A and B, and what tells them apart?

A is the chosen class until a query says otherwise, or where there are none those with
the largest targets; B is all other instances. Sizes are
there at once; what takes longer is made by ``run_later``, and until then `is_loading`
is true. Of what takes much longer, a sample says first about what it will be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import param

from nnviz.aggregation.estimates import Estimates
from nnviz.engine.wanted import while_wanted
from nnviz.errors import NnvizError, QueryError
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz.results.missing import Missing
from nnviz.results.query_pool import until_other
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import NamedQuery, SubsetPair
from nnviz.results.subset_results import SubsetResults
from nnviz.subsets.expressions import MAX_CHARACTERS
from nnviz.subsets.query_completion import Completion, complete_query
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import look_lines
from nnviz_dashboards.shared.selection import PANELS, Choice, Selection

__all__ = [
    "PairEstimates",
    "Problem",
    "RunLater",
    "Side",
    "SubsetPairModel",
    "Suggested",
]

PairEstimates = tuple[Mapping[str, Estimates], Mapping[str, Estimates]]
"""Of A and of B, by layer each."""

RunLater = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Runs the first function, some time, and gives what it returns to the second."""

SIDES = ("a", "b")

VIEWS_BESIDE_NEURONS = ("graph", "channels")
"""Views that do not show by themselves how A and B differ."""

Side = Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why what was written is no subset."""

    side: Side
    query: str
    text: str
    """What is wrong; carets point at the place."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """A subset in which the network errs more than elsewhere."""

    subset: NamedQuery
    sentence: str


class SubsetPairModel(param.Parameterized):
    """A against B.

    Parameters
    ----------
    results
        The run; its classes must be readable.
    selection
        What the visitor has chosen.
    run_later
        Makes what takes long; None makes everything at once.
    """

    pair = published(SubsetPair, "Found, with sizes.")
    counted = published(
        SubsetResults,
        "The channels of A against those of B; None until they are counted.",
    )
    estimated = published(
        tuple, "What the channels of A and of B do, about, until they are counted."
    )
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether A and B are counted."
    )
    problem = published(Problem, "Of what was written last.")
    of_class = param.ClassSelector(
        class_=tuple, default=(), constant=True,
        doc="Parts of the chosen class; where there are none, of the target.",
    )  # fmt: skip
    suggested = published(
        tuple, "Subsets with many errors; None until they are asked for."
    )
    is_searching = param.Boolean(
        default=False, constant=True, doc="Whether suggestions are searched for."
    )
    missing = published(Missing, "Why nothing is counted.")

    def __init__(
        self,
        results: RunResults,
        selection: Selection,
        *,
        run_later: RunLater | None = None,
    ) -> None:
        super().__init__()
        self.selection = selection
        self.results = results
        self._run_later = run_later or (lambda work, done: done(work()))
        self._looked_at: tuple[int, str, str] | None = None
        follow(selection, ["subset", "a", "b"], self._update)

    @property
    def is_current(self) -> bool:
        """Whether `pair` is of what is chosen: of others that follow some are first."""
        return self._looked_at == self._chosen

    @property
    def _chosen(self) -> tuple[int, str, str]:
        return self.selection.subset, self.selection.a, self.selection.b

    @property
    def queries(self) -> tuple[str, str]:
        """The queries of A and B; an empty one is of all other instances."""
        return self.selection.a or self._usual(), self.selection.b

    def code(self, *lines: str) -> str:
        """Return lines of Python that look at A against B, as ``found``."""
        a, b = self.queries
        return look_lines(self.results.store.url, a, b, *lines) if a else ""

    def _usual(self) -> str:
        return self.results.pairs.usual_query(self.selection.subset)

    def write(self, side: Side, query: str) -> None:
        """Look at what a query says, or say what is wrong with it."""
        if side not in SIDES:
            return
        query = query.strip()
        if query:
            try:
                if len(query) > MAX_CHARACTERS:
                    msg = f"it has more than {MAX_CHARACTERS:,} characters"
                    raise QueryError(msg)
                self.results.pairs.finder.find(query)
            except NnvizError as error:
                publish(self, {"problem": Problem(side, query, str(error))})
                return
        publish(self, {"problem": None})
        if side == "a" and query == self._usual():
            query = ""
        written = {"a": self.selection.a, "b": self.selection.b, side: query}
        self.selection.choose(**{side: query}, **self._graph_of(**written))

    def _graph_of(self, a: str, b: str) -> dict[str, Choice]:
        """Return whose graph is made where A and B are these."""
        if b:
            return {"collection": OF_PAIR}
        is_of_sets = self.selection.collection in (OF_A, OF_PAIR)
        if a or is_of_sets:
            return {"collection": OF_A if a else self.selection.first_collection}
        return {}

    def compare(self, a: str, b: str, **also: Choice) -> None:
        """Look at two subsets.

        Parameters
        ----------
        a, b
            Their queries.
        **also
            What is chosen besides.
        """
        if self.selection.view in VIEWS_BESIDE_NEURONS:
            also["matrix"] = PANELS[1]  # what differs is seen in the neurons
        self.selection.choose(a=a, b=b, **self._graph_of(a, b), **also)

    def compare_confusion(self, taken_for: int) -> None:
        """Look at instances of the class that are taken for another, against right."""
        pairs, index = self.results.pairs, self.selection.subset
        n_classes = len(self.results.store.class_names)
        if index >= 0 and 0 <= taken_for < n_classes:
            self.compare(
                pairs.confusion_query(index, taken_for), pairs.right_query(index)
            )

    def compare_classes(self, first: int, second: int) -> None:
        """Look at one class as A, at another one as B."""
        pairs, n = self.results.pairs, len(self.results.store.class_names)
        if 0 <= first < n and 0 <= second < n and first != second:
            self.compare("", pairs.class_query(second), subset=first)

    def swap(self) -> None:
        """Make A to B and B to A, where B is not all others."""
        a, b = self.queries
        if b:
            self.compare(b, a)

    def complete(self, text: str, cursor: int) -> list[Completion]:
        """Return what could be written next in a query."""
        if len(text) > MAX_CHARACTERS:
            return []
        try:
            return complete_query(text, int(cursor), self.results.pairs.finder)
        except NnvizError:
            return []

    def suggest(self) -> None:
        """Search for subsets in which the network errs more than elsewhere."""
        if self.suggested is not None or self.is_searching:
            return
        publish(self, {"is_searching": True})

        def search() -> tuple[Suggested, ...] | Missing:
            try:
                found = self.results.pairs.suggestions
            except NnvizError as error:
                return Missing("Nothing can be suggested", str(error))
            return tuple(
                Suggested(NamedQuery(s.name, s.query, len(s.instances)), s.sentence)
                for s in found
                if s.query
            )

        def show(found: tuple[Suggested, ...] | Missing) -> None:
            suggested = () if isinstance(found, Missing) else found
            publish(self, {"suggested": suggested, "is_searching": False})

        self._run_later(search, show)

    def saved(self) -> list[NamedQuery]:
        """Return the saved subsets of the store."""
        try:
            return self.results.pairs.saved()
        except NnvizError:
            return []

    def look_at(self, layer: str, channel: int) -> None:
        """Look at a channel of a shown layer."""
        self.selection.choose(layer=layer, channel=channel)

    def _update(self, changed: set[str]) -> None:
        pairs = self.results.pairs
        self._looked_at = self._chosen
        if "subset" in changed:
            index = self.selection.subset
            of_class = pairs.of_class(index) if index >= 0 else pairs.parts
            publish(self, {"of_class": tuple(of_class)})
        before = self.pair
        try:
            a, b = self.queries
            pair = pairs.pair(a, b) if a else None
        except NnvizError as error:
            problem = self._impossible()
            if problem is not None:
                # An address may ask for anything; this comes here again without it.
                self.selection.choose(**{problem.side: ""})
                publish(self, {"problem": problem})
                return
            missing = Missing("These subsets cannot be read", str(error))
            none = {"pair": None, "counted": None, "is_loading": False}
            publish(self, {**none, "problem": None, "missing": missing})
            return
        is_same = before is not None and pair is not None and pair.key == before.key
        updates: dict[str, object] = {"pair": pair, "problem": None, "missing": None}
        is_known = is_same and (self.counted is not None or self.is_loading)
        # At once, so that nobody takes what was counted before for this pair's.
        publish(self, updates if is_known else updates | self._counted(pair))
        if pair is not None and not is_known and self.is_loading:
            self._count(pair)

    def _impossible(self) -> Problem | None:
        chosen: tuple[tuple[Side, str], ...] = (
            ("a", self.selection.a),
            ("b", self.selection.b),
        )
        for side, query in chosen:
            try:
                if query:
                    self.results.pairs.finder.find(query)
            except QueryError as error:
                return Problem(side, query, str(error))
        return None

    def _counted(self, pair: SubsetPair | None) -> dict[str, object]:
        """Return what is known of the channels of a pair before it is counted."""
        pairs = self.results.pairs
        if pair is None or not pair.found.n_instances or not pair.found.n_against:
            return {"counted": None, "is_loading": False}
        if pairs.is_counted(pair):
            return {"counted": pairs.count(pair), "is_loading": False}
        return {"counted": None, "estimated": None, "is_loading": True}

    def _uncounted(self, error: NnvizError) -> Missing:
        missing = Missing("These subsets cannot be counted", f"{error}.")
        return self.results.gone() or missing

    def _count(self, pair: SubsetPair) -> None:
        pairs, key = self.results.pairs, pair.key
        is_wanted = until_other(lambda: self.pair is not None and self.pair.key == key)

        def count() -> SubsetResults | Missing:
            try:
                with while_wanted(is_wanted):
                    return pairs.count(pair)
            except NnvizError as error:
                return self._uncounted(error)

        def begin() -> SubsetResults | PairEstimates | Missing:
            try:
                return pair.found.estimate() if pair.found.is_large else count()
            except NnvizError as error:
                return self._uncounted(error)

        def show(found: SubsetResults | PairEstimates | Missing) -> None:
            if self.pair is None or self.pair.key != pair.key:
                return  # something else has been asked for since
            if isinstance(found, tuple):
                publish(self, {"estimated": found})
                self._run_later(count, show)
                return
            is_missing = isinstance(found, Missing)
            updates = {"missing": found} if is_missing else {"counted": found}
            publish(self, {**updates, "is_loading": False})

        self._run_later(begin, show)
