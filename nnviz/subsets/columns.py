"""What can a query ask of every instance? Columns, each with its kind and its nulls.

Columns are read once, when a query first names them, and kept in a form in which a
predicate takes milliseconds: texts as codes into their distinct values, everything else
as numbers. What stands for "no value" in the store (class -1, NaN, an empty text) is
null here.

Symbols: N instances, U distinct texts.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.network.top_channels import planned_top_channels
from nnviz.runs.declarations import LABEL_SETS
from nnviz.store.store import Store
from nnviz.subsets.by_value import labels_in
from nnviz.subsets.packed_columns import PackedColumns, PackedTexts

__all__ = [
    "DERIVED",
    "KIND_EXAMPLES",
    "KIND_NAMES",
    "ChannelSource",
    "Column",
    "ColumnKind",
    "InstanceColumns",
    "StoredChannels",
]

ColumnKind = Literal["class", "classes", "number", "text", "truth", "date"]
"""What can be asked of a column; ``class`` is an index into the class names, and
``classes`` are any number of them for each instance."""

KIND_NAMES: Mapping[ColumnKind, str] = {
    "class": "classes",
    "classes": "sets of classes",
    "number": "numbers",
    "text": "texts",
    "truth": "truth values",
    "date": "dates",
}
KIND_EXAMPLES: Mapping[ColumnKind, str] = {
    "class": "= horse",
    "classes": "= horse",
    "number": "> 0.5",
    "text": 'contains "night"',
    "truth": "",
    "date": "> 2024-05-31",
}
"""What a column of each kind can be compared with."""

CACHED_LAYERS = 4
"""Layers whose top channels are kept; 10 MB each for a million instances."""

DERIVED = ("correct", "loss", "instance")
"""Columns that follow from stored ones, where a store does not have them."""


@dataclass(frozen=True, eq=False)  # no slots: they leave no room for what is cached
class Column:
    """A column of the instance table, as predicates take it."""

    kind: ColumnKind
    values: NDArray[Any]
    """Shape (N,): class indices, numbers, truth values, dates (datetime64), or for
    texts and sets of classes their codes (into `texts`)."""
    null: NDArray[np.bool_]
    """Where there is no value, shape (N,)."""
    texts: tuple[str, ...] = ()
    """The distinct values of a text column, U of them, in order of appearance."""
    members: NDArray[np.bool_] | None = None
    """Of sets of classes: which of them each distinct value has, shape (U, classes)."""

    @functools.cached_property
    def code_of(self) -> Mapping[str, int]:
        """Code of each distinct text."""
        return {text: code for code, text in enumerate(self.texts)}

    @functools.cached_property
    def dates(self) -> NDArray[np.datetime64]:
        """The distinct texts as dates, shape (U,); NaT where one is no ISO date."""
        return np.array([_date(text) for text in self.texts], dtype="datetime64[ms]")


class ChannelSource(Protocol):
    """Where the activations of single channels come from; may be shared by threads."""

    def activation(self, layer: str, channel: int) -> NDArray[np.floating]:
        """Return one channel of every instance, shape (N,); NaN for unusable ones."""

    def activation_of(
        self, layer: str, channel: int, instances: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Return one channel of some instances, ascending, shape (n,)."""

    def is_top(self, layer: str, channel: int) -> NDArray[np.bool_]:
        """Return where it is a top channel, shape (N,)."""

    def activations(self, layer: str) -> NDArray[np.floating]:
        """Return all channels of a layer, shape (N, C); NaN for unusable instances."""

    def top(self, layer: str) -> sparse.csr_array:
        """Return the top channels of every instance, binary, shape (N, C)."""


class InstanceColumns:
    """The columns of a store's instances, read when they are asked for.

    Parameters
    ----------
    store
        With a complete extraction, where its columns are asked for.
    channels
        Where activations come from.
    """

    def __init__(self, store: Store, channels: ChannelSource) -> None:
        self.store = store
        self.channels = channels
        self._kept: dict[str, Column] = {}
        self._packed = PackedColumns(store)
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, derived ones included."""
        stored = self.store.columns
        return (*stored, *(name for name in DERIVED if name not in stored))

    @property
    def n_instances(self) -> int:
        """N."""
        return self.store.n_instances

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by their index."""
        return self.store.class_names

    @property
    def labels(self) -> Mapping[str, int]:
        """Class of each label of the data set that is not the name of its class."""
        return self.store.plan.class_of_label

    def class_index(self, name: str) -> int | None:
        """Return the index of a class by its name or label; None if there is none."""
        return self.store.class_index(name)

    @functools.cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Which instances count, shape (N,); the others could not be read."""
        status = self._packed.read("status")
        if not isinstance(status, PackedTexts):
            return self.store.usable()
        return _text_column(status).null

    def column(self, name: str) -> Column:
        """Return a column.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        MissingDataError
            If extraction fills it and is not complete.
        """
        key = self._key(name)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._read(name, is_added=key != name)
            return self._kept[key]

    def is_read(self, name: str) -> bool:
        """Whether a column is in memory; another one is read when it is asked for."""
        return self._key(name) in self._kept

    def has_texts(self, name: str) -> bool:
        """Whether a column of the data set has texts, which take long to be read."""
        return self.store.plan.metadata_dtypes.get(name) == "string"

    def _key(self, name: str) -> str:
        """Return under which name a column is kept."""
        if name in self._planned:
            return name
        # One that was added may be filled up, or made anew, while it is kept.
        added = self.store.added.listed().get(name)
        return name if added is None else f"{name}\0{added.written}"

    @functools.cached_property
    def _planned(self) -> frozenset[str]:
        """Columns that nobody can add: for these no list of files is looked at."""
        paths = (spec.path.partition("/") for spec in self.store.plan.arrays)
        return frozenset([name for at, _, name in paths if at == "instances"]) | {
            *DERIVED
        }

    def classes(self, name: str) -> NDArray[np.signedinteger]:
        """Return the class index of every instance, -1 for none, shape (N,).

        Parameters
        ----------
        name
            ``label`` or ``prediction``.

        Raises
        ------
        MissingDataError
            If extraction fills it and is not complete.
        """
        column = self.column(name)
        # Of instances with any number of labels, the codes of their sets are kept.
        return column.values if column.kind == "class" else self.store.column(name)

    def read_texts(self) -> None:
        """Read the columns of texts, which take longest, before they are asked for."""
        for name in ("id", *self.store.plan.metadata_dtypes):
            if name == "id" or self.has_texts(name):
                self.column(name)

    def _read(self, name: str, *, is_added: bool) -> Column:
        if is_added:
            values, has_value, _ = self.store.added.read(name)
            column = _column_of(values)
            return dataclasses.replace(column, null=column.null | ~has_value)
        if name in DERIVED and name not in self.store.columns:
            return self._derive(name)
        if name in ("label", LABEL_SETS) and self.store.plan.has_label_sets:
            return self._sets()
        column = self._stored(name)
        if name in ("label", "prediction"):
            return Column("class", column.values, column.values < 0)
        if name == "rank" and name in self.store.plan.outcome_columns:
            return Column("number", column.values, column.values < 0)
        return column

    def _stored(self, name: str) -> Column:
        """Return a column by the dtype of what is stored."""
        packed = self._packed.read(name)
        if isinstance(packed, PackedTexts):
            return _text_column(packed)
        return _column_of(self.store.column(name) if packed is None else packed)

    def _sets(self) -> Column:
        """Return the labels of instances that have any number of them."""
        column = self._stored(LABEL_SETS)
        names = self.class_names
        members = np.zeros((len(column.texts), len(names)), dtype=np.bool_)
        for row, text in enumerate(column.texts):
            labels = labels_in(text)
            if labels is None:
                return column  # a column of the user's own that has this name
            for label in labels:
                index = self.class_index(label)
                if index is not None:
                    members[row, index] = True
        return dataclasses.replace(column, kind="classes", members=members)

    def _derive(self, name: str) -> Column:
        if name == "loss":
            probability = self._stored("probability").values.astype(np.float64)
            with np.errstate(divide="ignore"):
                return _column_of(-np.log(probability))
        if name == "instance":
            return _column_of(np.arange(self.n_instances))
        label, prediction = (self._stored(n).values for n in ("label", "prediction"))
        return Column("truth", label == prediction, (label < 0) | (prediction < 0))


class StoredChannels:
    """Single channels, read from the arrays of a store, chunk by chunk.

    Parameters
    ----------
    store
        With a complete extraction.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._top = functools.lru_cache(CACHED_LAYERS)(self._read_top)

    def activation(self, layer: str, channel: int) -> NDArray[np.floating]:
        """Return one channel of every instance, shape (N,)."""
        columns = slice(channel, channel + 1)
        return self._store.activations(layer, channels=columns)[:, 0]

    def activation_of(
        self, layer: str, channel: int, instances: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Return one channel of some instances, shape (n,)."""
        return self.activation(layer, channel)[instances]

    def is_top(self, layer: str, channel: int) -> NDArray[np.bool_]:
        """Return where it is a top channel, shape (N,)."""
        chosen = np.zeros(self._store.n_instances, dtype=np.bool_)
        chosen[self.top(layer)[:, [channel]].nonzero()[0]] = True
        return chosen

    def activations(self, layer: str) -> NDArray[np.floating]:
        """Return all channels of a layer, shape (N, C)."""
        return self._store.activations(layer)

    def top(self, layer: str) -> sparse.csr_array:
        """Return the top channels of every instance, binary, shape (N, C)."""
        return self._top(layer)

    def _read_top(self, layer: str) -> sparse.csr_array:
        store, options = self._store, self._store.plan.extraction
        chunks = [
            planned_top_channels(store.activations(layer, *span), layer, options)
            for span in store.chunks.spans
        ]
        return sparse.csr_array(sparse.vstack(chunks, format="csr"))


def _column_of(values: NDArray[Any]) -> Column:
    """Return a column by the dtype of what is stored."""
    kind = values.dtype.kind
    if kind == "b":
        return Column("truth", values, np.zeros(len(values), dtype=np.bool_))
    if kind == "M":
        return Column("date", values.astype("datetime64[ms]"), np.isnat(values))
    if kind in "iu":
        return Column("number", values, np.zeros(len(values), dtype=np.bool_))
    if kind == "f":
        return Column("number", values, np.isnan(values))
    import pandas as pd  # noqa: PLC0415  slow to import, and needed for texts only

    codes, distinct = pd.factorize(values.astype(object))
    return _text_column(PackedTexts(codes, tuple(str(text) for text in distinct)))


def _text_column(packed: PackedTexts) -> Column:
    null = packed.codes < 0
    if "" in packed.texts:
        null |= packed.codes == packed.texts.index("")
    return Column("text", packed.codes, null, packed.texts)


def _date(text: str) -> np.datetime64:
    try:
        return np.datetime64(text.strip().removesuffix("Z"), "ms")
    except ValueError:
        return np.datetime64("NaT", "ms")
