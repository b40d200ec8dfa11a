"""How far is an answer that reads chunks? Listeners hear of it, as of a stage.

Without an index an answer takes as long as its chunks take to read, one layer after the
other. Whoever waits for it attaches a listener to the store, such as a progress bar.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.store.store import Store

__all__ = ["tell_of_chunks", "told"]

STAGE = "reading chunks"

MIN_CHUNKS = 32
"""Fewer are read before a bar could be looked at."""

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class _Listeners:
    listeners: tuple[Listener, ...]


def tell_of_chunks(store: Store, listeners: Iterable[Listener]) -> None:
    """Tell listeners from now on how far an answer is that reads many chunks."""
    store.kept[_Listeners] = _Listeners(tuple(listeners))


def told(
    store: Store, parts: Iterable[Done], *, n_parts: int, n_chunks: int
) -> Iterator[Done]:
    """Yield the parts of an answer, and tell of each of them.

    Parameters
    ----------
    store
        Of which chunks are read.
    parts
        Each reads all chunks, for one layer.
    n_parts, n_chunks
        How many there are.
    """
    kept = store.kept.get(_Listeners)
    listeners: tuple[Listener, ...] = ()
    if isinstance(kept, _Listeners) and n_chunks >= MIN_CHUNKS:
        listeners = kept.listeners
    started = time.monotonic()
    emit(listeners, StageStarted(STAGE, n_parts))
    try:
        for number, part in enumerate(parts):
            emit(listeners, TaskDone(STAGE, f"part {number}"))
            yield part
    finally:
        emit(listeners, StageDone(STAGE, n_parts, 0, 0, time.monotonic() - started))
