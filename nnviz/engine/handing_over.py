"""Which objects has the caller handed over? By key, for the length of a stage.

A network or a data set in memory has no name under which a worker could open it.
:mod:`nnviz.engine.callers_objects` brings them to the workers. Nothing of it is written
anywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["handed_over", "hold", "holding", "release"]

_objects: dict[str, Any] = {}


def handed_over(key: str) -> Any:
    """Return the object of this key; None where nobody has handed it over."""
    return _objects.get(key)


def hold(objects: Mapping[str, Any]) -> list[str]:
    """Keep objects in this process; return the keys that were not there."""
    added = [key for key in objects if key not in _objects]
    _objects.update({key: objects[key] for key in added})
    return added


def release(keys: list[str]) -> None:
    """Forget objects."""
    for key in keys:
        _objects.pop(key, None)


@contextlib.contextmanager
def holding(objects: Mapping[str, Any]) -> Iterator[None]:
    """Keep objects in this process for a while.

    Parameters
    ----------
    objects
        By key; keys tell the contents, so that equal ones have equal objects.
    """
    added = hold(objects)
    try:
        yield
    finally:
        release(added)
