"""What is drawn of a part of the plane: the points themselves, or how many there are?

Few points are drawn one by one. Of many the part is divided into cells, and of each is
known how many points it has and which colour: of numbers the mean of those that have a
value; of categories the most frequent one. Of A and B, and of right and wrong, it is
what the cell has more of than the whole plane: else a few hundred instances of A would
be seen nowhere among a million.

Symbols: n points, K categories, R x Q cells, S placed classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.derivation.instance_map import PlacedInstances
from nnviz.errors import ShapeError
from nnviz.results.map_colors import NO_VALUE, MapColors

__all__ = [
    "MapCells",
    "MapRaster",
    "MapWindow",
    "cells_of",
    "counted_cells",
    "inside_loop",
    "middles_of",
    "points_in",
]

MAX_CELLS = 65_536

ROWS_AT_A_TIME = 1 << 15
"""Points whose cells are found at a time."""


@dataclass(frozen=True, slots=True)
class MapWindow:
    """A part of the plane, its edges included.

    Raises
    ------
    ShapeError
        If an edge is not finite, or it is not as wide and high as it should be.
    """

    left: float
    right: float
    bottom: float
    top: float

    def __post_init__(self) -> None:
        edges = (self.left, self.right, self.bottom, self.top)
        is_right = np.isfinite(edges).all() and self.left < self.right
        if not (is_right and self.bottom < self.top):
            msg = f"a part of the plane has left < right and bottom < top, not {edges}"
            raise ShapeError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class MapRaster:
    """A part of the plane in cells; the first row is the lowest."""

    counts: NDArray[np.int64]
    """Points in each cell, shape (R, Q)."""
    codes: NDArray[np.uint8]
    """As of :class:`nnviz.results.map_colors.MapColors`, shape (R, Q); 255 where no
    point has a value."""


def points_in(places: NDArray[np.floating], window: MapWindow) -> NDArray[np.int64]:
    """Return which points are in a part of the plane, ascending.

    Parameters
    ----------
    places
        Shape (n, 2).
    window
        The part.
    """
    return np.flatnonzero(_are_in(places[:, 0], places[:, 1], window))


def _are_in(
    x: NDArray[np.floating], y: NDArray[np.floating], window: MapWindow
) -> NDArray[np.bool_]:
    is_in = (x >= window.left) & (x <= window.right)
    return np.asarray(is_in & (y >= window.bottom) & (y <= window.top))


@dataclass(frozen=True, slots=True, eq=False)
class MapCells:
    """Which cell each point of a part of the plane is in."""

    at: NDArray[np.int32] | None
    """Which points are in it, ascending; None for all."""
    cell: NDArray[np.int32]
    """Of each of these, row by row, the lowest first."""
    counts: NDArray[np.int64]
    """Points in each cell, shape (R * Q,)."""
    shape: tuple[int, int]
    """(R, Q): rows and columns of cells."""

    @property
    def points(self) -> NDArray[np.int64]:
        """Which points are in it, ascending."""
        return np.arange(len(self.cell)) if self.at is None else self.at.astype(int)


def cells_of(
    places: NDArray[np.floating], window: MapWindow, shape: tuple[int, int]
) -> MapCells:
    """Return in which cells points are; it is the same for all colours.

    Parameters
    ----------
    places
        Of all points, shape (n, 2).
    window
        The part of the plane.
    shape
        (R, Q): rows and columns of cells.

    Raises
    ------
    ShapeError
        If there are no cells, or more than are ever drawn.
    """
    n_rows, n_columns = shape
    if min(shape) < 1 or n_rows * n_columns > MAX_CELLS:
        msg = f"there must be 1 to {MAX_CELLS:,} cells, not {n_rows} x {n_columns}"
        raise ShapeError(msg)
    # A part at a time stays in the processor's cache.
    starts = range(0, len(places), ROWS_AT_A_TIME)
    found = [
        _cells_of_part(places[first : first + ROWS_AT_A_TIME], window, shape)
        for first in starts
    ]
    none = np.zeros(0, dtype=np.int32)
    cell = np.concatenate([none, *(cells for _, cells in found)])
    at = None
    if len(cell) < len(places):
        parts = (
            first + np.flatnonzero(of)
            for first, (of, _) in zip(starts, found, strict=True)
        )
        at = np.concatenate([none, *(part.astype(np.int32) for part in parts)])
    counts = np.bincount(cell, minlength=n_rows * n_columns)
    return MapCells(at, cell, counts, shape)


def _cells_of_part(
    places: NDArray[np.floating], window: MapWindow, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return which points are in the window, and the cell of each of these."""
    n_rows, n_columns = shape
    x, y = places.T.copy()  # numbers side by side are looked at several at a time
    is_inside = _are_in(x, y, window)
    if not is_inside.all():
        x, y = x[is_inside], y[is_inside]
    x -= window.left
    x *= n_columns / (window.right - window.left)
    y -= window.bottom
    y *= n_rows / (window.top - window.bottom)
    cell = np.minimum(y.astype(np.int32), n_rows - 1) * np.int32(n_columns)
    cell += np.minimum(x.astype(np.int32), n_columns - 1)
    return is_inside, cell


def counted_cells(
    cells: MapCells, codes: NDArray[np.uint8], colors: MapColors
) -> MapRaster:
    """Count points by cells.

    Parameters
    ----------
    cells
        In which cells they are.
    codes
        Colour of every point of the plane, shape (n,).
    colors
        What the codes mean.
    """
    cell, n_cells = cells.cell, len(cells.counts)
    code = codes if cells.at is None else codes[cells.at]
    known, has_value = cells.counts, code != NO_VALUE
    if not has_value.all():
        cell, code = cell[has_value], code[has_value]
        known = np.bincount(cell, minlength=n_cells)
    found = np.full(n_cells, NO_VALUE, dtype=np.uint8)
    is_known = known > 0
    if colors.kind in ("number", "date"):
        total = np.bincount(cell, weights=code, minlength=n_cells)
        found[is_known] = np.round(total[is_known] / known[is_known])
    else:
        k = max(1, len(colors.names))
        pairs = cell * np.int32(k)
        pairs += code
        table = np.bincount(pairs, minlength=n_cells * k).reshape(n_cells, k)[is_known]
        if colors.kind != "category":
            everywhere = [np.count_nonzero(codes == of) for of in range(k)]
            table = table * (1.0 / np.maximum(everywhere, 1))
        found[is_known] = table.argmax(axis=1)
    return MapRaster(cells.counts.reshape(cells.shape), found.reshape(cells.shape))


def inside_loop(
    places: NDArray[np.floating], loop: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return which points lie in a closed loop, ascending.

    Parameters
    ----------
    places
        Shape (n, 2).
    loop
        Its corners in turn, shape (m, 2); the last is joined to the first. Where it
        crosses itself, a point is inside that it goes round an odd number of times.

    Raises
    ------
    ShapeError
        If a corner is not a finite place.
    """
    loop = np.asarray(loop, dtype=np.float64)
    if loop.ndim != 2 or loop.shape[1] != 2 or not np.isfinite(loop).all():
        msg = f"a loop has corners of two finite coordinates, not {loop.shape}"
        raise ShapeError(msg)
    if len(loop) < 3:
        return np.zeros(0, dtype=np.int64)
    low, high = loop.min(axis=0), loop.max(axis=0)
    near = np.flatnonzero(((places >= low) & (places <= high)).all(axis=1))
    x, y = places[near, 0], places[near, 1]
    is_in = np.zeros(len(near), dtype=np.bool_)
    ends = np.roll(loop, -1, axis=0)
    for (ax, ay), (bx, by) in zip(loop.tolist(), ends.tolist(), strict=True):
        if ay == by:
            continue
        crosses = np.greater(ay, y) != np.greater(by, y)
        is_in[crosses] ^= x[crosses] < (bx - ax) * (y[crosses] - ay) / (by - ay) + ax
    return near[is_in]


def middles_of(
    placed: PlacedInstances, classes: NDArray[np.signedinteger]
) -> NDArray[np.float64]:
    """Return where the placed classes are; their own places where they have no points.

    Parameters
    ----------
    placed
        Where instances are.
    classes
        Class of every instance of the run, -1 for none.

    Returns
    -------
    ndarray
        Medians along each axis, shape (S, 2).
    """
    if not len(placed.classes):
        return placed.class_places
    is_all = len(placed.instances) == len(classes)
    of = classes if is_all else classes[placed.instances]
    order, stops = _by_class(of, int(placed.classes.max()))
    # Both coordinates of an instance lie side by side: they are looked for once.
    axes = np.take(placed.places, order, axis=0).T.copy()
    found = placed.class_places.copy()
    for row, of_class in enumerate(placed.classes.tolist()):
        start, stop = stops[of_class : of_class + 2].tolist()
        if start < stop:
            found[row] = [_median(axis[start:stop]) for axis in axes]
    return found


def _by_class(
    classes: NDArray[np.signedinteger], last: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return instances class by class, and where each class begins, then ends.

    SciPy counts them to turn rows into columns, which is a fraction of sorting.
    """
    n, n_columns = len(classes), 2 + max(last, int(classes.max(initial=-1)))
    shape = (n, n_columns)
    ones, each = np.ones(n, dtype=np.int8), np.arange(n + 1, dtype=np.int32)
    table = sparse.csr_array((ones, classes.astype(np.int32) + 1, each), shape=shape)
    columns = table.tocsc()
    return columns.indices, columns.indptr[1:]  # the first column is of none


def _median(values: NDArray[np.floating]) -> np.floating:
    """Return the median of some numbers, whose order is changed.

    It is that of :func:`numpy.median`, which looks at its arguments for longer than at
    a thousand numbers.
    """
    middle = len(values) // 2
    values.partition(middle)
    median: np.floating = values[middle]
    if len(values) % 2 == 0:
        median = (values[:middle].max() + median) / values.dtype.type(2)
    return median
