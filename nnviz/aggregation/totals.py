"""What is counted in one subset? From its row of the aggregates, or its instances.

Aggregates answer at once, for subsets that were aggregated. Any other set of instances
is counted from the stored facts: no network, and only chunks that have such instances
are read. Counted in blocks of neighbours, the totals without a block are one
subtraction: that is what a jackknife needs.

Symbols: B blocks, C channels of a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates
from nnviz.aggregation.facts import activation_facts, influence_facts
from nnviz.aggregation.reductions import ActivationCounts, InfluenceTotals
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "AggregateTotals",
    "BlockTotals",
    "InfluenceTotal",
    "SubsetTotals",
    "count_blocks",
]

InfluenceTotal = Literal["influence_counts", "influence_sums"]

ROWS_AT_A_TIME = 8
"""Rows of the aggregates that are read together: 25 MB for InceptionV1's size."""

CACHED_READS = 128
"""Of these; one for each target layer and what is summed."""


class SubsetTotals(Protocol):
    """What is counted in one subset."""

    @property
    def name(self) -> str:
        """Name of the subset."""

    @property
    def class_index(self) -> int | None:
        """Output that the subset is the class of; None for other subsets."""

    @property
    def n_instances(self) -> int:
        """Usable instances."""

    def counts(self, layer: str) -> NDArray[np.int64]:
        """Return a layer's activation counts, shape (C,)."""

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        """Return a target layer's totals, shape (1, targets x sources)."""


class AggregateTotals:
    """The rows of one collection's aggregates, as totals; shared between threads.

    Parameters
    ----------
    store
        With aggregates of influences.
    aggregates
        Of the collection.
    """

    def __init__(self, store: Store, aggregates: Aggregates) -> None:
        self._store = store
        self._aggregates = aggregates
        self._read = functools.lru_cache(CACHED_READS)(self._read_rows)

    def of(self, subset: str) -> SubsetTotals:
        """Return the totals of one subset.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        """
        row = self._aggregates.row(subset)
        is_class = self._aggregates.kind in ("label", "prediction")
        n_instances = int(self._aggregates.n_instances[row])
        return _AggregateRow(self, subset, row if is_class else None, n_instances, row)

    def counts(self, layer: str, row: int) -> NDArray[np.int64]:
        """Return one row of a layer's activation counts, shape (C,)."""
        counts = self._aggregates.counts(layer)[[row]].toarray()[0]
        return np.asarray(counts, dtype=np.int64)

    def influences(
        self, target: str, what: InfluenceTotal, row: int
    ) -> sparse.csr_array:
        """Return one row of a target layer's totals."""
        block, place = divmod(row, ROWS_AT_A_TIME)
        return sparse.csr_array(self._read(target, what, block)[[place]])

    def _read_rows(
        self, target: str, what: InfluenceTotal, block: int
    ) -> sparse.csr_array:
        rows = slice(block * ROWS_AT_A_TIME, (block + 1) * ROWS_AT_A_TIME)
        path = f"aggregates/{self._aggregates.name}/{what}/{target}"
        return self._store.groups.read_csr(path, rows)


@dataclass(frozen=True, slots=True)
class _AggregateRow:
    table: AggregateTotals
    name: str
    class_index: int | None
    n_instances: int
    row: int

    def counts(self, layer: str) -> NDArray[np.int64]:
        return self.table.counts(layer, self.row)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        return self.table.influences(target, what, self.row)


@dataclass(frozen=True, slots=True, eq=False)
class BlockTotals:
    """What is counted in one subset, block by block of its instances."""

    name: str
    class_index: int | None
    sizes: NDArray[np.int64]
    """Usable instances of each block, shape (B,)."""
    activation_counts: Mapping[str, sparse.csr_array]
    """By layer, shape (B, C)."""
    influence_counts: Mapping[str, sparse.csr_array]
    """By target layer, shape (B, targets x sources)."""
    influence_sums: Mapping[str, sparse.csr_array]
    """The same, summed in float64."""

    @property
    def n_instances(self) -> int:
        """Usable instances of the subset."""
        return int(self.sizes.sum())

    @property
    def n_blocks(self) -> int:
        """B."""
        return len(self.sizes)

    def counts(self, layer: str) -> NDArray[np.int64]:
        """Return a layer's activation counts, shape (C,)."""
        total = self.activation_counts[layer].sum(axis=0)
        return np.asarray(total, dtype=np.int64).reshape(-1)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        """Return a target layer's totals, shape (1, targets x sources)."""
        blocks: sparse.csr_array = getattr(self, what)[target]
        ones = sparse.csr_array(np.ones((1, self.n_blocks), dtype=blocks.dtype))
        total = sparse.csr_array(ones @ blocks)
        total.sort_indices()
        return total

    def without(self, block: int) -> BlockTotals:
        """Return the totals of all blocks but one."""
        others = np.arange(self.n_blocks) != block
        return BlockTotals(
            self.name,
            self.class_index,
            self.sizes[others],
            {name: matrix[others] for name, matrix in self.activation_counts.items()},
            {name: matrix[others] for name, matrix in self.influence_counts.items()},
            {name: matrix[others] for name, matrix in self.influence_sums.items()},
        )


def count_blocks(
    store: Store,
    subset: Subset,
    *,
    n_blocks: int = 1,
    class_index: int | None = None,
    client: Client | None = None,
) -> BlockTotals:
    """Count a set of instances from the stored facts, in blocks of neighbours.

    Parameters
    ----------
    store
        With a complete extraction, and influences.
    subset
        Any instances; unusable ones do not count.
    n_blocks
        B, at most the number of usable instances. Blocks are runs of the subset's
        instances in the store's order, of equal size to one instance.
    class_index
        Output that the subset is the class of.
    client
        Of a running cluster, whose workers can open the store; None counts here.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    ShapeError
        If the store has not so many instances.
    """
    # Graphs of aggregates, as the dashboard shows them, need no Dask.
    from nnviz.engine.reductions import run_reductions  # noqa: PLC0415

    usable, instances = store.usable(), subset.instances
    subset.check_fits(len(usable))
    instances = instances[usable[instances]]
    n_blocks = max(1, min(n_blocks, len(instances)))
    block = np.arange(len(instances)) * n_blocks // max(1, len(instances))
    membership = sparse.csc_array(
        (np.ones(len(instances), dtype=np.bool_), (block, instances)),
        shape=(n_blocks, len(usable)),
    )
    leaves = _leaves(store, instances)
    plan = store.plan
    jobs: list[_CountJob] = []
    for layer in store.layers:
        counts = ActivationCounts(n_blocks, layer.n_channels)
        jobs.append(_CountJob(store.url, layer.name, counts, leaves))
    for kept in plan.influences:
        totals = InfluenceTotals(n_blocks, kept.n_targets, kept.n_sources)
        jobs.append(_CountJob(store.url, kept.target, totals, leaves))
    found: dict[str, dict[str, sparse.csr_array]] = {
        name: {} for name in ("activation_counts", "influence_counts", "influence_sums")
    }
    for job, values in run_reductions(client, jobs, shared=membership):
        for name, matrix in values.items():
            found[name][str(job)] = matrix
    sizes = np.bincount(block, minlength=n_blocks).astype(np.int64)
    return BlockTotals(subset.name, class_index, sizes, **found)


@dataclass(frozen=True, slots=True)
class _CountJob:
    """What is counted of one layer: its top channels, or the influences on it."""

    url: str
    layer: str
    reduction: ActivationCounts | InfluenceTotals
    leaves: Sequence[tuple[int, int]]

    def __str__(self) -> str:
        return self.layer

    def compute(self, leaf: tuple[int, int], shared: sparse.csc_array) -> Any:
        """Read a span and count it."""
        store = Store.open(self.url)
        membership = sparse.csr_array(shared[:, leaf[0] : leaf[1]])
        if isinstance(self.reduction, InfluenceTotals):
            rows = influence_facts(store, self.layer, leaf)
            return self.reduction.chunk(membership, rows)
        counted = np.bincount(membership.indices, minlength=leaf[1] - leaf[0]) > 0
        top, _ = activation_facts(store, self.layer, leaf, counted)
        return self.reduction.chunk(membership, top)

    def combine(self, partials: Sequence[Any]) -> Any:
        """Combine neighbours from left to right."""
        return functools.reduce(self.reduction.combine, partials)

    def finish(self, partial: Any) -> dict[str, sparse.csr_array]:
        """Return the counts, and the sums, by their names in the store."""
        return dict(self.reduction.finalize(partial))


def _leaves(store: Store, instances: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Return, of each chunk that has any of the instances, the span that they take."""
    leaves = []
    for start, stop in store.chunks.spans:
        first, last = np.searchsorted(instances, (start, stop))
        if first < last:
            leaves.append((int(instances[first]), int(instances[last - 1]) + 1))
    return tuple(leaves) or ((0, 0),)
