"""A data set in memory: any map-style one of torch, arrays, or a table of arrays.

It is listed once, where it was handed over: identifiers, labels, columns. Workers get
it with its listing and read nothing but the instances of their chunks.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import described
from nnviz.engine.handing_over import handed_over
from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.items import (
    INPUT_KEYS,
    LABEL_KEYS,
    Raw,
    as_input,
    bytes_of,
    split_item,
)
from nnviz.inputs.datasets.listed_items import (
    ItemListing,
    keys_of_items,
    list_items,
)
from nnviz.inputs.datasets.listings import fingerprint_of, make_column, make_labels
from nnviz.runs.config import DatasetConfig

__all__ = ["HandedDataset", "MemoryDataset", "hold_dataset"]

HASHED_BYTES = 1 << 28
"""Arrays of up to 256 MB are hashed whole."""
HASHED_ITEMS = 16
"""So many items of other data sets are read and hashed, evenly spaced."""


@dataclass(frozen=True, slots=True, eq=False)
class HandedDataset:
    """A data set that a caller holds, with its listing."""

    data: Any
    """What has ``len`` and ``[index]``."""
    listing: ItemListing
    fingerprint: str
    """SHA-256 of the listing and of contents, as far as they were read."""
    kind: str
    """Name of its class."""
    is_steady: bool
    """Whether an item is the same each time that it is read."""

    @property
    def key(self) -> str:
        """Name under which it is handed over; a plan keeps it as the source."""
        return f"memory:{self.kind}@{self.fingerprint[:12]}"

    @property
    def config(self) -> DatasetConfig:
        """The data set as a run's configuration."""
        # Items that are made anew each time have no contents to be known by.
        mode: Any = "sampled" if self.is_steady else "none"
        return DatasetConfig("memory", source=self.key, fingerprint_contents=mode)


def hold_dataset(data: Any, *, as_rows: bool = False) -> HandedDataset:
    """List a data set that is in memory.

    Parameters
    ----------
    data
        A map-style data set, whose items are ``(input, label)``, ``(input, label,
        columns)``, an input, or a dictionary with them; one array of inputs; a tuple
        ``(inputs, labels)`` or ``(inputs, labels, columns)`` of arrays, where labels
        may be None and inputs a list or a pandas DataFrame, or a tuple or dictionary
        of arrays for a network of several inputs; or a dictionary of arrays of equal
        lengths, of which those with the names of the network's parameters are inputs.
    as_rows
        Whether an instance is a row of a table, with texts and missing values: inputs
        are a DataFrame or arrays by column, and all are columns of the instances. A
        DataFrame alone has its labels in one of the usual columns.

    Raises
    ------
    DatasetError
        If it is nothing of these, or has no instances.
    """
    kind = type(data).__name__
    if as_rows:
        data = _with_columns(data)
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        msg = (
            f"the data set is a {kind}, which serves batches in an order of its own; "
            "give its data set: loader.dataset"
        )
        raise DatasetError(msg)
    if _is_frame(data):
        msg = (
            f"the data set is a {kind}, of which nobody says what are inputs and what "
            "labels; give them apart: (table[input_columns], table['label']), and "
            "further columns as a third"
        )
        raise DatasetError(msg)
    arrays = _arrays_of(data)
    if arrays is not None:
        return _hold_arrays(arrays, as_rows=as_rows)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        hint = ""
        if hasattr(data, "__iter__"):
            hint = (
                ", which gives items one after another; nnviz reads them by number, "
                "and in any order: give list(data), if it ends and fits into memory"
            )
        msg = (
            f"the data set is {described(data)}{hint}; it should be a map-style data "
            "set (__len__ and __getitem__), a pair of arrays (inputs, labels), a "
            "dictionary of arrays, the path of a folder, table or file of arrays, or a "
            "DatasetConfig"
        )
        raise DatasetError(msg)
    listing = list_items(data, place=f"the data set {kind}")
    contents, is_steady = _digest_of_items(data, len(listing.ids))
    return HandedDataset(
        data, listing, _fingerprint(listing, [contents]), kind, is_steady
    )


class MemoryDataset:
    """The instances of a data set that was handed over.

    Satisfies :class:`nnviz.inputs.datasets.opening.Dataset`.

    Parameters
    ----------
    config
        Its `source` and `limit` are used.

    Raises
    ------
    DatasetError
        If nobody has handed it over to this process.
    """

    def __init__(self, config: DatasetConfig) -> None:
        held = handed_over(config.source or "")
        if not isinstance(held, HandedDataset):
            what = (config.source or "").removeprefix("memory:")
            msg = (
                f"the data set was in memory when the plan was made ({what}), and is "
                "nowhere else; hand it over again: nnviz.extract(store, model=model, "
                "dataset=dataset), and verify, extend, ablate and derive alike"
            )
            raise DatasetError(msg)
        self._config, self._held = config, held
        self._lock = threading.Lock()
        n = slice(config.limit)
        listing = held.listing
        self.ids = listing.ids[n]
        self.labels = None if listing.labels is None else listing.labels[n]
        self.class_names = listing.class_names
        self.notes: tuple[str, ...] = ()
        self.metadata = {name: v[n] for name, v in listing.metadata.items()}

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[MemoryDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the first item that can be read; none without keys."""
        return keys_of_items(self._held.data, len(self))

    def read(self, index: int) -> Raw:
        """Return the input of one item.

        Raises
        ------
        UnreadableInstanceError
            If the data set raises, or the item's input is neither.
        """
        if index < 0 or index >= len(self):
            raise IndexError(index)
        # Nobody promises that the data set can be read by several threads at once.
        with self._lock:
            return _read(self._held.data, index, self._config.input_columns)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the listing and of contents, as far as they were read."""
        limit = self._config.limit
        return self._held.fingerprint if limit is None else _limited(self._held, limit)


class _Arrays:
    """Arrays of equal lengths as items: the input alone, since all else is listed."""

    def __init__(self, inputs: Any) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        return (self.inputs[index],)  # a list would be an input and a label


class _Several:
    """Several arrays of equal lengths as items: dictionaries of the inputs."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, index: int) -> Any:
        return {name: values[index] for name, values in self.inputs.items()}


def _read(data: Any, index: int, input_keys: Sequence[str] = ()) -> Raw:
    try:
        item = data[index]
    except Exception as error:
        # The user's data set may raise anything; it concerns this item.
        msg = f"the data set raised {type(error).__name__}: {error}"
        raise UnreadableInstanceError(msg) from error
    found, _ = split_item(
        item, input_key="data", label_key="label", input_keys=input_keys
    )
    return as_input(found)


def _arrays_of(data: Any) -> dict[str, Any] | None:
    """Return arrays by name: ``input``, ``label``, and columns; None if it is none."""
    if _is_array(data):
        return {"input": data}
    is_tuple = isinstance(data, tuple) and 2 <= len(data) <= 3
    if (is_tuple or (isinstance(data, list) and len(data) == 2)) and (
        _is_array(data[0])
        or (is_tuple and (isinstance(data[0], list) or _are_several(data[0])))
    ):
        return _arrays_of_parts(*data)
    if not isinstance(data, Mapping):
        return None
    inputs = [key for key in ("input", *INPUT_KEYS) if key in data]
    labels = [key for key in LABEL_KEYS if key in data]
    label = data[labels[0]] if labels else None
    others = {k: v for k, v in data.items() if k not in labels[:1]}
    large = {k: v for k, v in others.items() if _is_array(v) and len(v.shape) > 1}
    arrays = {k: v for k, v in others.items() if _is_array(v)}
    if len(large) > 1 or (not inputs and arrays):
        columns = {k: v for k, v in others.items() if k not in large}
        return _arrays_of_parts(arrays, label, columns)
    if not inputs or not _is_array(data[inputs[0]]):
        msg = (
            f"the data set is a dictionary with {', '.join(map(str, data)) or 'none'}; "
            f"of its arrays one should be the inputs, as {INPUT_KEYS[0]!r}, 'x' or "
            "'data', or several with the names of the network's parameters"
        )
        raise DatasetError(msg)
    others.pop(inputs[0])
    return _arrays_of_parts(data[inputs[0]], label, others)


def _arrays_of_parts(
    inputs: Any, labels: Any = None, columns: Any = None
) -> dict[str, Any]:
    """Return arrays by name, of what is not None."""
    if not (columns is None or isinstance(columns, Mapping) or _is_frame(columns)):
        msg = (
            f"the third part of the data set is {described(columns)}; it should be a "
            "dictionary of columns, or a pandas DataFrame: (inputs, labels, columns)"
        )
        raise DatasetError(msg)
    others = {} if columns is None else {str(k): v for k, v in columns.items()}
    named = {"input": _rows_of(inputs), "label": labels, **others}
    return {name: values for name, values in named.items() if values is not None}


def _rows_of(inputs: Any) -> Any:
    """Return a table of numbers as an array; others as they are."""
    if not _is_frame(inputs):
        return inputs
    texts = [
        str(name) for name, kind in inputs.dtypes.items() if kind.kind not in "biuf"
    ]
    if texts:
        msg = (
            f"the inputs are a DataFrame in which {', '.join(texts[:5])} are no "
            "numbers; leave such columns out, or encode them"
        )
        raise DatasetError(msg)
    return inputs.to_numpy()


def _is_frame(value: Any) -> bool:
    return hasattr(value, "to_numpy") and hasattr(value, "columns")


def _with_columns(data: Any) -> Any:
    """Return a data set whose DataFrame of inputs is one array for each column."""
    if _is_frame(data):
        label = next((name for name in LABEL_KEYS if name in data.columns), None)
        labels = None if label is None else data[label]
        data = (data.drop(columns=[] if label is None else [label]), labels)
    if not (isinstance(data, tuple) and data and _is_frame(data[0])):
        return data
    inputs = {
        str(name): make_column(column.astype(object).where(column.notna(), None))
        for name, column in data[0].items()
    }
    return (inputs, *data[1:])


def _are_several(value: Any) -> bool:
    """Whether it is several arrays of inputs, by name or in the order of them."""
    found = value.values() if isinstance(value, Mapping) else value
    is_group = isinstance(value, (Mapping, tuple)) and len(value) > 0
    return is_group and all(_is_array(each) for each in found)


def _is_array(value: Any) -> bool:
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return _is_frame(value) or (is_array and len(value.shape) > 0)


def _hold_arrays(arrays: dict[str, Any], *, as_rows: bool) -> HandedDataset:
    inputs = arrays.pop("input")
    if _are_several(inputs):
        numbered = {str(index): each for index, each in enumerate(inputs)}
        inputs = dict(inputs) if isinstance(inputs, Mapping) else numbered
        _check_lengths(inputs)
    n = len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)
    for name, values in arrays.items():
        is_list = hasattr(values, "__len__") and not isinstance(values, str)
        found = f"{len(values):,}" if is_list else described(values)
        if found != f"{n:,}":
            msg = (
                f"there are {n:,} inputs and {found} of {name!r}; labels and columns "
                "have one value for each input: correct it, or leave it out"
            )
            raise DatasetError(msg)
    if n == 0:
        msg = "the data set has no instances; nnviz needs at least one"
        raise DatasetError(msg)
    labels = arrays.pop("label", None)
    texts = {"text": list(inputs)} if _are_texts(inputs) else {}
    if as_rows and isinstance(inputs, dict):
        inputs = {
            name: make_column(v.tolist()) if v.dtype == object else v
            for name, v in inputs.items()
        }
        texts = {name: v for name, v in inputs.items() if len(v.shape) == 1}
    listing = ItemListing(
        ids=[str(index) for index in range(n)],
        labels=None if labels is None else make_labels(_label_list(labels)),
        metadata={
            name: make_column([_plain(v) for v in _numpy(values)])
            for name, values in (texts | arrays).items()
        },
    )
    facts: list[Any]
    held = _Several(inputs) if isinstance(inputs, dict) else _Arrays(inputs)
    if isinstance(inputs, dict):
        is_steady, facts = True, []
        for name, each in inputs.items():
            facts += [name, each.shape, each.dtype, _digest_of_array(each)]
    elif isinstance(inputs, list):
        contents, is_steady = _digest_of_items(held, n)
        facts = [contents]
    else:
        is_steady = True
        facts = [inputs.shape, inputs.dtype, _digest_of_array(inputs)]
    mark = _fingerprint(listing, facts)
    return HandedDataset(held, listing, mark, "arrays", is_steady=is_steady)


def _are_texts(inputs: Any) -> bool:
    return not isinstance(inputs, dict) and isinstance(inputs[0], str)


def _check_lengths(inputs: Mapping[str, Any]) -> None:
    lengths = {name: len(each) for name, each in inputs.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{n:,} of {name!r}" for name, n in lengths.items())
        msg = (
            f"the inputs are {shown}; they should be as many of each, one for every "
            "instance"
        )
        raise DatasetError(msg)


def _label_list(labels: Any) -> list[Any]:
    """Return a label for each input; a column of one value each is these values."""
    values = _numpy(labels)
    if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1:
        values = _rows_of(values).reshape(-1)
    return list(_rows_of(values))


def _numpy(values: Any) -> Any:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _digest_of_array(inputs: Any) -> str:
    n = len(inputs)
    if getattr(inputs.dtype, "kind", "") == "O":
        return hashlib.sha256(repr(inputs.tolist()).encode()).hexdigest()
    row_bytes = math.prod(inputs.shape[1:]) * inputs.dtype.itemsize
    rows: Sequence[int] | NDArray[np.int64] = np.arange(n)
    if n * row_bytes > HASHED_BYTES:
        rows = np.linspace(0, n - 1, min(n, 1000)).round().astype(np.int64)
    digest = hashlib.sha256()
    for start in range(0, len(rows), 1024):
        block = np.ascontiguousarray(_numpy(inputs[rows[start : start + 1024]]))
        digest.update(block.tobytes())
    return digest.hexdigest()


def _digest_of_items(data: Any, n: int) -> tuple[str, bool]:
    """Return a hash of some items, and whether they are the same each time."""
    rows = np.linspace(0, n - 1, min(n, HASHED_ITEMS)).round().astype(int).tolist()
    first, second = (_digest_of_rows(data, rows) for _ in range(2))
    return (first, True) if first == second else ("", False)


def _digest_of_rows(data: Any, rows: Sequence[int]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        try:
            found = bytes_of(_read(data, row))
        except UnreadableInstanceError:
            found = b"unreadable"
        digest.update(found)
    return digest.hexdigest()


def _fingerprint(listing: ItemListing, facts: Sequence[object]) -> str:
    return fingerprint_of(
        "memory", listing.ids, listing.labels, listing.metadata, facts
    )


def _limited(held: HandedDataset, limit: int) -> str:
    return hashlib.sha256(f"{held.fingerprint} {limit}".encode()).hexdigest()
