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
]

BY_SIDES, BY_OUTCOME, BY_CLASS, BY_CHANNEL = "sides", "outcome", "class", "channel"

N_CATEGORIES = 10
"""Categories that have a colour of their own: more are hardly told apart."""

OTHER = "other"
NO_VALUE = 255
"""Code of an instance without a value."""

END = 98.0
"""Percentile from which on the scale of numbers ends; it begins at 100 less it."""

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


def color_by_sides(
    n_instances: int,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    names: tuple[str, str],
) -> MapColors:
    """Colour the instances of A and of B.

    Parameters
    ----------
    n_instances
        N.
    a, b
        Their instances.
    names
        Of A and B; B's may be that of all others.

    Returns
    -------
    MapColors
        Code 0 for A, 1 for B, 2 for both, 3 for neither.
    """
    side = np.zeros(n_instances, dtype=np.uint8)
    side[a] += 1
    side[b] += 2
    codes = np.array([3, 0, 1, 2], dtype=np.uint8)[side]
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
        codes = np.where(column.null, NO_VALUE, np.where(column.values, 0, 1))
        names = ("predicted right", "predicted wrong")
        return MapColors("Right or wrong", "outcome", codes.astype(np.uint8), names)
    name = "label" if by == BY_CLASS else by
    column = columns.column(name)
    if column.kind in ("number", "date"):
        values = column.values
        if column.kind == "date":
            values = values.astype("datetime64[ms]").astype(np.int64)
        values = np.where(column.null, np.nan, values.astype(np.float64))
        return color_by_numbers(values, name, is_date=column.kind == "date")
    if column.kind == "truth":
        codes = np.where(column.null, NO_VALUE, np.where(column.values, 0, 1))
        return MapColors(name, "category", codes.astype(np.uint8), ("true", "false"))
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
    numbers = np.asarray(values, dtype=np.float64)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    low = high = np.nan
    codes = np.full(len(numbers), NO_VALUE, dtype=np.uint8)
    if np.isfinite(numbers).any():
        low, high = (float(x) for x in np.nanpercentile(numbers, [100 - END, END]))
        high = max(high, low + 1e-12 * max(1.0, abs(low)))
        codes = shading(numbers, low, high)
    kind: Literal["number", "date"] = "date" if is_date else "number"
    return MapColors(title, kind, codes, bounds=(low, high))


def _by_category(
    column: Column, texts: tuple[str, ...], title: str, first: int
) -> MapColors:
    known = column.values[~column.null].astype(np.int64)
    counts = np.bincount(known, minlength=len(texts))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    if first >= 0 and first in order:
        order = np.concatenate([[first], order[order != first]])
    is_few = len(order) <= N_CATEGORIES
    shown = np.sort(order) if is_few else order[:N_CATEGORIES]
    code_of = np.full(len(texts) + 1, N_CATEGORIES, dtype=np.uint8)
    code_of[shown] = np.arange(len(shown))
    code_of[-1] = NO_VALUE
    codes = code_of[np.where(column.null, len(texts), column.values)]
    names = [texts[index] for index in shown]
    n_other = len(order) - len(shown)
    if n_other:
        names.append(OTHER)
    return MapColors(title, "category", codes, tuple(names), n_other)
