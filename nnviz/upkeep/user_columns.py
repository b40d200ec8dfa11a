"""How does a user's function become a column of the instance table?

1. The name must be free; a column of this name by the same code is filled up where it
   lacks values, after the store has grown or the last call was ended.
2. The function is asked for the instances that lack a value, a few hundred in a task:
   over rows in this process, over instances on the workers of a cluster, each of which
   opens the data set itself.
3. What came in is written from time to time and at the end, also where a task fails.

Instances that could not be used have no value, and nobody is asked for them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.engine.handing_over import handed_over, holding
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.engine.worker_cache import cached
from nnviz.errors import ConfigError, InputError
from nnviz.extraction.worker_tasks import Opening
from nnviz.runs.stored_names import RESERVED_COLLECTIONS
from nnviz.store.added_columns import AddedColumn, ColumnSource, ValueKind
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.columns import DERIVED, InstanceColumns, StoredChannels
from nnviz.subsets.lookup import SubsetFinder
from nnviz.upkeep.user_functions import (
    PlainValue,
    UserFunction,
    as_arrays,
    asked_for,
    code_fingerprint,
    common_kind,
    name_of,
)

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "add_column",
    "ask_for_instances",
    "instances_to_ask",
    "key_of",
    "remove_column",
    "seconds_each",
]

STAGE = "column"

INSTANCES_PER_TASK = 256

WRITTEN_EVERY_S = 60.0
"""A driver that is killed loses what came in since."""

TRIED = 4
"""Instances by which the time of the others is guessed."""

MAX_NAME_BYTES = 200


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring instances for which a task asks."""

    start: int
    stop: int

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"instances {self.start:,} to {self.stop - 1:,}"


@exclusive(STAGE)
def add_column(
    store: Store,
    name: str,
    function: UserFunction,
    *,
    over: ColumnSource = "rows",
    batch_size: int | None = None,
    replace: bool = False,
    client: Client | None = None,
    trust: bool = False,
    listeners: Iterable[Listener] = (),
) -> AddedColumn:
    """Ask a function for a value of every instance, and keep them as a column.

    Parameters
    ----------
    store
        With a complete extraction. It is opened again for writing.
    name
        Of the column.
    function
        Gets a row of the instance table, which is a dictionary by the names of the
        columns, or an instance: of images a Pillow image, else an array. It answers a
        number, a truth value, a text or a date, or None for no value.
    over
        What it gets.
    batch_size
        If set, it gets lists of so many, and answers lists of as many values.
    replace
        Whether a column of this name that other code has made is made anew.
    client
        Of a running cluster that has the function (see
        :func:`nnviz.engine.callers_objects.delivered`) under :func:`key_of`; None asks
        in this process.
    trust
        Whether a data set that is code may be imported.
    listeners
        Told about the start, each task, and the end.

    Raises
    ------
    ConfigError
        If the name is taken, or a column of this name was made by other code.
    InputError
        If the function raises anything, or answers something that is no value.
    MissingDataError
        If extraction is not complete.
    PlanMismatchError
        If the data set is not that of the plan.
    StoreError
        If the store cannot be written, or another driver writes to it.
    """
    if batch_size is not None and batch_size < 1:
        msg = f"batch_size is {batch_size}; it should be 1 or more, or None for no list"
        raise ConfigError(msg)
    store = Store.open(store.url, writable=True)
    usable = store.usable()
    column = _wanted(store, name, function, over, replace=replace)
    filling = _Filling(store, column, ~usable)
    spans = list(_spans(np.flatnonzero(~filling.is_asked)))
    if not spans and column.written:
        return column
    began = time.monotonic()
    listeners = tuple(listeners)
    n = sum(span.stop - span.start for span in spans)
    emit(listeners, StageStarted(STAGE, len(spans), 0, n))
    opening = Opening(store.url, store.fingerprint, trust)
    ask = _Asking(function, over, batch_size, opening)
    try:
        for span, values in ask.values(store, spans, client, listeners):
            filling.take(span, values)
            emit(listeners, TaskDone(STAGE, str(span), span.stop - span.start))
    finally:
        column = filling.written()
    seconds = time.monotonic() - began
    emit(listeners, StageDone(STAGE, len(spans), 0, n, seconds))
    return column


def instances_to_ask(
    store: Store,
    name: str,
    function: UserFunction,
    *,
    over: ColumnSource,
    replace: bool = False,
) -> NDArray[np.intp]:
    """Return the instances that :func:`add_column` would ask the function for.

    Raises
    ------
    ConfigError
        If the name is taken, or a column of this name was made by other code.
    MissingDataError
        If extraction is not complete.
    """
    column = _wanted(store, name, function, over, replace=replace)
    return np.flatnonzero(~_Filling(store, column, ~store.usable()).is_asked)


def seconds_each(
    store: Store,
    instances: NDArray[np.intp],
    function: UserFunction,
    *,
    batch_size: int | None,
    trust: bool,
) -> float:
    """Return how long an instance takes, about, by asking for the first few.

    Parameters
    ----------
    store
        With a complete extraction.
    instances
        At least one.
    function, batch_size, trust
        As in :func:`add_column`.

    Raises
    ------
    InputError
        If the function raises anything, or answers something that is no value.
    """
    spans = list(_spans(instances[:TRIED]))
    opening = Opening(store.url, store.fingerprint, trust)
    began = time.monotonic()
    for _ in _Asking(function, "instances", batch_size, opening).values(
        store, spans, None, ()
    ):
        pass
    return (time.monotonic() - began) / min(TRIED, len(instances))


@exclusive(STAGE)
def remove_column(store: Store, name: str) -> None:
    """Remove a column that was added.

    Raises
    ------
    UnknownNameError
        If no column of this name was added.
    StoreError
        If the store cannot be written, or another driver writes to it.
    """
    Store.open(store.url, writable=True).added.remove(name)


def key_of(function: UserFunction, over: ColumnSource) -> str:
    """Return the key by which a function is handed over to workers."""
    return f"the function {name_of(function)!r}@{code_fingerprint(function, over)}"


def _wanted(
    store: Store,
    name: str,
    function: UserFunction,
    over: ColumnSource,
    *,
    replace: bool,
) -> AddedColumn:
    """Return the column as it is to be filled.

    Raises
    ------
    ConfigError
        If there is another one of this name.
    """
    added = store.added.listed()
    fingerprint = code_fingerprint(function, over)
    before = added.get(name)
    if before is None:
        _check_free(store, name)
    elif before.fingerprint == fingerprint and not replace:
        return before
    elif not replace:
        msg = (
            f"there is a column {name!r} by {before.function!r} over {before.over}, "
            f"of {before.written[:10]}, whose code was another; to make it anew, say "
            "replace=True (--replace), or choose another name"
        )
        raise ConfigError(msg)
    made_by = name_of(function)
    return AddedColumn(name, over, made_by, fingerprint, "", 0, 0, store.n_instances)


def _check_free(store: Store, name: str) -> None:
    is_odd = not name.strip() or not name.isprintable()
    if is_odd or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        msg = (
            f"a column cannot be called {name[:MAX_NAME_BYTES]!r}; give it a name of 1 "
            f"to {MAX_NAME_BYTES} printable characters"
        )
        raise ConfigError(msg)
    finder = SubsetFinder(store)
    taken = {
        "a column of the table": (*store.columns, *DERIVED),
        "a saved subset": finder.saved(),
        "a class": (*store.class_names, *store.plan.class_of_label),
        "a collection of subsets": RESERVED_COLLECTIONS,
    }
    for what, names in taken.items():
        if name in names:
            msg = (
                f"{name!r} is the name of {what} already, and a query would not know "
                "which is meant; choose another name"
            )
            raise ConfigError(msg)


def _spans(rows: NDArray[np.intp]) -> Iterator[Span]:
    """Yield ascending rows as spans of neighbours, none of them long."""
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        for start in range(0, len(run), INSTANCES_PER_TASK):
            some = run[start : start + INSTANCES_PER_TASK]
            yield Span(int(some[0]), int(some[-1]) + 1)


class _Filling:
    """A column on its way into the store."""

    def __init__(
        self, store: Store, column: AddedColumn, is_excluded: NDArray[np.bool_]
    ) -> None:
        self._store, self._column = store, column
        self._kind: ValueKind = column.kind
        self._values = np.full(store.n_instances, None, object)
        self.is_asked = is_excluded
        if column.written:
            stored, has_value, asked = store.added.read(column.name)
            plain = np.array([*stored.tolist(), None], object)[:-1]
            self._values[has_value] = plain[has_value]
            self.is_asked = is_excluded | asked
        self._last = time.monotonic()
        # Of a function that fails at once nothing is left behind.
        self._is_new = not column.written and bool(self.is_asked.all())

    def take(self, span: Span, values: Sequence[PlainValue]) -> None:
        """Take note of values, and write what there is from time to time.

        Raises
        ------
        InputError
            If they are not of the kind of those before.
        """
        self._kind = common_kind(self._kind, values, function=self._column.function)
        rows = slice(span.start, span.stop)
        self._values[rows], self.is_asked[rows] = values, True
        self._is_new = True
        if time.monotonic() - self._last > WRITTEN_EVERY_S:
            self.written()

    def written(self) -> AddedColumn:
        """Write what there is."""
        if self._is_new:
            values, has_value = as_arrays(self._values, self._kind)
            kept = dataclasses.replace(self._column, kind=self._kind)
            self._column = self._store.added.write(
                kept, values, has_value, self.is_asked
            )
            self._is_new, self._last = False, time.monotonic()
        return self._column


@dataclass(frozen=True, slots=True)
class _Asking:
    """How the function is asked."""

    function: UserFunction
    over: ColumnSource
    batch_size: int | None
    opening: Opening

    def values(
        self,
        store: Store,
        spans: Sequence[Span],
        client: Client | None,
        listeners: tuple[Listener, ...],
    ) -> Iterator[tuple[Span, list[PlainValue]]]:
        """Yield the values of all spans, in any order."""
        if self.over == "rows":
            rows = _Rows(store)
            for span in spans:
                some, ids = rows.of(span)
                yield span, self._asked(some, ids)
            return
        key = key_of(self.function, self.over)
        arguments = (key, self.batch_size, self.opening)
        if client is None:
            with holding({key: self.function}):
                for span in spans:
                    yield span, ask_for_instances(span, *arguments)
            return
        from nnviz.engine.tasks import run_tasks  # noqa: PLC0415  Dask loads slowly

        for outcome in run_tasks(
            client,
            ask_for_instances,
            spans,
            arguments=arguments,
            stage=STAGE,
            listeners=listeners,
        ):
            if outcome.error is not None:
                raise outcome.error
            yield outcome.item, outcome.value

    def _asked(self, things: Iterable[object], ids: list[str]) -> list[PlainValue]:
        return asked_for(self.function, things, ids, batch_size=self.batch_size)


def ask_for_instances(
    span: Span, key: str, batch_size: int | None, opening: Opening
) -> list[PlainValue]:
    """Ask the handed over function for a span of instances, on a worker.

    Raises
    ------
    InputError
        If it raises anything, or answers something that is no value.
    PlanMismatchError
        If the data set is not that of the plan.
    """
    from nnviz.upkeep.user_column_data import RunInstances  # noqa: PLC0415  on workers

    function = handed_over(key)
    if function is None:
        msg = f"{key.partition('@')[0]} is not here; nobody has handed it over"
        raise InputError(msg)
    data = cached("instances", repr(opening), lambda: RunInstances(opening))
    ids = data.ids[span.start : span.stop]
    things = data.read(range(span.start, span.stop))
    return asked_for(function, things, ids, batch_size=batch_size)


class _Rows:
    """Rows of the instance table as dictionaries, with classes by their names."""

    def __init__(self, store: Store) -> None:
        self._columns = InstanceColumns(store, StoredChannels(store))
        self._names = self._columns.names

    def of(self, span: Span) -> tuple[Iterator[dict[str, Any]], list[str]]:
        """Return the rows of a span, and their ids."""
        values = [
            self._values(name, slice(span.start, span.stop)) for name in self._names
        ]
        rows = (
            dict(zip(self._names, row, strict=True))
            for row in zip(*values, strict=True)
        )
        return rows, [str(each) for each in values[self._names.index("id")]]

    def _values(self, name: str, rows: slice) -> list[Any]:
        column = self._columns.column(name)
        values, null = column.values[rows], column.null[rows]
        if column.kind == "class":
            words = [*self._columns.class_names, None]
            found: list[Any] = [words[i] for i in np.where(null, -1, values)]
        elif column.kind in ("text", "classes"):
            found = [column.texts[code] for code in values]
        else:
            found = values.tolist()
        return [None if no else value for no, value in zip(null, found, strict=True)]
