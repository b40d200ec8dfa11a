"""How is an array laid out in Zarr: its chunks, shards, codecs and fill value?"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from nnviz.store.schema import ArraySpec

__all__ = ["create_declared", "create_dense"]

DENSE_CHUNK_BYTES = 4_000_000


def create_declared(root: zarr.Group, spec: ArraySpec) -> None:
    """Create one array from its declaration; nothing is written into it."""
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
    root.create_array(
        spec.path,
        shape=spec.shape,
        chunks=tuple(max(1, c) for c in chunk),
        shards=tuple(max(1, s) for s in shard) if spec.inner_chunk else None,
        dtype=spec.dtype,
        compressors=compressors,
        fill_value=_fill_of(spec),
        dimension_names=declaration.dimensions[:n_axes],
        attributes={"unit": declaration.unit, "meaning": declaration.meaning},
        config={"write_empty_chunks": True},
    )


def create_dense(
    root: zarr.Group,
    path: str,
    values: NDArray[Any],
    dimensions: tuple[str, ...] | None,
) -> None:
    """Create an array from its values, or replace one."""
    is_text = values.dtype.kind in "TUO"
    row_bytes = max(1, values.nbytes // max(1, len(values)) if values.ndim else 1)
    n_rows = len(values) if values.ndim else 1
    rows = max(1, min(n_rows, DENSE_CHUNK_BYTES // row_bytes))
    shape = values.shape
    array = root.create_array(
        path,
        shape=shape,
        chunks=tuple(max(1, s) for s in (rows, *shape[1:])) if shape else (),
        dtype="string" if is_text else values.dtype,
        compressors=[ZstdCodec(level=1, checksum=True)],
        dimension_names=dimensions,
        overwrite=True,
        config={"write_empty_chunks": True},
    )
    array[...] = values.astype(object) if is_text else values


def _fill_of(spec: ArraySpec) -> Any:
    if spec.dtype == "string":
        return ""
    if spec.dtype == "bool":
        return False
    fill = spec.declaration.fill
    return np.dtype(spec.dtype).type(fill if not isinstance(fill, str) else 0)
