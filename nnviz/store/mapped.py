"""How are raw values used where they lie? A file, mapped, or a strip of a shard, read.

Pages of what is mapped are in memory once, for all processes of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from nnviz.errors import StoreFormatError
from nnviz.runs.wide_arrays import Place
from nnviz.store.files import read_part
from nnviz.store.pieces import fill_of, part_checksums
from nnviz.store.strips import strip_span

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
    # By its name: of a path NumPy looks up every folder.
    return np.asarray(np.memmap(str(path), little, mode="r", shape=shape))


@dataclass(frozen=True, slots=True)
class Strips:
    """The strips of neighbouring channels of a layer, in the shards of activations."""

    folder: Path | None
    """Where the pieces are; None where the store is not on a file system."""
    place: Place
    """Where the layer is in them: from the beginning of a strip on."""

    @property
    def width(self) -> int:
        """Channels of a strip."""
        return self.place.spec.inner_chunk[1]

    @property
    def n_strips(self) -> int:
        """Strips of the layer in a shard."""
        return -(-self.place.shape[0] // self.width)

    def checksums(self, values: NDArray[Any]) -> list[int]:
        """Return the CRC-32C of each strip of a chunk with these values."""
        chunk = self.place.spec.inner_chunk
        shard = (chunk[0], self.n_strips * chunk[1])
        fill = fill_of(self.place.spec)
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
        spec, width = self.place.spec, self.width
        dtype = np.dtype(spec.dtype)
        chunk, shard = spec.inner_chunk, spec.shard
        start = self.place.first + strip * width
        columns = slice(start, start + width)
        first, n, size = strip_span(
            columns, chunk=chunk, shard=shard, n_bytes=dtype.itemsize
        )
        for number, checksum in zip(chunks, checksums, strict=True):
            path = f"{self.folder}/c/{number}/0"
            try:
                # Four bytes of a checksum follow, which is known already.
                data = read_part(path, first, n - 4, size=size) or b""
            except (OSError, ValueError) as error:
                msg = f"{path!r} cannot be read ({error})"
                raise StoreFormatError(msg) from error
            if len(data) != n - 4 or google_crc32c.value(data) != checksum:
                msg = f"strip {strip} of {path!r} does not fit its checksum"
                raise StoreFormatError(msg)
            yield np.frombuffer(data, dtype.newbyteorder("<")).reshape(chunk)
