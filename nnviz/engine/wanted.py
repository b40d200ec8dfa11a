"""Does anybody still wait for what is computed here? Long work asks, and else ends.

A thread cannot be stopped from outside. Work that reads many chunks asks between two of
them, by the context that it was begun in; without one it is always wanted. What several
ask for at a time is made once, and is wanted until the last of them waits no more.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

__all__ = ["NotWantedError", "SharedWork", "check_wanted", "while_wanted"]

T = TypeVar("T")

SECONDS_TO_ASK = 0.25
"""After so long whoever waits for another's work asks whether to go on waiting."""

_IS_WANTED: ContextVar[Callable[[], bool] | None] = ContextVar(
    "nnviz_is_wanted", default=None
)


class NotWantedError(Exception):
    """Nobody waits for the answer any more; it is no fault, and no answer."""


@contextlib.contextmanager
def while_wanted(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let what runs inside, on this thread, end once it is no longer wanted.

    Inside of another one, both have to want it.

    Parameters
    ----------
    is_wanted
        Asked again and again, on any thread.

    Raises
    ------
    NotWantedError
        If it is not wanted even now, and later by :func:`check_wanted`.
    """
    outer = _IS_WANTED.get()
    both = is_wanted if outer is None else lambda: outer() and is_wanted()
    before = _IS_WANTED.set(both)
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


@dataclass(slots=True, eq=False)
class _Asked:
    """Work that somebody does, and all who wait for it."""

    askers: list[Callable[[], bool]] = field(default_factory=list)
    answer: Future[Any] = field(default_factory=Future)

    def is_wanted(self) -> bool:
        return any(asker() for asker in tuple(self.askers))


class SharedWork:
    """What several threads ask for at a time is made once, by the first of them.

    It ends early only when none of them wants it any more.

    Examples
    --------
    >>> work = SharedWork()
    >>> work.run("two", lambda: 1 + 1)
    2
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Hashable, _Asked] = {}

    def run(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is made, here or on the thread that has asked for it before.

        Parameters
        ----------
        key
            Equal for equal questions.
        make
            Makes the answer; what it raises is raised for all who wait.

        Raises
        ------
        NotWantedError
            If nobody on this thread wants it any more.
        """
        asker = _IS_WANTED.get() or _always
        while True:
            with self._lock:
                is_first = key not in self._asked
                asked = self._asked.setdefault(key, _Asked())
                asked.askers.append(asker)
            try:
                if is_first:
                    return self._made(key, asked, make)
                while not wait([asked.answer], SECONDS_TO_ASK).done:
                    check_wanted()
                with contextlib.suppress(NotWantedError):
                    return cast("T", asked.answer.result())
            finally:
                with self._lock:
                    asked.askers.remove(asker)
            check_wanted()  # it had ended just before it was wanted here

    def _made(self, key: Hashable, asked: _Asked, make: Callable[[], T]) -> T:
        before = _IS_WANTED.set(asked.is_wanted)
        try:
            made = make()
        except BaseException as error:
            self._forget(key)
            asked.answer.set_exception(error)
            raise
        finally:
            _IS_WANTED.reset(before)
        self._forget(key)
        asked.answer.set_result(made)
        return made

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._asked[key]


def _always() -> bool:
    return True
