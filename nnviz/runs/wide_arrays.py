"""Which arrays are stored? A few wide ones, with the run's own arrays as columns.

A chunk of twenty layers has a hundred arrays: so many files cost more to write than
their values, and file systems of clusters limit how many names there are. From format
3 on, the arrays of a chunk that are of one kind and dtype lie side by side in one array
of two axes, ``activations/float16`` say. Readers and tasks go on to name the run's own
arrays; only :mod:`nnviz.store` asks where these are.

Symbols: R rows of a chunk, W columns of a strip, which is an inner chunk of the array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from nnviz.runs.arrays import ArraySpec
from nnviz.runs.declarations import declaration_of

__all__ = ["FIRST_WIDE_VERSION", "Place", "StoredArrays"]

FIRST_WIDE_VERSION = 3
"""The first format of wide arrays; before it every array is stored by itself."""

COLUMNS_PER_STRIP = 16
"""One layer, or one channel, is read without what is beside it. Most layers have a
multiple of these; wider strips would have to be filled up, or hold several layers."""

COLUMNS_PER_CHUNK_STRIP = 256
"""The same where a chunk has a single row."""

GROUPS = {"instances": "outcomes"}
"""Groups of the wide arrays, where a column of the data set might have the name."""

ALIGNED = ("activations", "relevance")
"""Groups in which a strip has columns of a single layer, so that it can be checked by
who knows that layer alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array of the run is stored."""

    spec: ArraySpec
    """The array that holds it, or the array itself."""
    first: int
    """Its first column there."""
    shape: tuple[int, ...]
    """Its extents after the first axis; a row of them lies in C order."""

    @property
    def last(self) -> int:
        """Column after its last one."""
        return self.first + math.prod(self.shape)

    def part_of(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return its values, from rows of its columns, shape (n, last - first)."""
        return rows.reshape(len(rows), *self.shape)


@dataclass(frozen=True, slots=True)
class StoredArrays:
    """The arrays that a store of some format has for those of a run."""

    specs: tuple[ArraySpec, ...]
    """In the order in which they are made."""
    places: Mapping[str, Place]
    """Where each array of the run is, by its path."""

    @classmethod
    def of(cls, arrays: Sequence[ArraySpec], version: int) -> StoredArrays:
        """Return what is stored of a run's arrays in a format."""
        is_wide = version >= FIRST_WIDE_VERSION
        # A layer may have the name of a dtype.
        together: dict[tuple[bool, str], list[ArraySpec]] = {}
        for spec in arrays:
            path = _wide_path(spec) if is_wide else None
            key = path is not None, path or spec.path
            together.setdefault(key, []).append(spec)
        specs: list[ArraySpec] = []
        places: dict[str, Place] = {}
        for (is_held, path), members in together.items():
            whole = _wide(path, members) if is_held else members[0]
            specs.append(whole)
            columns = whole.columns or ((path, 0, whole.shape[1:]),)
            places |= {
                member: Place(whole, first, shape) for member, first, shape in columns
            }
        return cls(tuple(specs), places)

    def members(self, paths: Sequence[str]) -> dict[str, list[str]]:
        """Return which of some arrays each stored array holds, by its path."""
        found: dict[str, list[str]] = {}
        for path in paths:
            found.setdefault(self.places[path].spec.path, []).append(path)
        return found

    def parts(
        self, arrays: Mapping[str, NDArray[Any]]
    ) -> Iterator[tuple[str, list[tuple[int, NDArray[Any]]]]]:
        """Yield the path of each stored array, and what lies where in it.

        Parameters
        ----------
        arrays
            Rows of the run's arrays, by path.

        Yields
        ------
        tuple
            The path; first column and rows of each part, ascending. A wide array has
            two axes, and so do its parts.
        """
        for whole, paths in self.members(list(arrays)).items():
            places = [(self.places[path], arrays[path]) for path in paths]
            is_wide = bool(places[0][0].spec.columns)
            yield (
                whole,
                [(p.first, _flat(rows) if is_wide else rows) for p, rows in places],
            )


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def _wide_path(spec: ArraySpec) -> str | None:
    """Return the path of the wide array that holds an array; None if none does."""
    group = spec.path.split("/")[0]
    if spec.is_static or spec.dtype == "string" or "/" not in spec.path:
        return None
    return f"{GROUPS.get(group, group)}/{spec.dtype}"


def _wide(path: str, members: Sequence[ArraySpec]) -> ArraySpec:
    """Return the wide array of some arrays of one group and dtype."""
    group, dtype = path.split("/")
    first_member = members[0].declaration
    width = COLUMNS_PER_CHUNK_STRIP if first_member.is_by_chunk else COLUMNS_PER_STRIP
    if group == GROUPS["instances"]:
        width = 1  # columns of a table are read one by one
    columns, n = [], 0
    for spec in members:
        if group in ALIGNED:
            n = -(-n // width) * width
        columns.append((spec.path, n, spec.shape[1:]))
        n += math.prod(spec.shape[1:])
    units = {spec.declaration.unit for spec in members}
    declaration = replace(
        declaration_of(f"{group}/<dtype>"),
        dimensions=(first_member.dimensions[0], f"{dtype}_column"),
        dtype=dtype,
        unit=units.pop() if len(units) == 1 else "",
        fill=first_member.fill,
    )
    rows = members[0].rows_per_shard
    return ArraySpec(
        path,
        (members[0].shape[0], n),
        declaration,
        dtype,
        rows,
        (rows, min(width, max(1, n))),
        columns=tuple(columns),
    )
