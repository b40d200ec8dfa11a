"""How do the numbers of a chart leave it? As one table, for whichever program reads it.

Every chart of the dashboard, and whatever else shows the same, makes its numbers a
:class:`ChartTable`; how a table is written is decided here, once.

- CSV (RFC 4180): numbers with six significant digits, empty cells where there is no
  value, and an apostrophe in front of texts that a spreadsheet would run.
- Parquet, where pyarrow is installed: numbers and texts as they are; null where there
  is no value. Of columns with the same name all but the first get a number.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDependencyError, ShapeError
from nnviz.spreadsheets import LINE_END, defused

__all__ = ["ChartTable", "TableFormat", "table_formats"]

TableFormat = Literal["csv", "parquet"]


def table_formats() -> tuple[TableFormat, ...]:
    """Return the formats in which tables can be written here."""
    formats: tuple[TableFormat, ...] = get_args(TableFormat)
    has_parquet = importlib.util.find_spec("pyarrow") is not None
    return formats if has_parquet else formats[:1]


@dataclass(frozen=True, slots=True, eq=False)
class ChartTable:
    r"""The numbers of one chart.

    Raises
    ------
    ShapeError
        If columns have different lengths.

    Examples
    --------
    >>> table = ChartTable((("class", ["wolf", "=1+1"]), ("share", [0.5, None])))
    >>> print(table.csv().decode().replace("\r", ""), end="")
    class,share
    wolf,0.5
    '=1+1,
    """

    columns: tuple[tuple[str, Sequence[Any] | NDArray[Any]], ...]
    """Name and values of each column, from left to right; texts, numbers and truth
    values. None and NaN stand for no value."""

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns}
        if len(set(lengths.values())) > 1:
            msg = f"columns of a table must have one length; they have {lengths}"
            raise ShapeError(msg)

    @property
    def n_rows(self) -> int:
        """Number of rows, without the header."""
        return len(self.columns[0][1]) if self.columns else 0

    def written(self, format_: TableFormat) -> bytes:
        """Return the table as a file.

        Raises
        ------
        MissingDependencyError
            If the format needs a library that is not installed.
        """
        return self.parquet() if format_ == "parquet" else self.csv()

    def csv(self) -> bytes:
        """Return the table as CSV in UTF-8, with a header."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator=LINE_END)
        writer.writerow([defused(name) for name, _ in self.columns])
        writer.writerows(zip(*map(_cells, self._values()), strict=True))
        return file.getvalue().encode()

    def parquet(self) -> bytes:
        """Return the table as a Parquet file.

        Raises
        ------
        MissingDependencyError
            If pyarrow is not installed.
        """
        if "parquet" not in table_formats():
            msg = "Parquet files need pyarrow; pip install 'nnviz[table]'"
            raise MissingDependencyError(msg)
        # Slow to import, and optional.
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        names: list[str] = []
        seen: Counter[str] = Counter()
        for name, _ in self.columns:
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        columns = [pa.array(values, from_pandas=True) for values in self._values()]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, names=names), sink)
        return bytes(sink.getvalue())

    def _values(self) -> list[Sequence[Any]]:
        return [
            values.tolist() if isinstance(values, np.ndarray) else values
            for _, values in self.columns
        ]


def _cells(values: Sequence[Any]) -> list[Any]:
    """Return what is written of a column's values."""
    return [_cell(value) for value in values]


def _cell(value: Any) -> Any:
    if value is None or value != value:  # NaN is the one value that is not itself
        return ""
    return f"{value:.6g}" if isinstance(value, float) else defused(value)
