"""How does the first question find the index in memory? It is read before, beside all.

A thread of its own loads compiled code, and reads what answers take, the dearest
first: columns of texts, lists of top channels, rows of activations, pairs of
influences, until the bytes that were allowed are used up. What it reads lies in the
pages of the system, which gives them to whoever needs memory more, and all visitors and
processes of the machine share them. Answers do not wait for it, and do not need it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.aggregation.weighted_rows import weighted_row
from nnviz.background import in_background
from nnviz.errors import ConfigError, NnvizError
from nnviz.store.store import Store

__all__ = ["WARM_BYTES", "Warming", "warm_later", "warmed_bytes"]

WARM_BYTES = "NNVIZ_WARM_BYTES"
"""Variable of the environment: how many bytes are read; 0 reads none."""

USUAL_BYTES = 1 << 30


class Warming:
    """What of an index is read before it is asked for.

    Parameters
    ----------
    index
        Of an opened store.
    limit
        Bytes to read.
    columns
        What else is to be read first.
    """

    def __init__(
        self, index: SubsetIndex, limit: int, columns: Callable[[], None] | None = None
    ) -> None:
        self.limit = limit
        """Bytes to read."""
        self.n_bytes = 0
        """Read until now."""
        self._index, self._columns = index, columns
        self._thread = in_background(self._run, "nnviz-warming")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Return when everything is read, or after some seconds."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            if self._columns is not None:
                self._columns()
            self._load_code()
            self.n_bytes = self._index.pieces.warm(self.limit)
        except (NnvizError, OSError):
            return  # who asks for it meets it, and is told

    def _load_code(self) -> None:
        """Ask about one instance: what was compiled is loaded at the first answer."""
        one = np.zeros(1, dtype=np.int64)
        self._index.activation_counts(one)
        self._index.moments(one)
        if self._index.has_pairs:
            for count in (self._index.influence_counts, self._index.influence_sums):
                rows = next(iter(count([one, one]).values()))
                weighted_row(rows, np.ones(2, dtype=np.int64))


def warmed_bytes() -> int:
    """Return how many bytes are read before they are asked for; 0 for none.

    Raises
    ------
    ConfigError
        If the variable of the environment is not a whole number.
    """
    text = os.environ.get(WARM_BYTES, "").strip()
    if not text:
        return USUAL_BYTES
    if not text.isdecimal():
        msg = (
            f"{WARM_BYTES} is {text!r}; it should be a whole number of bytes, such as "
            f"{USUAL_BYTES}, or 0, which reads nothing before it is asked for"
        )
        raise ConfigError(msg)
    return int(text)


_STARTING = threading.Lock()


def warm_later(store: Store, columns: Callable[[], None] | None = None) -> None:
    """Read the index of an opened store in the background, once.

    Parameters
    ----------
    store
        Without a complete index nothing is read.
    columns
        What else is to be read first.

    Raises
    ------
    ConfigError
        If the variable of the environment is not a whole number.
    """
    limit = warmed_bytes()
    with _STARTING:
        if limit == 0 or Warming in store.kept:
            return
        try:
            index = subset_index(store)
        except NnvizError:
            return  # who asks is told
        if not index.is_complete:
            return
        warming = store.kept[Warming] = Warming(index, limit, columns)
    warming.start()
