"""Arrays: ``.npy``, ``.npz``, or a Zarr array or group; axis 0 is the instance.

One array holds the inputs; of a collection, one-dimensional arrays of the same length
are labels and metadata columns, and texts with the name ``unreadable`` say why an
instance cannot be read (empty: it can). Arrays are mapped or read piece by piece, never
whole (but for the compressed members of an ``.npz``, which cannot be), and never
unpickled.
The identifier of an instance is its number, unless a column is named.
"""

from __future__ import annotations

import hashlib
import math
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.listings import (
    check_ids,
    check_label_name,
    fingerprint_of,
    label_notes,
    make_column,
    make_labels,
    select_columns,
)
from nnviz.runs.config import DatasetConfig
from nnviz.runs.json_values import from_json
from nnviz.runs.network_inputs import NetworkInputs

__all__ = ["PARTS", "UNREADABLE", "ArrayDataset"]

HASHED_WHOLE_BYTES = 1 << 28
HASHED_SAMPLE_BYTES = 1 << 26

UNREADABLE = "unreadable"
"""Name of the array of reasons; nnviz pack writes one."""

PARTS = "nnviz_inputs"
"""Attribute of an array, each row of which is several inputs one after the other."""

MAX_UNPACKED_BYTES = 1 << 32
"""Compressed members of an ``.npz`` are unpacked into memory up to 4 GiB in all."""


class _Array(Protocol):
    """What NumPy's and Zarr's arrays share."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any) -> Any: ...


class ArrayDataset:
    """Instances along axis 0 of an array; pickled as its configuration.

    Parameters
    ----------
    config
        Its `path`, `data_array`, `label_array` (unless `label_column` is "", which
        stands for no labels in every kind), `id_column`, `metadata_columns` and
        `limit` are used.

    Raises
    ------
    ConfigError
        If no path is given, or a named array does not exist.
    DatasetError
        If the arrays cannot be read, or would have to be unpickled.
    """

    def __init__(self, config: DatasetConfig) -> None:
        if config.path is None:
            msg = "dataset.path is missing; for kind 'arrays' it names the file"
            raise ConfigError(msg)
        self._config = config
        self._place = f"the arrays {config.path!r}"
        arrays = _open_arrays(config.path, config.data_array)
        if config.data_array not in arrays:
            msg = (
                f"{self._place} have no array {config.data_array!r}; name the inputs "
                f"as dataset.data_array (arrays: {', '.join(arrays)})"
            )
            raise ConfigError(msg)
        self._data = arrays[config.data_array]
        if not self._data.shape:
            msg = f"{config.data_array!r} of {self._place} is one value; it has no axes"
            raise DatasetError(msg)
        attributes = getattr(self._data, "attrs", {})
        self.packed_inputs: NetworkInputs | None = None
        """What a row holds, where it is several inputs; None: one."""
        if PARTS in attributes:
            self.packed_inputs = from_json(NetworkInputs, attributes[PARTS])
        n_all = self._data.shape[0]
        n = n_all if config.limit is None else min(n_all, config.limit)
        columns = {
            name: np.asarray(array[:n])
            for name, array in arrays.items()
            if name != config.data_array and array.shape == (n_all,)
        }
        self.ids = self._make_ids(columns, n)
        check_ids(self.ids, place=self._place)
        self.labels = None
        label_array = config.label_array if config.label_column else ""
        if label_array:
            check_label_name(
                label_array,
                arrays,
                option="dataset.label_array",
                place=self._place,
            )
        if label_array and label_array in arrays:
            found = arrays[label_array]
            if found.shape not in ((n_all,), (n_all, 1)):
                msg = (
                    f"{label_array!r} of {self._place} has the shape "
                    f"{found.shape}; labels are one number or text for each instance, "
                    f"({n_all},); name another array as dataset.label_array, or set it "
                    f'to "" for data without labels'
                )
                raise DatasetError(msg)
            self.labels = make_labels(np.asarray(found[:n]).reshape(-1).tolist())
        reasons = columns.get(UNREADABLE)
        is_told = reasons is not None and reasons.dtype.kind in "OUT"
        self._reasons = reasons.tolist() if reasons is not None and is_told else None
        special = {label_array, config.id_column, UNREADABLE if is_told else ""}
        kept = select_columns(
            [name for name in columns if name not in special], config.metadata_columns
        )
        self.metadata = {name: _as_column(columns[name]) for name in kept}
        self.class_names: tuple[str, ...] = ()
        self.notes = label_notes(
            label_array,
            [name for name in arrays if name in columns or name == label_array],
            option="dataset.label_array",
            place=self._place,
        )
        self._lock = threading.Lock()
        self._block: tuple[int, NDArray[Any]] | None = None
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[ArrayDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def read(self, index: int) -> NDArray[Any]:
        """Return one instance, without the instance axis.

        Raises
        ------
        UnreadableInstanceError
            If its part of the array cannot be read, or a reason is given why not.
        """
        if index < 0 or index >= len(self):
            raise IndexError(index)
        if self._reasons is not None and self._reasons[index]:
            raise UnreadableInstanceError(str(self._reasons[index]))
        if isinstance(self._data, np.ndarray):
            return np.array(self._data[index])
        rows = getattr(self._data, "chunks", (1,))[0]
        start = index // rows * rows
        with self._lock:
            block = self._block
            if block is None or block[0] != start:
                block = (start, self._read_block(start, start + rows))
                self._block = block
        instance: NDArray[Any] = block[1][index - start].copy()
        return instance

    def _read_block(self, start: int, stop: int) -> NDArray[Any]:
        try:
            return np.asarray(self._data[start:stop])
        except Exception as error:
            # Zarr's stores and codecs raise anything; it concerns this piece alone.
            msg = f"the array cannot be read here: {error}"
            raise UnreadableInstanceError(msg) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of shape, dtype, columns, and the inputs.

        Up to 256 MB the inputs are hashed whole; beyond, 1,000 instances evenly spaced,
        or 64 MB of them if that is less (of Zarr whole chunks of instances, at least
        3): a change that misses all of these is not noticed.
        """
        if self._fingerprint is None:
            facts: list[object] = [self._data.shape, self._data.dtype.str]
            facts.append(self._digest_of_inputs())
            if self.packed_inputs is not None:
                facts.append(repr(self.packed_inputs))
            self._fingerprint = fingerprint_of(
                "arrays", self.ids, self.labels, self.metadata, facts
            )
        return self._fingerprint

    def _digest_of_inputs(self) -> str:
        n = len(self)
        row_bytes = math.prod(self._data.shape[1:]) * self._data.dtype.itemsize
        rows = 1
        if not isinstance(self._data, np.ndarray):
            rows = getattr(self._data, "chunks", (1,))[0]
        elif n * row_bytes <= HASHED_WHOLE_BYTES:
            # Many rows at once: a call for each of a million takes seconds.
            rows = max(1, (1 << 24) // max(1, row_bytes))
        n_blocks = math.ceil(n / rows)
        if n * row_bytes > HASHED_WHOLE_BYTES:
            n_sampled = HASHED_SAMPLE_BYTES // (rows * row_bytes)
            n_sampled = min(n_blocks, max(3, min(1000, n_sampled)))
            blocks = np.linspace(0, n_blocks - 1, n_sampled).round().astype(int)
        else:
            blocks = np.arange(n_blocks)
        digest = hashlib.sha256()
        for block in blocks.tolist():
            start, stop = block * rows, min(n, (block + 1) * rows)
            try:
                values = np.ascontiguousarray(self._read_block(start, stop))
            except UnreadableInstanceError:
                digest.update(b"unreadable")
                continue
            digest.update(values.tobytes())
        return digest.hexdigest()

    def _make_ids(self, columns: Mapping[str, NDArray[Any]], n: int) -> list[str]:
        name = self._config.id_column
        if name is None:
            return [str(index) for index in range(n)]
        if name not in columns:
            msg = (
                f"dataset.id_column is {name!r}; {self._place} have the "
                f"one-dimensional arrays {', '.join(columns) or 'none'}"
            )
            raise ConfigError(msg)
        return [str(value) for value in columns[name].tolist()]


def _as_column(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iufb":
        return values
    texts = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
    return make_column([str(text) for text in texts])


def _open_arrays(path: str, data_array: str) -> Mapping[str, _Array]:
    """Open all arrays of a file by name; a lone one has the name `data_array`."""
    suffix = Path(path).suffix.lower()
    try:
        if suffix == ".npy":
            return {data_array: np.load(path, mmap_mode="r", allow_pickle=False)}
        if suffix == ".npz":
            return _open_npz(Path(path))
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        msg = (
            f"cannot read {path!r}: {error}; it should hold arrays of numbers or texts "
            f"(arrays of Python objects are pickled, and reading them would run code)"
        )
        raise DatasetError(msg) from error
    return _open_zarr(path, data_array)


def _open_npz(path: Path) -> dict[str, _Array]:
    arrays: dict[str, _Array] = {}
    n_unpacked = 0
    with np.load(path, allow_pickle=False) as loaded, zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                n_unpacked += member.file_size
            if n_unpacked > MAX_UNPACKED_BYTES:
                msg = (
                    f"its compressed arrays have more than {MAX_UNPACKED_BYTES:,} "
                    f"bytes unpacked; numpy.savez writes them so that they are mapped"
                )
                raise ValueError(msg)
            name = member.filename.removesuffix(".npy")
            mapped = None
            if member.compress_type == zipfile.ZIP_STORED:
                mapped = _map_member(path, member)
            arrays[name] = loaded[name] if mapped is None else mapped
    return arrays


def _map_member(path: Path, member: zipfile.ZipInfo) -> NDArray[Any] | None:
    """Map an uncompressed member of an archive; None where NumPy has to read it."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
        name_bytes = int.from_bytes(lengths[:2], "little")
        extra_bytes = int.from_bytes(lengths[2:], "little")
        file.seek(member.header_offset + 30 + name_bytes + extra_bytes)
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            return None
        shape, in_fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or 0 in shape or not shape:
            return None
        order: Any = "F" if in_fortran_order else "C"
        return np.memmap(path, dtype, "r", file.tell(), shape, order)


def _open_zarr(path: str, data_array: str) -> dict[str, _Array]:
    # Zarr is at home in nnviz.store; here it is one of several ways to keep inputs.
    import zarr  # noqa: PLC0415

    try:
        opened = zarr.open(path, mode="r")
    except Exception as error:
        msg = (
            f"cannot open {path!r} as arrays: {error}; dataset.path names an .npy or "
            f".npz file, or a Zarr array or group"
        )
        raise DatasetError(msg) from error
    arrays: dict[str, Any] = {data_array: opened}
    if isinstance(opened, zarr.Group):
        # Zarr lists them as their metadata arrive, each time in another order, and the
        # order of columns is part of the data set's fingerprint.
        arrays = dict(sorted(opened.arrays()))
    for name, array in arrays.items():
        _check_codecs(array, f"{name!r} of {path!r}")
    return arrays


def _check_codecs(array: Any, place: str) -> None:
    """Refuse an array of format 2 that would be unpickled; format 3 has no such codec.

    numcodecs refuses it too since 0.16, unless an environment variable allows it.
    """
    codecs = [
        *(getattr(array.metadata, "filters", None) or ()),
        getattr(array.metadata, "compressor", None),
    ]
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
        msg = (
            f"the array {place} is pickled, and reading it would run code; write it "
            f"with a codec of numbers or texts"
        )
        raise DatasetError(msg)
