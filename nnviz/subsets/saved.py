"""Which subsets has somebody kept? Saved in the store, with their text and a note.

A subset that was saved as a query is evaluated whenever it is asked for, so it grows
with the store; one that was saved as instances stays as it is.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnknownNameError, did_you_mean
from nnviz.store.groups import SAVED_SUBSETS
from nnviz.store.lock import writing
from nnviz.store.store import Store
from nnviz.subsets.columns import DERIVED
from nnviz.subsets.expressions import parse_query

__all__ = ["SavedSubset", "remove_subset", "save_subset", "saved_subsets"]

MAX_NAME = 200


@dataclass(frozen=True, slots=True, eq=False)
class SavedSubset:
    """A subset that was kept under a name."""

    name: str
    query: str = ""
    """In the query language; empty where instances were saved."""
    instances: NDArray[np.int64] | None = None
    """Ascending, where there is no query."""
    note: str = ""
    author: str = ""
    saved: str = ""
    """When: UTC, in ISO 8601."""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > MAX_NAME:
            msg = (
                f"a subset cannot be called {self.name[:MAX_NAME]!r}; give it a name "
                f"of 1 to {MAX_NAME} characters"
            )
            raise DatasetError(msg)
        if bool(self.query) == (self.instances is not None):
            msg = f"subset {self.name!r} needs either a query or instances"
            raise DatasetError(msg)


def save_subset(store: Store, subset: SavedSubset) -> SavedSubset:
    """Keep a subset in the store; one of the same name is replaced.

    The older one stays until the new one is whole: nobody could make it again.

    Parameters
    ----------
    store
        The store; its place must be writable.
    subset
        What to keep.

    Returns
    -------
    SavedSubset
        With the time at which it was saved.

    Raises
    ------
    DatasetError
        If a column of the instance table is called so: a query would mean that.
    QueryError
        If its query cannot be read; whether names fit the store is not looked at.
    StoreError
        If the store cannot be written, or another driver writes to it.
    """
    if subset.query:
        parse_query(subset.query)
    if subset.name in (*store.columns, *DERIVED):
        msg = (
            f"{subset.name!r} is the name of a column already, and a query would mean "
            "that; choose another name"
        )
        raise DatasetError(msg)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    kept = dataclasses.replace(subset, saved=now)
    attributes = {
        "name": kept.name,
        "query": kept.query,
        "note": kept.note,
        "author": kept.author,
        "saved": kept.saved,
    }
    arrays = {} if kept.instances is None else {"instance": kept.instances}
    with writing(store.url, "subset"):
        writable = Store.open(store.url, writable=True)
        older = _paths_of(writable, kept.name)
        path = f"{SAVED_SUBSETS}/{_key(kept)}"
        writable.groups.write(path, arrays, attributes, {"instance": ("instance",)})
        _remove(writable, older)
    return kept


def saved_subsets(store: Store) -> dict[str, SavedSubset]:
    """Return the saved subsets by their names, the oldest first."""
    found = []
    for path, attributes in _kept(store):
        query = str(attributes["query"])
        instances = None if query else store.groups.read(f"{path}/instance")
        parts = {name: str(attributes[name]) for name in ("name", "note", "author")}
        found.append(
            SavedSubset(
                **parts,
                query=query,
                instances=instances,
                saved=str(attributes["saved"]),
            )
        )
    # Of two of one name, as a kill leaves them, the later one counts.
    return {one.name: one for one in sorted(found, key=lambda s: (s.saved, s.name))}


def remove_subset(store: Store, name: str) -> None:
    """Remove a saved subset.

    Raises
    ------
    UnknownNameError
        If none has this name.
    """
    known = saved_subsets(store)
    if name not in known:
        msg = (
            f"no subset was saved as {name!r}{did_you_mean(name, known)}; saved are "
            f"{', '.join(map(repr, known)) or 'none'}"
        )
        raise UnknownNameError(msg)
    with writing(store.url, "subset"):
        writable = Store.open(store.url, writable=True)
        _remove(writable, _paths_of(writable, name))


def _kept(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the group of each saved subset, and what it says."""
    for key in store.groups.names(SAVED_SUBSETS):
        path = f"{SAVED_SUBSETS}/{key}"
        if store.groups.is_complete(path):
            yield path, store.groups.attributes(path)


def _paths_of(store: Store, name: str) -> list[str]:
    """Return the groups of subsets of this name."""
    return [path for path, said in _kept(store) if said["name"] == name]


def _remove(store: Store, paths: list[str]) -> None:
    for path in paths:
        store.groups.invalidate(path)
        store.groups.remove_member(path)


def _key(subset: SavedSubset) -> str:
    """Return a name for a group: that of a subset may hold what no path may."""
    text = f"{subset.name} {subset.saved}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
