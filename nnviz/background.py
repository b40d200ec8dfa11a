"""How does work beside everything end with its process? Quietly, wherever it is.

Python ends its pools of threads before it ends the threads that nobody waits for. One
that asks a pool for something in between is refused, and would print a traceback over
the last lines of a program that has done all it should.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["in_background"]


def in_background(work: Callable[[], None], name: str) -> threading.Thread:
    """Return a thread, not yet started, for work that nobody waits for.

    Parameters
    ----------
    work
        Called once. What it raises is told as of any thread, unless the process ends:
        then nobody asks any more.
    name
        Name of the thread, beginning with ``nnviz-``.

    Returns
    -------
    threading.Thread
        A daemon: it does not keep the process alive.
    """
    return threading.Thread(target=_run, args=(work,), name=name, daemon=True)


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    except RuntimeError:
        if not _is_process_ending():
            raise


def _is_process_ending() -> bool:
    """Return whether pools of threads take nothing more, which is how one can ask."""
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int)
    except RuntimeError:
        return True
    return False
