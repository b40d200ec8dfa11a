"""What must not stay behind when the process is ended in the middle of its work?

A context puts in order what it has begun when it is left. A process that is ended at
once, for instance because it does not answer, leaves no context. What others would
stumble over is therefore also listed here, and removed by whoever ends the process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

__all__ = ["forget_undoing", "undo_all", "undo_at_end"]

_undoings: dict[Callable[[], None], None] = {}


def undo_at_end(undo: Callable[[], None]) -> None:
    """Have a function called if the process is ended before its contexts are left.

    Parameters
    ----------
    undo
        Called without arguments, in any thread, and at most once by this module. It
        must not mind if nothing is left to do.
    """
    _undoings[undo] = None


def forget_undoing(undo: Callable[[], None]) -> None:
    """Take a function from the list: what it would undo has been put in order.

    Parameters
    ----------
    undo
        As it was given to :func:`undo_at_end`; unknown ones are ignored.
    """
    _undoings.pop(undo, None)


def undo_all(timeout: float) -> None:
    """Call what is on the list, the latest first, and empty it.

    Parameters
    ----------
    timeout
        Seconds after which nothing more is waited for, for instance a file server that
        does not answer.
    """
    thread = threading.Thread(target=_undo_all, name="nnviz-undoing", daemon=True)
    thread.start()
    thread.join(timeout)


def _undo_all() -> None:
    while _undoings:
        undo, _ = _undoings.popitem()
        with contextlib.suppress(Exception):
            undo()
