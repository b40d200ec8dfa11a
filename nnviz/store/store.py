"""What is in a run's store? The face that stages, dashboard and notebooks share.

A store is described and created first, then filled chunk by chunk, each chunk's
completion mark last. Readers ask the marks: a missing piece is an error, never zeros.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import (
    StoreError,
    StoreFormatError,
    UnknownNameError,
    did_you_mean,
)
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.arrays import (
    FORMAT_VERSION,
    MARK_FIELDS,
    POSITION,
    READABLE_VERSIONS,
    ArraySpec,
)
from nnviz.store.completion import Completion
from nnviz.store.dask_arrays import activations_as_dask
from nnviz.store.extending import is_pending
from nnviz.store.groups import LaterGroups
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.integrity import Integrity
from nnviz.store.recovery import RECOVERY

if TYPE_CHECKING:
    import dask.array
    import pandas as pd

__all__ = ["Store", "open_store", "summary_html", "summary_text"]

_STATIC = "static_arrays"


_PER_CHUNK = "chunk_arrays"


class Store:
    """One run: what was planned, and what has been computed of it so far.

    Opening reads a few kilobytes; every other read is lazy. A store that was opened
    read-only may be shared between threads.

    Parameters
    ----------
    hierarchy
        The opened hierarchy; use :meth:`open` or :meth:`create`.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        attributes = hierarchy.attributes()
        version = attributes.get("format_version")
        if version is None or "plan" not in attributes:
            msg = (
                f"{hierarchy.url!r} is a Zarr hierarchy, but no store of nnviz; "
                "'nnviz plan run.toml --create STORE' makes one"
            )
            raise StoreFormatError(msg)
        if version not in READABLE_VERSIONS:
            msg = (
                f"{hierarchy.url!r} has the store format {version!r}; this nnviz reads "
                f"the formats {', '.join(map(str, READABLE_VERSIONS))}; read it with "
                "the nnviz that wrote it, or extract again into a new store"
            )
            raise StoreFormatError(msg)
        if is_pending(attributes):
            msg = (
                f"an extension of {hierarchy.url!r} was interrupted; run 'nnviz extend "
                f"{hierarchy.url}' to finish it"
            )
            raise StoreError(msg)
        self._attributes = attributes
        self.plan: dict[str, Any] = attributes["plan"]
        """The plan as JSON values; ``nnviz.runs.plan.Plan.from_json`` rebuilds it."""
        self.architecture = Architecture.from_json(self.plan["architecture"])
        self._completion = Completion(
            hierarchy, self.chunks, list(attributes[_PER_CHUNK])
        )
        self._later = LaterGroups(hierarchy)

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, writable: bool = False) -> Store:
        """Open a store; nothing that it names is imported or run.

        Raises
        ------
        StoreNotFoundError
            If there is no store at `url`.
        StoreFormatError
            If it has another format version, or is no store.
        """
        return cls(Hierarchy.open(url, writable=writable))

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        *,
        attributes: Mapping[str, Any],
        arrays: Sequence[ArraySpec],
        static: Mapping[str, NDArray[Any]],
    ) -> Store:
        """Create a store with all its arrays, and write what the plan knows.

        Parameters
        ----------
        url
            A place where there is nothing.
        attributes
            At least ``plan`` (JSON values) and ``plan_fingerprint``.
        arrays
            Every array of the run, ``extraction_done`` last.
        static
            Values of the arrays that no task writes, by path.

        Raises
        ------
        StoreExistsError
            If there is something at `url`.
        """
        hierarchy = Hierarchy.create(url)
        for spec in arrays:
            hierarchy.create_array(spec)
        for path, values in static.items():
            hierarchy.write(path, 0, values)
        per_chunk = [
            spec.path
            for spec in arrays
            if spec.path not in static and spec.path != "extraction_done"
        ]
        record = {
            **attributes,
            _STATIC: sorted(static),
            _PER_CHUNK: per_chunk,
            "mark_fields": list(MARK_FIELDS),
            "format_version": FORMAT_VERSION,
        }
        hierarchy.documents.state("", skip=[*per_chunk, "extraction_done"])
        hierarchy.create_group(RECOVERY, record)
        hierarchy.set_attributes(record)
        return cls(hierarchy)

    def integrity(self, arrays: Sequence[ArraySpec]) -> Integrity:
        """Return the checks of this store; `arrays` are those of its plan."""
        version = int(self._attributes["format_version"])
        return Integrity(self._hierarchy, self._completion, arrays, version)

    def write_static(self, path: str, start: int, values: NDArray[Any]) -> None:
        """Write rows of an array that the plan knows again, after damage."""
        self._hierarchy.write(path, start, values)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._hierarchy.url

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the plan: model, data, preprocessing, layers, options."""
        return str(self._attributes["plan_fingerprint"])

    @property
    def records(self) -> dict[str, Any]:
        """How the store came to be: ``software``, and ``history`` of extensions."""
        names = ("format_version", "software", "history")
        return {n: self._attributes[n] for n in names if n in self._attributes}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The recorded layers in order of computation."""
        return self.architecture.layers

    @property
    def shown_layers(self) -> tuple[Layer, ...]:
        """The layers that are shown, in order of computation."""
        return self.architecture.shown

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the network's outputs, in their order."""
        return tuple(self.plan["class_names"])

    @property
    def n_instances(self) -> int:
        """Number of instances, usable or not."""
        return int(self.plan["n_instances"])

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """First and past-last instance of every chunk."""
        rows = int(self.plan["extraction"]["instances_per_chunk"])
        n = self.n_instances
        return [(start, min(n, start + rows)) for start in range(0, n, rows)]

    @property
    def chunk_arrays(self) -> tuple[str, ...]:
        """Paths of the arrays that tasks fill, in the order of their checksums."""
        return tuple(self._attributes[_PER_CHUNK])

    def positions(self) -> NDArray[np.int64] | None:
        """Return the index in the data set of each row; None if it is the same."""
        is_extended = POSITION in self._attributes[_STATIC]
        return self.read(POSITION).astype(np.int64) if is_extended else None

    def done_chunks(self) -> NDArray[np.bool_]:
        """Return which chunks are complete, shape (chunk,)."""
        return self._completion.done()

    def missing_chunks(self) -> list[int]:
        """Return the numbers of the chunks that are not complete."""
        return [int(index) for index in np.flatnonzero(~self.done_chunks())]

    def has_mark(self, index: int) -> bool:
        """Whether a chunk has a completion mark, sound or not."""
        return self._completion.has_mark(index)

    def marks(self) -> dict[str, NDArray[np.int64]]:
        """Return the counts of the completion marks, each of shape (chunk,)."""
        return self._completion.marks()

    def mark_values(self) -> NDArray[np.int64]:
        """Return all fields of the completion marks, shape (chunk, field)."""
        return self._completion.values()

    def write_chunk(
        self, index: int, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int]
    ) -> int:
        """Write every array of one chunk, read it back, and then mark it complete.

        Parameters
        ----------
        index
            Number of the chunk.
        arrays
            The chunk's rows of every array that tasks fill, by path.
        counts
            The mark's counts by name: ``n_instances`` and so on; ``batch_size``
            where it is not the plan's.

        Returns
        -------
        int
            Bytes written.

        Raises
        ------
        ShapeError
            If an array is missing, unknown, or has another number of rows.
        StoreFormatError
            If what was read back differs from what was written.
        """
        return self._completion.write_chunk(index, arrays, counts)

    def batch_sizes(self) -> dict[int, int]:
        """Return the batch sizes of chunks that were not computed with the plan's."""
        return self._completion.batch_sizes()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the instance table."""
        return tuple(self._hierarchy.children("instances"))

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of the instance table.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        MissingDataError
            If extraction fills it and is not complete.
        """
        known = self.columns
        if name not in known:
            msg = (
                f"unknown column {name!r}{did_you_mean(name, known)}; the table has "
                f"{', '.join(known)}"
            )
            raise UnknownNameError(msg)
        values = self.read(f"instances/{name}")
        return values.astype(object) if values.dtype.kind == "T" else values

    def instances(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the instance table, one row for each instance.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        MissingDataError
            If extraction is not complete.
        """
        import pandas as pd  # noqa: PLC0415  slow to import, and needed here only

        first = ["id", "label", "prediction", "confidence", "probability", "status"]
        order = [*first, *(c for c in self.columns if c not in first)]
        names = order if columns is None else list(columns)
        return pd.DataFrame({name: self.column(name) for name in names})

    def usable(self) -> NDArray[np.bool_]:
        """Return which instances count, shape (instance,): the others have a status."""
        return np.asarray(self.column("status") == "", dtype=np.bool_)

    def layer(self, name: str) -> Layer:
        """Return the recorded layer of this name.

        Raises
        ------
        UnknownNameError
            If there is none; the message has near matches.
        """
        return self.architecture.layer(name)

    def activations(
        self,
        layer: str,
        start: int = 0,
        stop: int | None = None,
        *,
        channels: slice = slice(None),
    ) -> NDArray[Any]:
        """Return activations of one layer.

        Parameters
        ----------
        layer
            Name of a recorded layer.
        start, stop
            First and past-last instance.
        channels
            Channels to read.

        Returns
        -------
        ndarray
            Shape (instance, channel), float16 or float32; NaN for unusable instances.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If a chunk in the range is not complete.
        """
        return self.read(f"activations/{self.layer(layer).name}", start, stop, channels)

    def activations_dask(self, layer: str) -> dask.array.Array:
        """Return activations of one layer as a Dask array, a block for each chunk.

        Returns
        -------
        dask.array.Array
            Shape (instance, channel), float32: Dask counts in the dtype of the values,
            and float16 cannot count beyond 65,504.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        path = f"activations/{self.layer(layer).name}"
        n_channels = self._hierarchy.shape(path)[1]
        return activations_as_dask(self.url, layer, self.chunks, n_channels, _read_rows)

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *columns: slice
    ) -> NDArray[Any]:
        """Read rows of an array that creation or extraction fills.

        Raises
        ------
        MissingDataError
            If a chunk that the rows touch is not complete.
        """
        if path not in self._attributes[_STATIC]:
            return self._completion.read(path, start, stop, *columns)
        self._hierarchy.check_pieces(path, start, stop)
        return self._hierarchy.read(path, start, stop, *columns)

    def write_group(
        self,
        path: str,
        arrays: Mapping[str, NDArray[Any] | sparse.csr_array],
        attributes: Mapping[str, Any],
        dimensions: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Write, or replace, the output of a later stage.

        The group is marked complete last; a reader never sees half of it.

        Parameters
        ----------
        path
            ``aggregates/<subsets>`` or ``artifacts/<...>``.
        arrays
            Dense arrays and sparse matrices by their path below `path`.
        attributes
            JSON values.
        dimensions
            Names of the axes, by the array's path or its first part.
        """
        named = dimensions or {}
        self._later.start(path)
        for name, values in arrays.items():
            axes = named.get(name) or named.get(name.split("/")[0])
            self.write_member(f"{path}/{name}", values, dimensions=axes)
        self.finish_group(path, attributes)

    def start_group(
        self, path: str, *, groups: Sequence[str] = (), keep: bool = False
    ) -> None:
        """Begin to write, or to replace, the output of a later stage in pieces.

        Parameters
        ----------
        path
            ``aggregates/<subsets>`` or ``artifacts/<...>``; until
            :meth:`finish_group` it counts as not there.
        groups
            Names of groups below it; writers in several processes need them made.
        keep
            Whether what is there stays until it is written again.
        """
        self._later.start(path, groups=groups, keep=keep)

    def remove_member(self, path: str) -> None:
        """Remove a group or array of a group that has been started."""
        self._later.remove(path)

    def write_member(
        self,
        path: str,
        values: NDArray[Any] | sparse.csr_array,
        *,
        dimensions: tuple[str, ...] | None = None,
    ) -> None:
        """Write, or replace, one array of a group that has been started.

        Different members may be written by different processes at the same time.
        """
        self._later.write(path, values, dimensions=dimensions)

    def finish_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Mark a group as complete, with its attributes as JSON values."""
        record = {**attributes, "plan_fingerprint": self.fingerprint}
        self._later.finish(path, {**record, "n_rows": self.n_instances})

    def has_group(self, path: str) -> bool:
        """Whether a later stage has written this group completely."""
        return self._later.is_complete(path)

    def group_names(self, path: str) -> list[str]:
        """Return the names of what lies below a path, sorted."""
        return self._later.names(path)

    def group_attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of a group that a later stage wrote.

        Raises
        ------
        MissingDataError
            If the stage has not run, or not to its end.
        """
        return self._later.attributes(path)

    def has_array(self, path: str) -> bool:
        """Whether there is an array or a sparse matrix at this path."""
        return self._hierarchy.has(path)

    def read_array(self, path: str) -> NDArray[Any]:
        """Read a whole dense array of a later stage.

        Raises
        ------
        StoreFormatError
            If it is not there, or damaged.
        """
        return self._later.read(path)

    def read_csr(self, path: str, rows: slice = slice(None)) -> sparse.csr_array:
        """Read a sparse matrix of a later stage, or neighbouring rows of it."""
        return self._later.read_csr(path, rows)

    def __repr__(self) -> str:
        return summary_text(self)

    def _repr_html_(self) -> str:
        return summary_html(self)


def open_store(url: str | os.PathLike[str]) -> Store:
    """Open a run's store for reading; nothing that it names is imported or run.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `url`.
    StoreFormatError
        If it has another format version, or is no store.
    """
    return Store.open(url)


def _read_rows(url: str, layer: str, start: int, stop: int) -> NDArray[Any]:
    return Store.open(url).activations(layer, start, stop).astype(np.float32)


def summary_text(store: Store) -> str:
    """Return what was planned and what is complete, as lines."""
    facts = _facts(store)
    width = max(len(name) for name, _ in facts)
    lines = [f"  {name:<{width}}  {value}" for name, value in facts]
    return "\n".join([f"<nnviz.Store {store.url}>", *lines])


def summary_html(store: Store) -> str:
    """Return what was planned and what is complete, as a table."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in _facts(store)
    )
    return f"<b>nnviz.Store</b> {html.escape(store.url)}<table>{rows}</table>"


def _facts(store: Store) -> list[tuple[str, str]]:
    done, plan = store.done_chunks(), store.plan
    return [
        ("model", str(plan["model"]["source"])),
        ("data", f"{plan['dataset']['kind']}, {store.n_instances:,} instances"),
        ("classes", f"{len(store.class_names):,}"),
        ("layers", f"{len(store.layers)} recorded, {len(store.shown_layers)} shown"),
        ("extraction", f"{int(done.sum()):,} of {len(done):,} chunks"),
        ("aggregates", ", ".join(store.group_names("aggregates")) or "none"),
        ("artifacts", ", ".join(store.group_names("artifacts")) or "none"),
    ]
