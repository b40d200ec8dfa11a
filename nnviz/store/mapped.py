"""How are raw values used where they lie? A file, mapped, or a strip of a shard, read.

Pages of what is mapped are in memory once, for all processes of the machine.
"""

from __future__ import annotations

import os
import stat
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

    def read(self, chunk: int, strip: int, *, checksum: int) -> NDArray[Any]:
        """Read one strip of a chunk, and nothing else of it.

        Parameters
        ----------
        chunk, strip
            Their numbers.
        checksum
            CRC-32C that its values have to have.

        Returns
        -------
        ndarray
            Shape (rows of a chunk, channels of a strip); the last ones may lie outside
            of the array.

        Raises
        ------
        StoreFormatError
            If it is not what was written, or is not there.
        """
        assert self.folder is not None
        path = self.folder / "c" / str(chunk) / "0"
        part, n = self.n_bytes + 4, self.n_strips
        expected = n * (part + 16) + 4
        try:
            # A pipe would be waited for.
            file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            msg = f"{path.as_posix()!r} cannot be read ({error})"
            raise StoreFormatError(msg) from error
        try:
            facts = os.fstat(file)
            is_plain = stat.S_ISREG(facts.st_mode) and facts.st_size == expected
            data = os.pread(file, part, strip * part) if is_plain else b""
        finally:
            os.close(file)
        values = data[:-4]
        if len(data) != part or google_crc32c.value(values) != checksum:
            msg = f"strip {strip} of {path.as_posix()!r} does not fit its checksum"
            raise StoreFormatError(msg)
        little = np.dtype(self.spec.dtype).newbyteorder("<")
        return np.frombuffer(values, little).reshape(self.spec.inner_chunk)
