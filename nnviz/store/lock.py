"""Who writes to a store? One driver at a time, known by machine, process and stage.

The group ``writer`` of a store exists while a driver works on it; its attributes say
who that is. On a file system its file is locked as well, and the kernel frees the lock
when the process ends, however it ends. A file server may not tell of a lock of another
machine, and objects have none: there a driver renews its attributes, and whoever comes
later watches whether it does. Clocks of machines are not compared.

Two drivers at once would not damage a store: tasks write the same bytes. They would do
the work twice.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import os
import socket
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

from nnviz.errors import StoreError, StoreFormatError, StoreInUseError
from nnviz.store.documents import sealed_group, unsealed_attributes
from nnviz.store.files import MAX_DOCUMENT_BYTES, read_plain
from nnviz.store.hierarchy import Hierarchy
from nnviz.undoing import forget_undoing, undo_at_end

if sys.platform != "win32":
    import fcntl

__all__ = ["WRITER", "exclusive", "writer_of", "writing"]

WRITER = "writer"
"""Group of a store whose attributes say who writes to it."""

RENEWED_EVERY_S = 10.0
DEAD_AFTER_S = 25.0
"""A driver of another machine that has renewed nothing for so long is dead."""
SETTLED_AFTER_S = 1.0
"""Between claiming a place without locks and finding out who came last."""
NO_LOCKS = frozenset((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS))
"""What file systems say that have no locks."""

_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextlib.contextmanager
def writing(url: str | os.PathLike[str], stage: str) -> Iterator[None]:
    """Be the only driver that writes to a store, as long as the context lasts.

    What is called inside may ask again for the same store, and gets it.

    Parameters
    ----------
    url
        An existing store.
    stage
        What is done, for the message that others get.

    Raises
    ------
    StoreInUseError
        If another driver writes to the store.
    StoreError
        If the place cannot be written.
    StoreNotFoundError
        If there is no store.
    """
    hierarchy = Hierarchy.open(url, writable=True)
    folder = hierarchy.files.folder
    place = hierarchy.url if folder is None else os.path.realpath(folder)
    if place in _held.get():
        yield
        return
    claim: _FileClaim | _ObjectClaim
    if folder is None:
        claim = _ObjectClaim(hierarchy, _record(stage))
    else:
        claim = _FileClaim(Path(place), _record(stage))
    ended = threading.Event()
    renewal = threading.Thread(
        target=_renew, args=(claim, ended), name="nnviz-writer", daemon=True
    )

    def close() -> None:
        _held.set(_held.get() - {place})
        ended.set()
        if renewal.is_alive():
            renewal.join(timeout=10)
        claim.release()
        forget_undoing(claim.release)

    # An interrupt may come between any two steps, also those of a ``finally``. It comes
    # once: whichever of the two ends it breaks off, the other one is whole.
    try:
        try:
            undo_at_end(claim.release)
            claim.acquire()
            renewal.start()
            _held.set(_held.get() | {place})
            yield
        finally:
            close()
    finally:
        close()


Function = TypeVar("Function", bound=Callable[..., Any])


def exclusive(stage: str) -> Callable[[Function], Function]:
    """Let a function with an argument ``store`` be the only one that writes to it.

    Parameters
    ----------
    stage
        What it does, for the message that others get.
    """

    def decorated(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: Any, **named: Any) -> Any:
            store = signature.bind(*args, **named).arguments["store"]
            with writing(store.url, stage):
                return function(*args, **named)

        return cast("Function", alone)

    return decorated


def writer_of(url: str) -> str:
    """Say who writes to a store; empty if nobody does, as far as can be told from here.

    Parameters
    ----------
    url
        URL of the store.
    """
    hierarchy = Hierarchy.open(url)
    if not hierarchy.has(WRITER):
        return ""
    try:
        found = hierarchy.attributes(WRITER)
    except StoreError:
        return ""  # it is being written, or removed
    if _is_of(found, _machine()) and not _is_running(found.get("pid")):
        return ""
    return _who(found)


class _FileClaim:
    """The file of the group ``writer``, locked; there is none while nobody writes.

    Nothing is claimed before :meth:`acquire`. :meth:`release` may come at any moment,
    also in the middle of it, and again.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder = folder
        self._path = folder / WRITER / "zarr.json"
        self._record = record
        self._draft = self._path.with_name(f"{record['token']}.partial")
        self._file: int | None = None
        self._is_ours = False
        # A closed file must not be renewed: its number may be another's by then.
        self._changing = threading.Lock()

    def acquire(self) -> None:
        """Create the file, or take that of a dead driver.

        Raises
        ------
        StoreInUseError
            If another driver writes to the store.
        StoreError
            If the place cannot be written.
        """
        try:
            while not self._is_ours:
                self._try()
        except OSError as error:
            msg = (
                f"cannot write to the store {str(self._folder)!r}: "
                f"{error.strerror or error}; give its folder to the user who runs "
                "this, or copy the store"
            )
            raise StoreError(msg) from error
        self.renew()

    def _try(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        try:
            # Kept before it is locked: only what is known can be released.
            self._file = self._opened_file()
        except FileNotFoundError:
            return  # the holder has just ended, and removed all of it
        self._is_ours = self._is_locked(self._file)
        if not self._is_ours:
            self._close()

    def _opened_file(self) -> int:
        # Whole from the first moment: a reader of the store may list the group.
        self._draft.write_bytes(sealed_group(self._record))
        with contextlib.suppress(OSError):  # it exists, or there are no links here
            os.link(self._draft, self._path)
        self._draft.unlink(missing_ok=True)
        is_plain = True
        # What is written to lies here: a link would lead to any file of this user's.
        with contextlib.suppress(FileNotFoundError):
            is_plain = stat.S_ISREG(self._path.lstat().st_mode)
        if not is_plain:
            msg = (
                f"{str(self._path)!r} is not a plain file, and nnviz writes there who "
                "writes to the store; remove it, and repeat the command"
            )
            raise StoreError(msg)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        return os.open(self._path, flags)

    def _is_locked(self, file: int) -> bool:
        """Lock the file; False if its holder removed it meanwhile."""
        found = self._found()
        is_locked = _lock(file)
        if is_locked is False:
            raise _in_use(str(self._folder), found)
        try:
            is_same = os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False
        # The kernel knows best of this machine's processes; a lock that another machine
        # holds may not be seen on its file server.
        is_elsewhere = not _is_of(found, self._record["machine"])
        is_doubtful = is_elsewhere or is_locked is None
        if is_same and is_doubtful and _is_alive(found, self._record, self._found):
            raise _in_use(str(self._folder), found)
        return is_same

    def _found(self) -> dict[str, Any]:
        # Opened anew each time: a file server's client looks for changes then.
        with contextlib.suppress(StoreFormatError, ValueError):
            data = read_plain(self._path, limit=MAX_DOCUMENT_BYTES)
            return {} if data is None else unsealed_attributes(data)[0]
        return {}

    def renew(self) -> None:
        """Say that the driver is alive."""
        with self._changing:
            if self._file is None:
                return
            self._record["renewed"] += 1
            data = sealed_group(self._record)
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))

    def release(self) -> None:
        """Remove the file, and with it the lock."""
        with contextlib.suppress(OSError):
            self._draft.unlink(missing_ok=True)
            # One that cannot be read is ours, half renewed.
            token = self._found().get("token", self._is_ours and self._record["token"])
            if token == self._record["token"]:
                self._path.unlink(missing_ok=True)
                for draft in self._path.parent.glob("*.partial"):
                    draft.unlink(missing_ok=True)
            self._path.parent.rmdir()
        self._close()

    def _close(self) -> None:
        with self._changing:
            file, self._file = self._file, None
        if file is not None:
            os.close(file)


class _ObjectClaim:
    """The group ``writer`` at a place that knows no locks; the last claim holds."""

    def __init__(self, hierarchy: Hierarchy, record: dict[str, Any]) -> None:
        self._hierarchy = hierarchy
        self._record = record

    def acquire(self) -> None:
        """Write the group, and see whether another driver does so, too.

        Raises
        ------
        StoreInUseError
            If another driver writes to the store.
        """
        found = self._found()
        if _is_alive(found, self._record, self._found):
            raise _in_use(self._hierarchy.url, found)
        self._write()
        time.sleep(SETTLED_AFTER_S)
        found = self._found()
        if found.get("token") != self._record["token"]:
            raise _in_use(self._hierarchy.url, found)

    def _found(self) -> dict[str, Any]:
        if not self._hierarchy.has(WRITER):
            return {}
        return self._hierarchy.attributes(WRITER)

    def renew(self) -> None:
        """Say that the driver is alive, unless another one has taken over."""
        if self._found().get("token") == self._record["token"]:
            self._write()

    def _write(self) -> None:
        self._record["renewed"] += 1
        self._hierarchy.create_group(WRITER, self._record)

    def release(self) -> None:
        """Remove the group, unless another driver has taken over."""
        with contextlib.suppress(OSError, StoreError):
            if self._found().get("token") == self._record["token"]:
                self._hierarchy.delete(WRITER)


def _record(stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "token": uuid.uuid4().hex,
        "renewed": int(time.time()),
    }


def _renew(claim: _FileClaim | _ObjectClaim, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY_S):
        # A place that cannot be written for a moment is the tasks' trouble.
        with contextlib.suppress(OSError, StoreError):
            claim.renew()


def _lock(file: int) -> bool | None:
    """Whether a file could be locked; None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def _is_alive(
    found: Mapping[str, Any],
    ours: Mapping[str, Any],
    look: Callable[[], Mapping[str, Any]],
) -> bool:
    """Whether the driver of a record lives: it renews, and its process is not gone."""
    if found.get("token") in (None, ours["token"]):
        return False
    if _is_of(found, ours["machine"]) and not _is_running(found.get("pid")):
        return False
    end = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < end:
        time.sleep(min(0.5, DEAD_AFTER_S / 10))
        latest = look()
        if latest.get("token") != found["token"]:
            return bool(latest)  # it has ended, or another one has come
        if latest.get("renewed") != found.get("renewed"):
            return True
    return False


def _machine() -> str:
    """Return what tells whose process ids are meant: this boot, and this container.

    Machines and containers may share a name, and count their processes from 1; empty
    where the system does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return f"{boot.strip()} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""


def _is_of(found: Mapping[str, Any], machine: str) -> bool:
    """Whether a record's process id is one of this machine, this boot and container."""
    return bool(machine) and found.get("machine") == machine


def _is_running(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except OSError:
        return True
    return True


def _in_use(url: str, found: Mapping[str, Any]) -> StoreInUseError:
    msg = (
        f"another driver writes to {url!r}: {_who(found)}; wait until it has ended, or "
        f"end it with 'kill {found.get('pid')}' there"
    )
    return StoreInUseError(msg)


def _who(found: Mapping[str, Any]) -> str:
    return (
        f"'nnviz {found.get('stage')}', process {found.get('pid')} on "
        f"{found.get('host')}, since {found.get('since')}"
    )
