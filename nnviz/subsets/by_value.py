"""Which subsets does a column of the instance table make? One for each of its values.

- Texts and truth values: one for each value, in their order.
- Dates (``2024-03-17``, with or without a time): one for each month, ``2024-03``.
- Numbers of few different values: one for each. Of more: quarters of equally many
  instances, called by their ends, ``1.2 to 3.4``.
- Sets of labels (JSON lists): one for each label; an instance is in several.

Instances without a value (an empty text, NaN) are in none.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError
from nnviz.runs.stored_names import collection_of_column
from nnviz.subsets.subsets import Subset, SubsetCollection, collect_subsets
from nnviz.subsets.writing import quoted

__all__ = ["column_subsets", "part_queries", "set_subsets"]

MOST_VALUES = 1_000
"""A column with more texts names instances, not groups of them."""
MOST_NUMBERS = 12
"""Numbers of more different values are cut into quantiles."""
QUANTILES = 4
LEAST_DIGITS, MOST_DIGITS = 6, 17

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


def column_subsets(values: NDArray[Any], name: str) -> SubsetCollection:
    """Return the subsets of a column's values.

    Parameters
    ----------
    values
        Of all instances, shape (N,): numbers, truth values or texts.
    name
        Of the column, and of the collection in the store where it can be.

    Raises
    ------
    DatasetError
        If there are too many different texts, or none at all.

    Examples
    --------
    >>> column_subsets(np.array(["test", "training", "test"], object), "split").names
    ('test', 'training')
    >>> column_subsets(np.arange(100.0), "ink").names[0]
    '0 to 24'
    """
    groups = (
        _groups_of_numbers(values)
        if values.dtype.kind in "iuf"
        else _groups_of_texts(
            ["" if value is None else str(value) for value in values.tolist()], name
        )
    )
    if not groups:
        msg = f"the column {name!r} has no values, so that it makes no subsets"
        raise DatasetError(msg)
    subsets = [Subset(text, np.array(rows, np.int64)) for text, rows in groups.items()]
    collection = collection_of_column(name)
    return collect_subsets(subsets, len(values), name=collection, kind="column")


def part_queries(values: NDArray[np.floating], name: str) -> list[str]:
    """Return queries that find the subsets of a column of numbers, in their order.

    Parameters
    ----------
    values
        Of all instances, shape (N,); NaN for none.
    name
        Of the column.

    Examples
    --------
    >>> part_queries(np.arange(100.0), "ink")[:2]
    ['ink <= 24', 'ink > 24 and ink <= 49.5']
    """
    groups = [values[rows] for rows in _groups_of_numbers(values).values()]
    ends = [
        _shortest_between(float(low.max()), float(high.min()))
        for low, high in itertools.pairwise(groups)
    ]
    word = quoted(name)
    above = ["", *(f"{word} > {end}" for end in ends)]
    up_to = [*(f"{word} <= {end}" for end in ends), ""]
    both = zip(above, up_to, strict=True)
    return [" and ".join(filter(None, pair)) for pair in both if any(pair)]


def _shortest_between(low: float, high: float) -> str:
    """Return a number of few digits from `low` on and below `high`."""
    middle = low + (high - low) / 2
    for n_digits in range(1, 17):
        number = float(f"{middle:.{n_digits}g}")
        if low <= number < high:
            return repr(number).removesuffix(".0")  # 210 in place of 2.1e+02
    return repr(low)


def set_subsets(
    values: NDArray[Any], class_names: Sequence[str], *, name: str
) -> SubsetCollection:
    """Return a subset for each label of a column of sets.

    Parameters
    ----------
    values
        JSON lists of labels, shape (N,).
    class_names
        Labels that come first, in this order; others follow as they are met.
    name
        Of the collection.
    """
    groups: dict[str, list[int]] = {label: [] for label in class_names}
    for row, text in enumerate(values.tolist()):
        for label in labels_in(text) or ():
            groups.setdefault(label, []).append(row)
    subsets = [Subset(text, np.array(rows, np.int64)) for text, rows in groups.items()]
    return collect_subsets(subsets, len(values), name=name, kind=name)


def labels_in(text: str) -> list[str] | None:
    """Return the labels of an instance in a column of sets; None if it is no such text.

    Examples
    --------
    >>> labels_in('["red", "round"]')
    ['red', 'round']
    """
    try:
        labels = json.loads(text or "[]")
    except ValueError:
        return None
    return [str(label) for label in labels] if isinstance(labels, list) else None


def _groups_of_numbers(values: NDArray[Any]) -> dict[str, Sequence[int]]:
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if len(distinct) <= MOST_NUMBERS:
        n = _digits_that_tell(distinct)
        return {f"{v:.{n}g}": np.flatnonzero(values == v).tolist() for v in distinct}
    ends = np.quantile(values[known], np.linspace(0, 1, QUANTILES + 1)[1:-1])
    part = np.searchsorted(ends, values, side="left")
    found = [np.flatnonzero(known & (part == number)) for number in range(QUANTILES)]
    found = [rows for rows in found if len(rows)]
    both = [(values[rows].min(), values[rows].max()) for rows in found]
    n = _digits_that_tell(np.unique(both))
    return {
        f"{low:.{n}g} to {high:.{n}g}": rows.tolist()
        for (low, high), rows in zip(both, found, strict=True)
    }


def _digits_that_tell(distinct: NDArray[Any]) -> int:
    """Return in how many digits numbers are written differently, six at least."""
    for n_digits in range(LEAST_DIGITS, MOST_DIGITS):
        if len({f"{value:.{n_digits}g}" for value in distinct}) == len(distinct):
            return n_digits
    return MOST_DIGITS


def _groups_of_texts(texts: Sequence[str], name: str) -> dict[str, Sequence[int]]:
    known = [text for text in texts if text]
    are_dates = bool(known) and all(_DATE.fullmatch(text) for text in known)
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if text:
            groups.setdefault(text[:7] if are_dates else text, []).append(row)
    if len(groups) > MOST_VALUES:
        msg = (
            f"the column {name!r} has {len(groups):,} different texts, more than "
            f"{MOST_VALUES:,}: it names instances rather than groups of them; write "
            "the subsets that you mean as a file"
        )
        raise DatasetError(msg)
    return {text: groups[text] for text in sorted(groups)}
