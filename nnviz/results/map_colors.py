"""By what can instances be coloured on a map, and which colour has each?

By A and B, by right and wrong, by their class or prediction, by the activation of a
channel, or by any column of the instance table. Numbers have a scale whose ends are
the 2nd and the 98th percentile, so that a few that are far off do not make all others
alike. Of categories the most frequent have a colour of their own, and the rest is one
more, *other*. Instances without a value are a group of their own, and counted.

Symbols: N instances of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.results.neuron_matrix import shading
from nnviz.results.stable_order import StableOrder
from nnviz.subsets.columns import Column, InstanceColumns

__all__ = [
    "BY_CHANNEL",
    "BY_CLASS",
    "BY_OUTCOME",
    "BY_SIDES",
    "NO_VALUE",
    "N_CATEGORIES",
    "OTHER",
    "MapColors",
    "color_by_numbers",
    "color_by_sides",
    "color_columns",
    "color_of",
    "sides_of",
]

BY_SIDES, BY_OUTCOME, BY_CLASS, BY_CHANNEL = "sides", "outcome", "class", "channel"

N_CATEGORIES = 10
"""Categories that have a colour of their own: more are hardly told apart."""

OTHER = "other"
NO_VALUE = 255
"""Code of an instance without a value."""

END = 98.0
"""Percentile from which on the scale of numbers ends; it begins at 100 less it."""

ROWS_AT_A_TIME = 1 << 14
"""Numbers that are coloured at a time."""

HIDDEN = ("id", "status", "instance", "label", "prediction", "correct")
"""Columns that differ in each instance, or have another name here."""


@dataclass(frozen=True, slots=True, eq=False)
class MapColors:
    """Which colour instances have."""

    title: str
    """What they are coloured by."""
    kind: Literal["sides", "outcome", "category", "number", "date"]
    codes: NDArray[np.uint8]
    """Shape (N,): the index of the category, or from 0 at the start of the scale to 254
    at its end; 255 for no value."""
    names: tuple[str, ...] = ()
    """Of the categories, the last one ``other`` where there is one."""
    n_other: int = 0
    """Categories that are *other*."""
    bounds: tuple[float, float] = (np.nan, np.nan)
    """Ends of the scale; of dates, milliseconds since 1970."""

    def n_missing(self, instances: NDArray[np.int64]) -> int:
        """Return how many of some instances have no value."""
        is_all = len(instances) == len(self.codes)
        codes = self.codes if is_all else self.codes[instances]
        return int(np.count_nonzero(codes == NO_VALUE))


def color_columns(columns: InstanceColumns) -> tuple[str, ...]:
    """Return the columns that instances can be coloured by, besides what is usual."""
    return tuple(name for name in columns.names if name not in HIDDEN)


def sides_of(
    n_instances: int, a: NDArray[np.int64], b: NDArray[np.int64] | NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return 1 for the instances of A, 2 for those of B, 3 for both, 0 for others.

    Parameters
    ----------
    n_instances
        N.
    a, b
        Their instances, none twice; B's may be a mask, shape (N,).

    Returns
    -------
    ndarray
        Shape (N,).
    """
    side = np.zeros(n_instances, dtype=np.uint8)
    if b.dtype == np.bool_:
        np.multiply(b, np.uint8(2), out=side)
    else:
        side[b] = 2
    side[a] |= 1
    return side


def color_by_sides(side: NDArray[np.uint8], names: tuple[str, str]) -> MapColors:
    """Colour the instances of A and of B.

    Parameters
    ----------
    side
        As of :func:`sides_of`, shape (N,).
    names
        Of A and B; B's may be that of all others.

    Returns
    -------
    MapColors
        Code 0 for A, 1 for B, 2 for both, 3 for neither.
    """
    codes = (side - np.uint8(1)) & np.uint8(3)
    return MapColors("A and B", "sides", codes, (*names, "both", "neither"))


def color_of(columns: InstanceColumns, by: str, *, first: int = -1) -> MapColors:
    """Colour instances by right and wrong, by their class, or by a column.

    Parameters
    ----------
    columns
        The instance table.
    by
        ``outcome``, ``class``, ``prediction``, or the name of a column.
    first
        Class that has a colour of its own whatever its size; -1 for none.

    Raises
    ------
    UnknownNameError
        If there is no such column.
    MissingDataError
        If extraction fills it and is not complete.
    """
    if by == BY_OUTCOME:
        column = columns.column("correct")
        names = ("predicted right", "predicted wrong")
        return MapColors("Right or wrong", "outcome", _untrue(column), names)
    name = "label" if by == BY_CLASS else by
    column = columns.column(name)
    if column.kind in ("number", "date"):
        values = column.values
        if column.kind == "date":
            values = values.astype("datetime64[ms]").astype(np.int64)
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        if column.null.any():
            values = np.where(column.null, values.dtype.type(np.nan), values)
        return color_by_numbers(values, name, is_date=column.kind == "date")
    if column.kind == "truth":
        return MapColors(name, "category", _untrue(column), ("true", "false"))
    texts = column.texts
    if column.kind == "class":
        texts = columns.class_names
    title = "Class" if by == BY_CLASS else name
    return _by_category(column, texts, title, first if column.kind == "class" else -1)


def color_by_numbers(
    values: NDArray[np.floating], title: str, *, is_date: bool = False
) -> MapColors:
    """Colour instances on a scale.

    Parameters
    ----------
    values
        Of each instance, shape (N,); NaN for none.
    title
        What they are.
    is_date
        Whether they are milliseconds since 1970.
    """
    low = high = np.nan
    is_known = np.isfinite(values)
    n_known = int(np.count_nonzero(is_known))
    if n_known:
        order = StableOrder(values, ~is_known, largest_first=False)
        low, high = (_percentile(values, order, n_known, of) for of in (100 - END, END))
        high = max(high, low + 1e-12 * max(1.0, abs(low)))
        codes = _shades(values, low, high)
        codes[~is_known] = NO_VALUE
    else:
        codes = np.full(len(values), NO_VALUE, dtype=np.uint8)
    kind: Literal["number", "date"] = "date" if is_date else "number"
    return MapColors(title, kind, codes, bounds=(low, high))


def _percentile(
    values: NDArray[np.floating], order: StableOrder, n: int, percent: float
) -> float:
    """Return a percentile of the first n values in order, between two of them."""
    place = percent / 100 * (n - 1)
    first = int(place)
    ends = values[order.part(first, min(first + 2, n))].astype(np.float64)
    low, high, part = float(ends[0]), float(ends[-1]), place - first
    # From the nearer end, as NumPy does: rounding is the same.
    step = high - low
    return low + step * part if part < 0.5 else high - step * (1 - part)


def _shades(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return where numbers are on a scale, as :func:`shading` does.

    What is not finite gets any.
    """
    if values.dtype == np.float16:  # there are few halves: each is looked up
        halves = np.arange(1 << 16, dtype=np.uint16)
        return shading(halves.view(np.float16), low, high)[values.view(np.uint16)]
    codes = np.empty(len(values), dtype=np.uint8)
    # A part at a time stays near the processor on its way through all steps.
    for start in range(0, len(values), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        share = np.clip((values[rows].astype(np.float64) - low) / (high - low), 0, 1)
        share *= NO_VALUE - 1
        np.rint(share, out=share)
        share[np.isnan(share)] = NO_VALUE
        codes[rows] = share
    return codes


def _untrue(column: Column) -> NDArray[np.uint8]:
    """Return 0 for true, 1 for false, 255 for no value."""
    codes: NDArray[np.uint8] = (~column.values.astype(np.bool_, copy=False)).view(
        np.uint8
    )
    codes[column.null] = NO_VALUE
    return codes


def _by_category(
    column: Column, texts: tuple[str, ...], title: str, first: int
) -> MapColors:
    has_null = bool(column.null.any())
    known = column.values[~column.null] if has_null else column.values
    counts = np.bincount(known, minlength=len(texts))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    if first >= 0 and first in order:
        order = np.concatenate([[first], order[order != first]])
    is_few = len(order) <= N_CATEGORIES
    shown = np.sort(order) if is_few else order[:N_CATEGORIES]
    code_of = np.full(len(texts) + 1, N_CATEGORIES, dtype=np.uint8)
    code_of[shown] = np.arange(len(shown))
    codes = code_of[column.values]  # -1, which is no value, is the last one
    if has_null:
        codes[column.null] = NO_VALUE
    names = [texts[index] for index in shown]
    n_other = len(order) - len(shown)
    if n_other:
        names.append(OTHER)
    return MapColors(title, "category", codes, tuple(names), n_other)
