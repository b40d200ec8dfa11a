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

from nnviz.derivation.instance_map import PlacedInstances
from nnviz.errors import ShapeError
from nnviz.results.map_colors import NO_VALUE, MapColors
from nnviz.results.stable_order import stable_order

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
    x, y = places[:, 0], places[:, 1]
    is_in = (x >= window.left) & (x <= window.right)
    is_between = (y >= window.bottom) & (y <= window.top)
    return np.flatnonzero(is_in & is_between)


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
    at = points_in(places, window)
    is_all = len(at) == len(places)
    inside = places if is_all else places[at]
    width, height = window.right - window.left, window.top - window.bottom
    column = (inside[:, 0] - window.left) * (n_columns / width)
    row = (inside[:, 1] - window.bottom) * (n_rows / height)
    cell = np.minimum(row.astype(np.int32), n_rows - 1) * np.int32(n_columns)
    cell += np.minimum(column.astype(np.int32), n_columns - 1)
    counts = np.bincount(cell, minlength=n_rows * n_columns)
    return MapCells(None if is_all else at.astype(np.int32), cell, counts, shape)


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
    of = classes[placed.instances]
    order = stable_order(of, np.zeros(len(of), np.bool_), largest_first=False)
    first = np.searchsorted(of[order], placed.classes)
    last = np.searchsorted(of[order], placed.classes, side="right")
    found = placed.class_places.copy()
    for row, (start, stop) in enumerate(zip(first, last, strict=True)):
        if start < stop:
            found[row] = np.median(placed.places[order[start:stop]], axis=0)
    return found
