"""How do several workers of this machine import their libraries once? They are forked.

A worker needs two to three seconds of a core to import torch and Dask, each of them the
same. So one process imports while the command is still busy with its own start, and the
workers are its forks: they have all libraries at once, and share the memory of them. It
has run nothing, neither a network nor a thread, so that a fork of it is as good as a
process of its own; a worker that dies is replaced in no time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from typing import Any

__all__ = ["METHOD", "is_running", "running"]

METHOD = "forkserver"
"""As Python's ``multiprocessing`` calls it."""

SAFE_PATH = "PYTHONSAFEPATH"
"""With it a process does not look for modules in the current folder first."""

_modules: list[str] = []


@contextlib.contextmanager
def running(module: str | None, environment: Mapping[str, str]) -> Iterator[None]:
    """Let a process import, from which the context's workers are forked.

    Nothing is done where processes cannot be forked safely (other systems than Linux),
    or where the program has a fork server of its own: Python has one for all.

    Parameters
    ----------
    module
        Imports what the workers need; what it cannot import they import themselves, and
        say what is wrong. None: workers start as they always do.
    environment
        Variables with which the workers start.
    """
    server: Any = getattr(forkserver, "_forkserver", None)
    can_fork = sys.platform.startswith("linux") and hasattr(server, "_stop")
    if module is None or not can_fork or server._forkserver_pid is not None:
        yield
        return
    forkserver.set_forkserver_preload([module])
    before = dict(os.environ)
    # Ctrl-C is for the driver alone: what is blocked here stays so in every fork.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    os.environ.update({SAFE_PATH: "1", **environment})
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    _modules.append(module)
    try:
        yield
    finally:
        _modules.remove(module)
        # It would end with this process, and nobody would have waited for it.
        server._stop()


def is_running() -> bool:
    """Return whether workers of this process are to be forked."""
    return bool(_modules)
