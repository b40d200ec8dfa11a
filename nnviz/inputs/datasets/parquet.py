"""How are Parquet files read by row, without holding their images in memory?

Columns of numbers and texts are read whole; a column of images is read by row group
when one of its rows is asked for, and the last groups are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.importing import import_library
from nnviz.inputs.datasets.listings import make_column

__all__ = ["ParquetTable", "is_bytes_or_struct", "is_plain", "plain_values"]

_N_KEPT_GROUPS = 2


def is_bytes_or_struct(kind: Any) -> bool:
    """Whether an Arrow type is binary, or a structure with a field ``bytes``."""
    text = str(kind)
    return text in ("binary", "large_binary", "binary_view") or (
        text.startswith("struct<") and "bytes: " in text
    )


class ParquetTable:
    """One or several Parquet files with the same columns; may be pickled.

    Parameters
    ----------
    path
        A file, a folder of ``*.parquet`` files, or a glob pattern of files.
    limit
        Number of rows to keep; None keeps all.

    Raises
    ------
    DatasetError
        If a file cannot be read, or the files have different columns.
    MissingDependencyError
        If pyarrow is not installed.
    """

    def __init__(self, path: Path, *, limit: int | None) -> None:
        self._paths = _find_files(path)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self.types: dict[str, Any] = {}
        self.columns: dict[str, NDArray[Any]] = {}
        self.facts: list[str] = []
        self._groups: list[tuple[int, int]] = []
        starts = [0]
        tables = []
        for number, file_path in enumerate(self._paths):
            file = _open(file_path)
            types = {field.name: field.type for field in file.schema_arrow}
            if self.types and list(types) != list(self.types):
                msg = (
                    f"{str(file_path)!r} has the columns {list(types)}, and "
                    f"{str(self._paths[0])!r} has {list(self.types)}"
                )
                raise DatasetError(msg)
            self.types = types
            self.facts.append(f"{file_path.name} {file_path.stat().st_size}")
            plain = [name for name in types if is_plain(types[name])]
            for group in range(file.num_row_groups):
                if limit is not None and starts[-1] >= limit:
                    break
                self._groups.append((number, group))
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
                tables.append(file.read_row_group(group, columns=plain))
        self._n_rows = starts[-1] if limit is None else min(limit, starts[-1])
        self._starts = np.array(starts, dtype=np.int64)
        for name in self.types:
            if is_plain(self.types[name]):
                values = [
                    value for table in tables for value in plain_values(table, name)
                ]
                self.columns[name] = make_column(values[: self._n_rows])

    def __len__(self) -> int:
        return self._n_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._kept = threading.Lock(), OrderedDict()

    def read_bytes(self, column: str, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes in one row, and the path beside them, if there is one.

        Parameters
        ----------
        column
            A column for which :func:`is_bytes_or_struct` is true.
        row
            Number of the row over all files.

        Raises
        ------
        UnreadableInstanceError
            If the row group cannot be read.
        """
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        value = self._group(column, place)[row - int(self._starts[place])].as_py()
        if isinstance(value, dict):
            return value.get("bytes"), value.get("path")
        return value, None

    def _group(self, column: str, place: int) -> Any:
        key = (column, place)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            number, group = self._groups[place]
            try:
                file = _open(self._paths[number])
                values = file.read_row_group(group, columns=[column])[column]
            except Exception as error:
                # pyarrow raises anything on damage; it concerns this group's rows.
                msg = f"row group {group} of {self._paths[number].name}: {error}"
                raise UnreadableInstanceError(msg) from error
            self._kept[key] = values
            while len(self._kept) > _N_KEPT_GROUPS:
                self._kept.popitem(last=False)
            return values


def _find_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
    elif any(mark in path.name for mark in "*?["):
        found = sorted(path.parent.glob(path.name))
    else:
        found = [path] if path.is_file() else []
    if not found:
        msg = (
            f"there is no table {str(path)!r}; dataset.path names a CSV or Parquet "
            f"file, a folder of .parquet files, or a pattern such as 'part-*.parquet'"
        )
        raise DatasetError(msg)
    return found


def _open(path: Path) -> Any:
    parquet = import_library("pyarrow.parquet", extra="table")
    try:
        return parquet.ParquetFile(path, page_checksum_verification=True)
    except Exception as error:
        # pyarrow raises anything on a damaged file.
        msg = f"cannot read {str(path)!r} as Parquet: {error}"
        raise DatasetError(msg) from error


def is_plain(kind: Any) -> bool:
    """Whether an Arrow type can be metadata: not bytes, and nothing nested."""
    text = str(kind)
    if text.startswith("dictionary<values="):
        return is_plain(text.removeprefix("dictionary<values=").partition(",")[0])
    nested = ("struct<", "list<", "large_list<", "fixed_size_list<", "map<")
    return not text.startswith((*nested, "binary", "large_binary", "fixed_size_binary"))


def plain_values(table: Any, name: str) -> list[Any]:
    """Return a column of an Arrow table as numbers, truth values, texts and None.

    Parameters
    ----------
    table
        Of Arrow.
    name
        Of the column.
    """
    return [
        value
        if value is None or isinstance(value, (bool, int, float, str))
        else str(value)
        for value in table[name].to_pylist()
    ]
