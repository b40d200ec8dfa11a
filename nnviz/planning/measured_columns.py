"""Which numbers and categories does a table have, where its columns do not state them?

1. Patterns become the columns that they mean, and each column gets its input.
2. Means, standard deviations, medians, ranges and categories that are not stated are
   measured, on the table of the training if the run file names it, and written down.
3. Every row of the run is looked at: a missing value, a text where a number is
   expected, or a category that nobody has stated is told before anything runs.
"""

from __future__ import annotations

import collections
import contextlib
import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import (
    ConfigError,
    DatasetError,
    UnreadableInstanceError,
    did_you_mean,
)
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.datasets.tables import TableDataset
from nnviz.inputs.preparation.table_rows import number_of
from nnviz.network.arguments import Parameters
from nnviz.runs.config import DatasetConfig, PreprocessingConfig, RunConfig
from nnviz.runs.table_columns import MISSING, ColumnConfig, category_of

__all__ = ["MeasuredColumns", "measured_columns", "rows_asked_for"]

MOST_CATEGORIES = 1_000
"""More are not found by themselves: it is more likely a number, or a name."""

_N_SHOWN = 3

Values = Callable[[str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class MeasuredColumns:
    """What a table's columns become, with all numbers."""

    config: PreprocessingConfig
    notes: tuple[str, ...] = ()
    """What a reader of the plan should know."""


def rows_asked_for(config: RunConfig) -> DatasetConfig:
    """Return a run's data set, whose rows are the instances if columns are stated.

    Parameters
    ----------
    config
        As read from a run file.

    Raises
    ------
    ConfigError
        If columns are stated and the data are prepared in another way, or the reverse.
    """
    prepared, data = config.preprocessing, config.dataset
    if prepared is None:
        return data
    if prepared.kind == "table" and not prepared.columns:
        msg = (
            "preprocessing.kind is 'table', and preprocessing.columns is missing; it "
            'lists what the network receives: columns = [{ name = "age", scale = '
            '"standard" }, { name = "sex", encoding = "one-hot" }]'
        )
        raise ConfigError(msg)
    if not prepared.columns or data.input_columns or prepared.layout == "packed":
        return data
    if prepared.kind not in ("auto", "table"):
        msg = (
            f"preprocessing.kind is {prepared.kind!r}, and preprocessing.columns are "
            "those of a table; leave one of them out"
        )
        raise ConfigError(msg)
    names = dict.fromkeys(column.name for column in prepared.columns)
    return replace(data, input_columns=tuple(names))


def measured_columns(
    dataset: Dataset,
    config: PreprocessingConfig,
    data: DatasetConfig,
    parameters: Parameters,
) -> MeasuredColumns:
    """Return the columns of a table with all that is measured.

    Parameters
    ----------
    dataset
        Its rows are the instances.
    config
        Its `columns` and `measured_on` are used.
    data
        How the table is read, which holds for `measured_on` as well.
    parameters
        Of the network's ``forward``.

    Raises
    ------
    ConfigError
        If a column is stated that is not there, or an input that the network does not
        take.
    DatasetError
        If values are missing, no numbers, or of no category, where that is an error.
    """
    rows = _values_of(dataset)
    columns = _expanded(config.columns, _names_of(dataset))
    columns = [_with_input(column, parameters) for column in columns]
    _check_inputs(columns)
    measured_on, where = rows, "these rows"
    if config.measured_on is not None:
        names = tuple(dict.fromkeys(column.name for column in columns))
        training = TableDataset(
            replace(
                data,
                kind="table",
                path=config.measured_on,
                input_columns=names,
                limit=None,
                id_column=None,
                label_column="",
                metadata_columns=("*",),
            )
        )
        measured_on, where = _values_of(training), repr(config.measured_on)
    found = [_measured(column, measured_on, where) for column in columns]
    for column in found:
        _check(column, rows(column.name), dataset.ids)
    notes = _notes(columns, found, config.measured_on)
    return MeasuredColumns(replace(config, kind="table", columns=tuple(found)), notes)


def _values_of(dataset: Dataset) -> Values:
    """Return what gives a column's values: from the listing, else from the rows."""
    rows: list[Mapping[str, Any]] = []

    def values(name: str) -> Sequence[Any]:
        if name in dataset.metadata:
            return dataset.metadata[name].tolist()  # type: ignore[no-any-return]
        if not rows:
            rows.extend(_row(dataset, index) for index in range(len(dataset)))
        return [_plain(row.get(name)) for row in rows]

    return values


def _row(dataset: Dataset, index: int) -> Mapping[str, Any]:
    """Return a row; an empty one, which extraction meets and records, if unreadable."""
    with contextlib.suppress(UnreadableInstanceError):
        found = dataset.read(index)
        return found if isinstance(found, Mapping) else {}
    return {}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _names_of(dataset: Dataset) -> list[str]:
    """Return the columns of the first row that can be read."""
    for index in range(len(dataset)):
        if row := _row(dataset, index):
            return list(row)
    msg = (
        "preprocessing.columns state the columns of a table, and the instances are no "
        "rows with columns; dataset.kind = 'table' reads CSV, Parquet, JSON lines and "
        "Arrow, and from Python a DataFrame does"
    )
    raise ConfigError(msg)


def _expanded(
    columns: Sequence[ColumnConfig], names: Sequence[str]
) -> list[ColumnConfig]:
    """Return the columns by their own names, in order."""
    taken = {column.name for column in columns if column.name in names}
    found: list[ColumnConfig] = []
    for column in columns:
        if column.name in names:
            found.append(column)
            continue
        fitting = fnmatch.filter(names, column.name)
        others = [name for name in fitting if name not in taken]
        if not others:
            why = "are all named by themselves" if fitting else "are not there"
            msg = (
                f"the columns {column.name!r} of preprocessing.columns {why}"
                f"{did_you_mean(column.name, names)}; there are {', '.join(names)}"
            )
            raise ConfigError(msg)
        # The same pattern may come again, with another encoding.
        found += [replace(column, name=name) for name in others]
    return found


def _with_input(column: ColumnConfig, parameters: Parameters) -> ColumnConfig:
    names = parameters.names
    if column.input is None:
        return replace(column, input=names[0] if names else "0")
    if column.input in names or parameters.takes_any_name:
        return column
    msg = (
        f"the column {column.name!r} belongs to the input {column.input!r}"
        f"{did_you_mean(column.input, names)}; the network's forward takes "
        f"{', '.join(names) or 'nothing by name'}"
    )
    raise ConfigError(msg)


def _check_inputs(columns: Sequence[ColumnConfig]) -> None:
    """Refuse a column that is alone and has company, or stands there twice."""
    counts = collections.Counter(column.input for column in columns)
    seen = collections.Counter((c.name, c.encoding, c.input) for c in columns)
    for column in columns:
        if column.alone and counts[column.input] > 1:
            msg = (
                f"the column {column.name!r} is to be alone in its input "
                f"{column.input!r}, and {counts[column.input]} columns belong to it; "
                "state another input for the others"
            )
            raise ConfigError(msg)
        if seen[column.name, column.encoding, column.input] > 1:
            msg = (
                f"the column {column.name!r} is stated twice as {column.encoding!r} in "
                "preprocessing.columns; leave one out"
            )
            raise ConfigError(msg)


def _measured(column: ColumnConfig, values: Values, where: str) -> ColumnConfig:
    """Return a column with the numbers, or categories, that it does not state."""
    if column.has_categories:
        return _with_categories(column, values, where)
    if not column.lacks_numbers:
        return column
    is_filled = column.missing in ("mean", "median") and column.value is None
    known = _numbers(column.name, values(column.name), where)
    if is_filled:
        middle = np.mean if column.missing == "mean" else np.median
        column = replace(column, value=float(middle(known)))
    if column.scale == "standard" and column.std is None:
        return replace(column, mean=float(known.mean()), std=float(known.std()))
    if column.scale == "range" and column.lowest is None:
        return replace(column, lowest=float(known.min()), highest=float(known.max()))
    return column


def _numbers(name: str, values: Sequence[Any], where: str) -> NDArray[np.float64]:
    """Return the values that are there, in float64."""
    found = [number_of(value) for value in values]
    _check_numbers(name, values, found, list(map(str, range(len(values)))))
    known = np.array([n for n in found if n is not None and not math.isnan(n)])
    if not len(known):
        msg = (
            f"the column {name!r} has no value in {where}, so that nothing can be "
            "measured; leave it out, or state mean and std"
        )
        raise DatasetError(msg)
    return known


def _with_categories(column: ColumnConfig, values: Values, where: str) -> ColumnConfig:
    names = [category_of(each) for each in column.categories]
    if not names:
        found = {category_of(each) for each in values(column.name)} - {MISSING}
        if len(found) > MOST_CATEGORIES:
            msg = (
                f"the column {column.name!r} has {len(found):,} different values in "
                f"{where}; if they are categories, state them in the network's order "
                "(preprocessing.columns, categories)"
            )
            raise DatasetError(msg)
        names = sorted(found, key=_order)
    if column.missing == "category" and MISSING not in names:
        names.append(MISSING)
    if not names:
        msg = (
            f"the column {column.name!r} has no value in {where}, so that it has no "
            "categories; leave it out, or state them"
        )
        raise DatasetError(msg)
    return replace(column, categories=tuple(names))


def _order(name: str) -> tuple[float, str]:
    number = number_of(name)
    return (math.inf if number is None else number, name)


def _check(column: ColumnConfig, values: Sequence[Any], ids: Sequence[str]) -> None:
    """Look at every row of the run."""
    if column.encoding == "indicator":
        return
    names = list(map(category_of, values))
    missing = [i for i, name in enumerate(names) if name == MISSING]
    if column.missing == "error" and missing:
        other = "'category', 'value'" if column.has_categories else "'mean', 'value'"
        msg = (
            f"{_some(missing, ids)} no value in the column {column.name!r}; "
            f"preprocessing.columns states what becomes of it: missing = {other}"
        )
        raise DatasetError(msg)
    if not column.has_categories:
        _check_numbers(column.name, values, list(map(number_of, values)), ids)
        return
    known = {category_of(each) for each in column.categories} | {MISSING}
    if column.missing == "value" and category_of(column.value) not in known:
        msg = (
            f"the column {column.name!r} has value = {column.value!r} for missing "
            f"ones, which is none of its categories: {_listed(column.categories)}"
        )
        raise ConfigError(msg)
    unseen = [i for i, name in enumerate(names) if name not in known]
    if column.unseen == "error" and unseen:
        others = dict.fromkeys(names[i] for i in unseen)
        msg = (
            f"{_some(unseen, ids)} a category in the column {column.name!r} that is "
            f"none of its {len(column.categories):,}: {_listed(list(others))}; state "
            "it in the network's order (categories), or what becomes of others (unseen)"
        )
        raise DatasetError(msg)


def _check_numbers(
    name: str, values: Sequence[Any], found: Sequence[float | None], ids: Sequence[str]
) -> None:
    wrong = [i for i, number in enumerate(found) if number is None]
    if wrong:
        msg = (
            f"{_some(wrong, ids)} {values[wrong[0]]!r} in the column {name!r}, which "
            "is not a number; state encoding = 'one-hot' or 'codes' for categories, or "
            "dataset.missing_values for texts that say that a value is missing"
        )
        raise DatasetError(msg)


def _some(rows: Sequence[int], ids: Sequence[str]) -> str:
    shown = ", ".join(repr(ids[i]) for i in rows[:_N_SHOWN])
    more = ", …" if len(rows) > _N_SHOWN else ""
    what, has = ("instance", "has") if len(rows) == 1 else ("instances", "have")
    return f"{len(rows):,} {what} ({shown}{more}) {has}"


def _listed(names: Sequence[Any], most: int = 8) -> str:
    more = ", …" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _notes(
    stated: Sequence[ColumnConfig],
    found: Sequence[ColumnConfig],
    measured_on: str | None,
) -> tuple[str, ...]:
    """Say what was measured where, and which columns are constant."""
    notes = []
    measured = [column for column in stated if column.lacks_numbers]
    if measured:
        where = "the rows of this run" if measured_on is None else repr(measured_on)
        more = (
            "; a network that was trained on others needs theirs: "
            "preprocessing.measured_on"
            if measured_on is None
            else ""
        )
        notes.append(
            f"{len(measured):,} column{'' if len(measured) == 1 else 's'} measured on "
            f"{where}{more}"
        )
    constant = [
        column.name
        for column in found
        if (column.scale == "standard" and column.std == 0)
        or (column.scale == "range" and column.lowest == column.highest)
    ]
    if constant:
        notes.append(f"constant, and only shifted: {_listed(constant)}")
    return tuple(notes)
