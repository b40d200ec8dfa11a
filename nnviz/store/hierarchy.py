"""How are arrays read and written? The only module, with ``csr``, that knows Zarr.

Facts about zarr-python 3.1 that this module is built on, each measured:

* a missing chunk reads as the fill value without a word, so presence of data is decided
  by completion marks and never here;
* an array without a checksum serves most flipped bits, so every array has one;
* maxima hardly compress, so they are stored as they are, with CRC-32C: the chunk's file
  is the raw values and four bytes more, and can be memory-mapped.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore

from nnviz.errors import (
    StoreError,
    StoreExistsError,
    StoreFormatError,
)
from nnviz.runs.arrays import ArraySpec
from nnviz.store.checked_pieces import DAMAGED, MissingPieceError, open_checked
from nnviz.store.documents import DOCUMENT, Documents, document_of
from nnviz.store.files import (
    MAX_DOCUMENT_BYTES,
    Files,
    open_root,
    read_plain,
)
from nnviz.store.mistaken_places import is_inside_store, not_found
from nnviz.store.pieces import (
    as_rows,
    columns_span,
    declared_document,
    decode_columns,
    decode_for,
    dense_files,
    encode_for,
    has_strips,
    most_bytes,
)
from nnviz.store.places import (
    absolute_url,
    check_writable,
    is_empty_folder,
    opening,
    storing,
)
from nnviz.store.strips import Columns
from nnviz.store.texts import unpacked_texts

__all__ = ["Hierarchy"]


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
        self._expected: dict[str, ArraySpec] = {}
        self.url = url
        self.files = Files(root.store, root.path, url)
        """The files themselves."""
        self.documents = Documents(self.files, url)
        """The metadata of groups and arrays."""

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> Hierarchy:
        """Create an empty hierarchy at a place where there is nothing.

        Parameters
        ----------
        url
            The place.
        attributes
            JSON values of the root.

        Raises
        ------
        StoreExistsError
            If there is something at `url`.
        StoreError
            If the place cannot be written.
        """
        url = absolute_url(url)
        if "://" not in url and os.path.lexists(url) and not is_empty_folder(url):
            msg = (
                f"there is something at {url!r} already; choose another path, or "
                "remove it first"
            )
            raise StoreExistsError(msg)
        try:
            with opening(url), storing(url):
                said = dict(attributes or {})
                root = zarr.create_group(
                    url, zarr_format=3, overwrite=False, attributes=said
                )
            return cls(root, url)
        except zarr.errors.ContainsGroupError as error:
            msg = f"there is a store at {url!r} already; choose another place"
            raise StoreExistsError(msg) from error
        except (FileExistsError, FileNotFoundError, ValueError) as error:
            msg = (
                f"cannot create a store at {url!r}: {error}; the place above it, a "
                "folder or a bucket, has to be there and of a protocol that fsspec "
                "knows (s3://, gs://, file://)"
            )
            raise StoreError(msg) from error

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, writable: bool = False) -> Hierarchy:
        """Open an existing hierarchy.

        Raises
        ------
        StoreNotFoundError
            If there is none at `url`.
        StoreFormatError
            If what is there is not a Zarr v3 group.
        StoreError
            If it is to be written, and the place is read-only.
        """
        given, url = url, absolute_url(url)
        mode: Literal["r", "r+"] = "r+" if writable else "r"
        try:
            with opening(url):
                if Path(url).is_dir():
                    if writable:
                        check_writable(Path(url))
                    read_plain(Path(url) / DOCUMENT, limit=MAX_DOCUMENT_BYTES)
                return cls(open_root(url, mode), url)
        except (
            FileExistsError,  # a file, where there should be a folder
            FileNotFoundError,
            zarr.errors.GroupNotFoundError,
        ) as error:
            raise not_found(given) from error
        except DAMAGED as error:
            if is_inside_store(url):
                raise not_found(given) from error
            msg = (
                f"{url!r} cannot be opened as a Zarr v3 group: {error}; if it is a "
                f"store of nnviz, 'nnviz verify {url}' repairs it"
            )
            raise StoreFormatError(msg) from error

    @classmethod
    def open_damaged(cls, url: str) -> Hierarchy:
        """Open a local hierarchy whose root Zarr cannot read, to look at its files."""
        root = zarr.Group.from_store(MemoryStore())
        opened = cls(root, url)
        opened.files = Files(LocalStore(url), "", url)
        opened.documents = Documents(opened.files, url)
        return opened

    def create_array(self, spec: ArraySpec) -> None:
        """Create one array from its declaration; nothing is written into it."""
        self.documents.ensure_parents(spec.path)
        self.files.put(document_of(spec.path), declared_document(spec))

    def expect(self, arrays: Iterable[ArraySpec]) -> None:
        """Refuse arrays of these paths that have another shape or dtype."""
        self._expected = {spec.path: spec for spec in arrays}

    def _check_expected(self, path: str, array: zarr.Array[Any]) -> None:
        spec = self._expected.get(path)
        if spec is None or self.documents.ignores_checksums:
            return
        shape = tuple(array.shape)
        dtype = "string" if array.dtype.kind in "TUO" else str(array.dtype)
        if shape != spec.shape or dtype != spec.dtype:
            field = "shape" if shape != spec.shape else "data_type"
            reason = (
                f"its {field!r} says {dtype} of shape {list(shape)}, and the plan "
                f"{spec.dtype} of {list(spec.shape)}"
            )
            raise self.documents.damaged_array(path, reason)

    def resize(self, path: str, shape: tuple[int, ...]) -> None:
        """Make an array longer; its values stay."""
        with storing(self.url):
            self._array(path).resize(shape)

    def write(self, path: str, start: int, values: NDArray[Any]) -> None:
        """Write rows ``start : start + len(values)`` of an array."""
        with storing(self.url):
            self._array(path)[start : start + len(values)] = values

    def write_pieces(self, index: int, arrays: Iterable[tuple[str, Columns]]) -> None:
        """Write one whole piece (shard, or chunk) of several arrays, and read it back.

        Parameters
        ----------
        index
            Number of the piece along the first axis.
        arrays
            Path, and the columns of the piece, in the array's dtype.

        Raises
        ------
        StoreFormatError
            If what was read back differs from what was written.
        """
        pieces = (
            (f"{array.path}/{_piece(array, index)}", array, parts)
            for array, parts in ((self._array(path), parts) for path, parts in arrays)
        )
        encoded = ((key, encode_for(array, parts)) for key, array, parts in pieces)
        # Elsewhere they go together; on a disk, one after the other needs less memory.
        groups = ([one] for one in encoded) if self.files.folder else [list(encoded)]
        for contents in groups:
            self.put_checked(dict(contents))

    def put_checked(self, contents: Mapping[str, bytes | bytearray]) -> None:
        """Write whole pieces, by their key, and read them back; errors as above."""
        self.files.put_all(contents)
        back = self.files.get_all(list(contents))
        for (key, data), found in zip(contents.items(), back, strict=True):
            if found != data:
                msg = (
                    f"{key!r} reads back differently from what was written to "
                    f"{self.url!r}; check the disk"
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
        is_old = path in self._arrays
        try:
            return self._read(path, start, stop, *columns)
        except DAMAGED as error:
            if is_old:
                # Another process may have written the group again.
                self._forget(path)
                self.documents.renew(path)
                return self.read(path, start, stop, *columns)
            if isinstance(error, MissingPieceError):
                raise self._missing(path, error.args[0]) from error
            raise self._damaged(path, start, stop, error) from error

    def _read(
        self, path: str, start: int, stop: int | None, *columns: slice
    ) -> NDArray[Any]:
        array = self._array(path)
        if array.ndim == 0:
            return np.asarray(array[()])
        return np.asarray(array[(slice(start, stop), *columns)])

    def read_texts(self, path: str) -> NDArray[np.object_]:
        """Return an array of texts with one axis, whole, as objects; errors as of read.

        They are unpacked without Zarr: :mod:`nnviz.store.texts`.
        """
        found = unpacked_texts(self._array(path), self.piece_keys(path))
        # Whatever is wrong is named by the usual way.
        return self.read(path).astype(object) if found is None else found

    def read_piece(self, path: str, index: int) -> NDArray[Any] | None:
        """Return the values of one whole piece, every byte checked; None without it.

        Raises
        ------
        ValueError
            If it is damaged; the message says how.
        """
        return self.read_pieces(path, [index])[0]

    def read_pieces(
        self, path: str, indices: Iterable[int]
    ) -> list[NDArray[Any] | None]:
        """Return the values of whole pieces of numbers; see :meth:`read_piece`."""
        array = self._array(path)
        keys = [f"{path}/{_piece(array, index)}" for index in indices]
        return [
            None if data is None else decode_for(array, data)
            for data in self.files.get_all(keys, limit=most_bytes(array))
        ]

    def read_columns(
        self, path: str, indices: Iterable[int], columns: slice
    ) -> list[NDArray[Any] | None]:
        """Return some columns of whole pieces of numbers, and read little else.

        Parameters
        ----------
        path, indices
            As for :meth:`read_pieces`.
        columns
            First and past-last of the places in a row, in C order.

        Returns
        -------
        list of ndarray or None
            Shape (rows of a piece, columns) each; errors are those of a piece.
        """
        array = self._array(path)
        if not has_strips(array) or columns == slice(0, array.shape[1]):
            whole = self.read_pieces(path, indices)
            return [p if p is None else as_rows(p)[:, columns] for p in whole]
        keys = [f"{path}/{_piece(array, index)}" for index in indices]
        first, n, size = columns_span(array, columns)
        return [
            None if data is None else decode_columns(array, data, columns)
            for data in self.files.get_parts(keys, first, n, size=size)
        ]

    def piece_keys(self, path: str) -> list[str]:
        """Return the keys of all pieces that a whole array has, in order."""
        array = self._array(path)
        if array.ndim == 0:
            return [f"{path}/c"]
        if 0 in array.shape:
            return []
        grid = [
            range(-(-n // size))
            for n, size in zip(array.shape, array.shards or array.chunks, strict=True)
        ]
        return [
            f"{path}/{array.metadata.encode_chunk_key(place)}"
            for place in itertools.product(*grid)
        ]

    def _damaged(
        self, path: str, start: int, stop: int | None, error: BaseException
    ) -> StoreFormatError:
        """Return an error that names the damaged pieces, and the command."""
        array = self._array(path)
        rows = (array.shards or array.chunks)[0]
        first, last, _ = slice(start, stop).indices(array.shape[0])
        spoilt = []
        for index in range(first // rows, -(-last // rows)):
            try:
                np.asarray(array[index * rows : (index + 1) * rows])
            except DAMAGED:
                spoilt.append(index)
        where = ", ".join(map(str, spoilt[:5])) + (" …" if len(spoilt) > 5 else "")
        return StoreFormatError(
            f"array {path!r} of the store {self.url!r} is damaged in chunk {where} "
            f"({rows:,} rows each): {error}; 'nnviz verify {self.url}' says what makes "
            "it again"
        )

    def check_pieces(self, path: str, start: int = 0, stop: int | None = None) -> None:
        """Refuse rows of which a piece is missing: it would read as the fill value.

        Raises
        ------
        StoreFormatError
            If a file, or an object, is not there.
        """
        array = self._array(path)
        # Elsewhere whoever reads the pieces is told, without a question more.
        if array.ndim == 0 or 0 in array.shape or self.files.folder is None:
            return
        rows = (array.shards or array.chunks)[0]
        first, last, _ = slice(start, stop).indices(array.shape[0])
        indices = range(first // rows, -(-last // rows) if last > first else 0)
        keys = [f"{path}/{_piece(array, index)}" for index in indices]
        is_there = self.files.exist(keys)
        if not all(is_there):
            raise self._missing(path, keys[is_there.index(False)])

    def _missing(self, path: str, key: str) -> StoreFormatError:
        return StoreFormatError(
            f"a piece of the store {self.url!r} is missing: {key!r}, chunk "
            f"{key.removeprefix(f'{path}/c/').split('/')[0]} of array {path!r}; "
            f"'nnviz verify {self.url}' says what makes it again"
        )

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
    ) -> None:
        """Create an array from its values, or replace one."""
        self.documents.ensure_parents(path)
        if self.has(path):
            self.delete(path)
        self._forget(path)
        files = dense_files(np.asarray(values), dimensions)
        # Its metadata come last: until then it is not there.
        document = files.pop(DOCUMENT)
        self.files.put_all({f"{path}/{key}": data for key, data in files.items()})
        self.files.put(document_of(path), document)

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Return the attributes of a group; see :meth:`Documents.attributes`."""
        return self.documents.attributes(path)

    def create_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Create a group, with the groups above it, or renew its attributes."""
        self.documents.create_group(path, attributes)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Renew the attributes of the root, at once."""
        self.documents.create_group("", attributes)

    def has(self, path: str) -> bool:
        """Whether there is a group or an array at this path."""
        return self.documents.has(path)

    def children(self, path: str) -> list[str]:
        """Return the names below a group, sorted; empty if there is no such group."""
        if self.files.folder is not None:
            folders = (self.files.folder / path).glob("*/zarr.json")
            return sorted(document.parent.name for document in folders)
        if not self.has(path):
            return []
        names = self.files.folders(path)
        documents = [f"{path}/{name}/{DOCUMENT}".lstrip("/") for name in names]
        is_there = self.files.exist(documents)
        return [name for name, there in zip(names, is_there, strict=True) if there]

    def delete(self, path: str) -> None:
        """Remove a group or an array, with all below it."""
        with storing(self.url):
            whole = f"{self._root.path}/{path}" if self._root.path else path
            sync(self._root.store.delete_dir(whole))
        self._forget(path)

    def _forget(self, path: str) -> None:
        """Drop what is remembered of a path, and of all below it."""
        for name in list(self._arrays):
            if name == path or name.startswith(path + "/"):
                del self._arrays[name]
        self.documents.forget(path)

    def _array(self, path: str) -> zarr.Array[Any]:
        # Opening costs 1.5 to 15 ms, so that every handle is kept.
        if path not in self._arrays:
            document, stated = self.documents.of_array(path)
            if b'"node_type": "group"' in document:
                msg = f"{path!r} in the store {self.url!r} is a group, not an array"
                raise StoreFormatError(msg)
            try:
                node = open_checked(
                    document,
                    self._root.store,
                    f"{self._root.path}/{path}" if self._root.path else path,
                    folder=self.files.folder and self.files.folder / path,
                    stated=stated,
                )
            except DAMAGED as error:
                raise self.documents.damaged_array(path, error) from error
            self._check_expected(path, node)
            # Not kept in the store: without it a piece of empty texts is not written.
            self._arrays[path] = node.with_config({"write_empty_chunks": True})
        return self._arrays[path]


def _piece(array: zarr.Array[Any], index: int) -> str:
    """Return the key of a piece along the first axis, below the array's path."""
    key: str = array.metadata.encode_chunk_key((index, *[0] * (array.ndim - 1)))
    return key
