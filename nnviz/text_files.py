"""How is a text file read that somebody else wrote?

Tables, lists of subsets, class maps and graph files are data: they may be a named pipe,
have no end, be one line of gigabytes, or nest without end. Each of these is an error
with a message here, at once and in bounded memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

__all__ = ["MAX_TEXT_BYTES", "lines_of", "open_text", "parse_json", "read_text"]

MAX_TEXT_BYTES = 1 << 28
"""Larger files are not read whole: 256 MiB hold the ids of five million files."""

MAX_LINE_CHARACTERS = 1 << 20
"""Longer lines are refused; a table has shorter ones."""


@contextlib.contextmanager
def open_text(
    path: str | os.PathLike[str], *, encoding: str = "utf-8-sig"
) -> Iterator[TextIO]:
    """Open a regular file of text, UTF-8 with or without a byte order mark if not said.

    Line ends stay as they are, as :mod:`csv` wants them.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file; a pipe is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        with open(descriptor, encoding=encoding, newline="", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file, none of them without bounds.

    Raises
    ------
    ValueError
        If a line is longer than `MAX_LINE_CHARACTERS`, or is not valid UTF-8.
    """
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        if len(line) > MAX_LINE_CHARACTERS:
            msg = f"a line of more than {MAX_LINE_CHARACTERS:,} characters"
            raise ValueError(msg)
        yield line


def read_text(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a whole text file.

    Parameters
    ----------
    path
        Path of a regular file in UTF-8.
    max_bytes
        A larger file is refused, without being read.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file.
    ValueError
        If it is larger than `max_bytes`, or not valid UTF-8.
    """
    with open_text(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > max_bytes:
            msg = f"{Path(path).name!r} has {n_bytes:,} bytes; {max_bytes:,} are read"
            raise ValueError(msg)
        return file.read(max_bytes)


def parse_json(text: str) -> Any:
    """Parse JSON; whatever is wrong with it is one kind of error.

    Raises
    ------
    ValueError
        If it is not valid JSON, nests too deeply, or holds a number of too many digits.

    Examples
    --------
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error
