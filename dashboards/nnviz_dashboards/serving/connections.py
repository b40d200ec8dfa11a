"""How many connections are open, and for how long may one say nothing?

Every connection is a descriptor, of which a process has few, and whoever reaches the
port may open as many as they like before any token is asked for. So one that does not
ask ends after seconds, and where too many are open the oldest that has not asked makes
room for the next: a visitor always gets in.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer

if sys.platform != "win32":
    import resource

__all__ = ["IDLE_SECONDS", "Connections", "descriptors"]

IDLE_SECONDS = 10.0
"""For the header of a request, for its body, and between two requests."""

MOST = 1_000
KEPT_FREE = 128
"""Descriptors for the store, threads and libraries."""

_log = logging.getLogger(__name__)


def descriptors() -> int:
    """Return how many files and connections this process may have open."""
    if sys.platform == "win32":
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST + 2 * KEPT_FREE if limit == resource.RLIM_INFINITY else limit


class Connections:
    """The open connections of one server.

    Parameters
    ----------
    most
        How many are held; None for as many as descriptors allow.
    """

    def __init__(self, most: int | None = None) -> None:
        free = descriptors() - KEPT_FREE
        self.most = min(MOST, max(8, free * 3 // 4)) if most is None else most
        """How many are held."""
        # A stream tells Tornado alone of its end; nobody else holds one that is closed.
        self._open: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        self._has_told = False

    def watch(self, http: HTTPServer) -> None:
        """Count the connections of a server from now on."""
        serve: Callable[[Any, Any], Any] = http.handle_stream

        def handle_stream(stream: Any, address: Any) -> Any:
            if self._admit(stream):
                return serve(stream, address)
            return None

        http.handle_stream = handle_stream  # type: ignore[method-assign] # no other hook

    def asked(self, stream: Any) -> None:
        """Note that a whole request came over a connection."""
        if stream in self._open:
            self._open[stream] = True

    def _admit(self, stream: Any) -> bool:
        if len(self._open) >= self.most:
            for closed in [s for s in self._open if s.closed()]:
                del self._open[closed]
        if len(self._open) >= self.most:
            self._tell()
            silent = next((s for s, asked in self._open.items() if not asked), None)
            if silent is None:
                stream.close()
                return False
            del self._open[silent]
            silent.close()
        self._open[stream] = False
        return True

    def _tell(self) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "%d connections are open, and no more are held: those that ask for "
                "nothing make room; this is said once",
                self.most,
            )
