"""What is in a run's store? The face that stages, dashboard and notebooks share.

A store is described and created first, then filled chunk by chunk, each chunk's
completion mark last. Readers ask the marks: a missing piece is an error, never zeros.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import checked
from nnviz.errors import (
    StoreError,
    StoreFormatError,
    UnknownNameError,
    did_you_mean,
)
from nnviz.runs.architecture import Layer
from nnviz.runs.arrays import FORMAT_VERSION, READABLE_VERSIONS
from nnviz.runs.declarations import MARK_FIELDS, POSITION
from nnviz.runs.plan import Plan
from nnviz.runs.wide_arrays import StoredArrays
from nnviz.store.added_columns import AddedColumns
from nnviz.store.beginning import creating, says_begun
from nnviz.store.completion import Completion
from nnviz.store.dask_arrays import activations_as_dask
from nnviz.store.extending import is_pending
from nnviz.store.groups import LaterGroups
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.integrity import Integrity
from nnviz.store.mistaken_places import is_inside_store, not_found
from nnviz.store.recovery import RECOVERY
from nnviz.store.stored_plan import plan_in

if TYPE_CHECKING:
    import dask.array
    import pandas as pd

__all__ = [
    "Store",
    "open_store",
    "opened",
    "plan_attributes",
]

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
        if says_begun(attributes):
            msg = (
                f"the store {hierarchy.url!r} is being made, or whoever made it was "
                f"ended; 'nnviz plan RUN.toml --create {hierarchy.url}' makes it"
            )
            raise StoreFormatError(msg)
        if version is None or "plan" not in attributes:
            if is_inside_store(hierarchy.url):
                raise not_found(hierarchy.url)
            msg = (
                f"{hierarchy.url!r} is a Zarr hierarchy, but not a store of nnviz; "
                "'nnviz plan run.toml --create STORE' or nnviz.run makes one"
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
        self.plan = plan_in(attributes, hierarchy.url)
        """What was planned."""
        arrays = self.plan.arrays
        self.stored = StoredArrays.of(arrays, version)
        """Which arrays there are for those of the plan."""
        hierarchy.expect(self.stored.specs)
        per_chunk = list(attributes[_PER_CHUNK])
        self.chunks = Completion(hierarchy, self.plan, per_chunk, self.stored)
        """Which chunks are complete; where tasks write them."""
        self.groups = LaterGroups(hierarchy, self.fingerprint, self.n_instances)
        """What later stages wrote: aggregates, artifacts and the index."""
        self.added = AddedColumns(self.groups, self.n_instances)
        """Columns of the instance table that functions of the user have made."""
        self._planned = frozenset(spec.path for spec in arrays)
        self._usable: tuple[object, NDArray[np.bool_]] | None = None
        """Which instances count, with the marks of the time when that was read."""
        self.kept: dict[type, object] = {}
        """What readers keep of this store while it is open, one of a kind."""

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, writable: bool = False) -> Self:
        """Open a store; nothing that it names is imported or run.

        Raises
        ------
        StoreNotFoundError
            If there is no store at `url`.
        StoreFormatError
            If it has another format version, or is not a store.
        """
        return cls(Hierarchy.open(url, writable=writable))

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        plan: Plan,
        *,
        static: Mapping[str, NDArray[Any]],
        records: Mapping[str, Any] | None = None,
        version: int = FORMAT_VERSION,
    ) -> Store:
        """Create a store with all its arrays, and write what the plan knows.

        Parameters
        ----------
        url
            A place where there is nothing, or what a killed process has begun there.
        plan
            What will be recorded.
        static
            Values of the arrays that no task writes, by path.
        records
            JSON values that say how the store came to be, as :attr:`records` returns
            them.
        version
            Its format; an older one, from 2 on, where it is to be compared with.

        Raises
        ------
        StoreExistsError
            If there is something at `url`.
        StoreInUseError
            If another driver is creating it.
        """
        per_chunk = [
            spec.path
            for spec in plan.arrays
            if spec.path not in static and spec.path != "extraction_done"
        ]
        record = {
            **(records or {}),
            **plan_attributes(plan),
            _STATIC: sorted(static),
            _PER_CHUNK: per_chunk,
            "mark_fields": list(MARK_FIELDS),
            "format_version": version,
        }
        with creating(url) as hierarchy:
            stored = StoredArrays.of(plan.arrays, version)
            for spec in stored.specs:
                hierarchy.create_array(spec)
            for path, values in static.items():
                hierarchy.write(path, 0, values)
            skip = [spec.path for spec in stored.specs if spec.path not in static]
            hierarchy.documents.state("", skip=skip)
            hierarchy.create_group(RECOVERY, record)
            hierarchy.set_attributes(record)
        return cls(hierarchy)

    def integrity(self) -> Integrity:
        """Return the checks of this store, part by part."""
        version = int(self._attributes["format_version"])
        arrays = self.stored.specs
        return Integrity(self._hierarchy, self.chunks, self.groups, arrays, version)

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
        return self.plan.architecture.layers

    @property
    def shown_layers(self) -> tuple[Layer, ...]:
        """The layers that are shown, in order of computation."""
        return self.plan.architecture.shown

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the network's outputs, in their order."""
        return self.plan.class_names

    @checked
    def class_index(self, name: str) -> int | None:
        """Return the index of a class by its name, or by its label in the data set.

        None if there is no such class; names come before labels.
        """
        if name in self.class_names:
            return self.class_names.index(name)
        return self.plan.class_of_label.get(name)

    @property
    def n_instances(self) -> int:
        """Number of instances, usable or not."""
        return self.plan.n_instances

    def positions(self) -> NDArray[np.int64] | None:
        """Return the index in the data set of each row; None if it is the same."""
        is_extended = POSITION in self._attributes[_STATIC]
        return self.read(POSITION).astype(np.int64) if is_extended else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the instance table, added ones last."""
        paths = (path.partition("/") for path in self._planned)
        names = sorted(name for group, _, name in paths if group == "instances")
        return (*names, *self.added.listed())

    @checked
    def column(self, name: str) -> NDArray[Any]:
        """Return one column of the instance table.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        MissingDataError
            If extraction fills it and is not complete.
        """
        path = f"instances/{name}"
        # One of the run's: what was added is not asked for, each a file or more.
        if path not in self._planned:
            if name in self.added.listed():
                return self.added.values(name)
            known = self.columns
            msg = (
                f"unknown column {name!r}{did_you_mean(name, known)}; the table has "
                f"{', '.join(known)}"
            )
            raise UnknownNameError(msg)
        if (
            path in self._attributes[_STATIC]
            and self._hierarchy.dtype(path) == "string"
        ):
            self._hierarchy.check_pieces(path)
            return self._hierarchy.read_texts(path)
        values = self.read(path)
        return values.astype(object) if values.dtype.kind == "T" else values

    @checked
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
        marks = self.chunks.whole
        if self._usable is None or marks is None or self._usable[0] is not marks:
            found = np.asarray(self.column("status") == "", dtype=np.bool_)
            self._usable = (self.chunks.whole, found)
        return self._usable[1].copy()

    @checked
    def layer(self, name: str) -> Layer:
        """Return the recorded layer of this name.

        Raises
        ------
        UnknownNameError
            If there is none; the message has near matches.
        """
        return self.plan.architecture.layer(name)

    @checked
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

    @checked
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
        n_channels = self.layer(layer).n_channels
        return activations_as_dask(
            self.url, layer, self.chunks.spans, n_channels, _read_rows
        )

    @checked
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
            return self.chunks.read(path, start, stop, *columns)
        self._hierarchy.check_pieces(path, start, stop)
        return self._hierarchy.read(path, start, stop, *columns)

    def __repr__(self) -> str:
        from nnviz.store.summary import summary_text  # noqa: PLC0415  of this class

        return summary_text(self)

    def _repr_html_(self) -> str:
        from nnviz.store.summary import summary_html  # noqa: PLC0415  of this class

        return summary_html(self)


def open_store(url: str | os.PathLike[str]) -> Store:
    """Open a run's store for reading; nothing that it names is imported or run.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `url`.
    StoreFormatError
        If it has another format version, or is not a store.
    """
    return Store.open(url)


def plan_attributes(plan: Plan) -> dict[str, Any]:
    """Return what the root of a store says of its plan."""
    return {"plan": plan.to_json(), "plan_fingerprint": plan.fingerprint}


def _read_rows(url: str, layer: str, start: int, stop: int) -> NDArray[Any]:
    return Store.open(url).activations(layer, start, stop).astype(np.float32)


def opened(store: Store | str | os.PathLike[str], *, writable: bool = False) -> Store:
    """Return a store that was given as one, or by its path.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    if isinstance(store, Store):
        return Store.open(store.url, writable=True) if writable else store
    return Store.open(os.fspath(store), writable=writable)
