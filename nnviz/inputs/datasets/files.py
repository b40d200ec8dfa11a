"""How is one file of a data set read, whatever it turns out to be?

A file may have vanished since it was listed, be a named pipe, a link that leads away,
or larger than memory. Each of these is the trouble of one instance, recorded with its
reason; nothing here waits for ever, and nothing outside of the root is opened unless
the run file allows it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from nnviz.errors import DatasetError, UnreadableInstanceError

__all__ = [
    "MAX_FILE_BYTES",
    "N_TRIES",
    "Root",
    "check_file",
    "may_pass",
    "patiently",
]

MAX_FILE_BYTES = 1 << 29
"""Larger files are refused; 512 MiB hold the largest image that is decoded, raw."""


_REASONS = {
    errno.ENOENT: "file not found",
    errno.ENOTDIR: "file not found",
    errno.EISDIR: "a folder, not a file",
    errno.EACCES: "no permission to read the file",
    errno.EPERM: "no permission to read the file",
    errno.ELOOP: "a link that leads to itself",
    errno.ENAMETOOLONG: "name too long",
    errno.ENXIO: "not a regular file",
}


# Without waiting, or a named pipe would block for ever.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


_N_KEPT_FOLDERS = 10_000


# A local disk answers in 4 µs, and threads would only wait for each other; a file
# server answers in 100 to 1000, and many questions at once.
_FILES_TRIED = 1_000


_SLOW_S = 50e-6


_N_THREADS = 32


class Root:
    """The folder in which the files of a data set lie; may be pickled.

    Parameters
    ----------
    path
        The folder.
    allow_outside
        Whether links and relative paths may lead out of it.

    Raises
    ------
    DatasetError
        If there is no such folder.
    """

    def __init__(self, path: str | Path, *, allow_outside: bool) -> None:
        self.path = os.path.realpath(path)
        self.allow_outside = allow_outside
        self._folders: dict[str, str] = {}
        if not Path(self.path).is_dir():
            msg = f"there is no folder {str(path)!r}; correct dataset.path or .root"
            raise DatasetError(msg)

    def contains(self, real_path: str) -> bool:
        """Whether a path without links lies in the root."""
        return self.allow_outside or (
            real_path == self.path
            or real_path.startswith(self.path.rstrip(os.sep) + os.sep)
        )

    def read(self, relative: str) -> bytes:
        """Read one file; safe to call from several threads.

        Parameters
        ----------
        relative
            Path relative to the root, or an absolute path.

        Raises
        ------
        UnreadableInstanceError
            With the reason, if it is not a regular file that can be read.
        """
        try:
            return patiently(self._read, relative)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            if may_pass(error):
                reason += f", at each of {N_TRIES} tries"
            # Without the cause: it has had its tries.
            raise UnreadableInstanceError(reason) from None
        except ValueError as error:  # a NUL character in a name
            raise UnreadableInstanceError(str(error)) from error

    def sizes(self, paths: Sequence[str]) -> list[int]:
        """Return the size of every file in bytes, -1 where it cannot be told.

        Parameters
        ----------
        paths
            Relative to the root, or absolute.
        """
        started = time.perf_counter()
        sizes = self._sizes(paths[:_FILES_TRIED])
        rest = [
            paths[i : i + _FILES_TRIED]
            for i in range(_FILES_TRIED, len(paths), _FILES_TRIED)
        ]
        is_slow = time.perf_counter() - started > _SLOW_S * len(sizes)
        with ThreadPoolExecutor(_N_THREADS) as pool:
            found = pool.map(self._sizes, rest) if is_slow else map(self._sizes, rest)
            for some in found:
                sizes += some
        return sizes

    def _sizes(self, paths: Sequence[str]) -> list[int]:
        folder = self.path + "/"
        sizes = []
        for path in paths:
            try:
                size = os.stat(path if path[:1] == "/" else folder + path).st_size  # noqa: PTH116
            except (OSError, ValueError):
                size = -1
            sizes.append(size)
        return sizes

    def _read(self, relative: str) -> bytes:
        folder, slash, name = relative.rpartition("/")
        path = f"{self._real_folder(folder or slash)}/{name}"
        try:
            descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            descriptor = os.open(self._checked(path), _FLAGS)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            check_file(status)
            # One byte more than there was: a file that grows has no end to wait for.
            data = file.read(status.st_size + 1)
            if data is None or len(data) != status.st_size:
                msg = (
                    f"the file has changed while it was read: {len(data or b''):,} "
                    f"bytes of {status.st_size:,}"
                )
                raise UnreadableInstanceError(msg)
            return data

    def _real_folder(self, folder: str) -> str:
        """Return a folder's path without links; resolving costs more than reading."""
        real = self._folders.get(folder)
        if real is None:
            if len(self._folders) >= _N_KEPT_FOLDERS:
                self._folders.clear()
            real = self._checked(os.path.join(self.path, folder))  # noqa: PTH118
            self._folders[folder] = real
        return real

    def _checked(self, path: str) -> str:
        """Return a path without links, or refuse one that leads out."""
        real = os.path.realpath(path, strict=True)
        if not self.contains(real):
            msg = (
                "the path leads out of the data set's folder; "
                "dataset.allow_outside_root = true permits it"
            )
            raise UnreadableInstanceError(msg)
        return real


def check_file(status: os.stat_result) -> None:
    """Refuse what is not a regular file of reasonable size.

    Raises
    ------
    UnreadableInstanceError
        With the reason.
    """
    if stat.S_ISDIR(status.st_mode):
        msg = "a folder, not a file"
        raise UnreadableInstanceError(msg)
    if not stat.S_ISREG(status.st_mode):
        msg = "not a regular file"
        raise UnreadableInstanceError(msg)
    if status.st_size > MAX_FILE_BYTES:
        msg = f"file of {status.st_size:,} bytes; up to {MAX_FILE_BYTES:,} are read"
        raise UnreadableInstanceError(msg)


PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)


PAUSES_S = (0.05, 0.25, 1.0, 3.0)
"""Between the tries."""


N_TRIES = len(PAUSES_S) + 1


Arguments = ParamSpec("Arguments")


Value = TypeVar("Value")


def may_pass(error: BaseException) -> bool:
    """Whether the next try may succeed: a file server's failure, a connection's.

    Of an error that was raised from another one, the other one is looked at: a data set
    that wraps somebody's code says what that has raised.
    """
    cause = error.__cause__ or error
    if isinstance(cause, (ConnectionError, TimeoutError)):
        return True
    return isinstance(cause, OSError) and cause.errno in PASSING


def patiently(
    read: Callable[Arguments, Value], *args: Arguments.args, **named: Arguments.kwargs
) -> Value:
    """Call a function that reads, five times if it fails in a way that may pass.

    Raises
    ------
    Exception
        What the function raised, the last time if it was called again.
    """
    for pause_s in PAUSES_S:
        try:
            return read(*args, **named)
        except (OSError, UnreadableInstanceError) as error:
            if not may_pass(error):
                raise
        time.sleep(pause_s)
    return read(*args, **named)
