"""How does a store come to be, so that a kill on the way is in nobody's way?

1. A root that says that the store is being made.
2. All that it holds at first, by one driver at a time.
3. One write of the root's attributes makes it a store.

Killed before 3, it is begun anew by whoever makes a store at the same place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from nnviz.errors import StoreError
from nnviz.store.documents import DOCUMENT
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.lock import WRITER, writing

__all__ = ["creating", "is_begun", "says_begun"]

BEGUN = "creation_is_pending"


def says_begun(attributes: Mapping[str, Any]) -> bool:
    """Whether these are the attributes of the root of a store that is being made."""
    return bool(attributes.get(BEGUN))


def is_begun(url: str | os.PathLike[str]) -> bool:
    """Whether somebody is making a store at a place, or was killed at it."""
    try:
        return says_begun(Hierarchy.open(url).attributes())
    except StoreError:
        return False


@contextlib.contextmanager
def creating(url: str | os.PathLike[str]) -> Iterator[Hierarchy]:
    """Hand out an empty hierarchy to be filled; its attributes make it a store.

    Parameters
    ----------
    url
        A place where there is nothing, or what a killed process has begun.

    Raises
    ------
    StoreExistsError
        If there is something else.
    StoreInUseError
        If another driver is making it.
    StoreError
        If the place cannot be written.
    """
    if is_begun(url):
        hierarchy = Hierarchy.open(url, writable=True)
    else:
        hierarchy = Hierarchy.create(url, {BEGUN: True})
    with writing(url, "plan"):
        for key in hierarchy.files.names():
            if key != DOCUMENT and key.split("/")[0] != WRITER:
                hierarchy.files.delete(key)
        yield hierarchy
