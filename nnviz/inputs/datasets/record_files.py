"""Files of records that are read whole: JSON lines, and Arrow (Feather).

What is a number, a truth value or a text in every record becomes a column; what nests
is left out, as in Parquet.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nnviz.errors import DatasetError
from nnviz.importing import import_library
from nnviz.inputs.datasets.listings import make_column
from nnviz.inputs.datasets.parquet import is_plain, plain_values
from nnviz.text_files import lines_of, open_text, parse_json

__all__ = ["ARROW", "JSON_LINES", "read_arrow", "read_json_lines"]

ARROW = (".arrow", ".feather", ".ipc")
JSON_LINES = (".jsonl", ".ndjson")


def read_json_lines(
    path: Path, *, encoding: str | None, limit: int | None
) -> dict[str, NDArray[Any]]:
    """Return the columns of a file with one JSON object a line.

    Parameters
    ----------
    path
        Of the file.
    encoding
        None for UTF-8.
    limit
        Number of records to keep; None keeps all.

    Raises
    ------
    DatasetError
        If it cannot be read, or a line is no object.
    """
    records: list[dict[str, Any]] = []
    try:
        with open_text(path, encoding=encoding or "utf-8-sig") as file:
            filled = (line for line in lines_of(file) if line.strip())
            records.extend(map(_record_of, itertools.islice(filled, limit)))
    except OSError as error:
        msg = f"cannot read {str(path)!r}: {error.strerror or error}"
        raise DatasetError(msg) from error
    except (ValueError, LookupError) as error:
        msg = f"record {len(records):,} of {str(path)!r} cannot be read: {error}"
        raise DatasetError(msg) from error
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    return {
        name: make_column(values)
        for name, values in columns.items()
        if not any(isinstance(value, (list, dict)) for value in values)
    }


def _record_of(line: str) -> dict[str, Any]:
    record = parse_json(line)
    if isinstance(record, dict):
        return record
    msg = f"it is {line.strip()[:40]!r}, not an object with columns"
    raise ValueError(msg)


def read_arrow(path: Path, *, limit: int | None) -> dict[str, NDArray[Any]]:
    """Return the columns of an Arrow file, as Feather, IPC file or IPC stream.

    Parameters
    ----------
    path
        Of the file.
    limit
        Number of rows to keep; None keeps all.

    Raises
    ------
    DatasetError
        If it cannot be read.
    MissingDependencyError
        If pyarrow is not installed.
    """
    ipc = import_library("pyarrow.ipc", extra="table")
    try:
        data = path.read_bytes()
        is_file = data.startswith(b"ARROW1")
        reader = ipc.open_file(data) if is_file else ipc.open_stream(data)
        table = reader.read_all()
    except Exception as error:
        # pyarrow raises anything on a damaged file.
        msg = f"cannot read {str(path)!r} as Arrow: {error}"
        raise DatasetError(msg) from error
    table = table if limit is None else table.slice(0, limit)
    return {
        field.name: make_column(plain_values(table, field.name))
        for field in table.schema
        if is_plain(field.type)
    }
