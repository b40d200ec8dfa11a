"""How does a store get more rows, so that a kill at any point breaks nothing?

1. What is new is written beside the store, as the group ``extension``: nobody sees it.
2. One write of the root's attributes says that an extension is pending.
3. Arrays are made longer, new values of ids, labels and columns are written, and the
   last chunk loses its mark if it was not full. Each of these may be repeated.
4. One write of the root's attributes makes the longer store the store.

Killed before 2, the store is the old one. Between 2 and 4 it is refused with the
command that goes on at 3; nothing but the group ``extension`` is needed for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import StoreFormatError
from nnviz.runs.arrays import ArraySpec, groups_of
from nnviz.runs.declarations import POSITION
from nnviz.runs.wide_arrays import StoredArrays
from nnviz.store.completion import MARKS
from nnviz.store.documents import LATER
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.recovery import RECOVERY

__all__ = [
    "finish_extension",
    "is_pending",
    "remove_leftovers",
    "root_attributes",
    "stage_extension",
]

FIRST_SEALED_VERSION = 2
"""The first format in which metadata have checksums, and a store may be extended."""

GROUP = "extension"
PENDING = "extension_is_pending"


def is_pending(attributes: Mapping[str, Any]) -> bool:
    """Whether an extension was begun and not finished."""
    return bool(attributes.get(PENDING))


def remove_leftovers(url: str) -> None:
    """Remove what an extension that was killed at its beginning, or end, has left."""
    hierarchy = Hierarchy.open(url, writable=True)
    if hierarchy.files.names(GROUP):
        hierarchy.delete(GROUP)


def stage_extension(
    url: str,
    attributes: Mapping[str, Any],
    tails: Mapping[str, NDArray[Any]],
    positions: NDArray[np.int64],
) -> None:
    """Write what is new beside a store, and say that it is to be taken over.

    Parameters
    ----------
    url
        URL of the store.
    attributes
        Attributes of the root of the longer store.
    tails
        New rows of the arrays that the plan knows, by path.
    positions
        Index in the data set of every row, old or new.
    """
    hierarchy = Hierarchy.open(url, writable=True)
    hierarchy.delete(GROUP)
    for path, values in {**tails, POSITION: positions}.items():
        hierarchy.write_dense(f"{GROUP}/{path}", values)
    hierarchy.create_group(GROUP, {"attributes": dict(attributes)})
    pending = {**hierarchy.attributes(), PENDING: True}
    hierarchy.set_attributes(pending)


def finish_extension(url: str, arrays: Sequence[ArraySpec], n_before: int) -> None:
    """Make a store as long as the pending extension says; may be repeated.

    Parameters
    ----------
    url
        URL of the store.
    arrays
        Every array of the longer run.
    n_before
        Instances of the shorter one.
    """
    hierarchy = Hierarchy.open(url, writable=True)
    hierarchy.documents.ignores_checksums = True
    attributes = _pending_attributes(hierarchy)
    # Format 1 becomes 2; a store of either keeps its arrays as they are.
    version = max(FIRST_SEALED_VERSION, int(attributes["format_version"]))
    arrays = StoredArrays.of(arrays, version).specs
    for spec in arrays:
        if hierarchy.has(spec.path):
            hierarchy.resize(spec.path, spec.shape)
        else:
            hierarchy.create_array(spec)
        if spec.is_static:
            start = 0 if spec.path == POSITION else n_before
            hierarchy.write(spec.path, start, hierarchy.read(f"{GROUP}/{spec.path}"))
    rows = int(attributes["plan"]["extraction"]["instances_per_chunk"])
    if n_before % rows:
        hierarchy.files.delete(hierarchy.piece_keys(MARKS)[n_before // rows])
    # Those that format 1 wrote have no seal.
    for group in {*groups_of(arrays), *filter(hierarchy.has, LATER)}:
        hierarchy.create_group(group, {})
    record = {**attributes, "format_version": version}
    skip = [spec.path for spec in arrays if not spec.is_static]
    hierarchy.documents.state("", skip=skip)
    hierarchy.create_group(RECOVERY, record)
    hierarchy.set_attributes(record)
    hierarchy.delete(GROUP)


def _pending_attributes(hierarchy: Hierarchy) -> dict[str, Any]:
    """Return the attributes that the root will have.

    Raises
    ------
    StoreFormatError
        If they are missing or damaged.
    """
    if not hierarchy.has(GROUP):
        msg = (
            f"the extension of {hierarchy.url!r} was interrupted, and what it was to "
            "write is missing; extract again into a new store"
        )
        raise StoreFormatError(msg)
    attributes: dict[str, Any] = hierarchy.attributes(GROUP)["attributes"]
    return attributes


def root_attributes(url: str, *, of_extension: bool = False) -> dict[str, Any]:
    """Return what the root of a store says, or of the store that it is to become.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `url`.
    StoreFormatError
        If it is damaged.
    """
    hierarchy = Hierarchy.open(url)
    return _pending_attributes(hierarchy) if of_extension else hierarchy.attributes()
