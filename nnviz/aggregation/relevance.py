"""How relevant are channels in subsets? Means and variances, from what was summed.

The relevance of a channel in an instance is ``product - r * gradient``: what the
explained output would lose, to first order, if the channel had the value ``r``
everywhere. Sums of the parts and of their products answer for any reference ``r``
(:mod:`nnviz.aggregation.references`).

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import MissingDataError
from nnviz.store.store import Store

__all__ = ["RelevanceSums", "check_relevance"]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceSums:
    """What is summed of a layer's relevance over the instances of some subsets."""

    n_instances: NDArray[np.int64]
    """Usable instances, shape (S,)."""
    sums: Mapping[str, Values]
    """`RELEVANCE_SUMS` by their names, shape (S, C)."""

    def mean(self, reference: Values) -> Values:
        """Return mean relevances, (S, C), NaN for no instance.

        Parameters
        ----------
        reference
            Value of each channel, shape (C,).
        """
        return self._each("relevance_sum") - reference * self.gradient

    def variance(self, reference: Values) -> Values:
        """Return population variances of the relevances, (S, C); as :meth:`mean`."""
        squares = (
            self._each("relevance_sum_of_squares")
            - 2 * reference * self._each("relevance_gradient_sum")
            + reference**2 * self._each("gradient_sum_of_squares")
        )
        return np.maximum(squares - self.mean(reference) ** 2, 0.0)

    @property
    def gradient(self) -> Values:
        """Mean of the gradients, summed over positions, (S, C)."""
        return self._each("gradient_sum")

    @property
    def gradient_variance(self) -> Values:
        """Population variance of these, (S, C)."""
        squares = self._each("gradient_sum_of_squares")
        return np.maximum(squares - self.gradient**2, 0.0)

    @property
    def position_mean(self) -> Values:
        """Mean activation over instances and positions, (S, C)."""
        return self._each("position_mean_sum")

    def rows(self, rows: Sequence[int]) -> RelevanceSums:
        """Return what is summed over some of the subsets."""
        sums = {name: values[rows] for name, values in self.sums.items()}
        return RelevanceSums(self.n_instances[rows], sums)

    def weighted(self, weights: NDArray[np.floating | np.integer]) -> RelevanceSums:
        """Return one row, of each subset taken so many times, shape (S,)."""
        n = np.atleast_1d(weights @ self.n_instances).astype(np.int64)
        sums = {name: (weights @ values)[None] for name, values in self.sums.items()}
        return RelevanceSums(n, sums)

    def _each(self, name: str) -> Values:
        n = self.n_instances[:, None].astype(np.float64)
        return np.asarray(self.sums[name] / np.where(n > 0, n, np.nan))


def check_relevance(store: Store) -> None:
    """Refuse a run without relevance.

    Raises
    ------
    MissingDataError
        If the run has recorded none.
    """
    if not store.plan.has_relevance:
        msg = (
            f"the run in {store.url!r} has no relevance: it was extracted with "
            "[extraction] relevance = 'none'; plan and extract a new store with "
            "relevance = 'label' or 'prediction'"
        )
        raise MissingDataError(msg)
