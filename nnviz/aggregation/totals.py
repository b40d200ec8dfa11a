"""What is counted in one subset? From its row of the aggregates, or its instances.

Aggregates answer at once, for subsets that were aggregated. Any other set of instances
is counted by the index or, without one, from the stored facts, with the same numbers:
no network, and only chunks that have such instances are read. Counted in blocks of
neighbours, the totals without a block are one subtraction: that is what a jackknife
needs.

Symbols: B blocks, C channels of a layer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates
from nnviz.aggregation.chunk_progress import told
from nnviz.aggregation.layer_sums import LayerJob, Leaf, Returned, Source, layer_facts
from nnviz.aggregation.relevance import RelevanceSums, check_relevance
from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.aggregation.weighted_rows import weighted_row
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "AggregateTotals",
    "BlockTotals",
    "InfluenceTotal",
    "SubsetTotals",
    "activation_totals",
    "count_blocks",
    "relevance_totals",
]

InfluenceTotal = Literal["influence_counts", "influence_sums"]
Total = Literal["activation_counts", InfluenceTotal]

BLOCK_SEED = 0
"""Of which instances are in a block together."""

ROWS_AT_A_TIME = 8
"""Rows of the aggregates that are read together: 25 MB for InceptionV1's size."""

CACHED_BLOCKS = 4
"""So many of these are kept, each with all layers: two subsets, compared with sums."""


class SubsetTotals(Protocol):
    """What is counted in one subset; a key of what is made from it."""

    def __hash__(self) -> int: ...

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

    def relevance(self, layer: str) -> RelevanceSums:
        """Return what is summed of a shown layer's relevance, one row.

        Raises
        ------
        MissingDataError
            If the run has recorded none.
        """


class AggregateTotals:
    """The rows of one collection's aggregates, as totals; shared between threads.

    Parameters
    ----------
    store
        With aggregates of influences.
    aggregates
        Aggregates of the collection.
    """

    def __init__(self, store: Store, aggregates: Aggregates) -> None:
        self._store = store
        self._aggregates = aggregates
        # Fewer than a graph needs, and every graph would read them all again.
        n_reads = len(store.layers) + 2 * len(store.plan.architecture.layers)
        self._read = functools.lru_cache(CACHED_BLOCKS * n_reads)(self._read_rows)

    def of(self, subset: str) -> SubsetTotals:
        """Return the totals of one subset.

        Raises
        ------
        UnknownNameError
            If there is no such subset.
        MissingDataError
            If it has no instances.
        """
        aggregates = self._aggregates
        row = aggregates.row(subset)
        is_class = aggregates.kind in ("label", "prediction")
        class_index = int(aggregates.index[row]) if is_class else None
        n_instances = int(aggregates.n_instances[row])
        return _AggregateRow(self, subset, class_index, n_instances, row)

    def has(self, totals: SubsetTotals) -> bool:
        """Whether these totals are a row of the aggregates."""
        return isinstance(totals, _AggregateRow) and totals.table is self

    def total(self, what: Total, layer: str, row: int) -> sparse.csr_array:
        """Return one row of what is counted in a layer, by its name."""
        block, place = divmod(row, ROWS_AT_A_TIME)
        rows = self._read(what, layer, block)
        is_this = np.arange(rows.shape[0]) == place
        return weighted_row(rows, is_this.astype(np.int64))

    def relevance(self, layer: str) -> RelevanceSums:
        """Return what is summed of a layer's relevance, a row for each subset."""
        return self._aggregates.relevance_sums(layer)

    def _read_rows(self, what: Total, layer: str, block: int) -> sparse.csr_array:
        rows = slice(block * ROWS_AT_A_TIME, (block + 1) * ROWS_AT_A_TIME)
        path = f"aggregates/{self._aggregates.name}/{what}/{layer}"
        return self._store.groups.read_csr(path, rows)


@dataclass(frozen=True, slots=True)
class _AggregateRow:
    table: AggregateTotals
    name: str
    class_index: int | None
    n_instances: int
    row: int

    def counts(self, layer: str) -> NDArray[np.int64]:
        counts = self.table.total("activation_counts", layer, self.row)
        return np.asarray(counts.toarray(), dtype=np.int64).reshape(-1)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        return self.table.total(what, target, self.row)

    def relevance(self, layer: str) -> RelevanceSums:
        return self.table.relevance(layer).rows([self.row])


@dataclass(frozen=True, eq=False)
class BlockTotals:
    """What is counted in one subset, block by block of its instances."""

    name: str
    class_index: int | None
    sizes: NDArray[np.int64]
    """Usable instances of each block, shape (B,)."""
    blocks: Mapping[Total, Mapping[str, sparse.csr_array]]
    """What is counted by its name and by layer: of activations shape (B, C), of
    influences (B, targets x sources)."""
    sum_relevance: Callable[[], Mapping[str, Mapping[str, NDArray[np.float64]]]]
    """Sums the relevance by layer, as :func:`relevance_totals` does, (B, C)."""

    @property
    def n_instances(self) -> int:
        """Usable instances of the subset."""
        return int(self.sizes.sum())

    @property
    def n_blocks(self) -> int:
        """Number of blocks, B."""
        return len(self.sizes)

    def counts(self, layer: str) -> NDArray[np.int64]:
        """Return a layer's activation counts, shape (C,)."""
        blocks = self.blocks["activation_counts"][layer].toarray()
        return np.asarray(blocks.sum(axis=0), dtype=np.int64)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        """Return a target layer's totals, shape (1, targets x sources)."""
        return self.total(what, target)

    def total(self, what: Total, layer: str) -> sparse.csr_array:
        """Return the sum of all blocks, one row; leave it as it is."""
        if (what, layer) not in self._totals:
            ones = np.ones(self.n_blocks, dtype=np.int64)
            self._totals[what, layer] = weighted_row(self.blocks[what][layer], ones)
        return self._totals[what, layer]

    def relevance(self, layer: str) -> RelevanceSums:
        """Return what is summed of a layer's relevance, one row."""
        return self.block_relevance(layer).weighted(np.ones(self.n_blocks))

    def block_relevance(self, layer: str) -> RelevanceSums:
        """Return what is summed of a layer's relevance, a row for each block."""
        return RelevanceSums(self.sizes, self._relevance[layer])

    @functools.cached_property
    def _relevance(self) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        return self.sum_relevance()

    def weighted(self, weights: NDArray[np.int64]) -> SubsetTotals:
        """Return the totals with every block taken so many times, shape (B,)."""
        return _WeightedBlocks(self, weights.astype(np.int64))

    @functools.cached_property
    def _totals(self) -> dict[tuple[Total, str], sparse.csr_array]:
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class _WeightedBlocks:
    """Every block some number of times: a half of them, or a random draw."""

    whole: BlockTotals
    weights: NDArray[np.int64]

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def class_index(self) -> int | None:
        return self.whole.class_index

    @property
    def n_instances(self) -> int:
        return int(self.weights @ self.whole.sizes)

    def counts(self, layer: str) -> NDArray[np.int64]:
        blocks = self.whole.blocks["activation_counts"][layer].toarray()
        return np.asarray(self.weights @ blocks, dtype=np.int64)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        return self._sum(what, target)

    def relevance(self, layer: str) -> RelevanceSums:
        return self.whole.block_relevance(layer).weighted(self.weights)

    def _sum(self, what: Total, layer: str) -> sparse.csr_array:
        return weighted_row(self.whole.blocks[what][layer], self.weights)


def count_blocks(
    store: Store,
    subset: Subset,
    *,
    n_blocks: int = 1,
    class_index: int | None = None,
    client: Client | None = None,
) -> BlockTotals:
    """Count a set of instances in random blocks, by the index if it is there.

    Parameters
    ----------
    store
        With a complete extraction, and influences.
    subset
        Any instances; unusable ones do not count.
    n_blocks
        B, at most the number of usable instances. Blocks have equal sizes to one
        instance and are drawn at random, the same each time: stores are often sorted,
        and a block of neighbours would be another population. Of n usable instances
        in the store's order, number i is in block ``places[i] * B // n``, where places
        are ``numpy.random.default_rng(0).permutation(n)``.
    class_index
        Output that the subset is the class of.
    client
        Client of a running cluster, whose workers can open the store; None counts here.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    ShapeError
        If the store has fewer instances.
    """
    index = subset_index(store)
    usable, instances = index.usable, subset.instances
    subset.check_fits(len(usable))
    instances = instances[usable[instances]]
    n_blocks = max(1, min(n_blocks, len(instances)))
    places = np.random.default_rng(BLOCK_SEED).permutation(len(instances))
    block = places * n_blocks // max(1, len(instances))
    sizes = np.bincount(block, minlength=n_blocks).astype(np.int64)
    members = [instances[block == number] for number in range(n_blocks)]

    def relevance() -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        parts = [Subset(subset.name, rows) for rows in members]
        return relevance_totals(store, parts, client=client)

    if index.is_complete and index.has_pairs:
        blocks = _IndexedBlocks(index, members)
        return BlockTotals(subset.name, class_index, sizes, blocks, relevance)
    # What the dashboard counts by an index needs no Dask.
    from nnviz.engine.reductions import run_reductions  # noqa: PLC0415

    membership = sparse.csc_array(
        (np.ones(len(instances), dtype=np.bool_), (block, instances)),
        shape=(n_blocks, len(usable)),
    )
    leaves = _leaves(store, instances)
    jobs = [
        LayerJob(store.url, facts, leaves, Returned())
        for facts in layer_facts(store, n_blocks, moments=False)
    ]
    found: dict[Total, dict[str, sparse.csr_array]] = {}
    made = run_reductions(client, jobs, shared=membership)
    for _, (layer, sums) in told(store, made, n_parts=len(jobs), n_chunks=len(leaves)):
        for name, matrix in sums.items():
            found.setdefault(name, {})[layer] = matrix
    return BlockTotals(subset.name, class_index, sizes, found, relevance)


class _IndexedBlocks(Mapping[Total, Mapping[str, sparse.csr_array]]):
    """What the index counts in blocks of instances, each when it is asked for."""

    def __init__(
        self, index: SubsetIndex, members: Sequence[NDArray[np.int64]]
    ) -> None:
        self._count: dict[Total, Callable[..., Mapping[str, sparse.csr_array]]] = {
            "activation_counts": index.block_counts,
            "influence_counts": index.influence_counts,
            "influence_sums": index.influence_sums,
        }
        self._members = members
        self._lock = threading.Lock()
        self._found: dict[Total, Mapping[str, sparse.csr_array]] = {}

    def __getitem__(self, what: Total) -> Mapping[str, sparse.csr_array]:
        with self._lock:
            if what not in self._found:
                self._found[what] = self._count[what](self._members)
            return self._found[what]

    def __iter__(self) -> Iterator[Total]:
        return iter(self._count)

    def __len__(self) -> int:
        return len(self._count)


def activation_totals(
    store: Store,
    subsets: Sequence[Subset],
    *,
    maxima: bool = True,
    client: Client | None = None,
) -> dict[str, dict[str, Any]]:
    """Sum the activations of the shown layers over some sets of instances.

    Parameters
    ----------
    store
        With a complete extraction. By its index, where it is complete, sums are within
        1e-6 of those of the stored facts.
    subsets
        S sets, at least one; unusable instances do not count.
    maxima
        Whether maxima are needed. Without them, an index that knows the sums over all
        instances reads at most half of these for any set; maxima are NaN then.
    client
        Of a running cluster, whose workers can open the store; None counts here.

    Returns
    -------
    dict
        By layer, and by name: ``activation_counts`` (csr_array, int64, shape (S, C)),
        ``activation_sum``, ``activation_sum_of_squares`` (float64) and
        ``activation_maximum`` (float32), shape (S, C).

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    ShapeError
        If the store does not have all of the instances.
    """
    index = subset_index(store)
    usable = index.usable
    for subset in subsets:
        subset.check_fits(len(usable))
    rows = [subset.instances[usable[subset.instances]] for subset in subsets]
    if index.is_complete:
        return _indexed_totals(index, rows, maxima=maxima)
    return _summed(store, rows, "activations", client)


def relevance_totals(
    store: Store, subsets: Sequence[Subset], *, client: Client | None = None
) -> dict[str, dict[str, Any]]:
    """Sum the relevance of the shown layers' channels over some sets of instances.

    Parameters
    ----------
    store
        With a complete extraction that has recorded relevance.
    subsets, client
        As in :func:`activation_totals`.

    Returns
    -------
    dict
        By layer, and by the names that `RelevanceMoments` has: float64, shape (S, C).

    Raises
    ------
    MissingDataError
        If extraction is not complete, or has recorded no relevance.
    ShapeError
        If the store does not have all of the instances.
    """
    check_relevance(store)
    usable = store.usable()
    for subset in subsets:
        subset.check_fits(len(usable))
    rows = [subset.instances[usable[subset.instances]] for subset in subsets]
    return _summed(store, rows, "relevance", client)


def _summed(
    store: Store,
    rows: Sequence[NDArray[np.int64]],
    source: Source,
    client: Client | None,
) -> dict[str, dict[str, Any]]:
    """Sum the stored facts of the shown layers over sets of usable instances."""
    # Imports distributed, of which an index has no need.
    from nnviz.engine.reductions import run_reductions  # noqa: PLC0415

    sizes = [len(instances) for instances in rows]
    membership = sparse.csc_array(
        (
            np.ones(sum(sizes), dtype=np.bool_),
            (np.repeat(np.arange(len(rows)), sizes), np.concatenate(rows)),
        ),
        shape=(len(rows), store.n_instances),
    )
    leaves = _leaves(store, np.unique(np.concatenate(rows)))
    shown = {layer.name for layer in store.shown_layers}
    jobs = [
        LayerJob(store.url, facts, leaves, Returned())
        for facts in layer_facts(store, len(rows))
        if facts.source == source and facts.layer in shown
    ]
    made = run_reductions(client, jobs, shared=membership)
    parts = told(store, made, n_parts=len(jobs), n_chunks=len(leaves))
    return dict(done for _, done in parts)


def _indexed_totals(
    index: SubsetIndex, rows: Sequence[NDArray[np.int64]], *, maxima: bool
) -> dict[str, dict[str, Any]]:
    counts = index.block_counts(rows)
    moments = [index.moments(members, maxima=maxima) for members in rows]
    return {
        layer: {
            "activation_counts": counts[layer],
            "activation_sum": np.stack([m[layer].total for m in moments]),
            "activation_sum_of_squares": np.stack(
                [m[layer].total_of_squares for m in moments]
            ),
            "activation_maximum": np.stack([m[layer].maximum for m in moments]),
        }
        for layer in moments[0]
    }


def _leaves(store: Store, instances: NDArray[np.int64]) -> tuple[Leaf, ...]:
    """Return, of each chunk that has any of the instances, the span that they take."""
    leaves = []
    for start, stop in store.chunks.spans:
        first, last = np.searchsorted(instances, (start, stop))
        if first < last:
            leaves.append(Leaf(int(instances[first]), int(instances[last - 1]) + 1))
    return tuple(leaves) or (Leaf(0, 0),)
