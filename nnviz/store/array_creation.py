"""How is an array laid out in Zarr: its chunks, shards, codecs and fill value?

Zarr makes the bytes, in memory. In their place it would ask for every group above the
array before it writes: eight questions in an object store, for each array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from nnviz.runs.schema import ArraySpec
from nnviz.store.documents import DOCUMENT

__all__ = ["declared_document", "dense_files"]

DENSE_CHUNK_BYTES = 4_000_000


def declared_document(spec: ArraySpec) -> bytes:
    """Return the metadata of an array, from its declaration."""
    n_axes = len(spec.shape)
    shard = (max(1, spec.rows_per_shard), *spec.shape[1:])
    chunk = spec.inner_chunk or shard
    if spec.inner_chunk:
        shard = tuple(-(-s // c) * c for s, c in zip(shard, chunk, strict=True))
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
        shards=tuple(max(1, s) for s in shard) if spec.inner_chunk else None,
        dtype=spec.dtype,
        compressors=compressors,
        fill_value=_fill_of(spec),
        dimension_names=declaration.dimensions[:n_axes],
        attributes={"unit": declaration.unit, "meaning": declaration.meaning},
        config={"write_empty_chunks": True},
        zarr_format=3,
    )
    return bytes(files[DOCUMENT].to_bytes())


def dense_files(
    values: NDArray[Any], dimensions: tuple[str, ...] | None
) -> dict[str, bytes]:
    """Return the files of an array with these values, by their key below its path."""
    is_text = values.dtype.kind in "TUO"
    row_bytes = max(1, values.nbytes // max(1, len(values)) if values.ndim else 1)
    n_rows = len(values) if values.ndim else 1
    rows = max(1, min(n_rows, DENSE_CHUNK_BYTES // row_bytes))
    shape = values.shape
    files: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(files),
        shape=shape,
        chunks=tuple(max(1, s) for s in (rows, *shape[1:])) if shape else (),
        dtype="string" if is_text else values.dtype,
        compressors=[ZstdCodec(level=1, checksum=True)],
        dimension_names=dimensions,
        config={"write_empty_chunks": True},
        zarr_format=3,
    )
    array[...] = values.astype(object) if is_text else values
    return {key: bytes(buffer.to_bytes()) for key, buffer in files.items()}


def _fill_of(spec: ArraySpec) -> Any:
    if spec.dtype == "string":
        return ""
    if spec.dtype == "bool":
        return False
    fill = spec.declaration.fill
    return np.dtype(spec.dtype).type(fill if not isinstance(fill, str) else 0)
