"""How is a table of texts read that a spreadsheet, pandas or a person has written?

What separates the values and which encoding the file has is found, or can be stated:

- encoding: a byte order mark says it; else UTF-8 where the file is that; else UTF-16
  where every second byte is zero; else Windows-1252, the one that spreadsheets write,
  which any text may be: `TextTable.is_guessed` says so;
- delimiter: of comma, semicolon, tab and bar the one with which all of the first rows
  have the same number of values, with the columns that are wanted.

Blanks around values are no part of them, rows without any value are left out, and so
are columns without a name: row numbers as pandas writes them, or what a delimiter at
the end of each line makes.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nnviz.text_files import lines_of, open_text

__all__ = ["DELIMITERS", "TextTable", "read_text_table"]

DELIMITERS = (",", ";", "\t", "|")

ROWS_TRIED = 50
"""So many of the first rows tell the delimiter."""

BYTES_TRIED = 1 << 16
"""So many of the first bytes tell UTF-16."""

_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of texts, and how it was read."""

    columns: dict[str, tuple[str, ...]]
    """Texts by column, in the order of the file; one for each row."""
    delimiter: str
    encoding: str
    is_guessed: bool = False
    """Whether the encoding is a guess that nothing in the file confirms."""
    unnamed: tuple[int, ...] = ()
    """Places of columns without a name that hold something, and were left out."""

    @property
    def n_rows(self) -> int:
        """Number of rows, without the header."""
        return len(next(iter(self.columns.values()), ()))


def read_text_table(
    path: str | Path,
    *,
    wanted: Collection[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> TextTable:
    """Read a table with a header.

    Parameters
    ----------
    path
        Path of a regular file.
    wanted
        Names of columns that the table should have; they help to find the delimiter.
    delimiter, encoding
        As stated; None where they are to be found.
    limit
        Number of rows to keep; None keeps all.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file.
    ValueError
        If it has no header, two columns of one name, a row of another length, or is no
        text in the encodings that were tried; the message says which.
    """
    path = Path(path)
    tried = [encoding] if encoding else _encodings(path)
    for name in tried:
        try:
            rows, used = _rows(path, name, delimiter, wanted, limit)
        except UnicodeError:
            continue
        except LookupError as error:
            msg = f"there is no encoding {name!r}; 'utf-8' or 'cp1252' are some"
            raise ValueError(msg) from error
        is_guessed = encoding is None and name == "cp1252"
        return _table(rows, used, name, is_guessed=is_guessed)
    shown = " nor ".join(_plain(name) for name in tried)
    msg = f"it is not {shown} text; state its encoding"
    raise ValueError(msg)


def _encodings(path: Path) -> list[str]:
    """Return the encodings that a file may have, the likeliest first."""
    with open_text(path) as file:
        start = file.buffer.read(BYTES_TRIED)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return [name]
    found = ["utf-8-sig"]
    if b"\0" in start:
        is_little = start[1::2].count(0) > start[::2].count(0)
        found = ["utf-16-le" if is_little else "utf-16-be", *found]
    return [*found, "cp1252"]


def _plain(name: str) -> str:
    return {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252"}.get(name, name.upper())


def _rows(
    path: Path,
    encoding: str,
    delimiter: str | None,
    wanted: Collection[str],
    limit: int | None,
) -> tuple[list[list[str]], str]:
    """Return the header and the rows that hold something, and the delimiter."""
    with open_text(path, encoding=encoding) as file:
        lines = lines_of(file)
        head = list(itertools.islice(lines, ROWS_TRIED))
        stated = _SEPARATOR_LINE.fullmatch(head[0]) if head else None
        if stated is not None:
            head, delimiter = head[1:], delimiter or stated[1]
        used = delimiter or _find_delimiter(head, path, wanted)
        rows = _parsed(itertools.chain(head, lines), used)
        n = None if limit is None else limit + 1
        return list(itertools.islice(rows, n)), used


def _parsed(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    try:
        reader = csv.reader(
            lines, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
        )
    except TypeError as error:
        msg = f"the delimiter is {delimiter!r}; it should be one character"
        raise ValueError(msg) from error
    try:
        for row in reader:
            stripped = [text.strip() for text in row]
            if any(stripped):
                yield stripped
    except csv.Error as error:
        msg = f"line {reader.line_num}: {error}"
        raise ValueError(msg) from error


def _find_delimiter(head: list[str], path: Path, wanted: Collection[str]) -> str:
    """Return the delimiter that makes the most of the first lines."""
    order = list(DELIMITERS)
    if path.suffix.lower() == ".tsv":
        order = ["\t", *(each for each in order if each != "\t")]

    def score(delimiter: str) -> tuple[int, bool, int]:
        try:
            # The last line may be the beginning of a value of several lines.
            rows = list(_parsed(iter(head), delimiter))
        except ValueError:
            return (0, False, 0)
        names = rows[0] if rows else []
        is_even = all(len(row) == len(names) for row in rows)
        return (len(set(wanted).intersection(names)), is_even, len(names))

    return max(order, key=score)


def _table(
    rows: list[list[str]], delimiter: str, encoding: str, *, is_guessed: bool
) -> TextTable:
    header = rows[0] if rows else []
    names = [name for name in header if name]
    how = f"read with the delimiter {delimiter!r} as {_plain(encoding)}"
    if not names or len(set(names)) < len(names):
        msg = f"the columns are {header}, {how}; each needs a name of its own"
        raise ValueError(msg)
    for number, row in enumerate(rows[1:]):
        if len(row) != len(header):
            msg = f"row {number} has {len(row)} values, not {len(header)}, {how}"
            raise ValueError(msg)
    values_of = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    unnamed = [place for place, name in enumerate(header) if not name]
    return TextTable(
        columns={n: v for n, v in zip(header, values_of, strict=True) if n},
        delimiter=delimiter,
        encoding=encoding,
        is_guessed=is_guessed,
        unnamed=tuple(place for place in unnamed if any(values_of[place])),
    )
