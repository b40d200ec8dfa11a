"""How are raw values used where they lie? A file, mapped, or a strip of a shard, read.

Pages of what is mapped are in memory once, for all processes of the machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from nnviz.errors import StoreFormatError
from nnviz.runs.arrays import ArraySpec
from nnviz.store.pieces import fill_of, part_checksums

__all__ = ["Strips", "map_values"]


def map_values(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Map the raw values of a file, after which come four bytes.

    Raises
    ------
    StoreFormatError
        If it has not the bytes of such an array.
    """
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    expected = max(n_bytes, dtype.itemsize) + 4
    found = path.stat().st_size
    if found != expected:
        msg = f"{path.parent.as_posix()!r} has {found:,} bytes, not {expected:,}"
        raise StoreFormatError(msg)
    if not n_bytes:
        return np.zeros(shape, dtype)
    little = dtype.newbyteorder("<")
    # As an array: every look at a memmap makes another one, which takes its time.
    return np.asarray(np.memmap(path, little, mode="r", shape=shape))


@dataclass(frozen=True, slots=True)
class Strips:
    """The strips of neighbouring channels in the shards of an array of two axes."""

    folder: Path | None
    """Where its pieces are; None where the store is not on a file system."""
    spec: ArraySpec
    """Its declaration."""

    @property
    def n_strips(self) -> int:
        """Strips of a shard."""
        return -(-self.spec.shape[1] // self.spec.inner_chunk[1])

    @property
    def n_bytes(self) -> int:
        """Bytes of the values of a strip; four more follow."""
        rows, width = self.spec.inner_chunk
        return rows * width * np.dtype(self.spec.dtype).itemsize

    def checksums(self, values: NDArray[Any]) -> list[int]:
        """Return the CRC-32C of each strip of a chunk with these values."""
        chunk = self.spec.inner_chunk
        shard = (chunk[0], self.n_strips * chunk[1])
        fill = fill_of(self.spec)
        return part_checksums(values, chunk=chunk, shard=shard, fill=fill)

    def read(
        self, strip: int, chunks: Sequence[int], *, checksums: Sequence[int]
    ) -> Iterator[NDArray[Any]]:
        """Read one strip of some chunks, and nothing else of them.

        Parameters
        ----------
        strip
            Its number.
        chunks
            Numbers of the chunks.
        checksums
            CRC-32C that the values of each of them have to have.

        Yields
        ------
        ndarray
            Shape (rows of a chunk, channels of a strip); the last ones may lie outside
            of the array.

        Raises
        ------
        StoreFormatError
            If one is not what was written, or is not there.
        """
        little = np.dtype(self.spec.dtype).newbyteorder("<")
        n, part = self.n_bytes, self.n_bytes + 4
        expected = self.n_strips * (part + 16) + 4
        for chunk, checksum in zip(chunks, checksums, strict=True):
            path = f"{self.folder}/c/{chunk}/0"
            data = _read_part(path, strip * part, n, expected=expected)
            if len(data) != n or google_crc32c.value(data) != checksum:
                msg = f"strip {strip} of {path!r} does not fit its checksum"
                raise StoreFormatError(msg)
            yield np.frombuffer(data, little).reshape(self.spec.inner_chunk)


def _read_part(path: str, offset: int, n: int, *, expected: int) -> bytes:
    """Return bytes of a plain file of an expected size; none of another one."""
    try:
        # A pipe would be waited for.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        msg = f"{path!r} cannot be read ({error})"
        raise StoreFormatError(msg) from error
    try:
        facts = os.fstat(file)
        is_whole = stat.S_ISREG(facts.st_mode) and facts.st_size == expected
        return os.pread(file, n, offset) if is_whole else b""
    finally:
        os.close(file)
