"""How does the row of a table become what the network receives?

Each column becomes numbers as the plan states: scaled, one-hot, or as a code. The
columns of an input stand side by side, in the plan's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import UnreadableInstanceError
from nnviz.runs.table_columns import MISSING, ColumnConfig, category_of

__all__ = ["TableRows", "number_of"]

Encode = Callable[[Any], Sequence[float]]


class TableRows:
    """Encodes rows; safe to use from several threads.

    Parameters
    ----------
    columns
        Of the plan: each with its own name, its input, and all that is measured.
    """

    def __init__(self, columns: Sequence[ColumnConfig]) -> None:
        self._inputs: dict[str, list[tuple[ColumnConfig, Encode]]] = {}
        for column in columns:
            found = self._inputs.setdefault(column.input or "0", [])
            found.append((column, _encoder(column)))

    def arrays_of(self, row: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Return the inputs of one instance, by the parameters of ``forward``.

        Parameters
        ----------
        row
            Values by column: numbers, truth values or texts, also as arrays of one
            value.

        Returns
        -------
        dict
            Shape (column,), or () of a column that is alone; float32, or int64 of an
            input of codes alone.

        Raises
        ------
        UnreadableInstanceError
            If a column is not there, a value is missing or no number, or a category is
            none of those that are known.
        """
        return {name: _array(columns, row) for name, columns in self._inputs.items()}


def _array(
    columns: Sequence[tuple[ColumnConfig, Encode]], row: Mapping[str, Any]
) -> NDArray[Any]:
    numbers: list[float] = []
    for column, encode in columns:
        if column.name not in row:
            msg = f"it has no column {column.name!r}, but {', '.join(row)}"
            raise UnreadableInstanceError(msg)
        value = row[column.name]
        numbers += encode(value.item() if hasattr(value, "item") else value)
    are_codes = all(column.encoding == "codes" for column, _ in columns)
    found = np.array(numbers, np.int64 if are_codes else np.float32)
    return found[0, ...] if columns[0][0].alone else found


def _encoder(column: ColumnConfig) -> Encode:
    """Return what makes numbers of a column's value."""
    if column.encoding == "indicator":
        return lambda value: (float(category_of(value) == MISSING),)
    if column.encoding == "number":
        return _number_encoder(column)
    places = {category_of(each): i for i, each in enumerate(column.categories)}
    filled = MISSING
    if column.missing == "value":
        filled = category_of(column.value)

    def place_of(value: Any) -> int | None:
        name = category_of(value)
        if name == MISSING and column.missing != "category":
            if column.missing == "error":
                raise UnreadableInstanceError(_missing(column))
            name = filled
        if name not in places and name != MISSING and column.unseen == "error":
            msg = (
                f"the column {column.name!r} has {name!r}, which is none of the "
                f"{len(places):,} categories of the plan; preprocessing.columns can "
                "state it, or what becomes of others (unseen)"
            )
            raise UnreadableInstanceError(msg)
        return places.get(name)

    if column.encoding == "one-hot":
        rows = np.eye(len(places)).tolist()
        zeros = [0.0] * len(places)

        def one_hot(value: Any) -> Sequence[float]:
            place = place_of(value)
            return zeros if place is None else rows[place]

        return one_hot

    def code(value: Any) -> Sequence[float]:
        place = place_of(value)
        if place is None:
            assert isinstance(column.unseen, int)
            return (column.unseen,)
        return (column.first_code + place,)

    return code


def _number_encoder(column: ColumnConfig) -> Encode:
    shift, divisor = column.shift_and_divisor
    filled = None if column.missing == "error" else float(column.value or 0.0)

    def encode(value: Any) -> Sequence[float]:
        number = number_of(value)
        if number is None:
            msg = f"the column {column.name!r} has {value!r}, which is not a number"
            raise UnreadableInstanceError(msg)
        if math.isnan(number):
            if filled is None:
                raise UnreadableInstanceError(_missing(column))
            number = filled
        return ((number - shift) / divisor,)

    return encode


def number_of(value: Any) -> float | None:
    """Return a value as a finite number, NaN if it is missing, None if it is neither.

    Parameters
    ----------
    value
        A number, a truth value, a text, or None.
    """
    if category_of(value) == MISSING:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _missing(column: ColumnConfig) -> str:
    return (
        f"the column {column.name!r} has no value; preprocessing.columns can state "
        "what a missing value becomes (missing)"
    )
