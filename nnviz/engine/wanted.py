"""Does anybody still wait for what is computed here? Long work asks, and else ends.

A thread cannot be stopped from outside. Work that reads many chunks asks between two of
them, by the context that it was begun in; without one it is always wanted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

__all__ = ["NotWantedError", "check_wanted", "while_wanted"]

_IS_WANTED: ContextVar[Callable[[], bool] | None] = ContextVar(
    "nnviz_is_wanted", default=None
)


class NotWantedError(Exception):
    """Nobody waits for the answer any more; it is no fault, and no answer."""


@contextlib.contextmanager
def while_wanted(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let what runs inside, on this thread, end once it is no longer wanted.

    Parameters
    ----------
    is_wanted
        Asked again and again, on this thread.

    Raises
    ------
    NotWantedError
        If it is not wanted even now, and later by :func:`check_wanted`.
    """
    before = _IS_WANTED.set(is_wanted)
    try:
        check_wanted()
        yield
    finally:
        _IS_WANTED.reset(before)


def check_wanted() -> None:
    """Go on only if somebody waits.

    Raises
    ------
    NotWantedError
        If nobody does.
    """
    is_wanted = _IS_WANTED.get()
    if is_wanted is not None and not is_wanted():
        raise NotWantedError
