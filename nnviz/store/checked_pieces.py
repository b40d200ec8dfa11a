"""How does Zarr get the pieces of an array? Only as they were written.

Zarr decodes whatever lies at a key. A piece that is sound in itself may still be
another piece, of this array or of an older one, a pipe that never ends, or a few bytes
that unpack to more than the memory holds. So Zarr reads through this, which

1. reads plain files only, not larger than what is declared;
2. compares each file with its CRC-32 in the group ``checksums``, if it has one there;
3. lets nothing be unpacked that says to become larger than what is declared.

The declaration itself, an array's ``zarr.json``, is checked for sense before Zarr sees
it: no other codec than nnviz writes is looked up, and nothing is allocated for a shape
that cannot be.

References
----------
.. [1] Collet and Kucherawy, "Zstandard Compression and the 'application/zstd' Media
   Type", RFC 8878, 2021, section 3.1.1.1: the header of a frame.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.buffer import default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import StorePath, WrapperStore

from nnviz.store.documents import crc_text
from nnviz.store.files import read_plain

__all__ = ["DAMAGED", "MissingPieceError", "open_checked"]

DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    zarr.errors.BaseZarrError,
)
"""What Zarr raises when it meets bytes that it did not write."""


class MissingPieceError(ValueError):
    """There is no object of a piece; its only argument is the key.

    Only where a store is no folder: there a look before each reading is a question.
    """


CODECS = frozenset(("bytes", "crc32c", "sharding_indexed", "vlen-utf8", "zstd"))
DTYPES = frozenset(
    (
        *("bool", "string", "float16", "float32", "float64"),
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    )
)

MAX_EXTENT = 1 << 48
MAX_PIECE_BYTES = 1 << 30
"""Of the values of one piece; those that nnviz plans have some ten megabytes."""

BYTES_PER_TEXT = 1 << 10
MAX_TEXT_BYTES = 1 << 28
"""Of the texts of one piece, whose length is not declared."""


def open_checked(
    document: bytes,
    store: Any,
    path: str,
    *,
    folder: Path | None,
    stated: Mapping[str, str],
) -> zarr.Array[Any]:
    """Open an array of which every piece is checked as it is read.

    Parameters
    ----------
    document
        Its ``zarr.json``.
    store, path
        Zarr's store, and where the array is in it.
    folder
        Folder of the array, if it is on a file system.
    stated
        CRC-32 of the array's files, by their key below `path`; empty for none.

    Raises
    ------
    ValueError
        If the document is not that of an array that nnviz could have written; the
        message names the field.
    """
    declared, metadata = _understood(document)
    if stated and declared.n_pieces > len(stated):
        msg = (
            f"its 'shape' {list(declared.shape)} has {declared.n_pieces:,} pieces, and "
            f"there are checksums of {len(stated):,} files"
        )
        raise ValueError(msg)
    pieces = CheckedPieces(store, path, folder, stated, declared)
    return zarr.Array(zarr.AsyncArray(metadata, StorePath(pieces, path)))


@functools.lru_cache(maxsize=1024)
def _understood(document: bytes) -> tuple[_Declared, ArrayV3Metadata]:
    """Return what a document says, for nnviz and for Zarr; raises as `open_checked`.

    Kept, as stores are opened again and again, and many arrays are declared alike.
    """
    declared, facts = _declared(document)
    return declared, ArrayV3Metadata.from_dict(facts)


@dataclass(frozen=True, slots=True)
class _Declared:
    """What an array's document says, as far as it matters here."""

    shape: tuple[int, ...]
    n_pieces: int
    piece_bytes: int
    """Of the values of a piece; for texts what they may have."""
    is_packed: bool
    """Whether pieces are compressed as a whole."""


def _declared(document: bytes) -> tuple[_Declared, dict[str, Any]]:
    """Return what a document declares, and all of it; raises as `open_checked`."""
    try:
        facts = json.loads(document)
    except (ValueError, RecursionError) as error:
        msg = f"it is not valid JSON ({error})"
        raise ValueError(msg) from error
    if not isinstance(facts, dict) or facts.get("node_type") != "array":
        msg = "it is not the document of a Zarr v3 array"
        raise ValueError(msg)
    shape = _extents(facts.get("shape"), "shape", least=0)
    grid = facts.get("chunk_grid")
    inside = grid.get("configuration") if isinstance(grid, dict) else None
    chunk = inside.get("chunk_shape") if isinstance(inside, dict) else None
    piece = _extents(chunk, "chunk_grid", least=1)
    if len(piece) != len(shape):
        msg = f"its 'chunk_grid' has {len(piece)} axes and its 'shape' {len(shape)}"
        raise ValueError(msg)
    dtype = facts.get("data_type")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        msg = f"its 'data_type' is {dtype!r}, which nnviz does not write"
        raise ValueError(msg)
    names = _codecs(facts.get("codecs"))
    n_values = math.prod(piece)
    if dtype == "string":
        n_bytes = min(MAX_TEXT_BYTES, (1 << 20) + n_values * BYTES_PER_TEXT)
    else:
        n_bytes = n_values * np.dtype(dtype).itemsize
    if n_bytes > MAX_PIECE_BYTES:
        msg = (
            f"a piece of its 'chunk_grid' {list(piece)} has {n_bytes:,} bytes, more "
            f"than {MAX_PIECE_BYTES:,}"
        )
        raise ValueError(msg)
    counts = [-(-n // size) for n, size in zip(shape, piece, strict=True)]
    return _Declared(shape, math.prod(counts), n_bytes, "zstd" in names), facts


def _extents(value: Any, field: str, *, least: int) -> tuple[int, ...]:
    is_list = isinstance(value, list) and len(value) <= 8
    if not is_list or not all(
        type(n) is int and least <= n <= MAX_EXTENT for n in value
    ):
        msg = f"its {field!r} is {str(value)[:80]}, which cannot be"
        raise ValueError(msg)
    return tuple(value)


def _codecs(value: Any) -> set[str]:
    """Return the names of the codecs of a whole piece; those inside are checked too."""
    if not isinstance(value, list):
        msg = f"its 'codecs' are {str(value)[:80]}"
        raise ValueError(msg)  # noqa: TRY004  the bytes are wrong, not a caller
    names = set()
    for codec in value:
        name = codec.get("name") if isinstance(codec, dict) else codec
        if name not in CODECS:
            msg = f"its 'codecs' name {str(name)[:80]!r}, which nnviz does not write"
            raise ValueError(msg)
        if name == "sharding_indexed":
            inside = codec.get("configuration")
            for part in ("codecs", "index_codecs"):
                if "zstd" in _codecs((inside or {}).get(part)):
                    msg = f"its 'codecs' pack the {part!r} of a shard"
                    raise ValueError(msg)
        names.add(name)
    return names


class CheckedPieces(WrapperStore[Any]):
    """Zarr's store, as one array may read it.

    Parameters
    ----------
    store, path, folder, stated
        See :func:`open_checked`.
    declared
        What the array's document says.
    """

    def __init__(
        self,
        store: Any,
        path: str,
        folder: Path | None,
        stated: Mapping[str, str],
        declared: _Declared,
    ) -> None:
        super().__init__(store)
        self._prefix = f"{path}/"
        self._folder = folder
        self._stated = stated
        self._declared = declared

    def _with_store(self, store: Any) -> CheckedPieces:
        path = self._prefix.removesuffix("/")
        return CheckedPieces(store, path, self._folder, self._stated, self._declared)

    async def get(
        self, key: str, prototype: Any, byte_range: ByteRequest | None = None
    ) -> Any:
        """Return a piece, or a part of it; None if there is none.

        Raises
        ------
        ValueError
            If it is not what was written.
        MissingPieceError
            If there is none, and the store is no folder.
        StoreFormatError
            If it is no plain file.
        """
        name = key.removeprefix(self._prefix)
        if byte_range is not None and self._folder is None and not self._stated:
            part = await self._store.get(key, prototype, byte_range)
            if not part:
                raise MissingPieceError(key)
            return part
        data = await self._whole(key, name)
        if not data and self._folder is None:
            raise MissingPieceError(key)
        if data is None:
            return None
        expected = self._stated.get(name)
        if self._stated and crc_text(data) != expected:
            msg = "its bytes do not fit their checksum"
            raise ValueError(msg)
        if self._declared.is_packed:
            _check_unpacked(data, self._declared.piece_bytes)
        part = data if byte_range is None else data[_slice(byte_range, len(data))]
        return prototype.buffer.from_bytes(part)

    async def _whole(self, key: str, name: str) -> bytes | None:
        # Checksums, the index of a shard, and what zstd adds to what it cannot pack.
        limit = 2 * self._declared.piece_bytes + (1 << 16)
        if self._folder is not None:
            path = self._folder / name
            return await asyncio.to_thread(read_plain, path, limit=limit)
        # With a range, a client of an object store asks once, not for the size first.
        some = RangeByteRequest(0, limit + 1)
        found = await self._store.get(key, default_buffer_prototype(), some)
        data = None if found is None else bytes(found.to_bytes())
        if data is not None and len(data) > limit:
            msg = f"it has more than {limit:,} bytes"
            raise ValueError(msg)
        return data

    async def get_partial_values(
        self, prototype: Any, key_ranges: Any
    ) -> list[Any | None]:
        """Return several pieces, or parts of them; see :meth:`get`."""
        found = (self.get(key, prototype, part) for key, part in key_ranges)
        return list(await asyncio.gather(*found))


def _slice(part: ByteRequest, n: int) -> slice:
    if isinstance(part, RangeByteRequest):
        return slice(part.start, part.end)
    if isinstance(part, OffsetByteRequest):
        return slice(part.offset, None)
    assert isinstance(part, SuffixByteRequest)
    return slice(max(0, n - part.suffix), None)


_MAGIC = b"\x28\xb5\x2f\xfd"


def _check_unpacked(data: bytes, limit: int) -> None:
    """Refuse a Zstandard frame that is to become larger than what is declared.

    Raises
    ------
    ValueError
        If it is, or does not say how large it becomes.
    """
    size = _unpacked_bytes(data)
    if size is None or size > limit:
        what = "an unknown number of" if size is None else f"{size:,}"
        msg = f"it unpacks to {what} bytes, and {limit:,} at most are declared"
        raise ValueError(msg)


def _unpacked_bytes(data: Sequence[int] | bytes) -> int | None:
    """Return the content size in the header of a frame; None where it has none."""
    if bytes(data[:4]) != _MAGIC or len(data) < 5:
        return None
    descriptor = data[4]
    is_single = bool(descriptor & 0x20)
    n_bytes = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3]
    field = bytes(data[start : start + n_bytes])
    if not n_bytes or len(field) < n_bytes:
        return None
    return int.from_bytes(field, "little") + (256 if n_bytes == 2 else 0)
