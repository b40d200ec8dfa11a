"""What does a class map say of the network's outputs?

A CSV file with the column ``index`` (the output's number, from 0) and any others:
names, WordNet ids, whatever the labels of a data set may be.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nnviz.errors import DatasetError
from nnviz.text_files import lines_of, open_text

__all__ = ["ClassMap", "duplicates", "read_class_map"]

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
        with open_text(path) as file:
            rows = [row for row in csv.reader(lines_of(file)) if row]
    except (OSError, ValueError, csv.Error) as error:
        msg = f"cannot read {place}: {error}"
        raise DatasetError(msg) from error
    header = [name.strip() for name in rows[0]] if rows else []
    if "index" not in header:
        msg = (
            f"{place} has the columns {header}; it needs a column 'index' with the "
            f"number of the network's output, from 0"
        )
        raise DatasetError(msg)
    ragged = next((row for row in rows if len(row) != len(header)), None)
    if ragged is not None:
        msg = f"a row of {place} has other than {len(header)} values: {ragged}"
        raise DatasetError(msg)
    columns = dict(zip(header, zip(*rows[1:], strict=True), strict=False))
    texts = columns.pop("index", ())
    wrong = [text for text in texts if not text.strip().isdecimal()]
    if wrong or not texts:
        msg = f"{place} has no whole numbers in 'index': {wrong[:_N_CASES]}"
        raise DatasetError(msg)
    index = tuple(int(text) for text in texts)
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
