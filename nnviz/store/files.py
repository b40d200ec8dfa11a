"""Which files, or objects, does a hierarchy consist of? Raw bytes by key.

Zarr's own reading needs 0.2 ms for a small piece; where thousands of them are read
(completion marks), or every byte counts (checksums), the files are read as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.group import AsyncGroup
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, StorePath

from nnviz.errors import StoreFormatError
from nnviz.store.places import storing

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Files",
    "announce",
    "open_root",
    "read_part",
    "read_plain",
]

N_THREADS = 8

N_TRIED = 8
"""So many files are written one after the other before it is judged how long that
takes."""

SLOW_S = 0.002
"""A small file takes 0.05 ms on a disk and some milliseconds on a file server."""

MAX_DOCUMENT_BYTES = 32 << 20

MANY_FILES = 64
"""From which number on small files are announced before they are read."""
"""Of the metadata of a group or an array; the checksums of 300,000 files have this."""


class Files:
    """The files of a hierarchy, by their path below its root.

    Parameters
    ----------
    store
        Zarr's store.
    prefix
        Path of the root in it.
    url
        Where it is, for messages.
    """

    def __init__(self, store: Any, prefix: str, url: str) -> None:
        self._store = store
        self._prefix = prefix
        self._url = url
        self._folder = Path(store.root) / prefix if type(store) is LocalStore else None
        self.whole = None if self._folder else OffsetByteRequest(0)
        """How to ask Zarr's store for a whole file. Without a range, a client of an
        object store asks for the size first: two questions for one object."""

    @property
    def folder(self) -> Path | None:
        """Folder of the hierarchy, or None if it is not on a file system."""
        return self._folder

    def get(self, key: str, *, limit: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """Return the content of a file; see :meth:`get_all`."""
        return self.get_all([key], limit=limit)[0]

    def get_all(
        self, keys: Sequence[str], *, limit: int | None = None
    ) -> list[bytes | None]:
        """Return the content of several files; None for each that is not there.

        Parameters
        ----------
        keys
            Keys of the files.
        limit
            Bytes that a file may have, where that is known.

        Raises
        ------
        StoreFormatError
            If one is no plain file, or is larger.
        """
        if self._folder is not None:
            paths = [self._folder / key for key in keys]
            if len(paths) >= MANY_FILES:
                for path in paths:
                    announce(path)
            return [read_plain(path, limit=limit) for path in paths]
        return list(sync(self._get_all(keys)))

    def get_parts(
        self, keys: Sequence[str], start: int, n: int, *, size: int
    ) -> list[bytes | None]:
        """Return neighbouring bytes of several files; None for each that is not there.

        Parameters
        ----------
        keys
            Keys of the files.
        start, n
            First byte, and number of bytes.
        size
            Bytes that each file has as a whole.

        Raises
        ------
        ValueError
            If one has another size, where that is known without reading it.
        StoreFormatError
            If one is no plain file.
        """
        if self._folder is not None:
            paths = (f"{self._folder}{os.sep}{key}" for key in keys)
            return [read_part(path, start, n, size=size) for path in paths]
        return list(sync(self._get_all(keys, RangeByteRequest(start, start + n))))

    def look_at(self, keys: Sequence[str]) -> list[bytes | str | None]:
        """Return the content of files; for what is no plain file, a text that says so.

        Parameters
        ----------
        keys
            Keys of the files.
        """
        with contextlib.suppress(StoreFormatError):
            return list(self.get_all(keys))
        found: list[bytes | str | None] = []
        for key in keys:
            try:
                found += self.get_all([key])
            except StoreFormatError as error:
                found.append(str(error))
        return found

    def exist(self, keys: Sequence[str]) -> list[bool]:
        """Return which files are there; an empty one is not.

        Zarr reads an empty shard as if it were not there: as its fill value.

        Raises
        ------
        StoreFormatError
            If one is no plain file.
        """
        if self._folder is not None:
            return [_size(self._folder / key) > 0 for key in keys]
        return list(sync(self._exist(keys)))

    def put(
        self, key: str, data: bytes | bytearray, *, is_durable: bool = False
    ) -> None:
        """Write, or replace, a file at once: a reader sees the old one or the new one.

        Parameters
        ----------
        key
            Key of the file.
        data
            Its content.
        is_durable
            Whether it is on the disk of a file system when this returns; that can
            take as long as writing a thousand files.

        Raises
        ------
        StoreError
            If the place is full or cannot be written.
        """
        with storing(self._url):
            if self._store.read_only:
                self._store._check_writable()
            if self._folder is None:
                sync(self._put(key, data))
                return
            self._put_file(f"{self._folder}{os.sep}{key}", data, is_durable=is_durable)

    def _put_file(
        self, path: str, data: bytes | bytearray, *, is_durable: bool = False
    ) -> None:
        # Texts, not paths: of a small file, making these takes half of the time.
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        try:
            try:
                stream = open(partial, "xb")  # noqa: PTH123, SIM115
            except FileNotFoundError:
                _make_folder(Path(partial).parent)
                stream = open(partial, "xb")  # noqa: PTH123, SIM115
            with stream:
                stream.write(data)
                if is_durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.replace(partial, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)  # noqa: PTH108
            raise

    def put_all(self, contents: Mapping[str, bytes | bytearray]) -> None:
        """Write, or replace, several files, each as by :meth:`put`."""
        if self._folder is not None:
            self._put_all_files(contents)
            return

        async def put_all() -> None:
            await asyncio.gather(*(self._put(k, v) for k, v in contents.items()))

        with storing(self._url):
            sync(put_all())

    def _put_all_files(self, contents: Mapping[str, bytes | bytearray]) -> None:
        """Write one after the other, or several at once where each takes long.

        A file server answers several questions at once; on a disk, threads cost more
        than they save.
        """
        left, began = iter(contents.items()), time.perf_counter()
        for n, (key, data) in enumerate(left, start=1):
            self.put(key, data)
            if n >= N_TRIED and time.perf_counter() - began > n * SLOW_S:
                break
        if rest := list(left):
            with ThreadPoolExecutor(N_THREADS) as pool:
                list(pool.map(lambda item: self.put(*item), rest))

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        with storing(self._url):
            if self._folder is not None:
                (self._folder / key).unlink(missing_ok=True)
            else:
                sync(self._store.delete(self._full(key)))

    def names(self, prefix: str = "") -> list[str]:
        """Return the keys of all files below a path, sorted."""
        if self._folder is not None:
            # Texts, not paths, which take most of the time of listing.
            start = len(str(self._folder)) + 1
            found = (
                f"{folder}{os.sep}{name}"[start:].replace(os.sep, "/")
                for folder, _, names in os.walk(self._folder / prefix)
                for name in names
            )
            return sorted(found)
        whole = self._full(prefix)
        cut = len(self._prefix) + 1 if self._prefix else 0
        return sorted(key[cut:] for key in sync(self._names(whole)))

    def folders(self, path: str) -> list[str]:
        """Return the names of what lies at once below a path of a store elsewhere."""
        return sorted(sync(self._folders(self._full(path))))

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}".rstrip("/") if self._prefix else key

    async def _get_all(
        self, keys: Iterable[str], part: RangeByteRequest | None = None
    ) -> list[bytes | None]:
        prototype = default_buffer_prototype()
        asked = part or self.whole

        async def get(key: str) -> bytes | None:
            data = await self._store.get(self._full(key), prototype, asked)
            return None if data is None else bytes(data.to_bytes())

        return list(await asyncio.gather(*(get(key) for key in keys)))

    async def _exist(self, keys: Iterable[str]) -> list[bool]:
        prototype = default_buffer_prototype()

        async def exists(key: str) -> bool:
            # Its first byte is asked for: that there is none costs two questions, where
            # a client looks for a folder of that name, too.
            first = RangeByteRequest(0, 1)
            data = await self._store.get(self._full(key), prototype, first)
            return data is not None and len(data) > 0

        return list(await asyncio.gather(*(exists(key) for key in keys)))

    async def _put(self, key: str, data: bytes | bytearray) -> None:
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        await self._store.set(self._full(key), buffer)

    async def _folders(self, path: str) -> list[str]:
        return [name async for name in self._store.list_dir(path)]

    async def _names(self, prefix: str) -> list[str]:
        return [key async for key in self._store.list_prefix(prefix)]


def _make_folder(path: Path) -> None:
    """Make a folder, with those above it; one question where it is there, or is new."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()


def announce(path: Path | str, spans: Iterable[tuple[int, int]] = ((0, 0),)) -> None:
    """Tell the system that parts of a file will be read: a disk gets several at once.

    Parameters
    ----------
    path
        Of a file; where there is none, nothing happens.
    spans
        First byte and number of bytes of each part; 0 bytes are all that follow.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            for start, n_bytes in spans:
                os.posix_fadvise(file, start, n_bytes, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)


def read_plain(path: Path, *, limit: int | None = None) -> bytes | None:
    """Return the content of a plain file; None if there is none.

    A pipe would be waited for, and a device read for ever.

    Parameters
    ----------
    path
        Path of the file; a link to a plain file is one.
    limit
        Bytes that it may have; None for any number.

    Raises
    ------
    StoreFormatError
        If what is there is a pipe, a device or a socket, or is too large.
    """
    with _opened(path) as (file, size):
        if file is None:
            return None
        if limit is not None and size > limit:
            msg = (
                f"{str(path)!r} has {size:,} bytes, and what is declared has "
                f"at most {limit:,}; it is damaged, or not of nnviz's making"
            )
            raise StoreFormatError(msg)
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read()


def open_root(url: str, mode: Literal["r", "r+"]) -> zarr.Group:
    """Open the root of a hierarchy; if it is no folder, one question is asked.

    Raises
    ------
    FileNotFoundError
        If there is none; Zarr has another error for that.
    """
    if "://" not in url:
        return zarr.open_group(url, mode=mode, zarr_format=3)
    store = FsspecStore.from_url(url, read_only=mode == "r")
    data = Files(store, "", url).get("zarr.json")
    if data is None:
        msg = f"there is no 'zarr.json' at {url!r}"
        raise FileNotFoundError(msg)
    return zarr.Group(AsyncGroup.from_dict(StorePath(store, ""), json.loads(data)))


def read_part(path: Path | str, start: int, n: int, *, size: int) -> bytes | None:
    """Return neighbouring bytes of a plain file; None if there is none.

    Parameters
    ----------
    path
        Path of the file.
    start, n
        First byte, and number of bytes.
    size
        Bytes that the whole file has to have.

    Raises
    ------
    ValueError
        If it has another size.
    StoreFormatError
        If what is there is a pipe, a device or a socket.
    """
    with _opened(path) as (file, found):
        if file is None:
            return None
        if found != size:
            msg = f"it has {found:,} bytes, not {size:,}"
            raise ValueError(msg)
        return os.pread(file, n, start)


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[tuple[int | None, int]]:
    """Open a plain file: its number and its size; None and 0 if there is none."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | O_BINARY)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        yield None, 0
        return
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket; a link to itself
            raise _not_plain(path) from error
        raise
    try:
        facts = os.fstat(file)
        if stat.S_ISDIR(facts.st_mode):
            yield None, 0
            return
        if not stat.S_ISREG(facts.st_mode):
            raise _not_plain(path)
        yield file, facts.st_size
    finally:
        os.close(file)


O_BINARY = getattr(os, "O_BINARY", 0)


def _not_plain(path: Path | str) -> StoreFormatError:
    msg = (
        f"{str(path)!r} is a pipe, a device, a socket or a loop of links, and nnviz "
        "reads plain files only; 'nnviz verify' on the store says what replaces it"
    )
    return StoreFormatError(msg)


def _size(path: Path) -> int:
    """Return the bytes of a plain file, 0 without one; raises as `read_plain`."""
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_plain(path) from error
        raise
    if stat.S_ISDIR(facts.st_mode):
        return 0
    if not stat.S_ISREG(facts.st_mode):
        raise _not_plain(path)
    return facts.st_size
