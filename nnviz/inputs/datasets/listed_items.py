"""What do the items of somebody's map-style data set say, beside their inputs?

Labels are taken from the attribute `targets` or `labels` where it is as long as the
data (of a subset, from the data set that it is of) and some items bear it out;
otherwise every item is read once.
Items may bring columns along: the third part of ``(input, label, columns)``, or the
other keys of a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError
from nnviz.inputs.datasets.items import as_label, columns_of, split_item
from nnviz.inputs.datasets.listings import check_ids, make_column, make_labels
from nnviz.user_code import telling_user_errors

__all__ = [
    "ItemListing",
    "class_names_of",
    "kept_labels",
    "keys_of_items",
    "labels_of_attribute",
    "list_items",
    "listed_columns",
]

_LABEL_ATTRIBUTES = ("targets", "labels", "_labels")
_N_COMPARED = 16
"""So many items, evenly spaced, are read to see whether such labels are theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemListing:
    """Identifiers, labels and columns of the items of a data set."""

    ids: list[str]
    labels: NDArray[np.object_] | None = None
    metadata: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


def list_items(data: Any, *, place: str) -> ItemListing:
    """List a map-style data set.

    Parameters
    ----------
    data
        With ``len`` and ``[index]``.
    place
        What it is, for messages.

    Raises
    ------
    DatasetError
        If it has no items, or none can be read.
    """
    n = len(data)
    check_ids([str(index) for index in range(n)], place=place)
    labels = labels_of_attribute(data, n)
    columns: list[Mapping[str, Any]] = []
    if labels is None or columns_of(_first_item(data, n, place)):
        found: list[Any] = []
        for index in range(n):
            label, others = _facts_of(data, index)
            found.append(label)
            columns.append(others)
        labels = found if labels is None else labels
    metadata = _as_columns(columns)
    ids = [str(index) for index in range(n)]
    stated = metadata.get("id")
    if stated is not None and len(set(stated.tolist())) == n:
        ids = [str(value) for value in metadata.pop("id").tolist()]
    elif stated is not None:
        metadata["item_id"] = metadata.pop("id")
    return ItemListing(ids, make_labels(labels), metadata, class_names_of(data))


def listed_columns(
    columns_at: Callable[[int], Mapping[str, Any] | None], n: int
) -> dict[str, NDArray[Any]]:
    """Return what items have beside input and label, shape (n,) each.

    Parameters
    ----------
    columns_at
        Returns the columns of an item by its number; None if it cannot be read.
    n
        Of so many items. The first one that can be read says whether there are any; if
        not, no others are read.
    """
    found: list[Mapping[str, Any]] = []
    for index in range(n):
        columns = columns_at(index)
        if columns is not None and not columns and not any(found):
            return {}
        found.append(columns or {})
    return _as_columns(found)


def _as_columns(found: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    names = dict.fromkeys(name for columns in found for name in columns)
    return {name: make_column([c.get(name) for c in found]) for name in names}


def labels_of_attribute(data: Any, n: int) -> list[Any] | None:
    """Return the labels that a data set keeps beside its items; None if it does not.

    Parameters
    ----------
    data
        With ``len`` and ``[index]``.
    n
        Of the first so many items; some of them are read, to see whether they bear the
        labels out: an attribute may have those before a transform, or of other items.
    """
    found = kept_labels(data)
    if found is None:
        return None
    for index in np.linspace(0, n - 1, min(n, _N_COMPARED)).astype(int).tolist():
        try:
            with telling_user_errors("an item", advice="", error_type=DatasetError):
                item = data[index]
            label = split_item(item, input_key="data", label_key="label")[1]
        except Exception:  # noqa: BLE001  extraction meets and records it
            continue
        if not np.array_equal(as_label(label), found[index]):
            return None
    return found[:n]


def kept_labels(data: Any) -> list[Any] | None:
    """Return what a data set says beside its items of their labels; reads no item."""
    indices, whole = getattr(data, "indices", None), getattr(data, "dataset", None)
    if indices is not None and whole is not None and hasattr(whole, "__len__"):
        labels = kept_labels(whole)
        return None if labels is None else [labels[int(i)] for i in indices]
    for name in _LABEL_ATTRIBUTES:
        found = getattr(data, name, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(data):
            return [as_label(value) for value in list(found)]
    return None


def keys_of_items(data: Any, n: int) -> tuple[str, ...]:
    """Return the keys of a data set's first item that can be read.

    Parameters
    ----------
    data
        With ``[index]``.
    n
        Number of its items.

    Returns
    -------
    tuple of str
        None where items are no dictionaries.
    """
    for index in range(min(n, 1024)):
        try:
            item = data[index]
        except Exception:  # noqa: BLE001  the user's code may raise anything
            continue
        return tuple(map(str, item)) if isinstance(item, Mapping) else ()
    return ()


def class_names_of(data: Any) -> tuple[str, ...]:
    """Return the names of all classes that a data set knows, the first of several."""
    whole = getattr(data, "dataset", None)
    names = getattr(data, "classes", None)
    if names is None and whole is not None:
        return class_names_of(whole)
    return tuple(str(n[0]) if isinstance(n, tuple) else str(n) for n in names or ())


def _first_item(data: Any, n: int, place: str) -> Any:
    reason = ""
    for index in range(min(n, 1024)):
        try:
            return data[index]
        except Exception as error:  # noqa: BLE001  the user's code may raise anything
            reason = reason or f"{type(error).__name__}: {error}"
    msg = f"no item of {place} can be read: {reason}"
    raise DatasetError(msg)


def _facts_of(data: Any, index: int) -> tuple[Any, Mapping[str, Any]]:
    try:
        item = data[index]
        label = split_item(item, input_key="data", label_key="label")[1]
    except Exception:  # noqa: BLE001  extraction meets and records it
        return None, {}
    return as_label(label), columns_of(item)
