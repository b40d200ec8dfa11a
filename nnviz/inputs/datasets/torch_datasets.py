"""Any map-style data set of torch, named by its import path.

It is the user's own code and runs in planning and extraction. Its items are
``(input, label)``, ``(input, label, columns)``, or dictionaries; inputs are Pillow
images, tensors or arrays. They are what nnviz preprocesses, so the data set should not
transform them; if it does, say ``preprocessing.kind = "array"``.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.importing import import_callable
from nnviz.inputs.datasets.items import (
    Raw,
    as_input,
    as_label,
    columns_of,
    split_item,
)
from nnviz.inputs.datasets.listed_items import (
    class_names_of,
    kept_labels,
    labels_of_attribute,
    listed_columns,
)
from nnviz.inputs.datasets.listings import (
    DEFAULT_LABEL,
    check_ids,
    check_label_name,
    fingerprint_of,
    label_notes,
    make_labels,
)
from nnviz.runs.config import DatasetConfig
from nnviz.user_code import raised_text, telling_user_errors

__all__ = ["TorchDataset"]

_LABELS = (str, bytes, bool, int, float, np.generic, type(None))
_SEVERAL = (list, tuple, set, frozenset)


class TorchDataset:
    """A map-style ``torch.utils.data.Dataset``, or anything with its two methods.

    Labels are taken from the attribute `targets` or `labels` where it is as long as the
    data; otherwise every item is read once to learn them. Items are read by one thread
    at a time, since nobody promises that the data set can do more.

    Parameters
    ----------
    config
        Its `source`, `arguments`, `label_column` and `limit` are used.

    Raises
    ------
    ConfigError
        If no source is given.
    DatasetError
        If the source cannot be imported or called, or returns something else.
    """

    def __init__(self, config: DatasetConfig) -> None:
        if config.source is None:
            msg = (
                "dataset.source is missing; for kind 'torch' it is "
                "'package.module:callable' or 'path/to/file.py:callable'"
            )
            raise ConfigError(msg)
        self._config = config
        self._data = _make_torch_dataset(config)
        self._lock = threading.Lock()
        with self._telling_errors("__len__"):
            n = len(self._data)
        n = n if config.limit is None else min(n, config.limit)
        self.ids = [str(index) for index in range(n)]
        check_ids(self.ids, place=f"the data set {config.source!r}")
        with self._telling_errors("a label"):
            self.labels = make_labels(self._checked_labels(n))
        self.notes: tuple[str, ...] = ()
        if self.labels is None:
            self.notes = label_notes(
                config.label_column,
                self._keys(n),
                option="dataset.label_column",
                place=f"the first item of {config.source!r}",
            )
        with self._telling_errors("classes"):
            self.class_names = class_names_of(self._data)

    def _telling_errors(self, what: str) -> contextlib.AbstractContextManager[None]:
        return telling_user_errors(
            f"{what} of the data set {self._config.source!r}",
            advice="correct it, or dataset.source and dataset.arguments",
            error_type=DatasetError,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[TorchDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the first item that can be read; none without keys."""
        return tuple(self._keys(len(self)))

    def read(self, index: int) -> Raw:
        """Return the input of one item.

        Raises
        ------
        UnreadableInstanceError
            If the data set raises, or the item's input is neither.
        """
        found, _ = self._split(index)
        return as_input(found)

    @functools.cached_property
    def metadata(self) -> dict[str, NDArray[Any]]:
        """What items have beside input and label, as columns, shape (instance,) each.

        Every item is read, unless the first one has nothing beside them: who reads
        instances, as workers do, should not ask. ``id`` becomes ``item_id``.
        """
        columns = listed_columns(self._columns_of_item, len(self))
        if "id" in columns:
            columns["item_id"] = columns.pop("id")
        return columns

    def _columns_of_item(self, index: int) -> Mapping[str, Any] | None:
        try:
            item = self._item(index)
        except UnreadableInstanceError:
            return None
        return columns_of(
            item,
            input_key=self._config.data_array,
            label_key=self._config.label_column,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of source, arguments, number of items and labels."""
        facts = [self._config.source, sorted(self._config.arguments.items())]
        return fingerprint_of("torch", self.ids, self.labels, {}, facts)

    def _item(self, index: int) -> Any:
        if index < 0 or index >= len(self):
            raise IndexError(index)
        try:
            with self._lock:
                return self._data[index]
        except (Exception, SystemExit) as error:
            # The user's data set may raise anything; it concerns this item.
            msg = f"the data set raised {raised_text(error)}"
            raise UnreadableInstanceError(msg) from error

    def _split(self, index: int) -> tuple[Any, Any]:
        return split_item(
            self._item(index),
            input_key=self._config.data_array,
            label_key=self._config.label_column,
            input_keys=self._config.input_columns,
        )

    def _checked_labels(self, n: int) -> list[Any]:
        labels = self._find_labels(n)
        wrong = next((v for v in labels if not _is_label(v)), None)
        if wrong is not None:
            msg = (
                f"the data set {self._config.source!r} has the label {wrong!r:.80}; a "
                f"label is one number or text, or several of them"
            )
            raise DatasetError(msg)
        return labels

    def _find_labels(self, n: int) -> list[Any]:
        stated = self._config.label_column
        if not stated:
            return [None] * n
        if stated != DEFAULT_LABEL:
            check_label_name(
                stated,
                self._keys(n),
                option="dataset.label_column",
                place=f"the items of {self._config.source!r}",
            )
            return [self._label_of_item(index) for index in range(n)]
        # Workers open the data set, too, and an item may take long.
        found = kept_labels(self._data)
        if found is not None:
            return found[:n]
        return [self._label_of_item(index) for index in range(n)]

    def check_labels(self) -> None:
        """Compare labels that stand beside the items with those of some items.

        Raises
        ------
        DatasetError
            If an item says another one: they are before a transform, or of others.
        """
        if (
            self._config.label_column != DEFAULT_LABEL
            or kept_labels(self._data) is None
        ):
            return
        if labels_of_attribute(self._data, len(self)) is None:
            msg = (
                f"the items of the data set {self._config.source!r} have other labels "
                "than its attribute 'targets' or 'labels' says; make them the same, or "
                "leave the attribute out: then every item is read once for its label"
            )
            raise DatasetError(msg)

    def _keys(self, n: int) -> list[str]:
        """Return the keys of the first item that can be read, if it is a dictionary."""
        for index in range(n):
            try:
                item = self._item(index)
            except UnreadableInstanceError:
                continue
            return list(map(str, item)) if isinstance(item, Mapping) else []
        return []

    def _label_of_item(self, index: int) -> Any:
        try:
            return as_label(self._split(index)[1])
        except UnreadableInstanceError:
            return None


def _is_label(value: Any) -> bool:
    return isinstance(value, (*_LABELS, *_SEVERAL)) or (
        hasattr(value, "shape") and len(value.shape) == 1
    )


def _make_torch_dataset(config: DatasetConfig) -> Any:
    source = config.source or ""
    build = import_callable(source, error_type=DatasetError)
    arguments = ", ".join(f"{k}={v!r}" for k, v in config.arguments.items())
    with telling_user_errors(
        f"{source}({arguments})",
        advice="check dataset.source and dataset.arguments",
        error_type=DatasetError,
    ):
        data = build(**config.arguments)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        msg = (
            f"{source} returned {type(data).__name__}; it should be a map-style data "
            f"set with __len__ and __getitem__ (an iterable one has no stable order)"
        )
        raise DatasetError(msg)
    return data
