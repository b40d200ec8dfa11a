"""How do facts about instances become facts about subsets? Reductions, chunk by chunk.

A reduction turns one chunk into a *partial*, combines neighbouring partials, and makes
arrays of the last one. With the membership matrix S (subset by instance) a chunk is a
sparse product:

1. counts of top channels: S T, with T the binary instance-by-channel matrix;
2. sums and sums of squares of activations: S A and S A²;
3. counts and sums of influences: S I, with a column for each (target, source);
4. sums of the parts of relevance and of their products.

Two laws hold for every reduction and are tested: ``chunk(a ++ b)`` equals
``combine(chunk(a), chunk(b))``, and ``combine`` is associative with ``identity`` as its
unit. For counts and maxima they hold to the bit. Sums are float64 and added in the
order of the instances; regrouping them can change their last bits, so that whoever
combines fixes the grouping (``nnviz.aggregation.aggregation``).

Symbols: n instances of a chunk, S subsets, C channels, J kept targets, K ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import ShapeError
from nnviz.runs.declarations import GRADIENT_NORM_SUMS, RELEVANCE_SUMS

__all__ = [
    "ActivationCounts",
    "ActivationMoments",
    "InfluenceRows",
    "InfluenceTotals",
    "Moments",
    "Reduction",
    "RelevanceMoments",
]

CHANNELS_AT_A_TIME = 256
"""Columns that are float64 at the same time; they are what a chunk needs most."""

Values = TypeVar("Values", contravariant=True)
Partial = TypeVar("Partial")


class Reduction(Protocol[Values, Partial]):
    """From instances to subsets, in pieces.

    All members are pure, may be called in any thread or process, and never change their
    arguments. A reduction, its values and its partials can be pickled.
    """

    def identity(self) -> Partial:
        """Return the partial of no instances."""

    def chunk(self, membership: sparse.csr_array, values: Values) -> Partial:
        """Return the partial of some instances.

        Parameters
        ----------
        membership
            Shape (S, n), bool, indices sorted: which instance is in which subset.
        values
            What is known about these n instances.
        """

    def combine(self, first: Partial, second: Partial) -> Partial:
        """Return the partial of the instances of `first` followed by `second`'s."""

    def finalize(self, partial: Partial) -> Mapping[str, Any]:
        """Return the aggregates by name, dense or CSR, each with S rows."""

    def stored(self) -> Mapping[str, Literal["dense", "csr"]]:
        """Return the names of the aggregates, and how each is stored."""

    def restore(self, aggregates: Mapping[str, Any]) -> Partial:
        """Return the partial that :meth:`finalize` made these aggregates of."""


@dataclass(frozen=True, slots=True)
class ActivationCounts:
    """In how many instances is a channel a top channel? CSR int64 (S, C)."""

    n_subsets: int
    n_channels: int

    def identity(self) -> sparse.csr_array:
        """Return a matrix without entries."""
        return _empty(self.n_subsets, self.n_channels, np.int64)

    def chunk(
        self, membership: sparse.csr_array, values: sparse.csr_array
    ) -> sparse.csr_array:
        """Multiply by the top channels, shape (n, C), of which only the places count.

        Raises
        ------
        ShapeError
            If the matrices are not for the same number of instances.
        """
        _check_rows(membership, values.shape[0])
        return _canonical(membership.astype(np.int64) @ _ones(values, np.int64))

    def combine(
        self, first: sparse.csr_array, second: sparse.csr_array
    ) -> sparse.csr_array:
        """Return the sum, entry by entry."""
        return _canonical(first + second)

    def finalize(self, partial: sparse.csr_array) -> dict[str, sparse.csr_array]:
        """Return ``activation_counts``."""
        return {"activation_counts": partial}

    def stored(self) -> dict[str, Literal["dense", "csr"]]:
        """Return that it is sparse."""
        return {"activation_counts": "csr"}

    def restore(self, aggregates: Mapping[str, Any]) -> sparse.csr_array:
        """Return the counts."""
        return sparse.csr_array(aggregates["activation_counts"])


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the instances of some subsets; the partial of activations."""

    subsets: NDArray[np.int64]
    """Rows that have an instance, ascending; shape (t,), few in class order."""
    total: NDArray[np.float64]
    """Sum, shape (t, C)."""
    total_of_squares: NDArray[np.float64]
    """Sum of squares, shape (t, C)."""
    maximum: NDArray[np.float32]
    """Largest value, shape (t, C)."""


@dataclass(frozen=True, slots=True)
class ActivationMoments:
    """What are mean, variance and maximum of a channel? The sums that they need."""

    n_subsets: int
    n_channels: int

    def identity(self) -> Moments:
        """Return no subset at all."""
        dense = (0, self.n_channels)
        return Moments(
            np.zeros(0, np.int64),
            np.zeros(dense),
            np.zeros(dense),
            np.zeros(dense, "f4"),
        )

    def chunk(
        self, membership: sparse.csr_array, values: NDArray[np.floating]
    ) -> Moments:
        """Multiply by the activations, shape (n, C), and by their squares.

        Rows of instances that are in no subset are never looked at, NaN or not.

        Raises
        ------
        ShapeError
            If membership and activations are not for the same number of instances.
        """
        _check_rows(membership, len(values))
        subsets = np.flatnonzero(np.diff(membership.indptr))
        touched = membership[subsets].astype(np.float64)
        shape = (len(subsets), self.n_channels)
        total, total_of_squares = np.empty(shape), np.empty(shape)
        for start in range(0, self.n_channels, CHANNELS_AT_A_TIME):
            columns = slice(start, start + CHANNELS_AT_A_TIME)
            block = values[:, columns].astype(np.float64)
            total[:, columns] = touched @ block
            np.multiply(block, block, out=block)
            total_of_squares[:, columns] = touched @ block
        maximum = _row_maxima(touched, values)
        return Moments(subsets, total, total_of_squares, maximum)

    def combine(self, first: Moments, second: Moments) -> Moments:
        """Add the sums, and take the larger maximum."""
        if np.array_equal(first.subsets, second.subsets):
            return Moments(
                first.subsets,
                first.total + second.total,
                first.total_of_squares + second.total_of_squares,
                np.maximum(first.maximum, second.maximum),
            )
        subsets = np.union1d(first.subsets, second.subsets)
        shape = (len(subsets), self.n_channels)
        sums = (np.zeros(shape), np.zeros(shape))
        maximum = np.full(shape, -np.inf, dtype=np.float32)
        for part in (first, second):
            rows = np.searchsorted(subsets, part.subsets)
            sums[0][rows] += part.total
            sums[1][rows] += part.total_of_squares
            maximum[rows] = np.maximum(maximum[rows], part.maximum)
        return Moments(subsets, *sums, maximum)

    def finalize(self, partial: Moments) -> dict[str, NDArray[np.floating]]:
        """Return the two sums, 0 for an empty subset, and the maximum, NaN for one."""
        shape = (self.n_subsets, self.n_channels)
        total, total_of_squares = np.zeros(shape), np.zeros(shape)
        maximum = np.full(shape, np.nan, dtype=np.float32)
        total[partial.subsets] = partial.total
        total_of_squares[partial.subsets] = partial.total_of_squares
        # Which of 0.0 and -0.0 a maximum returns differs between processors.
        maximum[partial.subsets] = partial.maximum + np.float32(0)
        return {
            "activation_sum": total,
            "activation_sum_of_squares": total_of_squares,
            "activation_maximum": maximum,
        }

    def stored(self) -> dict[str, Literal["dense", "csr"]]:
        """Return that all are dense."""
        names = ("sum", "sum_of_squares", "maximum")
        return {f"activation_{name}": "dense" for name in names}

    def restore(self, aggregates: Mapping[str, Any]) -> Moments:
        """Return the sums of the subsets that have a maximum, and so an instance."""
        maximum = aggregates["activation_maximum"]
        subsets = np.flatnonzero(~np.isnan(maximum[:, :1]).all(axis=1))
        return Moments(
            subsets,
            aggregates["activation_sum"][subsets],
            aggregates["activation_sum_of_squares"][subsets],
            maximum[subsets],
        )


@dataclass(frozen=True, slots=True)
class RelevanceMoments:
    """What are mean and variance of a channel's relevance, against any reference?

    The partial is `names`, float64, shape (8, S, C), or (6, S, C) without norms.
    """

    n_subsets: int
    n_channels: int
    has_norms: bool
    """Whether the gradients' norms are a part of what is summed."""

    @property
    def names(self) -> tuple[str, ...]:
        """`RELEVANCE_SUMS`, and `GRADIENT_NORM_SUMS` where there are norms."""
        return (*RELEVANCE_SUMS, *(GRADIENT_NORM_SUMS if self.has_norms else ()))

    def identity(self) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros((len(self.names), self.n_subsets, self.n_channels))

    def chunk(
        self, membership: sparse.csr_array, values: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Multiply by product, gradient, mean and norm, (4, n, C), and by products.

        Raises
        ------
        ShapeError
            If membership and values are not for the same number of instances.
        """
        _check_rows(membership, values.shape[1])
        members = membership.astype(np.float64)
        sums = self.identity()
        for start in range(0, self.n_channels, CHANNELS_AT_A_TIME):
            columns = slice(start, start + CHANNELS_AT_A_TIME)
            product, gradient, mean, *norms = values[:, :, columns].astype(np.float64)
            for number, block in enumerate(
                (
                    product,
                    gradient,
                    mean,
                    product * product,
                    product * gradient,
                    gradient * gradient,
                    *norms,
                    *(norm * norm for norm in norms),
                )
            ):
                sums[number, :, columns] = members @ block
        return sums

    def combine(
        self, first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the sum."""
        return np.asarray(first + second, dtype=np.float64)

    def finalize(self, partial: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the sums by their names."""
        return dict(zip(self.names, partial, strict=True))

    def stored(self) -> dict[str, Literal["dense", "csr"]]:
        """Return that all are dense."""
        return dict.fromkeys(self.names, "dense")

    def restore(self, aggregates: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the sums."""
        return np.stack([aggregates[name] for name in self.names])


@dataclass(frozen=True, slots=True)
class InfluenceRows:
    """The stored influences of n instances on the channels of one layer."""

    target: NDArray[np.int32]
    """Kept targets, shape (n, J); -1 for none."""
    source: NDArray[np.int32]
    """Strongest sources of each, shape (n, J, K); -1 for none."""
    influence: NDArray[np.float32]
    """What each contributes, shape (n, J, K)."""

    def __len__(self) -> int:
        return len(self.target)

    def matrix(self, n_targets: int, n_sources: int) -> sparse.csr_array:
        """Return I, shape (n, targets x sources): float64, a column for each pair."""
        is_kept = (self.source >= 0) & (self.target >= 0)[:, :, None]
        pairs = self.target[:, :, None].astype(np.int64) * n_sources + self.source
        rows = np.repeat(np.arange(len(self)), is_kept.sum(axis=(1, 2)))
        entries = (self.influence[is_kept].astype(np.float64), (rows, pairs[is_kept]))
        return sparse.csr_array(entries, shape=(len(self), n_targets * n_sources))


@dataclass(frozen=True, slots=True)
class InfluenceTotals:
    """In how many instances is a source among a target's strongest, and how strong?

    The partial is the pair of counts (CSR int64) and sums (CSR float64), each of shape
    (S, targets x sources).
    """

    n_subsets: int
    n_targets: int
    """Channels of the target layer."""
    n_sources: int
    """Channels of all edges that enter it."""

    def identity(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return matrices without entries."""
        n_pairs = self.n_targets * self.n_sources
        return (
            _empty(self.n_subsets, n_pairs, np.int64),
            _empty(self.n_subsets, n_pairs, np.float64),
        )

    def chunk(
        self, membership: sparse.csr_array, values: InfluenceRows
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Multiply by the influences and by their places.

        Raises
        ------
        ShapeError
            If membership and influences are not for the same number of instances.
        """
        _check_rows(membership, len(values))
        pairs = values.matrix(self.n_targets, self.n_sources)
        return (
            _canonical(membership.astype(np.int64) @ _ones(pairs, np.int64)),
            _canonical(membership.astype(np.float64) @ pairs),
        )

    def combine(
        self,
        first: tuple[sparse.csr_array, sparse.csr_array],
        second: tuple[sparse.csr_array, sparse.csr_array],
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the sum, entry by entry."""
        return _canonical(first[0] + second[0]), _canonical(first[1] + second[1])

    def finalize(
        self, partial: tuple[sparse.csr_array, sparse.csr_array]
    ) -> dict[str, sparse.csr_array]:
        """Return counts and sums; the column is ``target * n_sources + source``."""
        return {"influence_counts": partial[0], "influence_sums": partial[1]}

    def stored(self) -> dict[str, Literal["dense", "csr"]]:
        """Return that both are sparse."""
        return {"influence_counts": "csr", "influence_sums": "csr"}

    def restore(
        self, aggregates: Mapping[str, Any]
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return counts and sums."""
        return aggregates["influence_counts"], aggregates["influence_sums"]


def _row_maxima(
    touched: sparse.csr_array, values: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the largest value of each subset, shape (t, C); every row has a member.

    A gather and a maximum for each subset is ten times as fast as ``maximum.reduceat``.
    """
    values = values.astype(np.float32, copy=False)
    maximum = np.empty((touched.shape[0], values.shape[1]), dtype=np.float32)
    for row, (start, stop) in enumerate(
        zip(touched.indptr[:-1], touched.indptr[1:], strict=True)
    ):
        members = touched.indices[start:stop]
        is_everyone = len(members) == len(values)
        np.max(values if is_everyone else values[members], axis=0, out=maximum[row])
    return maximum


def _empty(n_rows: int, n_columns: int, dtype: type[np.generic]) -> sparse.csr_array:
    return sparse.csr_array((n_rows, n_columns), dtype=dtype)


def _ones(matrix: sparse.csr_array, dtype: type[np.generic]) -> sparse.csr_array:
    """Return the places of a matrix as ones; a product of bools would be an `or`."""
    ones = np.ones(len(matrix.indices), dtype=dtype)
    return sparse.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _canonical(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return the matrix with sorted indices: equal matrices then have equal bytes."""
    matrix = sparse.csr_array(matrix)
    matrix.sum_duplicates()
    return matrix


def _check_rows(membership: sparse.csr_array, n_rows: int) -> None:
    if membership.shape[1] != n_rows:
        msg = (
            f"membership is for {membership.shape[1]:,} instances and the values for "
            f"{n_rows:,}; they should be the same ones"
        )
        raise ShapeError(msg)
