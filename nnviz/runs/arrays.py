"""Which arrays does a run have, of which shapes, in which pieces?

What each of them means is declared in :mod:`nnviz.runs.declarations`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnviz.runs.array_declaration import ArrayDeclaration
from nnviz.runs.declarations import (
    CONTENTS,
    MARK_FIELDS,
    POSITION,
    declaration_of,
)

__all__ = [
    "FORMAT_VERSION",
    "READABLE_VERSIONS",
    "ArraySpec",
    "InfluenceSpec",
    "groups_of",
    "run_arrays",
]

FORMAT_VERSION = 3
"""Changes whenever an older nnviz could misread a store.

1. The first one. Its metadata have no checksums.
2. Metadata have checksums; a store may be extended, and then ``dataset/position`` says
   which instance of the data set a row is.
3. The arrays that tasks fill are columns of a few wide ones:
   :mod:`nnviz.runs.wide_arrays`.
"""


READABLE_VERSIONS = (1, 2, 3)
"""Formats that this nnviz opens."""


CHANNELS_PER_INNER_CHUNK = 64
"""Inner chunks are tall and narrow: a channel and a block of rows both read fast. Those
of wide arrays have a width of their own."""


ROWS_PER_STATIC_CHUNK = 65_536
"""Columns that the plan knows are written by one process, in fewer, larger pieces."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array to create."""

    path: str
    shape: tuple[int, ...]
    declaration: ArrayDeclaration
    dtype: str
    rows_per_shard: int
    inner_chunk: tuple[int, ...] = field(default=())
    """Chunk inside the shard; empty where a shard is one chunk."""
    is_static: bool = False
    """Whether the plan knows the values, and one process writes them."""
    columns: tuple[tuple[str, int, tuple[int, ...]], ...] = ()
    """Of an array that holds others: the path, the first column and the extents after
    the first axis of each."""

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a piece: whole inner chunks."""
        whole = tuple(max(1, n) for n in (self.rows_per_shard, *self.shape[1:]))
        if not self.inner_chunk:
            return whole
        chunks = zip(whole, self.inner_chunk, strict=True)
        return tuple(-(-n // size) * size for n, size in chunks)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of itself."""
        said: dict[str, Any] = {
            "unit": self.declaration.unit,
            "meaning": self.declaration.meaning,
        }
        if self.columns:
            said["columns"] = {
                path: {"first": first, "shape": list(shape)}
                for path, first, shape in self.columns
            }
        return said

    @property
    def n_bytes(self) -> int:
        """Bytes of the values; strings are counted with 32 bytes each."""
        sizes = {"string": 32, "bool": 1}
        size = (
            sizes.get(self.dtype) or int("".join(filter(str.isdigit, self.dtype))) // 8
        )
        return math.prod(self.shape) * size


@dataclass(frozen=True, slots=True)
class InfluenceSpec:
    """What is kept of the influences on one target layer."""

    target: str
    n_targets: int
    """Channels of the target layer."""
    n_sources: int
    """Channels of all edges that enter it."""
    n_kept: int
    """Target channels kept for an instance, at most."""
    n_ranks: int
    has_remainder: bool = False
    """Whether what the ranks leave out is kept, too."""


def run_arrays(
    *,
    n_instances: int,
    rows_per_chunk: int,
    layers: Sequence[tuple[str, int, str]],
    shown: Sequence[str],
    metadata: Mapping[str, str],
    examples_per_channel: int,
    influences: Sequence[InfluenceSpec] = (),
    outcome_columns: Sequence[str] = (),
    is_extended: bool = False,
    has_contents: bool = False,
    relevance_parts: Sequence[str] = (),
) -> tuple[ArraySpec, ...]:
    """Return every array that creation and extraction of a run fill.

    How they are stored is said by :mod:`nnviz.runs.wide_arrays`.

    Parameters
    ----------
    n_instances
        Number of instances, N.
    rows_per_chunk
        Instances of one task; a task owns one whole shard of every array.
    layers
        (name, number of channels, dtype) of each recorded layer.
    shown
        Layers that keep the positions of their strongest instances.
    metadata
        dtype of each metadata column of the data set.
    examples_per_channel
        Ranks of ``peaks``; 0 for none.
    influences
        What is kept of the edges that enter each target layer.
    outcome_columns
        Which of `OUTCOME_COLUMNS` or `VALUE_COLUMNS` there are.
    is_extended
        Whether rows are no longer in the order of the data set.
    has_contents
        Whether the contents of every instance were hashed.
    relevance_parts
        Which of `RELEVANCE_PARTS` are kept of the shown layers' channels.

    Returns
    -------
    tuple of ArraySpec
        In the order in which a task writes them; ``extraction_done`` comes last.
    """
    n_chunks = max(1, math.ceil(n_instances / rows_per_chunk))
    specs: list[ArraySpec] = []

    def add(
        path: str,
        pattern: str,
        shape: tuple[int, ...],
        *,
        dtype: str | None = None,
        inner_chunk: tuple[int, ...] = (),
        is_static: bool = False,
    ) -> None:
        declaration = declaration_of(pattern)
        rows = 1 if declaration.is_by_chunk else rows_per_chunk
        specs.append(
            ArraySpec(
                path,
                shape,
                declaration,
                dtype or declaration.dtype,
                ROWS_PER_STATIC_CHUNK if is_static else rows,
                inner_chunk,
                is_static,
            )
        )

    n = (n_instances,)
    add("instances/id", "instances/id", n, is_static=True)
    add("instances/label", "instances/label", n, is_static=True)
    for name, dtype in metadata.items():
        pattern = "instances/<metadata column>"
        add(f"instances/{name}", pattern, n, dtype=dtype, is_static=True)
    for path, is_there in ((POSITION, is_extended), (CONTENTS, has_contents)):
        if is_there:
            add(path, path, n, is_static=True)
    for name in ("prediction", "confidence", "probability", *outcome_columns, "status"):
        add(f"instances/{name}", f"instances/{name}", n)
    for name, n_channels, dtype in layers:
        inner = (rows_per_chunk, min(CHANNELS_PER_INNER_CHUNK, n_channels))
        shape = (n_instances, n_channels)
        path = f"activations/{name}"
        add(path, "activations/<layer>", shape, dtype=dtype, inner_chunk=inner)
    for kept in influences:
        pattern, path = "influences/<target layer>", f"influences/{kept.target}"
        shape3 = (n_instances, kept.n_kept, kept.n_ranks)
        dtypes = {
            "target": _index_dtype(kept.n_targets),
            "source": _index_dtype(kept.n_sources),
            "influence": "float32",
        }
        if kept.has_remainder:
            dtypes["remainder"] = "float32"
        for part, dtype in dtypes.items():
            extent = shape3[:2] if part in ("target", "remainder") else shape3
            add(f"{path}/{part}", f"{pattern}/{part}", extent, dtype=dtype)
    channels = {name: n_channels for name, n_channels, _ in layers}
    for name in shown:
        for part in relevance_parts:
            inner = (rows_per_chunk, min(CHANNELS_PER_INNER_CHUNK, channels[name]))
            add(
                f"relevance/{name}/{part}",
                f"relevance/<layer>/{part}",
                (n_instances, channels[name]),
                inner_chunk=inner,
            )
    if examples_per_channel:
        for name in shown:
            for part in ("instance", "position", "value"):
                shape3 = (n_chunks, channels[name], examples_per_channel)
                add(f"peaks/{name}/{part}", f"peaks/<layer>/{part}", shape3)
    n_fields = len(MARK_FIELDS) + sum(not spec.is_static for spec in specs)
    add("extraction_done", "extraction_done", (n_chunks, n_fields))
    return tuple(specs)


def groups_of(arrays: Sequence[ArraySpec]) -> set[str]:
    """Return the paths of the groups that hold arrays, the root apart."""
    groups = set()
    for spec in arrays:
        parts = spec.path.split("/")
        groups |= {"/".join(parts[:n]) for n in range(1, len(parts))}
    return groups


def _index_dtype(n: int) -> str:
    return "int16" if n <= np.iinfo(np.int16).max else "int32"
