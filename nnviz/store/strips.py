"""What are the bytes of chunks side by side, and where are some columns in them?

A piece of a wide array is a shard of *strips*: chunks of all its rows and of a few
columns. A strip is raw values, little-endian, and four bytes of CRC-32C; at the end
comes an index of their places, which follow from their number. So some columns are read
without the others, and a task's arrays are written where they belong, each moved once.

Symbols: R rows of a piece, W columns of a strip.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Columns",
    "checked_content",
    "decode_strips",
    "encode_strips",
    "places_of",
    "strip_span",
    "with_checksum",
]

Columns = Sequence[tuple[int, NDArray[Any]]]
"""Parts of a piece, ascending: the first column, and rows of all columns from there on.
An array that is stored as it is has one part."""


def encode_strips(
    parts: Columns,
    *,
    chunk: tuple[int, ...],
    n_strips: int,
    dtype: np.dtype[Any],
    fill: Any,
) -> bytearray:
    """Return the bytes of a piece.

    Parameters
    ----------
    parts
        Its columns, shape (rows, columns) each; at the end of the array there are fewer
        rows than R.
    chunk
        Shape (R, W) of a strip.
    n_strips
        Number of strips.
    dtype
        dtype of the values.
    fill
        Where there is no part.
    """
    n_bytes = math.prod(chunk) * dtype.itemsize
    places = places_of(n_strips, n_bytes + 4)
    data = bytearray(n_strips * (n_bytes + 4) + len(places))
    data[-len(places) :] = places
    rows = np.frombuffer(data, np.uint8)[: -len(places)].reshape(n_strips, n_bytes + 4)
    strips = rows[:, :n_bytes].view(dtype.newbyteorder("<")).reshape(n_strips, *chunk)
    n_rows = len(parts[0][1]) if parts else 0
    strips[:, n_rows:] = fill
    end = 0
    for first, values in parts:
        _fill(strips, end, first - end, fill)
        _place(strips, first, values)
        end = first + values.shape[1]
    _fill(strips, end, n_strips * chunk[1] - end, fill)
    checksums = [google_crc32c.value(strip) for strip in rows[:, :n_bytes]]
    rows[:, n_bytes:] = np.array(checksums, "<u4")[:, None].view(np.uint8)
    return data


def _fill(strips: NDArray[Any], first: int, n: int, fill: Any) -> None:
    """Fill columns that nothing is in."""
    if n:
        values = np.array(fill, strips.dtype)
        _place(strips, first, np.broadcast_to(values, (strips.shape[1], n)))


def _place(strips: NDArray[Any], first: int, values: NDArray[Any]) -> None:
    """Put columns where they belong: whole strips at once, and parts of some."""
    (n, total), width, at = values.shape, strips.shape[2], 0
    while at < total:
        strip, column = divmod(first + at, width)
        n_whole = 0 if column else (total - at) // width
        if n_whole:
            some = values[:, at : at + n_whole * width].reshape(n, n_whole, width)
            strips[strip : strip + n_whole, :n] = some.swapaxes(0, 1)
            at += n_whole * width
        else:
            size = min(width - column, total - at)
            strips[strip, :n, column : column + size] = values[:, at : at + size]
            at += size


def strip_span(
    columns: slice, *, chunk: tuple[int, ...], shard: tuple[int, ...], n_bytes: int
) -> tuple[int, int, int]:
    """Return which bytes of a shard of chunks side by side have some columns.

    Parameters
    ----------
    columns
        First and past-last column.
    chunk, shard
        Shape (R, W) of a strip, and shape of a piece.
    n_bytes
        Bytes of a value.

    Returns
    -------
    tuple of int
        The first byte, how many there are, and how many the whole piece has.
    """
    part = math.prod(chunk) * n_bytes + 4
    first, last = columns.start // chunk[1], -(-columns.stop // chunk[1])
    n_parts = shard[1] // chunk[1]
    whole = n_parts * part + len(places_of(n_parts, part))
    return first * part, (last - first) * part, whole


def decode_strips(
    data: bytes, *, chunk: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the values of neighbouring strips.

    Parameters
    ----------
    data
        Their bytes.
    chunk
        Shape (R, W) of a strip.
    dtype
        dtype of the values.

    Returns
    -------
    ndarray
        Shape (R, number of strips x W).

    Raises
    ------
    ValueError
        If any byte is not as it was written.
    """
    n_bytes = math.prod(chunk) * dtype.itemsize
    if len(data) % (n_bytes + 4):
        msg = f"it has {len(data):,} bytes, which are not chunks of {n_bytes + 4:,}"
        raise ValueError(msg)
    parts = np.frombuffer(data, np.uint8).reshape(-1, n_bytes + 4)
    stated = np.ascontiguousarray(parts[:, n_bytes:]).view("<u4").ravel()
    found = [google_crc32c.value(part) for part in parts[:, :n_bytes]]
    if found != stated.tolist():
        msg = "its bytes do not fit their checksum"
        raise ValueError(msg)
    little = dtype.newbyteorder("<")
    strips = parts[:, :n_bytes].view(little).reshape(-1, *chunk)
    values = np.empty((chunk[0], len(parts), chunk[1]), little)
    values[...] = strips.swapaxes(0, 1)
    return values.reshape(chunk[0], len(parts) * chunk[1])


@functools.lru_cache(maxsize=64)
def places_of(n_parts: int, part_bytes: int) -> bytes:
    """Return the index of a shard with parts of one size, one after another."""
    places = [(i * part_bytes, part_bytes) for i in range(n_parts)]
    return with_checksum(np.array(places, dtype="<u8").tobytes())


def checked_content(data: bytes) -> bytes:
    """Return the bytes before a checksum, if it fits them.

    Raises
    ------
    ValueError
        If it does not.
    """
    content = data[:-4]
    if google_crc32c.value(content) != int.from_bytes(data[-4:], "little"):
        msg = "its bytes do not fit their checksum"
        raise ValueError(msg)
    return content


def with_checksum(data: bytes) -> bytes:
    """Return bytes with their CRC-32C after them."""
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")
