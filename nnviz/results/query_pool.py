"""How long may an answer take, and how many may wait for one?

What a visitor asks for and is not there at once is made beside the thread that answers
all visitors. Few are made at a time, few wait, and none waits for ever. A thread cannot
be stopped: what takes too long goes on to its end and is kept, but nobody waits for it.
Only work that asks whether it is wanted (``nnviz.engine.wanted``) ends before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from nnviz.engine.wanted import NotWantedError
from nnviz.results.missing import Missing

__all__ = ["N_WAITING", "SECONDS", "QueryPool", "until_other"]

T = TypeVar("T")

SECONDS = 60.0
"""After so long the visitor is told that it takes too long."""

N_THREADS = 2
N_WAITING = 32
"""Queries of all visitors that are made or wait; further ones are sent away."""

BUSY = Missing(
    "Too many questions at once",
    "The server is busy with those of other visitors. Choose it again in a while.",
)
FAILED = Missing(
    "This cannot be made",
    "The server's output has the error. Was the store moved, or is it being written?",
)
NOT_WANTED = Missing(
    "This was not made",
    "Something else was asked for before it was there. Choose it again.",
)

_log = logging.getLogger(__name__)


class QueryPool:
    """Threads that answer what takes long.

    Parameters
    ----------
    seconds
        How long an answer may take, the time in which it waits for others included.
    n_waiting
        How many may be made or wait.
    n_threads
        How many are made at a time.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        n_waiting: int = N_WAITING,
        n_threads: int = N_THREADS,
    ) -> None:
        self._seconds = seconds
        self._free = threading.Semaphore(n_waiting)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="query")
        self._is_closed = False

    def close(self) -> None:
        """Drop what waits; what is being made may fail now without a word.

        An interpreter that ends refuses some imports, and nobody waits any more.
        """
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self, work: Callable[[], T], done: Callable[[T | Missing], None]) -> None:
        """Answer a query, later and on another thread.

        Parameters
        ----------
        work
            Makes the answer.
        done
            Called once, from any thread: with the answer, or with the reason why there
            is none.
        """
        if not self._free.acquire(blocking=False):
            done(BUSY)
            return
        answer = _Once(done)
        late = Missing(
            "This takes too long",
            f"It was not there after {self._seconds:g} seconds. The server may have it "
            "later: choose it again, or something smaller.",
        )
        timer = threading.Timer(self._seconds, answer.give, [late])
        timer.daemon = True
        timer.start()

        def task() -> None:
            try:
                if not answer.is_given:  # else nobody waits for it any more
                    answer.give(work())
            except NotWantedError:
                answer.give(NOT_WANTED)
            except Exception:  # noqa: BLE001 - logged, and the visitor is told
                if not self._is_closed:
                    _log.exception("a query failed")
                answer.give(FAILED)
            finally:
                timer.cancel()
                self._free.release()

        self._pool.submit(task)


def until_other(is_asked: Callable[[], bool]) -> Callable[[], bool]:
    """Return whether work is wanted: until its visitor has asked for something else.

    What took as long as anybody waits is wanted by whoever asks again, and made to its
    end.

    Parameters
    ----------
    is_asked
        Whether it is what the visitor asked for last.
    """
    late = time.monotonic() + SECONDS
    return lambda: is_asked() or time.monotonic() > late


class _Once(Generic[T]):
    """Gives the first answer, and no second one."""

    def __init__(self, done: Callable[[T | Missing], None]) -> None:
        self._done = done
        self._lock = threading.Lock()
        self.is_given = False

    def give(self, value: T | Missing) -> None:
        with self._lock:
            is_first, self.is_given = not self.is_given, True
        if is_first:
            self._done(value)
