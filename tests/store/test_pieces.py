"""Pieces: Zarr reads the same values from our bytes as from its own."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.buffer import default_buffer_prototype
from zarr.codecs import Crc32cCodec
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from nnviz.store.pieces import encode_piece

DTYPES = ["float16", "float32", "int16", "int32", "int64"]


def read_with_zarr(values, *, shape, chunk, shard, fill):
    """Return what Zarr reads from an array whose first piece is ours."""
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=values.dtype,
        compressors=[Crc32cCodec()],
        fill_value=fill,
    )
    data = encode_piece(values, chunk=chunk, shard=shard, fill=array.fill_value)
    key = array.metadata.encode_chunk_key((0,) * len(shape))
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))
    return array[: len(values)]


@given(
    rows=st.integers(1, 40),
    missing=st.integers(0, 39),
    columns=st.integers(1, 70),
    inner=st.integers(1, 32),
    dtype=st.sampled_from(DTYPES),
)
def test_encode_piece__shard_of_any_shape__is_read_by_zarr(
    rows, missing, columns, inner, dtype
):
    n = max(1, rows - missing)
    values = np.arange(n * columns).reshape(n, columns).astype(dtype)
    chunk = (rows, min(inner, columns))
    shard = (rows, -(-columns // chunk[1]) * chunk[1])

    found = read_with_zarr(values, shape=(n, columns), chunk=chunk, shard=shard, fill=0)

    assert np.array_equal(found, values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_encode_piece__plain_chunk__is_read_by_zarr(dtype):
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)

    found = read_with_zarr(
        values, shape=(2, 3, 4), chunk=(5, 3, 4), shard=None, fill=-1
    )

    assert np.array_equal(found, values)


def test_encode_piece__not_a_number__keeps_its_place():
    values = np.array([[1.0, np.nan], [np.nan, 2.0]], np.float16)

    found = read_with_zarr(
        values, shape=(2, 2), chunk=(4, 2), shard=(4, 2), fill=np.nan
    )

    assert np.array_equal(found, values, equal_nan=True)


def test_encode_piece__one_bit_flipped__is_found_by_zarr():
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=(3, 4),
        chunks=(3, 4),
        dtype="int32",
        compressors=[Crc32cCodec()],
    )
    data = bytearray(encode_piece(values, chunk=(3, 4), shard=None, fill=0))
    data[17] ^= 4
    buffer = default_buffer_prototype().buffer.from_bytes(bytes(data))
    sync(store.set(array.metadata.encode_chunk_key((0, 0)), buffer))

    with pytest.raises(ValueError, match="checksum"):
        array[:]
