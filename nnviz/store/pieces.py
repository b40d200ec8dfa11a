"""What are the bytes of one piece of an array: a Zarr chunk, or a shard of them?

A task writes whole pieces and nothing else, and these have a simple format: raw
values, little-endian, and four bytes of CRC-32C; a shard is such chunks one after
another and an index of their places, with a CRC-32C of its own. Making the bytes here
costs a fourth of the general way, which for a small network was a tenth of a run; that
Zarr reads the same values from them is tested.

References
----------
.. [1] Zarr v3 core specification, and its codecs ``bytes``, ``crc32c`` and
   ``sharding_indexed``, https://zarr-specs.readthedocs.io.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_piece", "encode_piece"]


def encode_piece(
    values: NDArray[Any],
    *,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    fill: Any,
) -> bytes:
    """Return the bytes of one chunk or shard.

    Parameters
    ----------
    values
        What lies in it; may be smaller than the piece at the end of the array.
    chunk
        Shape of a chunk.
    shard
        Shape of a shard, a whole number of chunks along each axis; None for an array
        without shards.
    fill
        Where `values` end.
    """
    shape = shard or chunk
    if values.shape != shape:
        whole = np.full(shape, fill, values.dtype)
        whole[tuple(slice(n) for n in values.shape)] = values
        values = whole
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    if shard is None:
        return _with_checksum(values.tobytes())
    counts = [s // c for s, c in zip(shard, chunk, strict=True)]
    parts, index, offset = [], [], 0
    for place in itertools.product(*map(range, counts)):
        inner = tuple(
            slice(p * c, (p + 1) * c) for p, c in zip(place, chunk, strict=True)
        )
        part = _with_checksum(values[inner].tobytes())
        parts.append(part)
        index.append((offset, len(part)))
        offset += len(part)
    places = np.array(index, dtype="<u8").tobytes()
    return b"".join([*parts, _with_checksum(places)])


def decode_piece(
    data: bytes,
    *,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return the values of one whole chunk or shard that :func:`encode_piece` made.

    Parameters
    ----------
    data
        The piece's bytes.
    chunk, shard
        As for :func:`encode_piece`.
    dtype
        Of the values.

    Returns
    -------
    ndarray
        Shape of the shard, or of the chunk without shards.

    Raises
    ------
    ValueError
        If any byte is not as it was written; the message says what does not fit.
    """
    little = dtype.newbyteorder("<")
    part_bytes = math.prod(chunk) * dtype.itemsize + 4
    counts = [s // c for s, c in zip(shard or chunk, chunk, strict=True)]
    n_parts = math.prod(counts)
    expected = n_parts * part_bytes + (n_parts * 16 + 4 if shard else 0)
    if len(data) != expected:
        msg = f"it has {len(data):,} bytes, not {expected:,}"
        raise ValueError(msg)
    if shard is None:
        whole: NDArray[Any] = np.frombuffer(_checked(data), little).reshape(chunk)
        return whole
    index = _checked(data[n_parts * part_bytes :])
    places = [(i * part_bytes, part_bytes) for i in range(n_parts)]
    if index != np.array(places, dtype="<u8").tobytes():
        msg = "the places of its parts are not as they were written"
        raise ValueError(msg)
    values = np.empty(shard, little)
    for number, place in enumerate(itertools.product(*map(range, counts))):
        part = _checked(data[number * part_bytes : (number + 1) * part_bytes])
        inner = tuple(
            slice(p * c, (p + 1) * c) for p, c in zip(place, chunk, strict=True)
        )
        values[inner] = np.frombuffer(part, little).reshape(chunk)
    return values


def _checked(data: bytes) -> bytes:
    """Return the bytes before a checksum, if it fits them."""
    content = data[:-4]
    if google_crc32c.value(content) != int.from_bytes(data[-4:], "little"):
        msg = "its bytes do not fit their checksum"
        raise ValueError(msg)
    return content


def _with_checksum(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")
