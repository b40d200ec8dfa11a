"""A table, CSV, Parquet, JSON lines or Arrow, with one row for each instance.

A row has the path of an image file, or the image itself: a column of bytes, or of
structures ``{bytes, path}`` as Hugging Face writes them; or a column of texts, which
are the instances; or the instance is the row itself, of whose columns
:mod:`nnviz.inputs.preparation.table_rows` makes numbers. Everything else that is a
number, a truth value, a text or a time becomes a metadata column. Order: the rows'; of
several Parquet files, the files' by name.

CSV has no types: a column is numeric where every value is, and codes with leading zeros
stay texts. Paths that are written with backslashes, as on Windows, are read with
slashes unless there are such files. For delimiters and encodings see
:mod:`nnviz.text_tables`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import (
    ConfigError,
    DatasetError,
    UnreadableInstanceError,
    did_you_mean,
)
from nnviz.inputs.datasets.files import Root
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.listings import (
    check_ids,
    check_label_name,
    fingerprint_of,
    input_columns,
    label_notes,
    make_column,
    make_labels,
    select_columns,
    typed_column,
)
from nnviz.inputs.datasets.parquet import ParquetTable, is_bytes_or_struct
from nnviz.inputs.datasets.record_files import (
    ARROW,
    JSON_LINES,
    read_arrow,
    read_json_lines,
)
from nnviz.runs.config import DatasetConfig
from nnviz.text_tables import DELIMITERS, TextTable, read_text_table

__all__ = ["TableDataset"]

_PATH = DatasetConfig("table").path_column
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


class TableDataset:
    """Rows of a table; see the module for the columns.

    Parameters
    ----------
    config
        Its `path`, `root`, columns, `limit` and `allow_outside_root` are used.

    Raises
    ------
    ConfigError
        If no path is given, or a column that is named does not exist.
    DatasetError
        If the table cannot be read, has no rows, or a path leads out of the root.
    MissingDependencyError
        If a Parquet file is to be read without pyarrow.
    """

    def __init__(self, config: DatasetConfig) -> None:
        if config.path is None:
            msg = "dataset.path is missing; for kind 'table' it names the file"
            raise ConfigError(msg)
        self._place = f"the table {config.path!r}"
        path = Path(config.path)
        suffix = path.suffix.lower()
        is_whole = suffix in (*_TEXT_SUFFIXES, *JSON_LINES, *ARROW)
        self._parquet = None if is_whole else ParquetTable(path, limit=config.limit)
        folder = path if path.is_dir() else path.parent
        self._root = Root(
            config.root or folder, allow_outside=config.allow_outside_root
        )
        columns: Mapping[str, NDArray[Any]]
        notes: tuple[str, ...] = ()
        if self._parquet is not None:
            columns = self._parquet.columns
        elif suffix in JSON_LINES:
            columns = read_json_lines(
                path, encoding=config.encoding, limit=config.limit
            )
        elif suffix in ARROW:
            columns = read_arrow(path, limit=config.limit)
        else:
            table = _read_csv(path, config)
            columns, notes = _typed(table, config), _notes(table)
        columns = _without_marks(columns, config)
        self._text_column = self._choose_text_column(columns, config)
        self._bytes_column = self._choose_bytes_column(columns, config)
        self._paths = self._checked_paths(columns, config)
        is_row = self._bytes_column is None and self._paths is None
        self._columns = {}
        if is_row:
            others = {config.label_column, config.id_column}
            named = [name for name in columns if name not in others]
            kept = input_columns(
                named, config.input_columns or named, place=self._place
            )
            self._columns = {name: columns[name] for name in kept}
        n_rows = len(next(iter(columns.values()), self._parquet or ()))
        self.ids = self._make_ids(columns, config, n_rows)
        check_ids(self.ids, place=self._place)
        self._check_labels(columns, config)
        self.labels = None
        if config.label_column in columns:
            self.labels = make_labels(columns[config.label_column].tolist())
        special = {config.label_column, config.id_column, self._text_column}
        special |= {config.path_column} if self._paths is not None else set()
        kept = select_columns(
            [name for name in columns if name not in special], config.metadata_columns
        )
        self.metadata = {name: columns[name] for name in kept}
        if self._text_column is not None:
            texts = columns[self._text_column].tolist()
            self.metadata = {"text": make_column(list(map(str, texts)))} | {
                name: values for name, values in self.metadata.items() if name != "text"
            }
        self.class_names: tuple[str, ...] = ()
        self.notes = (
            *notes,
            *label_notes(
                config.label_column,
                [n for n in columns if n not in (config.path_column, config.id_column)],
                option="dataset.label_column",
                place=self._place,
            ),
        )
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Raw:
        """Return the undecoded image, the text, or the row by its columns.

        Raises
        ------
        UnreadableInstanceError
            If the row has none, or the file cannot be read.
        """
        if self._text_column is not None:
            text = str(self._columns[self._text_column][index]).strip()
            if not text:
                msg = f"its text, in column {self._text_column!r}, is empty"
                raise UnreadableInstanceError(msg)
            return text
        if self._columns:
            return {
                name: np.asarray(values[index])
                for name, values in self._columns.items()
            }
        if self._parquet is not None and self._bytes_column is not None:
            data, path = self._parquet.read_bytes(self._bytes_column, index)
            if data is not None:
                return data
        else:
            path = None if self._paths is None else self._paths[index]
        if not path:
            msg = "the row has neither bytes nor a path"
            raise UnreadableInstanceError(msg)
        return self._root.read(path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the identifiers, labels, columns, and sizes of the files."""
        if self._fingerprint is None:
            facts: list[object] = []
            if self._parquet is not None and self._bytes_column is not None:
                facts = list(self._parquet.facts)
            elif self._paths is not None:
                facts = list(self._root.sizes(self._paths))
            self._fingerprint = fingerprint_of(
                "table", self.ids, self.labels, self.metadata, facts
            )
        return self._fingerprint

    def _check_labels(
        self, columns: Mapping[str, NDArray[Any]], config: DatasetConfig
    ) -> None:
        types = {} if self._parquet is None else self._parquet.types
        name = config.label_column
        known = types or columns
        check_label_name(name, known, option="dataset.label_column", place=self._place)
        if name in types and name not in columns:
            msg = (
                f"column {name!r} of {self._place} has the type {types[name]}; "
                f"dataset.label_column names one of single numbers or texts"
            )
            raise DatasetError(msg)

    def _choose_text_column(
        self, columns: Mapping[str, NDArray[Any]], config: DatasetConfig
    ) -> str | None:
        """Return the column with the texts, if these are the instances."""
        stated = config.text_column
        if stated is not None and stated not in columns:
            msg = (
                f"dataset.text_column is {stated!r}{did_you_mean(stated, columns)}; "
                f"{self._place} has the columns {', '.join(columns)}"
            )
            raise ConfigError(msg)
        return stated

    def _choose_bytes_column(
        self, columns: Mapping[str, NDArray[Any]], config: DatasetConfig
    ) -> str | None:
        """Return the column with the images, if they are in the table."""
        if self._text_column is not None:
            return None
        if self._parquet is None:
            if config.bytes_column is not None:
                msg = (
                    f"dataset.bytes_column is {config.bytes_column!r}, but "
                    f"{self._place} is no Parquet, whose bytes are read; use "
                    f"Parquet, or a column of paths"
                )
                raise ConfigError(msg)
            return None
        types = self._parquet.types
        binary = [name for name in types if is_bytes_or_struct(types[name])]
        if config.bytes_column is not None:
            if config.bytes_column not in binary:
                msg = (
                    f"dataset.bytes_column is {config.bytes_column!r}; {self._place} "
                    f"has these columns of bytes or {{bytes, path}}: {binary or 'none'}"
                )
                raise ConfigError(msg)
            return config.bytes_column
        if config.input_columns:
            return None
        if config.path_column in types and config.path_column not in binary:
            return None
        if config.path_column in binary:
            return config.path_column
        if not binary and _are_rows(columns, config):
            return None
        if len(binary) != 1:
            msg = (
                f"{self._place} has no column {config.path_column!r}, and its columns "
                f"of bytes are {binary or 'none'}; name one as dataset.path_column or "
                f"dataset.bytes_column (columns: {', '.join(types)})"
            )
            raise ConfigError(msg)
        return binary[0]

    def _checked_paths(
        self, columns: Mapping[str, NDArray[Any]], config: DatasetConfig
    ) -> list[str] | None:
        if self._bytes_column is not None or self._text_column is not None:
            return None
        if config.input_columns or config.path_column not in columns:
            if _are_rows(columns, config):
                return None
            msg = (
                f"{self._place} has no column {config.path_column!r}; name the column "
                f"of paths as dataset.path_column, of texts as dataset.text_column "
                f"(columns: {', '.join(columns)})"
            )
            raise ConfigError(msg)
        paths = [str(path) for path in columns[config.path_column].tolist()]
        if os.sep == "/":
            paths = _with_slashes(paths, Path(self._root.path))
        for row, path in enumerate(paths):
            if not config.allow_outside_root and _leads_out(path, self._root.path):
                msg = (
                    f"row {row} of {self._place} has the path {path!r}, which leads "
                    f"out of {self._root.path!r}; name the folder of the files as "
                    f"dataset.root, or set dataset.allow_outside_root = true"
                )
                raise DatasetError(msg)
        return paths

    def _make_ids(
        self, columns: Mapping[str, NDArray[Any]], config: DatasetConfig, n_rows: int
    ) -> list[str]:
        if config.id_column is not None:
            if config.id_column not in columns:
                msg = (
                    f"dataset.id_column is {config.id_column!r}; {self._place} has the "
                    f"columns {', '.join(columns)}"
                )
                raise ConfigError(msg)
            return [str(value) for value in columns[config.id_column].tolist()]
        if self._paths is not None:
            return [
                path.replace("\\", "/") if os.sep == "\\" else path
                for path in self._paths
            ]
        return [str(row) for row in range(n_rows)]


def _are_rows(columns: Mapping[str, NDArray[Any]], config: DatasetConfig) -> bool:
    """Whether the rows are the instances: nobody speaks of paths, there are numbers."""
    others = {config.label_column, config.id_column}
    if config.input_columns:
        return True
    return config.path_column == _PATH and any(
        values.dtype.kind in "biuf"
        for name, values in columns.items()
        if name not in others
    )


def _read_csv(path: Path, config: DatasetConfig) -> TextTable:
    wanted = {config.path_column, config.label_column, config.id_column}
    try:
        return read_text_table(
            path,
            wanted={name for name in wanted if name},
            delimiter=config.delimiter,
            encoding=config.encoding,
            limit=config.limit,
        )
    except (OSError, ValueError) as error:
        tried = ", ".join(repr(each) for each in DELIMITERS)
        hint = (
            f"; delimiters that are tried are {tried}; dataset.delimiter and "
            f"dataset.encoding state others"
            if isinstance(error, ValueError)
            else ""
        )
        msg = f"cannot read the table {str(path)!r}: {error}{hint}"
        raise DatasetError(msg) from error


def _typed(table: TextTable, config: DatasetConfig) -> dict[str, NDArray[Any]]:
    as_text = {config.path_column, config.label_column, config.id_column}
    has_decimal_commas = table.delimiter != ","
    marks = set(config.missing_values)
    return {
        name: make_column(values)
        if name in as_text
        else typed_column(
            ["" if value in marks else value for value in values] if marks else values,
            has_decimal_commas=has_decimal_commas,
        )
        for name, values in table.columns.items()
    }


def _without_marks(
    columns: Mapping[str, NDArray[Any]], config: DatasetConfig
) -> Mapping[str, NDArray[Any]]:
    """Return columns in which texts that say "missing" are empty."""
    marks = set(config.missing_values)
    return {
        name: make_column(["" if value in marks else value for value in values])
        if marks and values.dtype.kind == "O"
        else values
        for name, values in columns.items()
    }


def _notes(table: TextTable) -> tuple[str, ...]:
    notes = []
    if table.is_guessed:
        notes.append(
            "the table is not UTF-8 and was read as Windows-1252; "
            "dataset.encoding states another encoding"
        )
    if table.unnamed:
        shown = ", ".join(str(place + 1) for place in table.unnamed)
        notes.append(f"columns without a name are left out: number {shown}")
    return tuple(notes)


def _with_slashes(paths: list[str], root: Path) -> list[str]:
    """Return paths as this system writes them, where they were written by Windows."""
    first = next((path for path in paths if "\\" in path), None)
    if first is None or os.path.lexists(root / first):
        return paths
    return [path.replace("\\", "/").removeprefix("./") for path in paths]


def _leads_out(path: str, root: str) -> bool:
    if ".." not in path and not os.path.isabs(path):  # noqa: PTH117 - a million times
        return False
    joined = os.path.normpath(Path(root) / path)
    return joined != root and not joined.startswith(root.rstrip(os.sep) + os.sep)
