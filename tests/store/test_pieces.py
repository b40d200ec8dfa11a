"""Pieces: Zarr reads the same values from our bytes as from its own."""

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.buffer import default_buffer_prototype
from zarr.codecs import Crc32cCodec
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from nnviz.store.pieces import dense_files, encode_piece, encode_texts
from nnviz.store.strips import decode_strips, encode_strips, strip_span
from tests.oracles.files import tree_bytes

DTYPES = ["float16", "float32", "int16", "int32", "int64"]


def read_with_zarr(values, *, shape, chunk, shard, fill, data=None):
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
    if data is None:
        data = encode_piece(values, chunk=chunk, shard=shard, fill=array.fill_value)
    key = array.metadata.encode_chunk_key((0,) * len(shape))
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(bytes(data))))
    return array[: len(values)]


@given(
    rows=st.integers(1, 40),
    missing=st.integers(0, 39),
    columns=st.integers(1, 70),
    inner=st.integers(1, 32),
    dtype=st.sampled_from(DTYPES),
)
@settings(deadline=None)
def test_encode_piece__shard_of_any_shape__is_read_by_zarr(
    rows, missing, columns, inner, dtype
):
    n = max(1, rows - missing)
    values = np.arange(n * columns).reshape(n, columns).astype(dtype)
    chunk = (rows, min(inner, columns))
    shard = (rows, -(-columns // chunk[1]) * chunk[1])

    found = read_with_zarr(values, shape=(n, columns), chunk=chunk, shard=shard, fill=0)

    assert np.array_equal(found, values)


@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 70),
    inner=st.integers(1, 32),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(deadline=None)
def test_decode_strips__of_some_columns__is_what_was_written_there(
    rows, columns, inner, dtype, data
):
    values = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    chunk = (rows, min(inner, columns))
    shard = (rows, -(-columns // chunk[1]) * chunk[1])
    piece = bytes(encode_piece(values, chunk=chunk, shard=shard, fill=0))
    start = data.draw(st.integers(0, columns - 1))
    stop = data.draw(st.integers(start + 1, columns))

    first, n, size = strip_span(
        slice(start, stop), chunk=chunk, shard=shard, n_bytes=values.itemsize
    )
    found = decode_strips(piece[first : first + n], chunk=chunk, dtype=values.dtype)

    assert size == len(piece)
    start_inside = start % chunk[1]
    part = found[:, start_inside : start_inside + stop - start]
    assert np.array_equal(part, values[:, start:stop])
    assert found.shape[1] < stop - start + 2 * chunk[1]


@given(
    rows=st.integers(1, 9),
    missing=st.integers(0, 8),
    inner=st.integers(1, 20),
    sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1),
    dtype=st.sampled_from(DTYPES),
)
@settings(deadline=None)
def test_encode_strips__of_columns_with_gaps__is_read_by_zarr(
    rows, missing, inner, sizes, dtype
):
    n, end, parts = max(1, rows - missing), 0, []
    for gap, size in sizes:
        values = np.arange(n * size).reshape(n, size).astype(dtype)
        parts.append((end + gap, values))
        end += gap + size
    expected = np.full((n, end), -1, dtype)
    for first, values in parts:
        expected[:, first : first + values.shape[1]] = values
    n_strips = -(-end // inner)
    shard = (rows, n_strips * inner)

    piece = encode_strips(
        parts, chunk=(rows, inner), n_strips=n_strips, dtype=np.dtype(dtype), fill=-1
    )

    found = read_with_zarr(
        expected, shape=(n, end), chunk=(rows, inner), shard=shard, fill=-1, data=piece
    )
    assert np.array_equal(found, expected)
    whole = encode_piece(expected, chunk=(rows, inner), shard=shard, fill=-1)
    assert piece == whole


@given(texts=st.lists(st.text(max_size=9), max_size=5), more=st.integers(0, 3))
@settings(deadline=None)
def test_encode_texts__of_any_texts__is_what_zarr_writes(texts, more):
    n = max(1, len(texts) + more)
    files = {}
    array = zarr.create_array(
        MemoryStore(files),
        shape=(n,),
        chunks=(n,),
        dtype="string",
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
    )
    array[:] = np.array([*texts, *[""] * (n - len(texts))], dtype=object)

    found = encode_texts(np.array(texts, dtype=object), n=n)

    assert found == bytes(files["c/0"].to_bytes())[:-4]


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


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", ">i4", "float16", "<f8"])
@pytest.mark.parametrize(
    "shape",
    [(), (0,), (1,), (7,), (3, 0), (5, 4), (2, 3, 4), (1_000_003,), (900, 1200)],
)
def test_dense_files__are_those_that_zarr_writes(shape, dtype, tmp_path):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 200, shape).astype(dtype)[...]
    files = dense_files(values, None)
    rows = json.loads(files["zarr.json"])["chunk_grid"]["configuration"]["chunk_shape"]

    array = zarr.create_array(
        str(tmp_path / "array"),
        shape=shape,
        chunks=tuple(rows),
        dtype=dtype,
        compressors=[zarr.codecs.ZstdCodec(level=1, checksum=True)],
        config={"write_empty_chunks": True},
    )
    array[...] = values

    assert files == tree_bytes(tmp_path / "array")
    assert len(files) == 1 if 0 in shape else len(files) >= 2


def test_dense_files__of_columns_of_a_matrix_are_those_of_a_copy():
    values = np.arange(600.0).reshape(20, 30)[::2, ::3]

    assert dense_files(values, ("a", "b")) == dense_files(values.copy(), ("a", "b"))
