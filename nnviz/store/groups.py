"""What did later stages write? Aggregates, artifacts, the index: groups, whole or not.

A group counts only once it is finished: its checksums, and then its mark, are written
last. A reader never sees half of it, and never values whose metadata are damaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import MissingDataError, NnvizError, StoreFormatError
from nnviz.runs.arrays import ArraySpec
from nnviz.store import csr
from nnviz.store.documents import CHECKSUMS, crc_text, document_of
from nnviz.store.files import announce
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.mapped import map_values
from nnviz.store.pieces import encode_piece, fill_of

__all__ = [
    "EXPLANATIONS",
    "PACKED",
    "SAVED_SUBSETS",
    "LaterGroups",
    "covered_by",
    "stage_of",
]

EXPLANATIONS = "artifacts/explanations"
"""What the network did with single instances: made from network and data alone."""

SAVED_SUBSETS = "artifacts/saved_subsets"
"""What people have put into the store: no command makes it again."""


PACKED = "index/columns"
"""The columns of the instance table, beside the pieces of the index."""


def stage_of(path: str) -> str:
    """Return the command that writes a group.

    Examples
    --------
    >>> stage_of("aggregates/label"), stage_of("artifacts/examples")
    ('aggregate', 'derive')
    """
    made_by = {
        "ablation": "ablate",
        "columns": "column",
        "explanations": "explain",
        "saved_subsets": "subset",
    }
    parts = path.split("/")
    if parts[0] == "artifacts" and len(parts) > 1 and parts[1] in made_by:
        return made_by[parts[1]]
    stages = {"aggregates": "aggregate", "index": "index"}
    return stages.get(parts[0], "derive")


def covered_by(attributes: Mapping[str, Any], before: Sequence[int], now: int) -> int:
    """Return how many of a store's instances a group was made of.

    Parameters
    ----------
    attributes
        Attributes of the group.
    before
        Numbers of instances before each extension of the store; a group of format 1,
        which does not say, is older than any.
    now
        Number of instances of the store.
    """
    first = [*before, now][0]
    return int(attributes.get("n_rows", first))


class LaterGroups:
    """The groups below ``aggregates``, ``artifacts`` and ``index``.

    Parameters
    ----------
    hierarchy
        Hierarchy of the store.
    plan_fingerprint
        SHA-256 of the store's plan; kept with every group.
    n_rows
        Number of instances that a group covers which is written now.
    """

    def __init__(
        self, hierarchy: Hierarchy, plan_fingerprint: str, n_rows: int
    ) -> None:
        self._hierarchy = hierarchy
        self._record = {"plan_fingerprint": plan_fingerprint, "n_rows": n_rows}

    def write(
        self,
        path: str,
        arrays: Mapping[str, NDArray[Any] | sparse.csr_array],
        attributes: Mapping[str, Any],
        dimensions: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Write, or replace, a whole group.

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
        self.start(path)
        for name, values in arrays.items():
            axes = named.get(name) or named.get(name.split("/")[0])
            self.write_member(f"{path}/{name}", values, dimensions=axes)
        self.finish(path, attributes)

    def start(
        self, path: str, *, groups: Sequence[str] = (), keep: bool = False
    ) -> None:
        """Begin to write, or to replace, a group in pieces.

        Parameters
        ----------
        path
            ``aggregates/<subsets>`` or ``artifacts/<...>``; until :meth:`finish` it
            counts as not there.
        groups
            Names of groups below it; writers in several processes need them made.
        keep
            Whether what is there stays until it is written again.
        """
        if self._hierarchy.has(path):
            self._hierarchy.create_group(path, {"complete": False})
            if not keep:
                self._hierarchy.delete(path)
        self._hierarchy.create_group(path, {"complete": False})
        for name in groups:
            self._hierarchy.create_group(f"{path}/{name}", {})

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
        if sparse.issparse(values):
            csr.write_csr(self._hierarchy, path, values)
        else:
            self._hierarchy.write_dense(path, values, dimensions=dimensions)

    def write_plain(self, spec: ArraySpec, values: NDArray[Any]) -> None:
        """Write one array of a group that has been started as one piece of raw values.

        Parameters
        ----------
        spec
            Its declaration; a chunk is the whole array.
        values
            In the dtype of the declaration.
        """
        self._hierarchy.create_array(spec)
        chunk = tuple(max(1, n) for n in spec.shape)
        data = encode_piece(values, chunk=chunk, shard=None, fill=fill_of(spec))
        place = "/".join(["c", *["0"] * len(chunk)])
        self._hierarchy.put_checked({f"{spec.path}/{place}": data})

    def plain_file(self, path: str, n_axes: int) -> Path | None:
        """Return the file with the raw values of such an array, to be mapped.

        None where the store is not on a file system. After the values come four bytes.
        """
        folder = self._hierarchy.files.folder
        return folder and folder / path / "/".join(["c", *["0"] * n_axes])

    def read_plain(
        self, group: str, name: str, dtype: np.dtype[Any], n: int
    ) -> NDArray[Any]:
        """Return such an array of one axis, mapped from the file where there is one.

        Parameters
        ----------
        group
            Path of a complete group.
        name
            Of the array in it.
        dtype, n
            Of its values.

        Returns
        -------
        ndarray
            Shape (n,), every byte checked; it cannot be written to.

        Raises
        ------
        StoreFormatError
            If it is not what was written, or is not there.
        """
        path = f"{group}/{name}"
        file = self.plain_file(path, 1)
        if file is None:
            values = self.read(path)
            if values.shape != (n,):
                msg = f"{path!r} has the shape {values.shape}, not {(n,)}"
                raise StoreFormatError(msg)
            values.flags.writeable = False
            return values
        where = f"{path}/c/0"
        # A pipe would be waited for.
        data = np.memmap(str(file), np.uint8, mode="r") if file.is_file() else b""
        stated = self.file_checksums(group).get(where)
        if crc_text(data) != stated:  # type: ignore[arg-type]
            msg = f"{where!r} does not fit its checksum"
            raise StoreFormatError(msg)
        return map_values(file, dtype, (n,))

    def file_checksums(self, path: str) -> dict[str, str]:
        """Return the CRC-32 of the files of a complete group, by key in the store.

        Raises
        ------
        StoreFormatError
            If they are damaged.
        """
        return self._hierarchy.documents.stated(path)

    def remove_member(self, path: str) -> None:
        """Remove a group or array of a group that has been started."""
        self._hierarchy.delete(path)

    def finish(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Write the checksums of a group, and mark it complete, with JSON values."""
        self._hierarchy.documents.state(path)
        record = {**attributes, **self._record, "path": path, "complete": True}
        self._hierarchy.create_group(path, record)

    def invalidate(self, path: str) -> None:
        """Take the mark of a damaged group away, so that its stage writes it again."""
        self._hierarchy.create_group(path, {"complete": False})

    def is_complete(self, path: str) -> bool:
        """Whether a stage has written this group completely.

        Raises
        ------
        StoreFormatError
            If its metadata are damaged, or those of another group.
        """
        return bool(self._found(path).get("complete"))

    def _found(self, path: str) -> dict[str, Any]:
        """Return the attributes of a group, complete or not; empty without one."""
        attributes = self._hierarchy.documents.found(path) or {}
        named = attributes.get("path", path)
        if named != path:
            what, reason = f"of {path!r}", f"they are those of {named!r}"
            raise self._hierarchy.documents.damaged(what, reason)
        return attributes

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of a complete group.

        Raises
        ------
        MissingDataError
            If the stage has not run, or not to its end.
        """
        attributes = self._found(path)
        if not attributes.get("complete"):
            url = self._hierarchy.url
            msg = (
                f"the store {url!r} has no complete {path!r}; run "
                f"'nnviz {stage_of(path)} {url}'"
            )
            raise MissingDataError(msg)
        return attributes

    def announce(self, paths: Sequence[str]) -> None:
        """Tell the system that the documents of groups will be read."""
        folder = self._hierarchy.files.folder
        if folder is not None:
            for path in paths:
                announce(folder / document_of(path))
                announce(folder / document_of(f"{path}/{CHECKSUMS}"))

    def names(self, path: str) -> list[str]:
        """Return the names of what lies below a path, sorted."""
        return [n for n in self._hierarchy.children(path) if n != CHECKSUMS]

    def has_array(self, path: str) -> bool:
        """Whether there is an array or a sparse matrix at this path."""
        return self._hierarchy.has(path)

    def read(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read a dense array, or its rows ``start:stop``.

        Raises
        ------
        StoreFormatError
            If it is not there, or damaged.
        """
        self._hierarchy.check_pieces(path, start, stop)
        try:
            return self._hierarchy.read(path, start, stop)
        except StoreFormatError as error:
            raise self._damaged(path, error) from error

    def read_csr(self, path: str, rows: slice = slice(None)) -> sparse.csr_array:
        """Read a sparse matrix, or neighbouring rows of it.

        Raises
        ------
        StoreFormatError
            If it is not there, or damaged.
        """
        try:
            return csr.read_csr(self._hierarchy, path, rows)
        except StoreFormatError as error:
            raise self._damaged(path, error) from error

    def _damaged(self, path: str, error: StoreFormatError) -> NnvizError:
        url = self._hierarchy.url
        group = self._unfinished(path)
        if group:
            msg = (
                f"{group!r} of the store {url!r} is being written, or its stage was "
                f"ended; wait, or run 'nnviz {stage_of(path)} {url}'"
            )
            return MissingDataError(msg)
        msg = f"{error}, and then 'nnviz {stage_of(path)} {url}' writes it anew"
        return StoreFormatError(msg)

    def _unfinished(self, path: str) -> str:
        """Return the group around a member that a stage has not finished, if any."""
        parts = path.split("/")
        for n in range(2, len(parts)):
            group = "/".join(parts[:n])
            try:
                attributes = self._hierarchy.attributes(group)
            except StoreFormatError:
                continue
            if attributes.get("complete") is False:
                return group
        return ""
