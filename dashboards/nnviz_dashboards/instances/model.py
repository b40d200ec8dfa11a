"""Which instances are in A and B, in which order, and what is one of them like?

Both are shown page by page. What is looked at is one instance at a time; any number can
be marked, and become A or B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import param

from nnviz.aggregation.standing_out import StandingOut
from nnviz.errors import MissingDataError, NnvizError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.instances import InstanceFacts, OrderedInstances
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults
from nnviz.subsets.subsets import Subset
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import python_lines
from nnviz_dashboards.shared.selection import NONE, Selection
from nnviz_dashboards.subsets.model import SIDES, RunLater, Side, SubsetPairModel

__all__ = ["BY_CHANNEL", "PAGE", "InstancesModel", "Opened", "Page"]

PAGE = 40
"""Instances of a subset that are shown at once."""

MAX_MARKED = 2_000

MAX_ROWS = 50_000
"""Instances of a subset that one table has, at most: some ten megabytes."""

BY_CHANNEL = "channel"
"""The order by the activation of the channel that is looked at."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a subset, in order."""

    side: Side
    name: str
    n_instances: int
    first: int
    """Place of the first one that is shown."""
    shown: tuple[InstanceFacts, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """One instance that is looked at."""

    facts: InstanceFacts
    outputs: tuple[tuple[int, float], ...]
    """Most likely classes, or largest outputs, each with what the network gives."""
    is_probability: bool
    """Whether these are probabilities, or outputs of the network as they are."""
    channels: tuple[tuple[str, tuple[StandingOut, ...]], ...]
    """Of each shown layer, from the output on."""


@dataclass(frozen=True, slots=True)
class _Ordered:
    """A and B in order, and the first page of each."""

    by_side: dict[Side, OrderedInstances]
    pages: tuple[Page, ...]


class InstancesModel(param.Parameterized):
    """The instances of A and B.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B.
    point_at
        Called with the number of the instance that is pointed at, -1 for none.
    run_later
        Makes what takes long; None makes everything at once.
    """

    pages = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Page of A and of B."
    )
    opened = published(Opened, "What is looked at.")
    marked = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Numbers, ascending."
    )
    missing = published(Missing, "Why nothing is shown.")
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether they are sorted."
    )
    without_pictures = param.String(
        None, allow_None=True, constant=True,
        doc="Why there are no pictures; empty where there are, None until known.",
    )  # fmt: skip

    def __init__(
        self,
        results: RunResults,
        pairs: SubsetPairModel,
        *,
        point_at: Callable[[int], None],
        run_later: RunLater | None = None,
    ) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self.point_at = point_at
        self._pairs = pairs
        self.run_later = run_later or (lambda work, done: done(work()))
        self._sorted: dict[Side, OrderedInstances] = {}
        self._key: tuple[object, ...] = ()
        self._is_asked = False
        follow(self.selection, ["view", "order", "channel", "layer"], self._renew)
        follow(self.selection, ["view", "instance"], self._open)
        pairs.param.watch(self._renew, "pair")

    @property
    def is_seen(self) -> bool:
        """Whether the instances are looked at; nothing is read while they are not."""
        return self.selection.view == "instances"

    # What a visitor may do.

    def sort(self, order: str) -> None:
        """Sort by a column; with ``-`` before it the smallest value is first."""
        self.selection.choose(order=order)

    def turn(self, side: Side, first: int) -> None:
        """Show the page of A or B that begins at a place."""
        order = self._sorted.get(side)
        n = 0 if order is None else len(order)
        first = max(0, min(int(first), n - 1) // PAGE * PAGE) if n else 0
        pages = tuple(
            self._page(side, page.name, order, first)
            if page.side == side and order is not None
            else page
            for page in self.pages
        )
        publish(self, {"pages": pages})

    def open(self, number: int) -> None:
        """Look at an instance, or no longer if it is looked at already."""
        is_open = number == self.selection.instance
        self.selection.choose(instance=NONE if is_open else int(number))

    def mark(self, number: int) -> None:
        """Mark an instance, or no longer if it is marked."""
        marked = set(self.marked) ^ {int(number)}
        if len(marked) <= MAX_MARKED:
            publish(self, {"marked": tuple(sorted(marked))})

    def mark_page(self, side: Side) -> None:
        """Mark all that is shown of A or B."""
        shown = {i.number for p in self.pages if p.side == side for i in p.shown}
        marked = set(self.marked) | shown
        if len(marked) <= MAX_MARKED:
            publish(self, {"marked": tuple(sorted(marked))})

    def unmark(self) -> None:
        """Mark nothing."""
        publish(self, {"marked": ()})

    def use_marked(self, side: Side) -> None:
        """Make what is marked to A or B."""
        if side not in SIDES or not self.marked:
            return
        query = self.results.pairs.finder.text_for(np.array(self.marked))
        publish(self, {"marked": ()})
        self._pairs.write(side, query)

    def look_at(self, layer: str, channel: int) -> None:
        """Look at a channel of a shown layer."""
        self.selection.choose(layer=layer, channel=channel)

    def table(self) -> ChartTable | None:
        """Return the instances of A and of B in order, with all that is known of them.

        Of each side the first `MAX_ROWS`.
        """
        if not self._sorted:
            return None
        shown = {side: o.part(0, MAX_ROWS) for side, o in self._sorted.items()}
        sides = [side.upper() for side, order in shown.items() for _ in order]
        rows = np.concatenate(list(shown.values()))
        return self.results.instances.table(rows, side=sides)

    @property
    def code(self) -> str:
        """Lines of Python that give the instances of A in the same order."""
        order, a = self.selection.order, self._pairs.queries[0]
        by, is_down = order.removeprefix("-"), not order.startswith("-")
        sort = f".sort_values({by!r}, ascending={not is_down})"
        if by == BY_CHANNEL or by not in self.results.store.columns:
            sort = ""
        line = f"store.table({a!r}){sort}"
        return python_lines(self.results.store.url, line) if a else ""

    # How it is made.

    def orders(self) -> tuple[str, ...]:
        """Return what instances can be sorted by."""
        try:
            columns = self.results.instances.orders()
        except NnvizError:
            columns = ()
        return (*columns, BY_CHANNEL) if self.selection.channel >= 0 else columns

    def _ask_for_pictures(self) -> None:
        """Find out, once, whether there are pictures: the data set is opened."""
        if self._is_asked:
            return
        self._is_asked = True

        def show(why: object) -> None:
            text = why if isinstance(why, str) else "it takes too long to open the data"
            publish(self, {"without_pictures": text})

        self.run_later(lambda: self.results.instance_pictures.missing, show)

    def _renew(self, *_: object) -> None:
        pair, selection = self._pairs.pair, self.selection
        if not self.is_seen:
            return
        self._ask_for_pictures()
        if pair is None:
            self._key = ()
            missing = self._pairs.missing
            publish(self, {"pages": (), "missing": missing, "is_loading": False})
            return
        order = selection.order
        channel = (selection.layer, selection.channel)
        by = order.removeprefix("-")
        is_by_channel = by == BY_CHANNEL
        key = (pair.key, pair.names, order, channel if is_by_channel else None)
        if key == self._key:
            return
        self._key = key
        sides: dict[Side, Subset] = {"a": pair.found.subset, "b": pair.found.against}
        names: dict[Side, str] = {"a": pair.names[0], "b": pair.names[1]}

        def work() -> _Ordered | Missing:
            try:
                found = {side: self._ordered(s, channel) for side, s in sides.items()}
                pages = [self._page(s, names[s], of, 0) for s, of in found.items()]
                return _Ordered(found, tuple(pages))
            except NnvizError as error:
                return Missing("The instances cannot be shown", str(error))

        def show(found: Any) -> None:
            if self._key != key:
                return
            updates: dict[str, object] = {"is_loading": False, "missing": None}
            if isinstance(found, Missing):
                updates |= {"pages": (), "missing": found}
            else:
                self._sorted = found.by_side
                updates["pages"] = found.pages
            publish(self, updates)

        if is_by_channel or not self.results.instances.is_read(by):
            publish(self, {"is_loading": True})
            self.run_later(work, show)
        else:
            show(work())

    def _ordered(self, subset: Subset, channel: tuple[str, int]) -> OrderedInstances:
        order = self.selection.order
        by, is_down = order.removeprefix("-"), not order.startswith("-")
        instances = self.results.instances
        if by != BY_CHANNEL:
            return instances.ordered(subset.instances, by, largest_first=is_down)
        if channel[1] < 0:
            return OrderedInstances(subset.instances)
        return instances.ordered_by_channel(
            subset.instances, *channel, largest_first=is_down
        )

    def _page(self, side: Side, name: str, order: OrderedInstances, first: int) -> Page:
        shown = order.part(first, first + PAGE).tolist()
        facts = self.results.instances.facts_of(shown)
        return Page(side, name, len(order), first, facts)

    def _open(self, _changed: set[str]) -> None:
        number = self.selection.instance
        if not self.is_seen:
            return
        if number < 0 or number >= self.results.store.n_instances:
            publish(self, {"opened": None})
            return
        if self.opened is not None and self.opened.facts.number == number:
            return

        def work() -> Opened | None:
            try:
                return self._opened(number)
            except NnvizError:
                return None

        def show(found: object) -> None:
            if number == self.selection.instance:
                opened = found if isinstance(found, Opened) else None
                publish(self, {"opened": opened})

        if self.results.instances.opens_at_once:
            show(work())
        else:
            self.run_later(work, show)

    def _opened(self, number: int) -> Opened:
        instances = self.results.instances
        outputs, is_probability = instances.outputs(number)
        layers = [layer.name for layer in self.results.layers][::-1]
        try:
            found = instances.standing_out(number, layers)
        except MissingDataError:
            found = {}
        channels = tuple((layer, tuple(found[layer])) for layer in found)
        facts = instances.facts(number, is_whole=True)
        return Opened(facts, tuple(outputs), is_probability, channels)
