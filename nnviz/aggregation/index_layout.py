"""What does the index hold of an instance, and where? Rows and lists, piece by piece.

The index is a second copy of the facts, in the order in which questions about some
instances read them. A *piece* covers whole chunks; it holds

1. the activations of all shown layers, row by row: one row is read at one place, where
   the store has it in strips in several files;
2. what the strips of channels should be that the store has of them, so that one
   channel of every instance can be read from these, and trusted;
3. the top channels of all recorded layers, which the store has to select anew;
4. the influences, as pairs of target and source with their values.

Symbols: R instances of a piece, C channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.facts import activation_facts, influence_facts
from nnviz.aggregation.states import rule_of_top_channels
from nnviz.runs.arrays import ArraySpec
from nnviz.runs.declarations import declaration_of
from nnviz.store.mapped import Strips
from nnviz.store.store import Store

__all__ = ["ChannelRange", "IndexLayout", "Lists", "Rows", "array_spec"]

VERSION = 3
"""Changes whenever pieces that were written before could be misread."""

BYTES_PER_PIECE = 1 << 26
"""Of activations: a task holds them four times while it writes and reads back."""

ROWS_PER_PIECE = 16_384
"""At most; more would make the first touch of a piece slow."""


@dataclass(frozen=True, slots=True)
class ChannelRange:
    """Where something of a layer lies in a row."""

    layer: str
    first: int
    last: int
    dtype: str = ""
    """In which of the arrays, for activations."""

    @property
    def span(self) -> slice:
        """Its places."""
        return slice(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Lists:
    """What instances hold, in different numbers: one after the other."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    """Where each begins, shape (R + 1,)."""
    weights: NDArray[np.float32] | None = None
    """How strong each is, shape of `values`."""


Rows = Mapping[str, NDArray[Any]]
"""Activations of all shown layers, shape (R, C) each, by dtype."""


@dataclass(frozen=True, slots=True)
class IndexLayout:
    """What the index of a run looks like; follows from its plan and its format."""

    activations: tuple[ChannelRange, ...]
    """Of the shown layers."""
    channels: tuple[ChannelRange, ...]
    """Of all recorded layers: top channels are numbered over all of them."""
    pairs: tuple[ChannelRange, ...]
    """Of all target layers: the pair of a target and a source is
    ``target * n_sources + source``, from the layer's first on."""
    n_sources: Mapping[str, int]
    chunks: tuple[tuple[int, int], ...]
    """First and past-last instance of every chunk."""
    chunks_per_piece: int
    strips: tuple[ChannelRange, ...]
    """Where the checksums of the strips of a shown layer are, of those of a chunk."""

    @classmethod
    def of(cls, store: Store) -> IndexLayout:
        """Return the layout of a store's index."""
        plan = store.plan
        used = dict.fromkeys(plan.layer_dtypes.values(), 0)
        activations = []
        for layer in plan.architecture.shown:
            dtype = plan.layer_dtypes[layer.name]
            first, used[dtype] = used[dtype], used[dtype] + layer.n_channels
            activations.append(ChannelRange(layer.name, first, used[dtype], dtype))
        rows = plan.rows_per_chunk
        row_bytes = sum(np.dtype(dtype).itemsize * n for dtype, n in used.items())
        n_rows = min(ROWS_PER_PIECE, BYTES_PER_PIECE // max(1, row_bytes))
        n = plan.n_instances
        return cls(
            tuple(activations),
            _ranges((a.name, a.n_channels) for a in plan.architecture.layers),
            _ranges((i.target, i.n_targets * i.n_sources) for i in plan.influences),
            {i.target: i.n_sources for i in plan.influences},
            tuple((start, min(n, start + rows)) for start in range(0, n, rows)),
            max(1, n_rows // rows),
            _ranges((a.layer, _strips(store, a.layer).n_strips) for a in activations),
        )

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return -(-len(self.chunks) // self.chunks_per_piece)

    @property
    def n_channels(self) -> int:
        """Of all recorded layers."""
        return self.channels[-1].last if self.channels else 0

    @property
    def n_pairs(self) -> int:
        """Pairs of target and source, of all target layers."""
        return self.pairs[-1].last if self.pairs else 0

    @property
    def n_strips(self) -> int:
        """Strips of channels of a chunk, of all shown layers."""
        return self.strips[-1].last if self.strips else 0

    @property
    def widths(self) -> dict[str, int]:
        """Channels of a row of activations, by dtype."""
        return {part.dtype: part.last for part in self.activations}

    @staticmethod
    def id_dtype(n: int) -> np.dtype[Any]:
        """Return in which type so many channels, or pairs, are numbered."""
        return np.dtype(np.min_scalar_type(max(1, n - 1) | 0x100))

    def chunks_of(self, piece: int) -> Sequence[tuple[int, int]]:
        """Return first and past-last instance of the chunks of a piece."""
        first = piece * self.chunks_per_piece
        return self.chunks[first : first + self.chunks_per_piece]

    def span(self, piece: int) -> tuple[int, int]:
        """Return first and past-last instance of a piece."""
        chunks = self.chunks_of(piece)
        return chunks[0][0], chunks[-1][1]

    def keys(self, store: Store) -> list[str]:
        """Return, of each piece, the SHA-256 of all that it depends on."""
        marks = store.chunks.mark_values()
        layout = [
            [[p.layer, p.first, p.last, p.dtype] for p in part]
            for part in (self.activations, self.channels, self.pairs)
        ]
        whole = json.dumps([VERSION, layout, rule_of_top_channels(store)])
        found = []
        for piece in range(self.n_pieces):
            first = piece * self.chunks_per_piece
            digest = hashlib.sha256(f"{whole} {self.span(piece)}".encode())
            digest.update(marks[first : first + self.chunks_per_piece].tobytes())
            found.append(digest.hexdigest())
        return found

    def rows_of(self, store: Store, span: tuple[int, int]) -> Rows:
        """Read the activations of a span of instances from the store's chunks."""
        rows = {
            dtype: np.empty((span[1] - span[0], width), dtype)
            for dtype, width in self.widths.items()
        }
        for part in self.activations:
            values = store.activations(part.layer, *span)
            rows[part.dtype][:, part.span] = values
        return rows

    def strip_checksums(self, store: Store, rows: Rows) -> list[int]:
        """Return the CRC-32C of each strip of a chunk with these activations."""
        found = []
        for part in self.activations:
            values = rows[part.dtype][:, part.span]
            found += _strips(store, part.layer).checksums(values)
        return found

    def top_of(self, store: Store, span: tuple[int, int]) -> Lists:
        """Select the top channels of a span of instances."""
        everyone = np.ones(span[1] - span[0], dtype=np.bool_)
        layers = [
            activation_facts(store, part.layer, span, everyone)[0]
            for part in self.channels
        ]
        top = sparse.hstack(layers, format="csr")
        top.sort_indices()
        ids = top.indices.astype(self.id_dtype(self.n_channels))
        return Lists(ids, top.indptr.astype(np.int64))

    def influences_of(self, store: Store, span: tuple[int, int]) -> Lists:
        """Read the influences of a span of instances from the store's chunks."""
        n = span[1] - span[0]
        row, pair, weight = [], [], []
        for part in self.pairs:
            facts = influence_facts(store, part.layer, span)
            is_kept = (facts.source >= 0) & (facts.target >= 0)[:, :, None]
            pairs = facts.target[:, :, None].astype(np.int64)
            pairs = pairs * self.n_sources[part.layer] + facts.source + part.first
            row.append(np.repeat(np.arange(n), is_kept.sum(axis=(1, 2))))
            pair.append(pairs[is_kept])
            weight.append(facts.influence[is_kept])
        dtype = self.id_dtype(self.n_pairs)
        if not row:
            none = np.zeros(n + 1, dtype=np.int64)
            return Lists(np.zeros(0, dtype), none, np.zeros(0, dtype=np.float32))
        rows = np.concatenate(row)
        # Stable: of one instance, they stay in the order in which they are stored.
        order = np.argsort(rows, kind="stable")
        offsets = np.searchsorted(rows[order], np.arange(n + 1)).astype(np.int64)
        values = np.concatenate(pair)[order].astype(dtype)
        return Lists(values, offsets, np.concatenate(weight)[order])


def array_spec(path: str, pattern: str, values: NDArray[Any]) -> ArraySpec:
    """Return the declaration of an array of a piece, which is one chunk."""
    return ArraySpec(
        path,
        values.shape,
        declaration_of(f"index/<piece>/{pattern}"),
        str(values.dtype),
        len(values),
    )


def _strips(store: Store, layer: str) -> Strips:
    return store.chunks.strips(f"activations/{layer}")


def _ranges(sizes: Any) -> tuple[ChannelRange, ...]:
    found, first = [], 0
    for layer, size in sizes:
        found.append(ChannelRange(layer, first, first + size))
        first += size
    return tuple(found)
