"""What is common to any set of instances? Counts, sums and maxima, in one pass.

Answers come from the index where there is one, and else from the chunks: the same
numbers, bit for bit, only later. Counts are exact. Sums of activations are those of
:func:`nnviz.aggregation.aggregation.aggregate` to 1e-6, relative to the sum of the
magnitudes; sums of influences have the same bits as counted from the facts.

Of more than half of the instances, the others are counted, and taken away from the
aggregates of all, where these are.

Symbols: N instances, C channels of a layer.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates, aggregates_of
from nnviz.aggregation.index_kernels import (
    add_counts,
    add_influences,
    add_moments,
    add_wide_moments,
)
from nnviz.aggregation.index_layout import Lists
from nnviz.aggregation.index_pieces import LOADED_BYTES, Facts, IndexPieces
from nnviz.aggregation.known_csr import stacked_rows
from nnviz.aggregation.states import aggregates_fingerprint
from nnviz.errors import MissingDataError, UnknownNameError
from nnviz.store.store import Store
from nnviz.subsets.subsets import all_instances

__all__ = ["LayerMoments", "SubsetIndex", "subset_index"]

N_THREADS = 2
"""Threads that add: memory is read no faster by more."""

PIECES_AT_ONCE = 64
"""Mapped pieces between two meetings of the threads."""

SCANNED_PER_SORTED = 8
"""Pairs that instances hold are sorted where all there are is so many times more."""

MAX_PAIRS = 1 << 25
"""Pairs of targets and sources for which there is a number each: 800 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerMoments:
    """Sums of one layer's activations over the usable instances of a set."""

    layer: str
    n_instances: int
    total: NDArray[np.float64]
    """Sum, shape (C,)."""
    total_of_squares: NDArray[np.float64]
    """Sum of squares, shape (C,)."""
    maximum: NDArray[np.float32]
    """Largest value, shape (C,); NaN for no instance, or if it was not asked for."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean activations, shape (C,); NaN for no instance."""
        return self.total / (self.n_instances or np.nan)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Population variances, shape (C,); NaN for no instance."""
        squares = self.total_of_squares / (self.n_instances or np.nan)
        return np.maximum(squares - self.mean**2, 0.0)


class SubsetIndex:
    """Sums over any instances of a store; shared between threads.

    Parameters
    ----------
    store
        With a complete extraction.
    loaded_bytes
        Of pieces that are kept where they cannot be mapped, as in object storage.
    """

    def __init__(self, store: Store, *, loaded_bytes: int = LOADED_BYTES) -> None:
        self._store = store
        self.pieces = IndexPieces(store, loaded_bytes=loaded_bytes)
        """Where facts come from."""

    @property
    def problems(self) -> list[str]:
        """What of the index was found to be damaged, and is not used."""
        return self.pieces.problems

    @property
    def is_complete(self) -> bool:
        """Whether nothing has to be read from the chunks."""
        return self.pieces.state.is_complete and not self.pieces.problems

    @property
    def advice(self) -> str:
        """What would make answers fast, or what is damaged; empty where all is well."""
        return " ".join([*self.pieces.problems, self.pieces.state.advice]).strip()

    @property
    def has_pairs(self) -> bool:
        """Whether influences can be counted here: there are some, not too many."""
        return 0 < self.pieces.state.layout.n_pairs <= MAX_PAIRS

    @functools.cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Which instances count, shape (N,).

        Where the index knows that all of a piece do, their status is not read: a
        million texts take half a second.
        """
        state = self.pieces.state
        if not state.is_all_usable.any():
            return self._store.usable()
        usable = np.ones(self._store.n_instances, dtype=np.bool_)
        for piece in np.flatnonzero(~state.is_all_usable):
            start, stop = state.layout.span(int(piece))
            status = self._store.read("instances/status", start, stop)
            usable[start:stop] = status == ""
        return usable

    def counted(self, instances: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the usable ones of some instances, ascending and each once."""
        chosen = np.zeros(self._store.n_instances, dtype=np.bool_)
        chosen[instances] = True
        return np.flatnonzero(chosen & self.usable)

    def activation_counts(
        self, instances: NDArray[np.integer]
    ) -> dict[str, NDArray[np.int64]]:
        """Return in how many of some instances a channel is a top channel.

        Parameters
        ----------
        instances
            In any order; unusable ones do not count.

        Returns
        -------
        dict
            By recorded layer, shape (C,) each.
        """
        members, sign, everything = self._fewer(instances)
        counts = np.zeros(self.pieces.state.layout.n_channels, dtype=np.int64)
        for facts in self.pieces.facts(members, "top_channels"):
            assert facts.lists is not None
            add_counts(facts.lists.values, facts.lists.offsets, facts.rows, counts)
        found = {
            part.layer: sign * counts[part.span]
            for part in self.pieces.state.layout.channels
        }
        if everything is not None:
            for layer in found:
                whole = everything.counts(layer)[[0]].toarray()[0]
                found[layer] = whole.astype(np.int64) + found[layer]
        return found

    def block_counts(
        self, blocks: Sequence[NDArray[np.int64]]
    ) -> dict[str, sparse.csr_array]:
        """Return activation counts, shape (B, C) by layer; `blocks` as below."""
        found = [self.activation_counts(members) for members in blocks]
        return {
            part.layer: stacked_rows(
                [_not_zero(counts[part.layer]) for counts in found],
                part.last - part.first,
            )
            for part in self.pieces.state.layout.channels
        }

    def moments(
        self, instances: NDArray[np.integer], *, maxima: bool = True
    ) -> dict[str, LayerMoments]:
        """Return sums, sums of squares and maxima of the shown layers.

        Parameters
        ----------
        instances
            In any order; unusable ones do not count.
        maxima
            Whether maxima are needed; of more than half of the instances they take
            longer, because they cannot be had from the others'.
        """
        if maxima:
            members, sign, everything = self.counted(instances), 1, None
        else:
            members, sign, everything = self._fewer(instances)
        sums = _Moments(self.pieces.state.layout.widths)
        batch: list[Facts] = []
        for facts in self.pieces.facts(members, "activations"):
            batch.append(facts)
            is_mapped = not any(v.flags.owndata for v in facts.activations.values())
            if len(batch) == PIECES_AT_ONCE or not is_mapped:
                sums.add(batch)
                batch = []
        sums.add(batch)
        n = len(self.counted(instances))
        found = {}
        for part in self.pieces.state.layout.activations:
            total, maximum = sums.whole(part.dtype)
            one, squares = sign * total[:, part.span]
            if everything is not None:
                read = functools.partial(self._of_all, layer=part.layer)
                one = read("activation_sum") + one
                squares = np.maximum(read("activation_sum_of_squares") + squares, 0)
            largest = maximum[part.span].copy() + np.float32(0)
            largest[:] = largest if n and maxima else np.nan
            found[part.layer] = LayerMoments(part.layer, n, one, squares, largest)
        return found

    def influence_counts(
        self, blocks: Sequence[NDArray[np.int64]]
    ) -> dict[str, sparse.csr_array]:
        """Return in how many instances a source is among a target's strongest.

        Parameters
        ----------
        blocks
            Usable instances, ascending; B of them.

        Returns
        -------
        dict
            By target layer, shape (B, targets x sources), int64.
        """
        return self._of_pairs(blocks, np.int64, self._count_pairs)

    def influence_sums(
        self, blocks: Sequence[NDArray[np.int64]]
    ) -> dict[str, sparse.csr_array]:
        """Return the sums of influences; arguments and shapes as of the counts."""
        return self._of_pairs(blocks, np.float64, self._sum_pairs)

    def _count_pairs(
        self, members: NDArray[np.int64], numbers: NDArray[Any], touched: _Touched
    ) -> None:
        for facts in self.pieces.facts(members, "pairs"):
            assert facts.lists is not None
            touched.add(facts.lists, facts.rows)
            add_counts(facts.lists.values, facts.lists.offsets, facts.rows, numbers)

    def _sum_pairs(
        self, members: NDArray[np.int64], numbers: NDArray[Any], touched: _Touched
    ) -> None:
        of_chunk = np.zeros(len(numbers))  # of which the system makes what is written
        for facts, rows in self._by_chunk(members):
            lists = facts.lists
            assert lists is not None
            touched.add(lists, rows)
            add_influences(
                lists.values, lists.weights, lists.offsets, rows, numbers, of_chunk
            )

    def _by_chunk(
        self, members: NDArray[np.int64]
    ) -> Iterator[tuple[Facts, NDArray[np.int64]]]:
        """Yield facts about pairs with the rows of one chunk after the other."""
        size = self._store.plan.rows_per_chunk
        for facts in self.pieces.facts(members, "pairs"):
            # Pieces begin where a chunk does.
            chunk = facts.rows // size
            bounds = np.flatnonzero(np.diff(chunk)) + 1
            for low, high in itertools.pairwise([0, *bounds, len(chunk)]):
                yield facts, facts.rows[low:high]

    def _of_pairs(
        self,
        blocks: Sequence[NDArray[np.int64]],
        dtype: type[np.generic],
        add: Callable[[NDArray[np.int64], NDArray[Any], _Touched], None],
    ) -> dict[str, sparse.csr_array]:
        layout = self.pieces.state.layout
        rows: list[list[tuple[NDArray[Any], NDArray[np.int64]]]] = []
        for members in blocks:
            numbers = np.zeros(layout.n_pairs, dtype=dtype)
            touched = _Touched(layout.n_pairs // SCANNED_PER_SORTED)
            add(members, numbers, touched)
            places = touched.places()
            if places is None:
                found = [_not_zero(numbers[part.span]) for part in layout.pairs]
            else:
                places = places[numbers[places] != 0]
                firsts = [part.first for part in layout.pairs]
                parts = np.split(places, np.searchsorted(places, firsts[1:]))
                found = [
                    (numbers[some], some - first)
                    for some, first in zip(parts, firsts, strict=True)
                ]
            rows.append(found)
        return {
            part.layer: stacked_rows(of_part, part.last - part.first)  # <= MAX_PAIRS
            for part, of_part in zip(layout.pairs, zip(*rows, strict=True), strict=True)
        }

    def _fewer(
        self, instances: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], int, Aggregates | None]:
        """Return whom to count: the instances, or those to be taken away from all."""
        members = self.counted(instances)
        n_usable = int(self.usable.sum())
        if 2 * len(members) > n_usable and self._everything is not None:
            others = self.usable.copy()
            others[members] = False
            return np.flatnonzero(others), -1, self._everything
        return members, 1, None

    @functools.cached_property
    def _everything(self) -> Aggregates | None:
        """The aggregates of all instances, if they are of the facts as they are."""
        try:
            found = aggregates_of(self._store, "all")
        except (MissingDataError, UnknownNameError):
            return None
        everyone = all_instances(self._store.n_instances).restricted_to(self.usable)
        is_current = found.fingerprint == aggregates_fingerprint(self._store, everyone)
        return found if is_current else None

    def _of_all(self, name: str, *, layer: str) -> NDArray[np.float64]:
        values = self._store.groups.read(f"aggregates/all/{name}/{layer}")
        found: NDArray[np.float64] = values[0]
        return found


class _Touched:
    """Which pairs some instances hold, unless they hold too many to sort.

    Of few instances that is where their sums are not 0: a million pairs need not be
    looked through for a thousand of them.

    Parameters
    ----------
    limit
        How many are kept, with those that are there several times.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._parts: list[NDArray[Any]] = []

    def add(self, lists: Lists, rows: NDArray[np.int64]) -> None:
        """Keep what some rows of lists hold."""
        if self._left < 0:
            return
        starts = lists.offsets[rows]
        n_held = lists.offsets[rows + 1] - starts
        ends = np.cumsum(n_held)
        self._left -= int(n_held.sum())
        if self._left < 0:
            self._parts.clear()
            return
        shift = np.repeat(starts - (ends - n_held), n_held)
        self._parts.append(lists.values[np.arange(len(shift)) + shift])

    def places(self) -> NDArray[np.int64] | None:
        """Return the pairs, ascending, each once; None if they are too many."""
        if self._left < 0:
            return None
        held = np.concatenate([np.zeros(0, np.int64), *self._parts])
        return np.unique(held)


def _not_zero(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return what of some values is not 0, and where."""
    places = np.flatnonzero(values)
    return values[places], places


class _Moments:
    """Sums of activations, by dtype, while pieces are added."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        self._n = 0
        self._block = {d: np.zeros((2, n), np.float32) for d, n in widths.items()}
        self._total = {d: np.zeros((2, n)) for d, n in widths.items()}
        self._maximum = {
            d: np.full(n, -np.inf, dtype=np.float32) for d, n in widths.items()
        }

    def add(self, batch: Sequence[Facts]) -> None:
        """Add the rows of some pieces, each thread some of the channels."""
        if not batch:
            return
        jobs = []
        for dtype, total in self._total.items():
            # Lines of the cache belong to one thread.
            middle = total.shape[1] // 2 // 64 * 64
            jobs += [(dtype, 0, middle), (dtype, middle, total.shape[1])]
        list(_adders().map(lambda job: self._add(batch, *job), jobs))
        self._n += sum(len(facts.rows) for facts in batch)

    def _add(self, batch: Sequence[Facts], dtype: str, first: int, last: int) -> None:
        if first == last:
            return
        n, total, maximum = self._n, self._total[dtype], self._maximum[dtype]
        for facts in batch:
            values = facts.activations[dtype]
            if dtype == "float16":
                bits = values.view(np.uint16)
                block = self._block[dtype]
                add_moments(bits, facts.rows, first, last, n, block, total, maximum)
            else:
                add_wide_moments(values, facts.rows, first, last, total, maximum)
            n += len(facts.rows)

    def whole(self, dtype: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return sums with sums of squares, (2, C), and maxima, of one dtype."""
        return self._total[dtype] + self._block[dtype], self._maximum[dtype]


_OPENING = threading.Lock()


@functools.cache
def _adders() -> ThreadPoolExecutor:
    """Return the threads that add, for all who ask."""
    return ThreadPoolExecutor(N_THREADS, "nnviz-sums")


def subset_index(store: Store) -> SubsetIndex:
    """Return the index of an opened store; a complete one is opened once.

    Parameters
    ----------
    store
        With a complete extraction.

    Raises
    ------
    StoreFormatError
        If a completion mark is damaged.
    """
    with _OPENING:
        found = store.kept.get(SubsetIndex)
        if not isinstance(found, SubsetIndex) or not found.is_complete:
            found = store.kept[SubsetIndex] = SubsetIndex(store)
        return found
