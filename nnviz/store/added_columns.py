"""Which columns did somebody add to the instance table? The values of functions.

A column is a group of its own below ``artifacts/columns``: the value of every instance,
and whether it has been asked for. A new version is written beside the old one, which is
removed only then: what took a detector hours is never lost to a process that is killed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import UnknownNameError, did_you_mean
from nnviz.store.groups import LaterGroups

__all__ = ["COLUMNS", "AddedColumn", "AddedColumns", "ColumnSource", "ValueKind"]

COLUMNS = "artifacts/columns"

ColumnSource = Literal["rows", "instances"]
"""What a function got: rows of the instance table, or the instances themselves."""

ValueKind = Literal["", "truth", "whole", "number", "text"]
"""What the values are; empty where there is none so far."""

_DTYPES = {
    "": np.dtype(np.float64),
    "truth": np.dtype(np.bool_),
    "whole": np.dtype(np.int64),
    "number": np.dtype(np.float64),
    "text": np.dtype(object),
}


@dataclass(frozen=True, slots=True)
class AddedColumn:
    """A column that a function has made."""

    name: str
    over: ColumnSource
    function: str
    """Its name, for people: nothing is imported by it."""
    fingerprint: str
    """Of the function's code; another one makes another column."""
    kind: ValueKind
    n_asked: int
    """Instances for which the function has been asked."""
    n_values: int
    """Of these, how many have a value."""
    n_instances: int
    """Of the store now."""
    written: str = ""
    """When: UTC, in ISO 8601."""

    @property
    def is_complete(self) -> bool:
        """Whether the function has been asked for every instance."""
        return self.n_asked == self.n_instances

    def to_json(self) -> dict[str, Any]:
        """Return what it is as JSON values."""
        return {
            "name": self.name,
            "over": self.over,
            "function": self.function,
            "kind": self.kind,
            "asked": self.n_asked,
            "values": self.n_values,
            "instances": self.n_instances,
            "written": self.written,
        }

    def __str__(self) -> str:
        n = self.n_instances
        words = {
            "truth": "truth values",
            "whole": "whole numbers",
            "number": "numbers",
            "text": "texts",
        }
        what = words.get(self.kind, "no values")
        text = f"{self.name}: {what}, of {self.n_values:,} of {n:,} instances"
        lacking = n - self.n_asked
        todo = f"; {lacking:,} are still to be asked for" if lacking else ""
        return f"{text}, by {self.function} over {self.over}{todo}"


class AddedColumns:
    """The columns that were added to a store's instance table.

    Parameters
    ----------
    groups
        Groups of the store.
    n_instances
        Of the store; a column that was made before it grew has no values behind.
    """

    def __init__(self, groups: LaterGroups, n_instances: int) -> None:
        self._groups = groups
        self._n_instances = n_instances

    def listed(self) -> dict[str, AddedColumn]:
        """Return what there is by name, in the order of names, as it is now."""
        return {name: column for name, (_, column) in sorted(self._found().items())}

    def read(self, name: str) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[Any]]:
        """Return the values of a column, where there is one, and who was asked.

        Returns
        -------
        tuple of ndarray
            Each of shape (N,): values (bool, int64, float64, or texts as objects),
            whether there is one, and whether the function has been asked for it.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        StoreFormatError
            If it is damaged.
        """
        path, column = self._found_as(name)
        stored = self._groups.read(f"{path}/value")
        values = np.zeros(self._n_instances, _DTYPES[column.kind])
        if column.kind == "text":
            values[:] = ""
        values[: len(stored)] = stored
        has_value = np.zeros(self._n_instances, np.bool_)
        has_value[: len(stored)] = self._groups.read(f"{path}/has_value")
        is_asked = np.zeros(self._n_instances, np.bool_)
        is_asked[: len(stored)] = self._groups.read(f"{path}/is_asked")
        return values, has_value, is_asked

    def values(self, name: str) -> NDArray[Any]:
        """Return the values of a column as one array, those that lack as null.

        Null is NaN in numbers, an empty text, and None among truth values.
        """
        values, has_value, _ = self.read(name)
        if has_value.all() or values.dtype == object:
            return values
        if values.dtype == np.bool_:
            values = values.astype(object)
            values[~has_value] = None
            return values
        values = values.astype(np.float64)
        values[~has_value] = np.nan
        return values

    def write(
        self,
        column: AddedColumn,
        values: NDArray[Any],
        has_value: NDArray[np.bool_],
        is_asked: NDArray[np.bool_],
    ) -> AddedColumn:
        """Write a column, and remove what there was of this name.

        Parameters
        ----------
        column
            What it is; how many have a value is counted here.
        values, has_value, is_asked
            As :meth:`read` returns them.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        old = self._paths_of(column.name)
        version = 1 + max((int(path[-6:]) for path in old), default=0)
        digest = hashlib.sha256(column.name.encode()).hexdigest()[:16]
        attributes = {
            "name": column.name,
            "over": column.over,
            "function": column.function,
            "function_fingerprint": column.fingerprint,
            "kind": column.kind,
            "n_asked": int(is_asked.sum()),
            "n_values": int(has_value.sum()),
            "written": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds"),
        }
        path = f"{COLUMNS}/{column.over}-{digest}-{version:06d}"
        arrays = {"value": values, "has_value": has_value, "is_asked": is_asked}
        self._groups.write(
            path, arrays, attributes, dict.fromkeys(arrays, ("instance",))
        )
        for each in old:
            self._groups.invalidate(each)
            self._groups.remove_member(each)
        return _column_of(attributes, self._n_instances)

    def remove(self, name: str) -> None:
        """Remove a column.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        """
        self._found_as(name)
        for path in self._paths_of(name):
            self._groups.invalidate(path)
            self._groups.remove_member(path)

    def _found_as(self, name: str) -> tuple[str, AddedColumn]:
        found = self._found()
        if name not in found:
            msg = (
                f"no column {name!r} was added{did_you_mean(name, found)}; added are "
                f"{', '.join(map(repr, found)) or 'none'}"
            )
            raise UnknownNameError(msg)
        return found[name]

    def _found(self) -> dict[str, tuple[str, AddedColumn]]:
        """Return path and column by name; of several versions the last whole one."""
        found: dict[str, tuple[str, AddedColumn]] = {}
        for path, attributes in self._whole():
            column = _column_of(attributes, self._n_instances)
            before = found.get(column.name)
            if before is None or before[1].written < column.written:
                found[column.name] = (path, column)
        return found

    def _whole(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for key in self._groups.names(COLUMNS):
            path = f"{COLUMNS}/{key}"
            if self._groups.is_complete(path):
                yield path, self._groups.attributes(path)

    def _paths_of(self, name: str) -> list[str]:
        """Return the paths of all versions of a column, half written ones included."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        keys = self._groups.names(COLUMNS)
        return [f"{COLUMNS}/{key}" for key in keys if key.split("-")[1] == digest]


def _column_of(attributes: dict[str, Any], n_instances: int) -> AddedColumn:
    return AddedColumn(
        name=str(attributes["name"]),
        over=attributes["over"],
        function=str(attributes["function"]),
        fingerprint=str(attributes["function_fingerprint"]),
        kind=attributes["kind"],
        n_asked=int(attributes["n_asked"]),
        n_values=int(attributes["n_values"]),
        n_instances=n_instances,
        written=str(attributes["written"]),
    )
