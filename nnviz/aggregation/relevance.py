"""How relevant are channels in subsets? Means and variances, from what was summed.

The relevance of a channel in an instance is ``product - r * gradient``: what the
explained output would lose, to first order, if the channel had the value ``r``
everywhere. Sums of the parts and of their products answer for any reference ``r``
(:mod:`nnviz.aggregation.references`).

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RelevanceSums"]

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

    def _each(self, name: str) -> Values:
        n = self.n_instances[:, None].astype(np.float64)
        return np.asarray(self.sums[name] / np.where(n > 0, n, np.nan))
