"""One network per worker process, loaded once, whatever the number of threads.

``functools.lru_cache`` loads it once per thread when several start together; the lock
does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from nnviz.engine.workers import allow_time

__all__ = ["cached"]

LOADING_S = 600.0
"""For loading, before the deadline of the task begins to count: where many workers read
the same network from one file server, minutes are usual."""

_lock = threading.Lock()
_values: dict[str, Any] = {}


def cached(kind: str, key: str, load: Callable[[], Any]) -> Any:
    """Return the value of this kind and key, loading it if another one is held.

    A process holds one value of each kind: when the key changes, the old value is
    dropped before the new one is loaded, so that two networks never share the memory.

    Parameters
    ----------
    kind
        What is held, for instance ``"network"``.
    key
        Fingerprint of what is wanted.
    load
        Called without arguments, under the lock, where the key differs.
    """
    held = _values.get(kind)
    if held is not None and held[0] == key:
        return held[1]
    allow_time(LOADING_S)
    try:
        with _lock:
            held = _values.get(kind)
            if held is None or held[0] != key:
                _values.pop(kind, None)
                _values[kind] = (key, load())
            return _values[kind][1]
    finally:
        allow_time(0.0)
