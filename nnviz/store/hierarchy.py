"""How are arrays read and written? The only module, with ``csr``, that knows Zarr.

Facts about zarr-python 3.1 that this module is built on, each measured:

* a missing chunk reads as the fill value without a word, so presence of data is decided
  by completion marks and never here;
* an array without a checksum serves most flipped bits, so every array has one;
* maxima hardly compress, so they are stored as they are, with CRC-32C: the chunk's file
  is the raw values and four bytes more, and can be memory-mapped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer import default_buffer_prototype
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.sync import sync
from zarr.storage import LocalStore

from nnviz.errors import (
    StoreError,
    StoreExistsError,
    StoreFormatError,
    StoreNotFoundError,
)
from nnviz.store.pieces import encode_piece
from nnviz.store.schema import ArraySpec

__all__ = ["Hierarchy"]

DENSE_CHUNK_BYTES = 4_000_000


class Hierarchy:
    """A Zarr v3 hierarchy: arrays by path, attributes as JSON.

    Parameters
    ----------
    root
        The opened root group.
    url
        Where it is, for messages.
    """

    def __init__(self, root: zarr.Group, url: str) -> None:
        self._root = root
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self.url = url

    @classmethod
    def create(cls, url: str | os.PathLike[str]) -> Hierarchy:
        """Create an empty hierarchy at a place where there is nothing.

        Raises
        ------
        StoreExistsError
            If there is something at `url`.
        StoreError
            If the place cannot be written.
        """
        url = os.fspath(url)
        if "://" not in url and os.path.lexists(url) and not _is_empty_folder(url):
            msg = (
                f"there is something at {url!r} already; choose another path, or "
                "remove it first"
            )
            raise StoreExistsError(msg)
        try:
            return cls(zarr.create_group(url, zarr_format=3, overwrite=False), url)
        except zarr.errors.ContainsGroupError as error:
            msg = f"there is a store at {url!r} already; choose another place"
            raise StoreExistsError(msg) from error
        except OSError as error:
            msg = f"cannot create a store at {url!r}: {error}"
            raise StoreError(msg) from error

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, writable: bool = False) -> Hierarchy:
        """Open an existing hierarchy.

        Raises
        ------
        StoreNotFoundError
            If there is none at `url`.
        StoreFormatError
            If what is there is no Zarr v3 group.
        """
        url = os.fspath(url)
        mode: Literal["r", "r+"] = "r+" if writable else "r"
        try:
            return cls(zarr.open_group(url, mode=mode, zarr_format=3), url)
        except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
            msg = (
                f"there is no store at {url!r}; 'nnviz plan run.toml --create STORE' "
                "makes one"
            )
            raise StoreNotFoundError(msg) from error
        except (ValueError, KeyError, zarr.errors.BaseZarrError) as error:
            msg = f"{url!r} cannot be opened as a Zarr v3 group: {error}"
            raise StoreFormatError(msg) from error

    @property
    def local_path(self) -> str | None:
        """Folder of the hierarchy, or None if it is not on a file system."""
        store = self._root.store
        return str(store.root) if isinstance(store, LocalStore) else None

    def create_array(self, spec: ArraySpec) -> None:
        """Create one array from its declaration; nothing is written into it."""
        n_axes = len(spec.shape)
        shard = (max(1, spec.rows_per_shard), *spec.shape[1:])
        chunk = spec.inner_chunk or shard
        if spec.inner_chunk:
            shard = tuple(-(-s // c) * c for s, c in zip(shard, chunk, strict=True))
        compressors = (
            [ZstdCodec(level=1, checksum=True)]
            if spec.dtype == "string"
            else [Crc32cCodec()]
        )
        declaration = spec.declaration
        self._root.create_array(
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

    def write(self, path: str, start: int, values: NDArray[Any]) -> None:
        """Write rows ``start : start + len(values)`` of an array."""
        self._array(path)[start : start + len(values)] = values

    def write_pieces(self, index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one whole piece (shard, or chunk) of several arrays, and read it back.

        Parameters
        ----------
        index
            Number of the piece along the first axis.
        arrays
            The piece's rows, in the array's dtype, by path; not for texts.

        Raises
        ------
        StoreFormatError
            If what was read back differs from what was written.
        """
        store, prototype = self._root.store, default_buffer_prototype()
        encoded: dict[str, tuple[str, bytes]] = {}
        for path, values in arrays.items():
            array = self._array(path)
            place = (index, *[0] * (array.ndim - 1))
            key = f"{array.path}/{array.metadata.encode_chunk_key(place)}"
            data = encode_piece(
                values, chunk=array.chunks, shard=array.shards, fill=array.fill_value
            )
            encoded[path] = (key, data)

        async def write(key: str, data: bytes) -> bool:
            await store.set(key, prototype.buffer.from_bytes(data))
            back = await store.get(key, prototype)
            return back is not None and back.to_bytes() == data

        async def write_all() -> list[bool]:
            return await asyncio.gather(*(write(*item) for item in encoded.values()))

        for path, is_same in zip(encoded, sync(write_all()), strict=True):
            if not is_same:
                msg = (
                    f"piece {index} of array {path!r} reads back differently from what "
                    f"was written to {self.url!r}; check the disk"
                )
                raise StoreFormatError(msg)

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *columns: slice
    ) -> NDArray[Any]:
        """Read rows ``start:stop``; `columns` are slices of the further axes.

        Raises
        ------
        StoreFormatError
            If a piece is damaged: its checksum does not fit, or it is cut off.
        """
        array = self._array(path)
        if array.ndim == 0:
            return np.asarray(array[()])
        try:
            return np.asarray(array[(slice(start, stop), *columns)])
        except (ValueError, RuntimeError, TypeError, EOFError) as error:
            msg = (
                f"array {path!r} of {self.url!r} is damaged between rows {start} and "
                f"{stop}: {error}; 'nnviz extract' writes the piece again once its "
                "completion mark is removed"
            )
            raise StoreFormatError(msg) from error

    def check_pieces(self, path: str, start: int = 0, stop: int | None = None) -> None:
        """Refuse rows of which a piece is gone: it would read as the fill value.

        Raises
        ------
        StoreFormatError
            If a file, or an object, is not there.
        """
        array = self._array(path)
        if array.ndim == 0 or 0 in array.shape:
            return
        rows = (array.shards or array.chunks)[0]
        first, last, _ = slice(start, stop).indices(array.shape[0])
        others = (0,) * (array.ndim - 1)
        keys = [
            f"{path}/{array.metadata.encode_chunk_key((index, *others))}"
            for index in range(first // rows, -(-last // rows) if last > first else 0)
        ]
        if self.local_path is not None:
            folder = Path(self.local_path)
            is_there = [(folder / key).is_file() for key in keys]
        else:
            store, prefix = self._root.store, self._root.path
            is_there = sync(_all_exist(store, prefix, keys))
        if not all(is_there):
            gone = keys[is_there.index(False)]
            msg = (
                f"a piece of the store {self.url!r} is gone: {gone!r}; 'nnviz extract' "
                "writes it again once its completion mark is removed"
            )
            raise StoreFormatError(msg)

    def shape(self, path: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self._array(path).shape)

    def dtype(self, path: str) -> str:
        """Return the name of an array's dtype; ``string`` for texts."""
        dtype = self._array(path).dtype
        return "string" if dtype.kind in "TUO" else str(dtype)

    def write_dense(
        self,
        path: str,
        values: NDArray[Any],
        *,
        dimensions: tuple[str, ...] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Create an array from its values, or replace one."""
        values = np.asarray(values)
        is_text = values.dtype.kind in "TUO"
        row_bytes = max(1, values.nbytes // max(1, len(values)) if values.ndim else 1)
        rows = max(
            1, min(len(values) if values.ndim else 1, DENSE_CHUNK_BYTES // row_bytes)
        )
        shape = values.shape
        array = self._root.create_array(
            path,
            shape=shape,
            chunks=tuple(max(1, s) for s in (rows, *shape[1:])) if shape else (),
            dtype="string" if is_text else values.dtype,
            compressors=[ZstdCodec(level=1, checksum=True)],
            dimension_names=dimensions,
            attributes=dict(attributes or {}),
            overwrite=True,
            config={"write_empty_chunks": True},
        )
        array[...] = values.astype(object) if is_text else values
        self._arrays.pop(path, None)

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Return the attributes of a group or array."""
        node = self._root if not path else self._root[path]
        return dict(node.attrs.asdict())

    def create_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Create a group, with the groups above it, or renew its attributes."""
        self._root.require_group(path).attrs.put(dict(attributes))

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Renew the attributes of the root."""
        self._root.attrs.put(dict(attributes))

    def has(self, path: str) -> bool:
        """Whether there is a group or an array at this path."""
        return path in self._root

    def children(self, path: str) -> list[str]:
        """Return the names below a group, sorted; empty if there is no such group."""
        if path not in self._root:
            return []
        group = self._root[path]
        return sorted(group.keys()) if isinstance(group, zarr.Group) else []

    def delete(self, path: str) -> None:
        """Remove a group or an array, with all below it."""
        if path in self._root:
            del self._root[path]
        stale = [p for p in self._arrays if p == path or p.startswith(path + "/")]
        for name in stale:
            del self._arrays[name]

    def _array(self, path: str) -> zarr.Array[Any]:
        # Opening costs 1.5 to 15 ms, so that every handle is kept.
        if path not in self._arrays:
            try:
                node = self._root[path]
            except KeyError as error:
                msg = f"there is no array {path!r} in the store {self.url!r}"
                raise StoreFormatError(msg) from error
            if not isinstance(node, zarr.Array):
                msg = f"{path!r} in the store {self.url!r} is a group, not an array"
                raise StoreFormatError(msg)
            # Not kept in the store: without it a piece of empty texts is not written.
            self._arrays[path] = node.with_config({"write_empty_chunks": True})
        return self._arrays[path]


async def _all_exist(store: Any, prefix: str, keys: list[str]) -> list[bool]:
    paths = [f"{prefix}/{key}" if prefix else key for key in keys]
    return list(await asyncio.gather(*(store.exists(path) for path in paths)))


def _fill_of(spec: ArraySpec) -> Any:
    if spec.dtype == "string":
        return ""
    if spec.dtype == "bool":
        return False
    fill = spec.declaration.fill
    return np.dtype(spec.dtype).type(fill if not isinstance(fill, str) else 0)


def _is_empty_folder(path: str) -> bool:
    folder = Path(path)
    return folder.is_dir() and not any(folder.iterdir())
