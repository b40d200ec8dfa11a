"""What are the bytes of an array: its document, and its pieces, chunks or shards?

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

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import zstd
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from nnviz.runs.arrays import ArraySpec
from nnviz.store.documents import DOCUMENT
from nnviz.store.strips import (
    Columns,
    checked_content,
    decode_strips,
    encode_strips,
    places_of,
    strip_span,
    with_checksum,
)

__all__ = [
    "as_rows",
    "columns_span",
    "declared_document",
    "decode_columns",
    "decode_for",
    "decode_piece",
    "dense_files",
    "encode_for",
    "encode_piece",
    "encode_texts",
    "fill_of",
    "has_strips",
    "most_bytes",
    "part_checksums",
]


def encode_piece(
    values: NDArray[Any],
    *,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    fill: Any,
) -> bytes | bytearray:
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
    if shard is None:
        (data,) = _parts(values, chunk, chunk, fill)
        return with_checksum(data)
    if len(chunk) == 2 and chunk[0] == shard[0]:
        n_strips, dtype = shard[1] // chunk[1], values.dtype
        return encode_strips(
            [(0, values)], chunk=chunk, n_strips=n_strips, dtype=dtype, fill=fill
        )
    parts = [with_checksum(p) for p in _parts(values, chunk, shard, fill)]
    return b"".join([*parts, places_of(len(parts), len(parts[0]))])


def part_checksums(
    values: NDArray[Any],
    *,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None,
    fill: Any,
) -> list[int]:
    """Return the CRC-32C of each chunk of a shard; arguments as `encode_piece`."""
    parts = _parts(values, chunk, shard or chunk, fill)
    return [int(google_crc32c.value(part)) for part in parts]


def _parts(
    values: NDArray[Any], chunk: tuple[int, ...], shard: tuple[int, ...], fill: Any
) -> Iterator[bytes]:
    """Yield the bytes of the chunks of a shard, one after another."""
    if values.shape != shard:
        whole = np.full(shard, fill, values.dtype)
        whole[tuple(slice(n) for n in values.shape)] = values
        values = whole
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    counts = [s // c for s, c in zip(shard, chunk, strict=True)]
    for place in itertools.product(*map(range, counts)):
        inner = tuple(
            slice(p * c, (p + 1) * c) for p, c in zip(place, chunk, strict=True)
        )
        yield values[inner].tobytes()


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
        dtype of the values.

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
    places = places_of(n_parts, part_bytes) if shard else b""
    expected = n_parts * part_bytes + len(places)
    if len(data) != expected:
        msg = f"it has {len(data):,} bytes, not {expected:,}"
        raise ValueError(msg)
    if shard is None:
        whole: NDArray[Any] = np.frombuffer(checked_content(data), little).reshape(
            chunk
        )
        return whole
    if data[n_parts * part_bytes :] != places:
        checked_content(data[n_parts * part_bytes :])
        msg = "the places of its parts are not as they were written"
        raise ValueError(msg)
    if len(chunk) == 2 and chunk[0] == shard[0]:
        return decode_strips(data[: n_parts * part_bytes], chunk=chunk, dtype=dtype)
    values = np.empty(shard, little)
    for number, place in enumerate(itertools.product(*map(range, counts))):
        part = checked_content(data[number * part_bytes : (number + 1) * part_bytes])
        inner = tuple(
            slice(p * c, (p + 1) * c) for p, c in zip(place, chunk, strict=True)
        )
        values[inner] = np.frombuffer(part, little).reshape(chunk)
    return values


def encode_texts(values: NDArray[Any], *, n: int) -> bytes:
    """Return the bytes of one chunk of texts, without those of a checksum.

    Parameters
    ----------
    values
        Texts, shape (rows,).
    n
        Rows of a chunk; those that `values` lack are empty.

    References
    ----------
    .. [1] numcodecs, codec ``vlen-utf8``: the number of texts, and each with the number
       of its bytes before it.
    """
    texts = [str(text).encode() for text in values.tolist()]
    texts += [b""] * (n - len(texts))
    if not any(texts):
        return n.to_bytes(4, "little") + bytes(4 * n)
    parts = [n.to_bytes(4, "little")]
    for text in texts:
        parts += len(text).to_bytes(4, "little"), text
    return b"".join(parts)


def has_strips(array: zarr.Array[Any]) -> bool:
    """Whether a piece of an array is chunks side by side, of which some can be read."""
    return array.ndim == 2 and array.shards is not None


def encode_for(array: zarr.Array[Any], parts: Columns) -> bytes | bytearray:
    """Return the bytes of a piece of an array, whole or of its columns."""
    chunk, shard, fill = array.chunks, array.shards, array.fill_value
    if shard is not None and has_strips(array):
        n_strips, dtype = shard[1] // chunk[1], array.dtype
        return encode_strips(
            parts, chunk=chunk, n_strips=n_strips, dtype=dtype, fill=fill
        )
    ((_, values),) = parts
    if array.dtype.kind in "TUO":
        texts = encode_texts(values, n=array.chunks[0])
        is_packed = any(isinstance(c, ZstdCodec) for c in array.compressors)
        if is_packed:  # as format 1 had it
            return bytes(zstd.compress(texts, DENSE_LEVEL, checksum=True))
        return with_checksum(texts)
    return encode_piece(values, chunk=chunk, shard=shard, fill=fill)


def decode_for(array: zarr.Array[Any], data: bytes) -> NDArray[Any]:
    """Return the values of a piece of an array; see :func:`decode_piece`."""
    return decode_piece(data, chunk=array.chunks, shard=array.shards, dtype=array.dtype)


def columns_span(array: zarr.Array[Any], columns: slice) -> tuple[int, int, int]:
    """Return which bytes of a piece have some columns; see :func:`strip_span`."""
    shard, n_bytes = array.shards or array.chunks, array.dtype.itemsize
    return strip_span(columns, chunk=array.chunks, shard=shard, n_bytes=n_bytes)


def decode_columns(array: zarr.Array[Any], data: bytes, columns: slice) -> NDArray[Any]:
    """Return some columns of a piece from the bytes of `columns_span`."""
    values = decode_strips(data, chunk=array.chunks, dtype=array.dtype)
    start = columns.start % array.chunks[1]
    return values[:, start : start + columns.stop - columns.start]


def as_rows(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a piece with all further axes as one, in C order."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def most_bytes(array: zarr.Array[Any]) -> int:
    """Return how many bytes a piece's file can have: values, checksums, an index."""
    n_values = math.prod(array.shards or array.chunks)
    return 2 * n_values * array.dtype.itemsize + (1 << 16)


DENSE_CHUNK_BYTES = 4_000_000
DENSE_LEVEL = 1


def declared_document(spec: ArraySpec) -> bytes:
    """Return the metadata of an array, from its declaration."""
    n_axes = len(spec.shape)
    shard = spec.shard
    chunk = spec.inner_chunk or shard
    compressors = (
        [ZstdCodec(level=1, checksum=True)]
        if spec.dtype == "string" and spec.is_static
        else [Crc32cCodec()]
    )
    declaration = spec.declaration
    files: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(files),
        shape=spec.shape,
        chunks=tuple(max(1, c) for c in chunk),
        shards=shard if spec.inner_chunk else None,
        dtype=spec.dtype,
        compressors=compressors,
        fill_value=fill_of(spec),
        dimension_names=declaration.dimensions[:n_axes],
        attributes=spec.attributes,
        config={"write_empty_chunks": True},
        zarr_format=3,
    )
    return bytes(files[DOCUMENT].to_bytes())


def dense_files(
    values: NDArray[Any], dimensions: tuple[str, ...] | None
) -> dict[str, bytes]:
    """Return the files of an array with these values, by their key below its path."""
    row_bytes = max(1, values.nbytes // max(1, len(values)) if values.ndim else 1)
    n_rows = len(values) if values.ndim else 1
    rows = max(1, min(n_rows, DENSE_CHUNK_BYTES // row_bytes))
    chunk = tuple(max(1, s) for s in (rows, *values.shape[1:])) if values.ndim else ()
    if values.dtype.kind in "biuf":
        names = tuple(dimensions) if dimensions else None
        document = _dense_document(values.shape, chunk, values.dtype, names)
        return {DOCUMENT: document, **dict(_dense_pieces(values, chunk))}
    files: dict[str, Any] = {}
    is_text = values.dtype.kind in "TUO"
    dtype = "string" if is_text else values.dtype
    array = _dense_array(files, values.shape, chunk, dtype, dimensions)
    array[...] = values.astype(object) if is_text else values
    return {key: bytes(buffer.to_bytes()) for key, buffer in files.items()}


def _dense_array(
    files: dict[str, Any],
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: Any,
    dimensions: tuple[str, ...] | None,
) -> zarr.Array[Any]:
    return zarr.create_array(
        MemoryStore(files),
        shape=shape,
        chunks=chunk,
        dtype=dtype,
        compressors=[ZstdCodec(level=DENSE_LEVEL, checksum=True)],
        dimension_names=dimensions,
        config={"write_empty_chunks": True},
        zarr_format=3,
    )


@functools.lru_cache(maxsize=1024)
def _dense_document(
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: np.dtype[Any],
    dimensions: tuple[str, ...] | None,
) -> bytes:
    """Return the metadata, which take much longer to make than small values."""
    files: dict[str, Any] = {}
    _dense_array(files, shape, chunk, dtype, dimensions)
    return bytes(files[DOCUMENT].to_bytes())


def _dense_pieces(
    values: NDArray[Any], chunk: tuple[int, ...]
) -> Iterator[tuple[str, bytes]]:
    """Yield the pieces of numbers, chunks of rows, as Zarr writes them."""
    if not values.size:
        return
    rows = chunk[0] if chunk else 1
    for number, start in enumerate(range(0, len(values) if chunk else 1, rows)):
        piece = values[start : start + rows] if chunk else values
        (data,) = _parts(piece, chunk, chunk, 0)
        place = (number, *(0 for _ in chunk[1:])) if chunk else ()
        key = "/".join(map(str, ("c", *place)))
        yield key, bytes(zstd.compress(data, DENSE_LEVEL, checksum=True))


def fill_of(spec: ArraySpec) -> Any:
    """Return what stands in an array where nothing was written."""
    if spec.dtype == "string":
        return ""
    if spec.dtype == "bool":
        return False
    fill = spec.declaration.fill
    return np.dtype(spec.dtype).type(fill if not isinstance(fill, str) else 0)
