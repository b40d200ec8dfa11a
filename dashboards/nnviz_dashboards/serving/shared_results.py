"""What do all visitors share? One run's results, opened again when a stage has run."""

from __future__ import annotations

import contextlib
import functools
import threading
import time

from nnviz.aggregation.index_warming import warm_later, warmed_bytes
from nnviz.background import in_background
from nnviz.errors import NnvizError
from nnviz.results.graphs_beside import GraphsBeside
from nnviz.results.run_results import RunResults, stage_state
from nnviz.store.store import Store

__all__ = ["SharedResults"]

SECONDS_TO_OPEN = 3
"""So long after it was asked for, a page has the processor to itself."""

SECONDS_TO_ARRIVE = 7
"""So long after the start, the first visitor is expected."""


class SharedResults:
    """The results that all visitors share; opened again once a stage has run.

    Parameters
    ----------
    url
        URL of the store.
    other_store
        URL of another network's, whose graphs stand beside; None for none.
    published
        SUMMIT's file, or a folder of them, whose graphs stand beside; None for none.

    Raises
    ------
    NnvizError
        If one of them is not there, or does not fit.
    """

    def __init__(
        self, url: str, *, other_store: str | None = None, published: str | None = None
    ) -> None:
        self._url = url
        self._other_store = other_store
        self._published = published
        self._lock = threading.Lock()
        self._state: object = None
        self._asked = time.monotonic() + SECONDS_TO_ARRIVE
        self._results = self._current()

    def current(self) -> RunResults:
        """Return the results of the store as it is now, for a page."""
        self._asked = time.monotonic()
        return self._current()

    def _current(self) -> RunResults:
        with self._lock:
            store = Store.open(self._url)
            name = self._other_store
            other = None if name is None else Store.open(name)
            state = stage_state(store), None if other is None else stage_state(other)
            if state != self._state:
                beside = GraphsBeside(store, other=other, published=self._published)
                results = RunResults(store, beside)
                self._results, self._state = results, state
                warm = functools.partial(self._warm, results)
                in_background(warm, "nnviz-reading").start()
            return self._results

    def _warm(self, results: RunResults) -> None:
        """Read texts, what graphs of sets need, and the index.

        Not while a page is being opened, which would wait.
        """
        while (left := self._asked + SECONDS_TO_OPEN - time.monotonic()) > 0:
            time.sleep(left)
        if warmed_bytes():
            # Without an index, too: whoever sees the first instance waits seconds then.
            with contextlib.suppress(NnvizError, OSError):  # who asks is told
                results.pairs.finder.columns.read_texts()
                results.graphs.warm_up_sets(results.kind)
        warm_later(results.store)

    @property
    def latest(self) -> RunResults:
        """The results that the last visitor got."""
        return self._results
