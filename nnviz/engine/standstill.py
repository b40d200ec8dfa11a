"""For how long was this process suspended, and could not know what others did?

A thread beats every half second. A batch system that suspends a job stops all threads,
whatever they are at; what one of them waits for, however long, lets this one beat on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Standstill"]

BEAT_S = 0.5
STANDSTILL_S = 2.0
"""Between two beats, from which on the process was suspended, not only busy."""


class Standstill:
    """Measures for how long this process stood still, from now on until it is closed.

    Parameters
    ----------
    clock
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()
        self._seconds = 0.0
        self._is_closed = threading.Event()
        thread = threading.Thread(target=self._beat, name="standstill", daemon=True)
        thread.start()

    def taken(self) -> float:
        """Return for how many seconds it stood still since this was asked last.

        To be called from any thread; whichever comes first after a suspension sees it.
        """
        with self._lock:
            self._look()
            seconds, self._seconds = self._seconds, 0.0
        return seconds

    def close(self) -> None:
        """End the thread, some time."""
        self._is_closed.set()

    def _beat(self) -> None:
        while not self._is_closed.wait(BEAT_S):
            with self._lock:
                self._look()

    def _look(self) -> None:
        now = self._clock()
        if now - self._last > STANDSTILL_S:
            self._seconds += now - self._last
        self._last = now
