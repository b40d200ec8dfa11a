"""Checksums that are put together, against those of all bytes."""

import zlib

import numpy as np
import pytest

from nnviz.aggregation.joined_checksums import joined_crc32


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 7, 8, 1000])
@pytest.mark.parametrize("n_bytes", [1, 4, 33])
def test_joined_crc32__is_that_of_all_bytes(n_rows, n_bytes):
    rng = np.random.default_rng(n_rows)
    rows = [rng.bytes(n_bytes) for _ in range(n_rows)]
    each = np.array([zlib.crc32(row) for row in rows], dtype=np.uint32)

    assert joined_crc32(each, n_bytes) == zlib.crc32(b"".join(rows))


@pytest.mark.parametrize("place", [0, 1, 5])
def test_joined_crc32__is_another_one_where_any_row_is(place):
    rows = [bytes([number] * 8) for number in range(6)]
    each = np.array([zlib.crc32(row) for row in rows], dtype=np.uint32)
    rows[place] = bytes(8) if place else b"12345678"

    assert joined_crc32(each, 8) != zlib.crc32(b"".join(rows))
