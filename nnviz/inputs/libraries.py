"""Data sets of other libraries: torch's map-style ones, and Hugging Face's.

A torch data set is named by its import path and is the user's own code: it runs in
planning and extraction. Its items are ``(input, label, ...)``, or dictionaries; inputs are
Pillow images, tensors or arrays. Images are read as they are *before* nnviz's
preprocessing, so the data set should not transform them; if it does, say
``preprocessing.kind = "array"``.

Both are pickled as their configuration and opened again in each process.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnviz.config import DatasetConfig
from nnviz.errors import (
    ConfigError,
    DatasetError,
    NnvizError,
    UnreadableInstanceError,
    did_you_mean,
)
from nnviz.inputs.files import Root
from nnviz.inputs.importing import import_callable, import_library
from nnviz.inputs.listings import (
    check_ids,
    fingerprint_of,
    make_column,
    make_labels,
    select_columns,
)

__all__ = ["HuggingFaceDataset", "TorchDataset"]

_INPUT_KEYS = ("image", "img", "input", "inputs", "pixel_values", "x", "data")
_LABEL_KEYS = ("label", "labels", "target", "y", "fine_label")
_LABEL_ATTRIBUTES = ("targets", "labels", "_labels")


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
        n = (
            len(self._data)
            if config.limit is None
            else min(len(self._data), config.limit)
        )
        self.ids = [str(index) for index in range(n)]
        check_ids(self.ids, place=f"the data set {config.source!r}")
        self.labels = make_labels(self._find_labels(n))
        self.metadata: dict[str, NDArray[Any]] = {}
        self.class_names = tuple(map(str, getattr(self._data, "classes", ()) or ()))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[TorchDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def read(self, index: int) -> bytes | NDArray[Any]:
        """Return the input of one item, as bytes or an array.

        Raises
        ------
        UnreadableInstanceError
            If the data set raises, or the item's input is neither.
        """
        found, _ = _split_item(self._item(index), self._config)
        return _as_input(found)

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
        except Exception as error:
            # The user's data set may raise anything; it concerns this item.
            msg = f"the data set raised {type(error).__name__}: {error}"
            raise UnreadableInstanceError(msg) from error

    def _find_labels(self, n: int) -> list[Any]:
        for name in _LABEL_ATTRIBUTES:
            found = getattr(self._data, name, None)
            if found is not None and hasattr(found, "__len__") and len(found) >= n:
                return [_plain(value) for value in list(found[:n])]
        return [self._label_of_item(index) for index in range(n)]

    def _label_of_item(self, index: int) -> Any:
        try:
            return _plain(_split_item(self._item(index), self._config)[1])
        except UnreadableInstanceError:
            return None


class HuggingFaceDataset:
    """A data set of Hugging Face's ``datasets``.

    `path` is a folder written by ``save_to_disk``; with a `source` (``parquet``,
    ``imagefolder``, ..., or the name of a data set) it is what ``load_dataset`` shall
    read. `arguments` go to ``load_dataset``; ``split`` chooses among several splits.

    Parameters
    ----------
    config
        Its `path`, `source`, `arguments`, columns, `root` and `limit` are used.

    Raises
    ------
    ConfigError
        If neither path nor source is given, or a column that is named does not exist.
    DatasetError
        If the data set cannot be loaded, or has several splits and none is chosen.
    MissingDependencyError
        If ``datasets`` is not installed.
    """

    def __init__(self, config: DatasetConfig) -> None:
        self._config = config
        library = import_library("datasets", extra="huggingface")
        data = _load_hugging_face(library, config)
        if config.limit is not None:
            data = data.select(range(min(config.limit, len(data))))
        self._place = f"the data set {config.source or config.path!r}"
        self._input = self._find_input(library, data.features)
        if isinstance(data.features[self._input], library.Image):
            data = data.cast_column(self._input, library.Image(decode=False))
        features = data.features
        n = len(data)
        self._data = data
        self._lock = threading.Lock()
        self._root = Root(config.root or ".", allow_outside=True)
        self.ids = [str(index) for index in range(n)]
        if config.id_column is not None:
            self._check_column(config.id_column)
            self.ids = [str(value) for value in data[config.id_column]]
        check_ids(self.ids, place=self._place)
        label = config.label_column
        self.labels = make_labels(data[label]) if label in features else None
        self.class_names = tuple(getattr(features.get(label), "names", None) or ())
        special = {self._input, label, config.id_column}
        plain = [
            name
            for name, feature in features.items()
            if name not in special
            and isinstance(feature, library.Value)
            and not feature.dtype.endswith("binary")
        ]
        kept = select_columns(plain, config.metadata_columns)
        self.metadata = {name: make_column(list(data[name])) for name in kept}

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[HuggingFaceDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def read(self, index: int) -> bytes | NDArray[Any]:
        """Return the undecoded image, or an array.

        Raises
        ------
        UnreadableInstanceError
            With the reason.
        """
        if index < 0 or index >= len(self):
            raise IndexError(index)
        try:
            with self._lock:
                value = self._data[index][self._input]
        except Exception as error:
            # Arrow, codecs and the file system may raise anything.
            msg = f"the data set raised {type(error).__name__}: {error}"
            raise UnreadableInstanceError(msg) from error
        if (
            isinstance(value, Mapping)
            and value.get("bytes") is None
            and value.get("path")
        ):
            return self._root.read(str(value["path"]))
        if isinstance(value, Mapping):
            value = value.get("bytes")
        return _as_input(value)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of identifiers, labels, columns, and the library's own fingerprint."""
        facts = [self._config.source, len(self), str(self._data.features)]
        return fingerprint_of(
            "huggingface", self.ids, self.labels, self.metadata, facts
        )

    def _find_input(self, library: Any, features: Mapping[str, Any]) -> str:
        named = self._config.bytes_column
        if named is not None:
            if named not in features:
                msg = (
                    f"dataset.bytes_column is {named!r}{did_you_mean(named, features)}; "
                    f"{self._place} has the columns {', '.join(features)}"
                )
                raise ConfigError(msg)
            return named
        images = [n for n, f in features.items() if isinstance(f, library.Image)]
        found = images or [name for name in _INPUT_KEYS if name in features]
        if not found:
            msg = (
                f"{self._place} has no column of images; name the input as "
                f"dataset.bytes_column (columns: {', '.join(features)})"
            )
            raise ConfigError(msg)
        return found[0]

    def _check_column(self, name: str) -> None:
        if name not in self._data.features:
            msg = (
                f"dataset.id_column is {name!r}{did_you_mean(name, self._data.features)}"
                f"; {self._place} has the columns {', '.join(self._data.features)}"
            )
            raise ConfigError(msg)


def _make_torch_dataset(config: DatasetConfig) -> Any:
    source = config.source or ""
    build = import_callable(source, error_type=DatasetError)
    try:
        data = build(**config.arguments)
    except NnvizError:
        raise
    except Exception as error:
        arguments = ", ".join(f"{k}={v!r}" for k, v in config.arguments.items())
        msg = f"{source}({arguments}) failed: {type(error).__name__}: {error}"
        raise DatasetError(msg) from error
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        msg = (
            f"{source} returned {type(data).__name__}; it should be a map-style data "
            f"set with __len__ and __getitem__ (an iterable one has no stable order)"
        )
        raise DatasetError(msg)
    return data


def _load_hugging_face(library: Any, config: DatasetConfig) -> Any:
    arguments = dict(config.arguments)
    try:
        if config.source is not None:
            if config.path is not None:
                key = "data_dir" if Path(config.path).is_dir() else "data_files"
                arguments.setdefault(key, config.path)
            found = library.load_dataset(config.source, **arguments)
        elif config.path is not None:
            found = library.load_from_disk(config.path)
        else:
            msg = "dataset.path or dataset.source is missing for kind 'huggingface'"
            raise ConfigError(msg)
    except NnvizError:
        raise
    except Exception as error:
        msg = f"datasets cannot load {config.source or config.path!r}: {error}"
        raise DatasetError(msg) from error
    if isinstance(found, Mapping):
        split = arguments.get("split", next(iter(found)) if len(found) == 1 else None)
        if split not in found:
            msg = (
                f"{config.source or config.path!r} has the splits {', '.join(found)}; "
                f'choose one: dataset.arguments = {{ split = "..." }}'
            )
            raise DatasetError(msg)
        return found[split]
    return found


def _split_item(item: Any, config: DatasetConfig) -> tuple[Any, Any]:
    """Return the input and the label of an item."""
    if isinstance(item, Mapping):
        keys = [config.data_array, *_INPUT_KEYS]
        found = [key for key in keys if key in item]
        if not found:
            msg = f"no input in the item's keys {list(item)}; known are {_INPUT_KEYS}"
            raise UnreadableInstanceError(msg)
        labels = [key for key in (config.label_column, *_LABEL_KEYS) if key in item]
        return item[found[0]], item[labels[0]] if labels else None
    if isinstance(item, (tuple, list)) and item:
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _plain(value: Any) -> Any:
    """Return a tensor or array of one value as a number."""
    return value.item() if hasattr(value, "item") else value


def _as_input(value: Any) -> bytes | NDArray[Any]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Image.Image):
        return np.asarray(value if value.mode in ("L", "RGB") else value.convert("RGB"))
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        msg = f"the input is {type(value).__name__}, not an image or array of numbers"
        raise UnreadableInstanceError(msg)
    return array
