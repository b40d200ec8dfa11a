"""What is the checksum of many rows together? It follows from that of each of them.

A CRC is linear: what bytes add to it does not depend on what is before them, but for
how far they move that. So a block is read and checked at once, though checksums are of
rows.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["joined_crc32"]

N_BITS, N_BYTES = 32, 4

Checksums = NDArray[np.uint32]


def joined_crc32(checksums: Checksums, n_bytes: int) -> int:
    """Return the CRC-32 of rows one after the other, of the CRC-32 of each.

    Parameters
    ----------
    checksums
        As :func:`zlib.crc32` gives them, shape (n,).
    n_bytes
        Of each row.

    References
    ----------
    .. [1] Adler, zlib, ``crc32_combine``, does so for two.

    Examples
    --------
    >>> rows = [b"one ", b"two ", b"six "]
    >>> each = np.array([zlib.crc32(row) for row in rows], dtype=np.uint32)
    >>> joined_crc32(each, 4) == zlib.crc32(b"one two six ")
    True
    """
    values = np.asarray(checksums, dtype=np.uint32)
    # What each bit of a checksum becomes if n_bytes zeros follow.
    zeros = bytes(n_bytes)
    of_zeros = zlib.crc32(zeros)
    moved = np.array(
        [zlib.crc32(zeros, 1 << bit) ^ of_zeros for bit in range(N_BITS)],
        dtype=np.uint32,
    )
    while len(values) > 1:
        if len(values) % 2:  # the checksum of nothing, which moves to itself
            values = np.append(np.uint32(0), values)
        tables = _tables(moved)
        values = _moved(values[::2], tables) ^ values[1::2]
        moved = _moved(moved, tables)  # by twice as many
    return int(values[0]) if len(values) else 0


def _tables(moved: Checksums) -> Checksums:
    """Return what each value of each byte of a checksum becomes, shape (4, 256)."""
    tables = np.zeros((N_BYTES, 1), dtype=np.uint32)
    for bits in moved.reshape(N_BYTES, -1).T:
        tables = np.hstack([tables, tables ^ bits[:, None]])
    return tables


def _moved(values: Checksums, tables: Checksums) -> Checksums:
    found = np.zeros_like(values)
    for place, table in enumerate(tables):
        found ^= table[(values >> np.uint32(8 * place)) & np.uint32(255)]
    return found
