"""Which subsets has somebody kept? Saved in the store, with their text and a note.

A subset that was saved as a query is evaluated whenever it is asked for, so it grows
with the store; one that was saved as instances stays as it is.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnknownNameError, did_you_mean
from nnviz.store.lock import writing
from nnviz.store.store import Store
from nnviz.subsets.columns import DERIVED
from nnviz.subsets.expressions import parse_query

__all__ = [
    "SAVED_SUBSETS",
    "SavedSubset",
    "remove_subset",
    "save_subset",
    "saved_subsets",
]

SAVED_SUBSETS = "artifacts/saved_subsets"

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
        writable.groups.write(
            _path(kept.name), arrays, attributes, {"instance": ("instance",)}
        )
    return kept


def saved_subsets(store: Store) -> dict[str, SavedSubset]:
    """Return the saved subsets by their names, the oldest first."""
    found = []
    for key in store.groups.names(SAVED_SUBSETS):
        path = f"{SAVED_SUBSETS}/{key}"
        if not store.groups.is_complete(path):
            continue
        attributes = store.groups.attributes(path)
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
        writable.groups.invalidate(_path(name))
        writable.groups.remove_member(_path(name))


def _path(name: str) -> str:
    """Return where a subset is kept: its name may hold what no path may."""
    return f"{SAVED_SUBSETS}/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
