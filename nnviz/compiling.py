"""How are loops compiled? By numba, at their first call, and kept between processes.

The machine code is kept beside the file or in the user's cache folder, where one of
them can be written. In a sealed container none can: then every process has a folder of
its own for it, which goes with the process, also for libraries that are imported after
this module and insist on one.

Processes that start together, as workers do, need the same loops at the same time. One
of them compiles a loop; the others wait for it, and read what it has kept.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

if sys.platform != "win32":
    import fcntl

__all__ = ["compiled", "compiled_with", "ensure_place"]

Function = TypeVar("Function", bound=Callable[..., Any])

PATIENCE_S = 60.0
"""How long a process waits for what another one compiles, which may have been stopped.
Compiling takes a second or two."""


def compiled(function: Function) -> Function:
    """Compile a function at its first call, without the interpreter's lock.

    Numba looks for changes in the function's own file only: whoever changes a function
    that is called from another file removes what is kept of that one.
    """
    return compiled_with()(function)


def compiled_with(**options: Any) -> Callable[[Function], Function]:
    """Return :func:`compiled` with further options of ``numba.njit``.

    Parameters
    ----------
    options
        Of numba, for instance ``inline="always"``.
    """
    ensure_place()
    decorator = numba.njit(nogil=True, cache=True, error_model="numpy", **options)

    def decorate(function: Function) -> Function:
        dispatcher = decorator(function)
        if isinstance(dispatcher, Dispatcher):  # else numba is told to compile nothing
            dispatcher.compile = functools.partial(  # type: ignore[method-assign]
                _compile_or_read, dispatcher, dispatcher.compile
            )
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def _compile_or_read(
    dispatcher: Dispatcher, compile_: Callable[[Any], Any], signature: Any
) -> Any:
    """Compile a function, or read what another process has compiled meanwhile.

    Numba looks for what is kept first. Its own lock is taken before ours: a thread of
    this process that compiles a caller of the function asks for them in this order.
    """
    known = dispatcher.overloads
    if isinstance(signature, tuple) and signature in known:
        return known[signature].entry_point
    function, folder = dispatcher.py_func, dispatcher.stats.cache_path
    name = f"{function.__module__}.{function.__qualname__}.lock"
    with global_compiler_lock, _alone(Path(folder or os.devnull) / name):
        return compile_(signature)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait while another process is in here with the same file, for a minute at most.

    Where there are no locks, or no such folder, nobody waits.
    """
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                file = stack.enter_context(path.open("ab"))
                _wait_for_lock(file.fileno())
        yield


def _wait_for_lock(file: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while sys.platform != "win32" and time.monotonic() < until:
        # Of the process, not of the open file, which a fork would have as well.
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.02)


@functools.cache
def ensure_place() -> None:
    """Give compiled code a folder where numba finds none that can be written.

    To be called before a library is imported that keeps what it compiles.
    """
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:  # its "no locator available"
        config.CACHE_DIR = tempfile.mkdtemp(prefix="nnviz-compiled-")
        atexit.register(shutil.rmtree, config.CACHE_DIR, ignore_errors=True)


def _nothing() -> None:
    return
