"""What is in the neuron matrix, in which order, and what may be asked of it?

The matrix may have a thousand rows and thousands of columns. A view asks for tiles of
it, shaded to one byte a cell, and for the exact numbers of single cells.

Symbols: R rows, C channels of the layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.errors import MissingDataError, NnvizError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.missing import Missing
from nnviz.results.neuron_matrix import ColumnContrast, Measure, shading
from nnviz.results.run_results import ListedClasses, RunResults
from nnviz.results.subset_pairs import SubsetPair
from nnviz.results.subset_results import SubsetResults
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.matrix.rows import (
    MAX_KEPT,
    KeptRow,
    MatrixRow,
    RowSource,
    class_key,
    instance_of,
    kept_rows,
    written,
)
from nnviz_dashboards.matrix.shown_layer import Cell, MatrixState
from nnviz_dashboards.shared.publishing import publish, published
from nnviz_dashboards.shared.selection import (
    BY_CLUSTER,
    BY_DIFFERENCE,
    BY_NUMBER,
    NONE,
    ORDERS,
    PANELS,
    Selection,
)
from nnviz_dashboards.subsets.model import RunLater, SubsetPairModel

__all__ = ["TILE_COLUMNS", "TILE_ROWS", "MatrixModel"]

TILE_ROWS, TILE_COLUMNS = 32, 256
"""Cells that are sent at once, at most: 8 kB."""

CLOSED, OPEN, LARGE = PANELS

_VERSIONS = itertools.count(1)
"""Of all matrices: a late answer is never taken for another one's."""

FOLLOWED = ("layer", "measure", "shade", "sorted_by", "kept", "matrix")


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """What a state is made of."""

    layer: str
    chosen: str
    """The layer by which the classes are put in order."""
    measure: Measure
    sorted_by: str
    kept: tuple[KeptRow, ...]
    listed: NDArray[np.int64]
    pair: SubsetPair | None
    counted: SubsetResults | None

    @property
    def is_quick(self) -> bool:
        """Whether no instances have to be counted for it."""
        has_subsets = any(instance_of(row.key) is None for row in self.kept)
        is_slow = self.measure == "maximum" or self.sorted_by == BY_CLUSTER
        return not (has_subsets or is_slow)


class MatrixModel(param.Parameterized):
    """The neuron matrix of one layer.

    Parameters
    ----------
    results
        The run; its classes must be aggregated.
    subsets
        The list of classes, whose order the rows follow.
    pairs
        A and B.
    run_later
        Makes what takes long; None makes everything at once.
    layer
        The layer, whatever is chosen; None for the chosen one.
    """

    state = published(MatrixState, "What is shown.")
    missing = published(Missing, "Why nothing is shown.")
    passing = published(MatrixRow, "The row of an instance that is pointed at.")
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether rows are counted."
    )

    def __init__(
        self,
        results: RunResults,
        subsets: SubsetsModel,
        pairs: SubsetPairModel,
        *,
        run_later: RunLater | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self._subsets = subsets
        self._pairs = pairs
        self._run_later = run_later or (lambda work, done: done(work()))
        self._source = RowSource(results)
        self._turn = 0
        self._pointed_at = NONE
        self._layer = layer
        self._watchers = [
            (followed, followed.param.watch(self._renew, names))
            for followed, names in (
                (self.selection, list(FOLLOWED)),
                (subsets, ["order"]),
                (pairs, ["pair", "counted", "missing"]),
            )
        ]
        self._renew()

    def close(self) -> None:
        """Follow nothing any more, and show nothing that is still being made."""
        self._turn += 1
        for followed, watcher in self._watchers:
            followed.param.unwatch(watcher)
        self._watchers = []

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What the channels of the layer are called; empty where they have numbers."""
        layer = self.layer if self.state is None else self.state.layer
        return self.results.neurons.channel_names(layer)

    @property
    def layer(self) -> str:
        """Name of the layer whose neurons these are."""
        return self._layer or self.selection.layer

    @property
    def is_open(self) -> bool:
        """Whether the matrix is looked at; nothing is computed while it is not."""
        return self.selection.matrix != CLOSED

    @property
    def classes(self) -> ListedClasses:
        """The classes of the run."""
        return self._subsets.classes

    @property
    def queries(self) -> tuple[str, str]:
        """The queries of A and B."""
        return self._pairs.queries

    # What a visitor may do.

    def measure(self, name: str) -> None:
        """Show the mean, the share, the maximum, or what a run has of relevance."""
        self.selection.choose(measure=name)

    def shade(self, name: str) -> None:
        """Shade all channels alike, or each by itself."""
        self.selection.choose(shade=name)

    def sort(self, key: str) -> None:
        """Sort the channels by A - B, number, likeness, or a row."""
        self.selection.choose(sorted_by=key)

    def keep(self, key: str) -> None:
        """Keep a row: of an instance, or of a query; A and B mean theirs."""
        if key in ("A", "B"):
            key = self._pairs.queries[key == "B"]
        rows = kept_rows(self.selection.kept)
        if key and key not in [row.key for row in rows] and len(rows) < MAX_KEPT:
            self.selection.choose(kept=written([*rows, KeptRow(key)]))

    def remove(self, key: str) -> None:
        """Show a kept row no longer."""
        rows = [row for row in kept_rows(self.selection.kept) if row.key != key]
        self.selection.choose(kept=written(rows))

    def rename(self, key: str, name: str) -> None:
        """Call a kept row something; an empty name is what it is."""
        name = " ".join(name.split())
        rows = kept_rows(self.selection.kept)
        rows = [KeptRow(key, name) if row.key == key else row for row in rows]
        self.selection.choose(kept=written(rows))

    def move(self, key: str, place: int) -> None:
        """Put a kept row at a place among the kept rows, 0 the first."""
        rows = kept_rows(self.selection.kept)
        moved = [row for row in rows if row.key == key]
        rest = [row for row in rows if row.key != key]
        place = max(0, min(int(place), len(rest)))
        self.selection.choose(kept=written([*rest[:place], *moved, *rest[place:]]))

    def point_at(self, instance: int) -> None:
        """Show the row of an instance for the moment; -1 for none."""
        self._pointed_at = instance
        self._show_passing()

    def toggle(self) -> None:
        """Open or close the matrix."""
        self.selection.choose(matrix=CLOSED if self.is_open else OPEN)

    def enlarge(self) -> None:
        """Give the matrix the room of the view below it, or give it back."""
        is_large = self.selection.matrix == LARGE
        self.selection.choose(matrix=OPEN if is_large else LARGE)

    def look_at(self, channel: int) -> None:
        """Look at a channel, or no longer if it is looked at already."""
        is_chosen = self.selection.pinned == (self.layer, channel)
        if is_chosen:
            self.selection.choose(channel=NONE)
        else:
            self.selection.choose_node(self.layer, channel)

    # What a view may ask.

    def tile(self, row: int, column: int) -> NDArray[np.uint8]:
        """Return shaded cells.

        Parameters
        ----------
        row, column
            First of at most 32 rows and 256 columns, by their places.

        Returns
        -------
        ndarray
            Shape (rows, columns), 0 lightest, 254 darkest, 255 no value; empty outside.
        """
        state = self.state
        if state is None or row < 0 or column < 0:
            return np.zeros((0, 0), np.uint8)
        columns = state.columns[column : column + TILE_COLUMNS]
        places = range(row, min(row + TILE_ROWS, state.n_rows))
        if not len(columns) or not len(places):
            return np.zeros((0, 0), np.uint8)
        values = np.stack([self._values(place)[columns] for place in places])
        return self._shaded(state, values, columns)

    def passing_shades(self) -> NDArray[np.uint8]:
        """Return the shades of the instance that is pointed at, in order, (C,)."""
        state, row = self.state, self.passing
        if state is None or row is None or row.values.shape != state.columns.shape:
            return np.zeros(0, np.uint8)
        return self._shaded(state, row.values[state.columns], state.columns)

    def _shaded(
        self,
        state: MatrixState,
        values: NDArray[np.float32],
        columns: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        if self.selection.shade == "channel":
            low, high = self.results.neurons.channel_bounds(state.layer, state.measure)
            return shading(values, low[columns], high[columns])
        return shading(values, *state.bounds)

    def cell(self, row: int, column: int) -> Cell | None:
        """Return the numbers of a cell by its place; None outside."""
        state = self.state
        if state is None or not 0 <= column < len(state.columns):
            return None
        if not 0 <= row < state.n_rows:
            return None
        channel = int(state.columns[column])
        _, name, n = self._said_of(row)
        pair = {one.key: float(one.values[channel]) for one in state.rows[:2]}
        contrast = state.contrast
        return Cell(
            name,
            n,
            channel,
            self.results.store.layer(state.layer).called(channel),
            float(self._values(row)[channel]),
            pair.get("A", np.nan),
            pair.get("B", np.nan),
            np.nan if contrast is None else float(contrast.effect[channel]),
            np.nan if contrast is None else float(contrast.p_value[channel]),
            bool(state.dead[channel]),
        )

    def table(self) -> ChartTable | None:
        """Return the whole matrix: rows and channels as they are shown."""
        state = self.state
        if state is None:
            return None
        places = range(state.n_rows)
        said = [self._said_of(place) for place in places]
        names: list[str] = [name for _, name, _ in said]
        sizes: list[int | None] = [n for _, _, n in said]
        rows: list[NDArray[np.floating]] = [
            self._values(place)[state.columns] for place in places
        ]
        if state.contrast is not None:
            names += ["A - B: effect", "A - B: adjusted p"]
            sizes += [None, None]
            contrast = (state.contrast.effect, state.contrast.p_value)
            rows += [values[state.columns] for values in contrast]
        channels = [str(channel) for channel in state.columns.tolist()]
        values = np.stack(rows, axis=1) if rows else np.zeros((len(channels), 0))
        columns = zip(channels, values, strict=True)
        return ChartTable((("row", names), ("n_instances", sizes), *columns))

    def _values(self, place: int) -> NDArray[np.float32]:
        state = self.state
        assert state is not None
        if place < len(state.rows):
            return state.rows[place].values
        index = int(state.classes[place - len(state.rows)])
        row = self.results.neurons.class_row(index, state.layer, state.measure)
        assert row is not None  # it is shown
        return row

    def _said_of(self, place: int) -> tuple[str, str, int]:
        """Return key, name and size of a row by its place."""
        state = self.state
        assert state is not None
        if place < len(state.rows):
            row = state.rows[place]
            return row.key, row.name, row.n_instances
        index = int(state.classes[place - len(state.rows)])
        classes = self._subsets.classes
        name = f"{classes.names[index]} {classes.marks[index]}".strip()
        return class_key(index), name, int(classes.n_instances[index])

    # How it is made.

    def _renew(self, *events: param.parameterized.Event) -> None:
        selection = self.selection
        if not self.is_open:
            return
        is_other = self._layer and {event.name for event in events} == {"layer"}
        if is_other and selection.sorted_by != BY_CLUSTER:
            return  # of another layer only this order of the classes follows
        pairs = self._pairs
        if not pairs.is_current:
            return  # the classes have another order, and A and B will follow
        if pairs.is_loading and self.state is not None:
            return  # until A and B are counted, what is there stays
        self._turn += 1
        turn = self._turn
        wanted = _Wanted(
            self.layer,
            selection.layer,
            cast("Measure", selection.measure),
            selection.sorted_by,
            tuple(kept_rows(selection.kept)),
            self._subsets.order,
            pairs.pair,
            pairs.counted,
        )
        work = self._maker(wanted)

        def show(found: MatrixState | Missing) -> None:
            if turn != self._turn:
                return
            is_missing = isinstance(found, Missing)
            publish(
                self,
                {
                    "state": None if is_missing else found,
                    "missing": found if is_missing else None,
                    "is_loading": False,
                },
            )
            self._show_passing()

        if wanted.is_quick:
            show(work())
        else:
            publish(self, {"is_loading": True})
            self._run_later(work, show)

    def _show_passing(self) -> None:
        n, state = self._pointed_at, self.state
        row = None
        if state is not None and 0 <= n < self.results.store.n_instances:
            try:
                row = self._source.of_instance(n, state.layer, state.measure)
            except NnvizError:
                row = None
        publish(self, {"passing": row})

    def _maker(self, wanted: _Wanted) -> Callable[[], MatrixState | Missing]:
        def make() -> MatrixState | Missing:
            try:
                return self._made(wanted)
            except MissingDataError as error:
                return self.results.missing_stage() or Missing(
                    "There are no neurons to show", str(error)
                )
            except NnvizError as error:
                return Missing("The neurons cannot be shown", str(error))

        return make

    def _made(self, wanted: _Wanted) -> MatrixState:
        neurons, layer, measure = self.results.neurons, wanted.layer, wanted.measure
        class_rows = neurons.class_rows
        rows: list[MatrixRow] = []
        contrast = None
        if wanted.pair is not None and wanted.counted is not None:
            rows += self._source.of_pair(wanted.pair, wanted.counted, layer, measure)
            contrast = neurons.contrast(wanted.counted, layer, measure)
        made = (self._source.of_kept(row, layer, measure) for row in wanted.kept)
        rows += [row for row in made if row is not None]
        is_shown = np.isin(wanted.listed, class_rows)
        classes = wanted.listed[is_shown]
        if wanted.sorted_by == BY_CLUSTER:
            by_class, _ = neurons.orders(wanted.chosen, measure)
            _, columns = neurons.orders(layer, measure)
            classes = class_rows[by_class][np.isin(class_rows[by_class], classes)]
            sorted_by = BY_CLUSTER
        else:
            columns, sorted_by = self._columns(wanted, rows, contrast)
        return MatrixState(
            next(_VERSIONS),
            layer,
            measure,
            tuple(rows),
            classes,
            columns,
            contrast,
            neurons.dead(layer),
            neurons.bounds(layer, measure),
            sorted_by,
        )

    def _columns(
        self, wanted: _Wanted, rows: list[MatrixRow], contrast: ColumnContrast | None
    ) -> tuple[NDArray[np.int64], str]:
        """Return the channels in order, and what they are sorted by."""
        layer, order = wanted.layer, wanted.sorted_by
        n_channels = self.results.store.layer(layer).n_channels
        by: NDArray[np.floating] | None = None
        if order == BY_DIFFERENCE and contrast is not None:
            by = contrast.effect
        elif order not in ORDERS:
            by = next((row.values for row in rows if row.key == order), None)
            index = order.removeprefix("class ")
            if by is None and order.startswith("class ") and index.isdecimal():
                neurons = self.results.neurons
                by = neurons.class_row(int(index), layer, wanted.measure)
        if by is None:
            return np.arange(n_channels), BY_NUMBER
        values = np.nan_to_num(by.astype(np.float64), nan=-np.inf)
        return np.argsort(-values, kind="stable"), order
