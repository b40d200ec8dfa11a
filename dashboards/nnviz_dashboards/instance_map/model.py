"""Where are A and B among all instances, and what is chosen by drawing around them?

Of a part of the plane the points are drawn, where they are few enough to be sent, and
else how many there are in each cell. What is drawn around is found among all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.derivation.instance_map import PlacedInstances
from nnviz.errors import MissingDataError, NnvizError, ShapeError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.map_colors import (
    BY_CHANNEL,
    BY_CLASS,
    BY_OUTCOME,
    BY_SIDES,
    MapColors,
    color_by_numbers,
    color_by_sides,
    color_columns,
    color_of,
    sides_of,
)
from nnviz.results.map_windows import (
    MapCells,
    MapRaster,
    MapWindow,
    counted_cells,
    inside_loop,
    points_in,
)
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import SubsetPair
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import python_lines
from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.subsets.model import SIDES, RunLater, Side, SubsetPairModel

__all__ = ["MAX_POINTS", "CellFacts", "InstanceMapModel", "MapPart", "ShownMap"]

MAX_POINTS = 4_000
"""Points that are drawn one by one: less than 60 kB."""

MAX_CORNERS = 400
"""Corners of a loop; a longer one is drawn with fewer."""

N_TOLD = 3
"""Categories that are told of a cell."""


@dataclass(frozen=True, slots=True, eq=False)
class MapPart:
    """What is seen of a part of the plane: its points, or cells where they are many."""

    window: MapWindow
    shape: tuple[int, int]
    """Rows and columns of cells that were asked for."""
    points: NDArray[np.int64] | None
    """Their places among the placed instances, ascending; None for too many."""
    raster: MapRaster | None
    """None where there are points."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownMap:
    """Where instances are, and which colour they have."""

    placed: PlacedInstances
    names: tuple[str, str]
    """Of A and B; empty where none are chosen."""
    labels: NDArray[np.signedinteger]
    """Class of each placed instance, -1 for none, shape (n,)."""
    marks: NDArray[np.uint8]
    """1 for those in A, 2 for those in B, 4 for those that are predicted wrong, added
    up; shape (n,)."""
    codes: NDArray[np.uint8]
    """Of each placed instance, as `colors` has it."""
    colors: MapColors
    n_missing: int
    """Placed instances without a value."""
    middles: NDArray[np.float64]
    """Where the instances of each placed class are, the median, shape (S, 2)."""
    n_usable: int
    has_pictures: bool
    cells_of: Callable[[PlacedInstances, MapWindow, tuple[int, int]], MapCells]
    """Returns in which cells the placed instances are."""

    @property
    def n_instances(self) -> int:
        """Number of placed instances."""
        return len(self.placed.instances)

    def part(self, window: MapWindow, shape: tuple[int, int]) -> MapPart:
        """Return what is seen of a part of the plane.

        Parameters
        ----------
        window
            The part.
        shape
            Rows and columns of cells.
        """
        if self.n_instances <= MAX_POINTS:
            return MapPart(window, shape, np.arange(self.n_instances), None)
        cells = self.cells_of(self.placed, window, shape)
        if len(cells.cell) <= MAX_POINTS:
            return MapPart(window, shape, cells.points, None)
        return MapPart(window, shape, None, self.raster(window, shape))

    def raster(self, window: MapWindow, shape: tuple[int, int]) -> MapRaster:
        """Return a part of the plane in cells."""
        cells = self.cells_of(self.placed, window, shape)
        return counted_cells(cells, self.codes, self.colors)


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What is in a small part of the plane."""

    n_instances: int
    instance: int
    """Number of the one that is nearest to its middle; -1 for none."""
    told: tuple[tuple[str, int], ...]
    """The most frequent categories, with their instances; empty where colours are
    numbers."""
    mean: float
    """Mean of the values, between the ends of the scale; NaN for categories."""


class InstanceMapModel(param.Parameterized):
    """The map of the instances in the chosen layer.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B.
    run_later
        Makes what takes long; None makes everything at once.
    """

    shown = published(ShownMap, "What is shown.")
    part = published(MapPart, "What is seen of it, where that was asked for.")
    missing = published(Missing, "Why nothing is shown.")
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether a layer is laid out."
    )
    n_chosen = param.Integer(
        default=0, constant=True, doc="Instances that were drawn around."
    )

    def __init__(
        self,
        results: RunResults,
        pairs: SubsetPairModel,
        *,
        run_later: RunLater | None = None,
    ) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self._pairs = pairs
        self.run_later = run_later or (lambda work, done: done(work()))
        self._wanted: tuple[object, ...] | None = None
        self._chosen = np.zeros(0, dtype=np.int64)
        self._looked: tuple[MapWindow, tuple[int, int]] | None = None
        follow(self.selection, ["view", "layer", "color"], self._renew)
        self.selection.param.watch(self._renew_colors, ["channel", "subset"])
        pairs.param.watch(self._renew, "pair")

    @property
    def can_color(self) -> tuple[str, ...]:
        """What points can be coloured by."""
        results, selection = self.results, self.selection
        names = [BY_SIDES]
        columns = results.pairs.finder.columns
        if results.has_classes:
            names += [BY_OUTCOME] if results.kind == "label" else []
            names += [BY_CLASS] if results.kind == "label" else []
            names.append("prediction")
        names += [BY_CHANNEL] if selection.channel >= 0 else []
        return (*names, *color_columns(columns))

    def color(self, by: str) -> None:
        """Colour by A and B, right and wrong, class, a channel, or a column."""
        self.selection.choose(color=by)

    def look(self, window: MapWindow, shape: tuple[int, int]) -> None:
        """Look at a part of the plane, now and when something else is shown.

        Parameters
        ----------
        window
            The part.
        shape
            Rows and columns of cells, where there are too many points.
        """
        shown = self.shown
        self._looked = looked = (window, shape)
        if shown is None:
            return

        def is_wanted() -> bool:
            return self._looked is looked and self.shown is shown

        def work() -> MapPart | None:
            return shown.part(*looked) if is_wanted() else None

        def show(found: Any) -> None:
            if is_wanted():
                # Too many ask for something: whoever has a map goes on to see it.
                is_made = isinstance(found, MapPart)
                publish(self, {"part": found if is_made else shown.part(*looked)})

        self.run_later(work, show)

    def surround(self, loop: Sequence[Sequence[float]]) -> None:
        """Choose the instances in a loop of places; none for an empty one."""
        shown = self.shown
        if shown is None:
            return
        try:
            corners = np.array(loop[:MAX_CORNERS], dtype=np.float64).reshape(-1, 2)
            found = inside_loop(shown.placed.places, corners)
        except (ShapeError, ValueError):
            found = np.zeros(0, dtype=np.int64)
        self._chosen = shown.placed.instances[found]
        publish(self, {"n_chosen": len(found)})

    def use(self, side: Side) -> None:
        """Make what was drawn around to A or B."""
        if side in SIDES and len(self._chosen):
            query = self.results.pairs.finder.text_for(self._chosen)
            self.surround([])
            self._pairs.write(side, query)

    def open(self, number: int) -> None:
        """Look at an instance."""
        self.selection.choose(view="instances", instance=int(number))

    def cell(self, window: MapWindow) -> CellFacts | None:
        """Return what is in a small part of the plane; None where nothing is shown."""
        shown = self.shown
        if shown is None:
            return None
        at = points_in(shown.placed.places, window)
        middle = [(window.left + window.right) / 2, (window.bottom + window.top) / 2]
        far = np.linalg.norm(shown.placed.places[at] - middle, axis=1)
        nearest = int(shown.placed.instances[at[far.argmin()]]) if len(at) else -1
        told: tuple[tuple[str, int], ...] = ()
        mean, colors = np.nan, shown.colors
        codes = shown.codes[at]
        codes = codes[codes != 255]
        if colors.names:
            counts = np.bincount(codes, minlength=len(colors.names))
            order = np.argsort(-counts, kind="stable")[:N_TOLD]
            told = tuple((colors.names[i], int(counts[i])) for i in order if counts[i])
        elif len(codes):
            low, high = colors.bounds
            mean = low + float(codes.mean()) / 254 * (high - low)
        return CellFacts(len(at), nearest, told, mean)

    def table(self) -> ChartTable | None:
        """Return the places and colours of all instances that are placed."""
        shown = self.shown
        if shown is None:
            return None
        x, y = shown.placed.places.T
        columns = [("instance", shown.placed.instances), ("x", x), ("y", y)]
        numbers = self._numbers(shown)
        names = (*shown.colors.names, *[None] * 256)
        told = [names[code] for code in shown.codes.tolist()]
        title = shown.colors.title
        return ChartTable((*columns, (title, told if numbers is None else numbers)))

    def _numbers(self, shown: ShownMap) -> NDArray[np.float64] | None:
        """Return the values that colours stand for, where these are numbers."""
        if shown.colors.names:
            return None
        if self.selection.color == BY_CHANNEL:
            layer, channel = shown.placed.layer, self.selection.channel
            source = self.results.pairs.finder.columns.channels
            values = np.asarray(source.activation(layer, channel), dtype=np.float64)
        else:
            column = self.results.pairs.finder.columns.column(self.selection.color)
            numbers = column.values
            if column.kind == "date":
                numbers = numbers.astype("datetime64[ms]").astype(np.int64)
            values = np.where(column.null, np.nan, numbers.astype(np.float64))
        return values[shown.placed.instances]

    @property
    def code(self) -> str:
        """Lines of Python that give the same places, where derivation has kept them."""
        layer = self.selection.layer
        path = f"artifacts/instance_places/place/{layer}"
        return python_lines(
            self.results.store.url,
            f"places = store.groups.read({path!r})  # x and y of every instance",
            "store.instances()  # what they can be coloured by",
        )

    def _renew_colors(self, *events: param.parameterized.Event) -> None:
        changed = {event.name for event in events}
        depends = {BY_CHANNEL: "channel", BY_CLASS: "subset", "prediction": "subset"}
        if depends.get(self.selection.color) in changed:
            self._renew()

    def _renew(self, *_: object) -> None:
        pair, selection = self._pairs.pair, self.selection
        if selection.view != "map":
            self._wanted = None
            # A million places are not kept of a view that nobody looks at.
            if self.shown is not None:
                publish(self, {"shown": None, "part": None, "n_chosen": 0})
            return
        missing = self._pairs.missing
        if missing is not None:
            self._wanted = None
            none = {"shown": None, "part": None, "is_loading": False}
            publish(self, {**none, "missing": missing})
            return
        layer, by = selection.layer, selection.color
        by = by if by in self.can_color else BY_SIDES
        wanted: tuple[object, ...] = (layer, by)
        if pair is not None:
            wanted += (pair.key, pair.names)
        if by == BY_CHANNEL:
            wanted += (selection.channel,)
        elif by in (BY_CLASS, "prediction"):
            wanted += (selection.subset,)
        if wanted == self._wanted:
            return
        self._wanted = wanted

        def work() -> tuple[ShownMap, MapPart | None] | Missing:
            try:
                made, looked = self._made(layer, by, pair), self._looked
                return made, made.part(*looked) if looked else None
            except MissingDataError as error:
                return self.results.missing_stage() or Missing(
                    "There is no map of the instances", str(error)
                )
            except NnvizError as error:
                return Missing("The map cannot be shown", str(error))

        def show(found: Any) -> None:
            if self._wanted != wanted:
                return
            is_missing = isinstance(found, Missing)
            shown, part = (None, None) if is_missing else found
            self._chosen = np.zeros(0, dtype=np.int64)
            publish(
                self,
                {
                    "shown": shown,
                    "part": part,
                    "missing": found if is_missing else None,
                    "is_loading": False,
                    "n_chosen": 0,
                },
            )

        publish(self, {"is_loading": True})
        self.run_later(work, show)

    def _made(self, layer: str, by: str, pair: SubsetPair | None) -> ShownMap:
        columns = self.results.pairs.finder.columns
        placed = self.results.maps.placed(layer)
        instances = placed.instances
        side = np.zeros(columns.n_instances, np.uint8)
        if pair is not None:
            found = pair.found
            side = sides_of(len(side), found.subset.instances, found.against_mask)
        names = ("", "") if pair is None else pair.names
        if by == BY_SIDES:
            colors = color_by_sides(side, names)
        elif by == BY_CHANNEL:
            channel = self.selection.channel
            values = columns.channels.activation(layer, channel)
            colors = color_by_numbers(values, f"channel {channel}")
        else:
            colors = color_of(columns, by, first=self.selection.subset)
        label = columns.classes(
            "label" if self.results.kind == "label" else "prediction"
        )
        marks = side | (self.results.is_wrong().view(np.uint8) << np.uint8(2))
        return ShownMap(
            placed,
            names,
            _of(instances, label),
            _of(instances, marks),
            _of(instances, colors.codes),
            colors,
            colors.n_missing(instances),
            self.results.map_middles(layer),
            int(np.count_nonzero(columns.usable)),
            not self.results.instance_pictures.missing,
            self.results.map_cells,
        )


def _of(instances: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of some instances; of all, without a copy."""
    return values if len(instances) == len(values) else values[instances]
