"""What does a class map say of the network's outputs, and of the data's labels?

A CSV file with the column ``index`` (the output's number, from 0) and any others:
names, WordNet ids, whatever the labels of a data set may be.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nnviz.errors import DatasetError, did_you_mean
from nnviz.planning.whole_numbers import whole_number
from nnviz.runs.config import ClassesConfig
from nnviz.text_tables import read_text_table

__all__ = ["ClassMap", "duplicates", "first_cases", "join_by_map", "read_class_map"]

T = TypeVar("T", bound=Hashable)

_N_CASES = 5


@dataclass(frozen=True, slots=True)
class ClassMap:
    """A table of names of the network's outputs."""

    path: str
    index: tuple[int, ...]
    """The network's output, one for each row."""
    columns: Mapping[str, tuple[str, ...]]
    """The other columns; one text for each row."""

    def values_of(self, column: str) -> tuple[str, ...]:
        """Return the texts of a column; ``index`` is one too."""
        if column == "index":
            return tuple(map(str, self.index))
        return self.columns[column]


def read_class_map(path: str | Path) -> ClassMap:
    """Read a class map.

    Parameters
    ----------
    path
        CSV with a header; the column ``index`` holds the network's outputs.

    Raises
    ------
    DatasetError
        If it cannot be read, has no column ``index``, or an index occurs twice or is
        not a whole number.
    """
    place = f"the class map {str(path)!r}"
    try:
        table = read_text_table(path, wanted=("index", "name"))
    except (OSError, ValueError) as error:
        msg = f"cannot read {place}: {error}"
        raise DatasetError(msg) from error
    columns = dict(table.columns)
    if "index" not in columns:
        msg = (
            f"{place} has the columns {list(columns)}; it needs a column 'index' with "
            f"the number of the network's output, from 0"
        )
        raise DatasetError(msg)
    texts = columns.pop("index")
    numbers = [whole_number(text) for text in texts]
    index = tuple(number for number in numbers if number is not None and number >= 0)
    if len(index) < len(texts) or not texts:
        wrong = [t for t, n in zip(texts, numbers, strict=True) if n is None or n < 0]
        msg = f"{place} has no whole numbers in 'index': {wrong[:_N_CASES]}"
        raise DatasetError(msg)
    twice = duplicates(index)
    if twice:
        msg = f"{place} has {twice[:_N_CASES]} more than once in 'index'; once is right"
        raise DatasetError(msg)
    return ClassMap(str(path), index, columns)


def duplicates(values: Sequence[T]) -> list[T]:
    """Return the values that occur more than once, each once, in order."""
    seen: set[T] = set()
    twice: dict[T, None] = {}
    for value in values:
        if value in seen:
            twice[value] = None
        seen.add(value)
    return list(twice)


def join_by_map(
    distinct: list[str | int],
    config: ClassesConfig,
    n_outputs: int,
    class_names: Sequence[str],
) -> tuple[dict[str | int, int], list[str], str]:
    """Look labels up in a column of the class map that the run file names.

    Parameters
    ----------
    distinct
        The labels, each once.
    config
        The ``[classes]`` table of the run file; its `map` is given.
    n_outputs
        Number of the network's outputs.
    class_names
        Names of the outputs that are known already; may be empty.

    Returns
    -------
    tuple
        The output of each label, a name for each output, and how they were joined.

    Raises
    ------
    DatasetError
        If the map is damaged, does not fit the network, or lacks a label.
    """
    class_map = read_class_map(config.map or "")
    outside = [index for index in class_map.index if index >= n_outputs]
    if outside:
        msg = (
            f"the class map {class_map.path!r} has the index {outside[0]}, but the "
            f"network has {n_outputs} outputs, 0 to {n_outputs - 1}"
        )
        raise DatasetError(msg)
    column = _matching_column(distinct, class_map, config.match)
    keys = _keys(class_map, column, distinct)
    lost = [value for value in distinct if _in_map(value) not in keys]
    if lost:
        raise DatasetError(_not_joined(distinct, lost, class_map, column))
    place_of = {value: keys[_in_map(value)] for value in distinct}
    names = _names_of_map(class_map, column, config.name, n_outputs, class_names)
    return place_of, names, f"column {column!r} of {Path(class_map.path).name}"


def _in_map(value: str | int) -> str:
    """Return how a label is compared with a map's texts: whole numbers by value."""
    number = whole_number(value)
    return str(value).strip() if number is None else str(number)


def _matching_column(
    distinct: list[str | int], class_map: ClassMap, match: str | None
) -> str:
    """Return the column that holds the labels: the stated one, or the best fit."""
    known = [*class_map.columns, "index"]
    if match is not None:
        if match not in known:
            msg = (
                f"classes.match is {match!r}{did_you_mean(match, known)}; columns of "
                f"{class_map.path!r}: {', '.join(known)}"
            )
            raise DatasetError(msg)
        return match
    texts = set(map(_in_map, distinct))
    fits = {
        column: len(texts.intersection(map(_in_map, class_map.values_of(column))))
        for column in known
    }
    best = [column for column in known if fits[column] == max(fits.values())]
    joins = {column: _places(class_map, column, texts) for column in best}
    other = next((c for c in best if joins[c] != joins[best[0]]), None)
    if other is not None and max(fits.values()) > 0:
        msg = (
            f"the labels {first_cases(distinct)} fit the columns {best[0]!r} and "
            f"{other!r} of the class map {class_map.path!r} equally well, with other "
            f"classes; name the right one as classes.match"
        )
        raise DatasetError(msg)
    return best[0]


def _places(class_map: ClassMap, column: str, texts: set[str]) -> set[tuple[str, int]]:
    values = map(_in_map, class_map.values_of(column))
    pairs = zip(values, class_map.index, strict=True)
    return {(text, index) for text, index in pairs if text in texts}


def _keys(
    class_map: ClassMap, column: str, distinct: list[str | int]
) -> dict[str, int]:
    values = list(map(_in_map, class_map.values_of(column)))
    twice = set(duplicates(values)).intersection(map(_in_map, distinct))
    if twice:
        msg = (
            f"the labels {first_cases(sorted(twice))} are more than once in column "
            f"{column!r} of the class map {class_map.path!r}, and cannot be told "
            f"apart; name another column as classes.match"
        )
        raise DatasetError(msg)
    return dict(zip(values, class_map.index, strict=True))


def _names_of_map(
    class_map: ClassMap,
    match: str,
    name: str | None,
    n_outputs: int,
    class_names: Sequence[str],
) -> list[str]:
    known = [*class_map.columns, "index"]
    if name is not None and name not in known:
        msg = (
            f"classes.name is {name!r}{did_you_mean(name, known)}; columns of "
            f"{class_map.path!r}: {', '.join(known)}"
        )
        raise DatasetError(msg)
    column = name or ("name" if "name" in class_map.columns else match)
    names = list(class_names) or [str(index) for index in range(n_outputs)]
    for index, text in zip(class_map.index, class_map.values_of(column), strict=True):
        names[index] = text or names[index]
    return names


def _not_joined(
    distinct: list[str | int], lost: list[str | int], class_map: ClassMap, column: str
) -> str:
    return (
        f"{len(lost)} of {len(distinct)} labels are not in column {column!r} of the "
        f"class map {class_map.path!r}; the data have {first_cases(lost)}, the column "
        f"has {first_cases(class_map.values_of(column))}; complete the map, or name "
        f"its column with the data's labels as classes.match "
        f"(columns: {', '.join([*class_map.columns, 'index'])})"
    )


def first_cases(values: Sequence[object]) -> str:
    """Return the first few values as text, for a message."""
    shown = ", ".join(repr(value) for value in values[:_N_CASES])
    return f"{shown}, ..." if len(values) > _N_CASES else shown
