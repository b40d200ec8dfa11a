"""Where do queries on single channels get them? From the index, as from the chunks.

A column that was asked for is kept: a query is often changed in another place, and
asked again.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.index_kernels import mark_rows_with
from nnviz.aggregation.index_layout import ChannelRange
from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.store.store import Store

__all__ = ["IndexedChannels", "activation_row"]

TIMES_LESS = 2
"""Rows are read for one value of each where that is so many times less to read."""

CACHED_COLUMNS = 32
"""Channels of which values, and marks of the top, are kept: 100 MB for ImageNet."""


def activation_row(store: Store, layer: str, number: int) -> NDArray[Any]:
    """Return the activations of one instance in a recorded layer, shape (C,).

    A complete index has those of shown layers side by side; of a chunk all rows are
    read.
    """
    if subset_index(store).is_complete:
        rows = IndexedChannels(store).rows(layer, np.array([number]))
    else:
        rows = store.activations(layer, number, number + 1)
    return rows.reshape(-1)


class IndexedChannels:
    """Single channels of a store, by its index; satisfies ``ChannelSource``.

    What the index does not have is read from the chunks: layers that are not shown,
    and pieces that have not been made.

    Parameters
    ----------
    store
        With a complete extraction.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.activation = functools.lru_cache(CACHED_COLUMNS)(self._activation)
        """Return one channel of every instance by layer and number, shape (N,)."""
        self.is_top = functools.lru_cache(CACHED_COLUMNS)(self._is_top)
        """Return where it is a top channel, shape (N,)."""

    @property
    def _index(self) -> SubsetIndex:
        return subset_index(self._store)

    @functools.cached_property
    def _everyone(self) -> NDArray[np.int64]:
        return np.arange(self._store.n_instances)

    def _shown(self, layer: str) -> ChannelRange | None:
        parts = self._index.pieces.state.layout.activations
        return next((part for part in parts if part.layer == layer), None)

    def _ids(self, layer: str) -> ChannelRange:
        parts = self._index.pieces.state.layout.channels
        return next(part for part in parts if part.layer == layer)

    def _activation(self, layer: str, channel: int) -> NDArray[np.floating]:
        if self._shown(layer) is None:
            columns = slice(channel, channel + 1)
            return self._store.activations(layer, channels=columns)[:, 0]
        return self._index.pieces.channel(layer, channel)

    def activation_of(
        self, layer: str, channel: int, instances: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Return one channel of some instances, shape (n,).

        Of few their rows are read, and of many the channel of all.

        Parameters
        ----------
        layer
            Name of a recorded layer.
        channel
            Its number.
        instances
            Their numbers, ascending.
        """
        part = self._shown(layer)
        if (
            part is None
            or not self._index.is_complete
            or not self._are_few(part, len(instances))
        ):
            return np.asarray(self.activation(layer, channel)[instances])
        found = np.empty(len(instances), dtype=part.dtype)
        n = 0
        for facts in self._index.pieces.facts(instances, "activations"):
            values = facts.activations[part.dtype]
            found[n : n + len(facts.rows)] = values[facts.rows, part.first + channel]
            n += len(facts.rows)
        return found

    def _are_few(self, part: ChannelRange, n: int) -> bool:
        """Return whether n rows are less to read than the channel of all instances."""
        widths = self._index.pieces.state.layout.widths.items()
        row = sum(width * np.dtype(dtype).itemsize for dtype, width in widths)
        strips = self._store.chunks.strips(f"activations/{part.layer}")
        one = strips.width * np.dtype(part.dtype).itemsize
        return TIMES_LESS * row * n <= one * self._store.n_instances

    def activations(self, layer: str) -> NDArray[np.floating]:
        """Return all channels of a layer, shape (N, C); NaN for unusable instances."""
        return self.rows(layer, self._everyone)

    def rows(self, layer: str, instances: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return all channels of some instances, shape (n, C).

        Parameters
        ----------
        layer
            Name of a recorded layer.
        instances
            Their numbers, ascending.
        """
        part = self._shown(layer)
        if part is None:
            return self._from_chunks(layer, instances)
        found = np.empty((len(instances), part.last - part.first), dtype=part.dtype)
        n = 0
        for facts in self._index.pieces.facts(instances, "activations"):
            values = facts.activations[part.dtype][facts.rows, part.span]
            found[n : n + len(values)] = values
            n += len(values)
        return found

    def _from_chunks(
        self, layer: str, instances: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Read the rows from the chunks that have some of them."""
        if not len(instances):
            return self._store.activations(layer, 0, 0)
        chunk = instances // self._store.plan.rows_per_chunk
        parts: list[NDArray[np.floating]] = []
        for some in np.split(instances, np.flatnonzero(np.diff(chunk)) + 1):
            first, last = int(some[0]), int(some[-1])
            parts.append(self._store.activations(layer, first, last + 1)[some - first])
        return np.concatenate(parts)

    def _is_top(self, layer: str, channel: int) -> NDArray[np.bool_]:
        wanted = self._ids(layer).first + channel
        found = np.zeros(len(self._everyone), dtype=np.bool_)
        for facts in self._index.pieces.facts(self._everyone, "top_channels"):
            lists = facts.lists
            assert lists is not None
            marks = found[slice(*facts.span)]
            mark_rows_with(lists.values, lists.offsets, wanted, marks)
        return found

    def top(self, layer: str) -> sparse.csr_array:
        """Return the top channels of every instance, binary, shape (N, C)."""
        part, parts = self._ids(layer), []
        for facts in self._index.pieces.facts(self._everyone, "top_channels"):
            lists = facts.lists
            assert lists is not None
            is_inside = (lists.values >= part.first) & (lists.values < part.last)
            before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_inside)])
            ids = lists.values[is_inside].astype(np.int32) - part.first
            ones = np.ones(len(ids), dtype=np.uint8)
            shape = (len(lists.offsets) - 1, part.last - part.first)
            rows = sparse.csr_array((ones, ids, before[lists.offsets]), shape=shape)
            parts.append(rows)
        return sparse.csr_array(sparse.vstack(parts, format="csr"))
