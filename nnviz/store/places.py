"""Where is a store, and what is said where that place cannot be reached or written?

A place is a folder, or a URL that Zarr opens with fsspec: then some library of that
protocol raises whatever it likes, which is one message here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from nnviz.errors import (
    MissingDependencyError,
    NnvizError,
    StoreError,
    did_you_mean,
)

__all__ = [
    "absolute_url",
    "check_writable",
    "is_empty_folder",
    "is_of_connection",
    "opening",
    "shortened",
    "storing",
    "trouble_text",
]

SHOWN_CHARACTERS = 200
"""Of a path in a message; nobody reads one of thousands."""

PERMANENT = {
    errno.ENOSPC: "its disk is full; free space",
    errno.EDQUOT: "the quota of its disk is used up; free space",
    errno.EROFS: "its file system is read-only; mount it for writing",
    errno.EACCES: "writing there is not permitted; change the permissions",
    errno.EPERM: "writing there is not permitted; change the permissions",
}
"""Failures that a second try does not cure, and what does."""


def absolute_url(url: str | os.PathLike[str]) -> str:
    """Return where a store is in words that mean the same in every folder.

    Workers stand in other folders than whoever names the store.

    Parameters
    ----------
    url
        Path of a folder, where ``~`` is the home, or a URL, which stays as it is.

    Raises
    ------
    StoreError
        If it is empty, or cannot be a path.

    Examples
    --------
    >>> absolute_url("s3://bucket/run.zarr")
    's3://bucket/run.zarr'
    """
    text = os.fspath(url)
    if not text.strip() or "\0" in text:
        msg = f"{text!r} is not the path of a store; name a folder, such as 'run.zarr'"
        raise StoreError(msg)
    if "://" in text:
        return text
    try:
        return str(Path(text).expanduser().absolute())
    except (OSError, RuntimeError) as error:
        # The folder one stands in was removed; or there is no home of that name.
        msg = f"cannot find the store {shortened(text)!r}: {error}; name a whole path"
        raise StoreError(msg) from error


def shortened(text: str) -> str:
    """Return a path or URL for a message, its middle left out if it is very long."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"


@contextlib.contextmanager
def opening(url: str) -> Iterator[None]:
    """Raise a StoreError with what to do where a place cannot be reached.

    That nothing is found there, or a file in place of a folder, is for the caller.

    Parameters
    ----------
    url
        Of the store, absolute.
    """
    try:
        _check_protocol(url)
        yield
    except (NnvizError, FileNotFoundError, FileExistsError):
        raise
    except ImportError as error:
        msg = (
            f"{shortened(url)!r} cannot be opened without another library: {error}; "
            "install it here and where the workers are"
        )
        raise MissingDependencyError(msg) from error
    except OSError as error:
        why = error.strerror or " ".join(str(error).split()) or type(error).__name__
        msg = f"cannot open {shortened(url)!r}: {why}; {_advice(url, error)}"
        raise StoreError(msg) from error
    except Exception as error:
        if not is_of_connection(error):
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        msg = f"cannot open {shortened(url)!r}: {why}; {_advice(url, error)}"
        raise StoreError(msg) from error


def _check_protocol(url: str) -> None:
    protocol, mark, _ = url.partition("://")
    if not mark:
        return
    # Slow to import, and not needed for a folder.
    from fsspec import available_protocols  # noqa: PLC0415

    known = sorted(available_protocols())
    if protocol.partition("::")[0] not in known:
        msg = (
            f"{shortened(url)!r} begins with {protocol!r}, a protocol that is not "
            f"known{did_you_mean(protocol, known)}; name a folder, or a URL such as "
            "'s3://bucket/run.zarr'"
        )
        raise StoreError(msg)


_CONNECTING = ("aiobotocore", "aiohttp", "azure", "botocore", "google", "requests")
"""Libraries that fsspec's file systems connect with."""


def is_of_connection(error: Exception) -> bool:
    """Whether a library raised it that connects to object stores or servers."""
    return any(
        kind.__module__.partition(".")[0] in _CONNECTING for kind in type(error).__mro__
    )


def trouble_text(error: OSError) -> str:
    """Return what a file system or a connection says, and the way out, in one line."""
    named = [shortened(str(f)) for f in (error.filename, error.filename2) if f]
    where = f"{' and '.join(map(repr, named))}: " if named else ""
    why = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{where}{why}; {_advice('', error)}"


def _advice(url: str, error: Exception) -> str:
    if "://" in url:
        found = (
            " (as boto3 finds them: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on)"
            if url.startswith("s3://")
            else ""
        )
        return (
            "check the address, the name of the bucket, the connection and the "
            f"credentials{found}, here and where the workers are"
        )
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:
            return "choose a shorter path"
        if error.errno in (errno.EACCES, errno.EPERM):
            return "change the permissions, or choose another place"
        if error.errno in PERMANENT:
            return f"{PERMANENT[error.errno]} and repeat the command"
        if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
            return "check the disk or the file server, and repeat the command"
        if isinstance(error, (ConnectionError, TimeoutError)):
            return "check the address and the connection, and repeat the command"
    return "choose another place"


@contextlib.contextmanager
def storing(url: str) -> Iterator[None]:
    """Raise a StoreError with what to do where writing cannot work.

    Other failures of the file system, which may pass, stay the OSError that they are.

    Parameters
    ----------
    url
        URL of the store, for the message.
    """
    try:
        yield
    except OSError as error:
        reason = PERMANENT.get(error.errno or 0)
        if reason is None:
            raise
        msg = (
            f"cannot write to the store {url!r}: {reason} and repeat the command "
            f"(what is complete is kept; {error})"
        )
        raise StoreError(msg) from error


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, before anything is computed for it.

    Raises
    ------
    StoreError
        If it is on a read-only file system, or its permissions do not allow it.
    """
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        msg = (
            f"the store {str(folder)!r} cannot be written: it is on a read-only file "
            "system, or its permissions do not allow it; change that, or copy it to "
            "another place"
        )
        raise StoreError(msg)


def is_empty_folder(path: str) -> bool:
    """Whether there is a folder at this path with nothing in it.

    But for documents that a killed process has left half written.
    """
    folder = Path(path)
    return folder.is_dir() and all(
        found.match("zarr.*.partial") for found in folder.iterdir()
    )
