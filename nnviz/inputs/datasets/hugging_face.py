"""Data sets of Hugging Face's ``datasets``, from local files or by name."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnviz.errors import (
    ConfigError,
    DatasetError,
    UnreadableInstanceError,
    did_you_mean,
)
from nnviz.importing import import_library
from nnviz.inputs.datasets.files import Root
from nnviz.inputs.datasets.items import INPUT_KEYS, LABEL_KEYS, Raw, as_input
from nnviz.inputs.datasets.listings import (
    check_ids,
    check_label_name,
    fingerprint_of,
    input_columns,
    label_notes,
    make_column,
    make_labels,
    select_columns,
)
from nnviz.runs.config import DatasetConfig

__all__ = ["HuggingFaceDataset"]

_REFUSED_SOURCES = frozenset(("generator", "pandas", "spark", "sql"))
"""Readers of ``datasets`` that unpickle files, run code, or connect to elsewhere."""


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
        self._several = self._find_several(library, data.features)
        self._input = None
        if not self._several:
            self._input = self._find_input(library, data.features)
        if self._input and isinstance(data.features[self._input], library.Image):
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
        check_label_name(
            label, features, option="dataset.label_column", place=self._place
        )
        kind = features.get(label)
        if kind is not None and not isinstance(
            kind, (library.Value, library.ClassLabel)
        ):
            msg = (
                f"column {label!r} of {self._place} has the type {kind}; "
                f"dataset.label_column names one of single numbers or texts"
            )
            raise DatasetError(msg)
        self.labels = make_labels(data[label]) if label in features else None
        self.class_names = tuple(getattr(features.get(label), "names", None) or ())
        self.notes = label_notes(
            label,
            [name for name in features if name != self._input],
            option="dataset.label_column",
            place=self._place,
        )
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
        if str(getattr(features.get(self._input), "dtype", "")).endswith("string"):
            self.metadata["text"] = make_column(list(data[self._input]))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[HuggingFaceDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(self._data.features)

    def read(self, index: int) -> Raw:
        """Return the undecoded image, a text, or arrays.

        Raises
        ------
        UnreadableInstanceError
            With the reason.
        """
        if index < 0 or index >= len(self):
            raise IndexError(index)
        try:
            with self._lock:
                row = self._data[index]
        except Exception as error:
            # Arrow, codecs and the file system may raise anything.
            msg = f"the data set raised {type(error).__name__}: {error}"
            raise UnreadableInstanceError(msg) from error
        if self._input is None:
            return as_input({name: row[name] for name in self._several})
        value = row[self._input]
        if (
            isinstance(value, Mapping)
            and value.get("bytes") is None
            and value.get("path")
        ):
            return self._root.read(str(value["path"]))
        if isinstance(value, Mapping):
            value = value.get("bytes")
        return as_input(value)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of source, identifiers, labels, columns and the features' types."""
        facts = [self._config.source, len(self), str(self._data.features)]
        return fingerprint_of(
            "huggingface", self.ids, self.labels, self.metadata, facts
        )

    def _find_several(
        self, library: Any, features: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Return the columns of several inputs; none where there is one input."""
        others = {self._config.label_column, self._config.id_column}
        named = [name for name in features if name not in others]
        stated = tuple(
            input_columns(named, self._config.input_columns, place=self._place)
        )
        usual = {*INPUT_KEYS, self._config.bytes_column, self._config.text_column}
        is_image = any(isinstance(f, library.Image) for f in features.values())
        if stated or is_image or usual & set(features):
            return stated
        return tuple(
            name
            for name, feature in features.items()
            if name != self._config.label_column
            and name not in LABEL_KEYS
            and not isinstance(feature, (library.Value, library.ClassLabel))
        )

    def _find_input(self, library: Any, features: Mapping[str, Any]) -> str:
        named = self._config.text_column or self._config.bytes_column
        if named is not None:
            if named not in features:
                option = "text_column" if self._config.text_column else "bytes_column"
                msg = (
                    f"dataset.{option} is {named!r}"
                    f"{did_you_mean(named, features)}; {self._place} has the "
                    f"columns {', '.join(features)}"
                )
                raise ConfigError(msg)
            return named
        images = [n for n, f in features.items() if isinstance(f, library.Image)]
        found = images or [name for name in INPUT_KEYS if name in features]
        if not found:
            msg = (
                f"{self._place} has no column of images; name the input as "
                f"dataset.bytes_column, texts as dataset.text_column (columns: "
                f"{', '.join(features)})"
            )
            raise ConfigError(msg)
        return found[0]

    def _check_column(self, name: str) -> None:
        if name not in self._data.features:
            msg = (
                f"dataset.id_column is {name!r}"
                f"{did_you_mean(name, self._data.features)}; {self._place} has the "
                f"columns {', '.join(self._data.features)}"
            )
            raise ConfigError(msg)


def _holds_script(source: str) -> bool:
    """Whether a source is a folder with a script of its own name, as was the custom."""
    folder = Path(source)
    return folder.is_dir() and (folder / f"{folder.resolve().name}.py").is_file()


def _load_hugging_face(library: Any, config: DatasetConfig) -> Any:
    if config.source is None and config.path is None:
        msg = "dataset.path or dataset.source is missing for kind 'huggingface'"
        raise ConfigError(msg)
    arguments = dict(config.arguments)
    source = config.source or ""
    if source in _REFUSED_SOURCES or source.endswith(".py") or _holds_script(source):
        msg = (
            f"dataset.source is {source!r}, which reads pickles or runs code; convert "
            f"the data to Parquet, or name your own code with dataset.kind = 'torch'"
        )
        raise DatasetError(msg)
    try:
        if config.source is not None:
            if config.path is not None:
                key = "data_dir" if Path(config.path).is_dir() else "data_files"
                arguments.setdefault(key, config.path)
            found = library.load_dataset(config.source, **arguments)
        else:
            found = library.load_from_disk(config.path)
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
