"""How relevant are channels in subsets? Means and variances, from what was summed.

The relevance of a channel in an instance is ``product - r * gradient``: what the
explained output would lose, to first order, if the channel had the value ``r``
everywhere. Sums of the parts and of their products answer for any reference ``r``
(:mod:`nnviz.aggregation.references`). Beside it, what can be told of a channel are its
gradient, summed over positions, and the gradient's Euclidean norm over positions, which
positions of opposite signs do not cancel in.

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, MissingDataError, did_you_mean
from nnviz.store.store import Store

__all__ = ["SIGNALS", "RelevanceSums", "Signal", "check_relevance", "signal_named"]

Signal = Literal["relevance", "gradient", "gradient_norm"]
"""What is told of a channel for the explained output."""

SIGNALS: tuple[Signal, ...] = get_args(Signal)

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceSums:
    """What is summed of a layer's relevance over the instances of some subsets."""

    n_instances: NDArray[np.int64]
    """Usable instances, shape (S,)."""
    sums: Mapping[str, Values]
    """By their names as `RelevanceMoments` makes them, shape (S, C)."""

    def mean_of(self, signal: Signal, reference: Values) -> Values:
        """Return the mean of a signal, (S, C), NaN for no instance.

        Parameters
        ----------
        signal
            A run may have no norms (:func:`check_relevance`).
        reference
            Value of each channel, shape (C,); for relevance alone.
        """
        if signal == "relevance":
            return self.mean(reference)
        return self.gradient if signal == "gradient" else self.gradient_norm

    def variance_of(self, signal: Signal, reference: Values) -> Values:
        """Return the population variance of a signal, (S, C); as :meth:`mean_of`."""
        if signal == "relevance":
            return self.variance(reference)
        if signal == "gradient":
            squares = self._each("gradient_sum_of_squares")
        else:
            squares = self._each("gradient_norm_sum_of_squares")
        return np.maximum(squares - self.mean_of(signal, reference) ** 2, 0.0)

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
    def has_norms(self) -> bool:
        """Whether the run has recorded the gradients' norms."""
        return "gradient_norm_sum" in self.sums

    @property
    def gradient_norm(self) -> Values:
        """Mean of the gradients' norms over positions, (S, C)."""
        return self._each("gradient_norm_sum")

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


def signal_named(name: str) -> Signal:
    """Return a signal by its name.

    Raises
    ------
    ConfigError
        If there is no such signal.
    """
    for signal in SIGNALS:
        if signal == name:
            return signal
    msg = (
        f"the signal is {name!r}{did_you_mean(name, SIGNALS)}; it is one of "
        f"{', '.join(map(repr, SIGNALS))}"
    )
    raise ConfigError(msg)


def check_relevance(store: Store, signal: Signal = "relevance") -> None:
    """Refuse a run that has not recorded a signal.

    Parameters
    ----------
    store
        The run's.
    signal
        Runs from before norms were kept have the others alone.

    Raises
    ------
    MissingDataError
        If the run has recorded no relevance, or no norms where they are asked for.
    """
    if not store.plan.has_relevance:
        msg = (
            f"the run in {store.url!r} has no relevance: it was extracted with "
            "[extraction] relevance = 'none'; plan and extract a new store with "
            "relevance = 'label' or 'prediction'"
        )
        raise MissingDataError(msg)
    if signal == "gradient_norm" and not store.plan.keeps_gradient_norms:
        msg = (
            f"the run in {store.url!r} has no gradient norms: it was planned before "
            "they were kept, with the relevance and the gradient alone; plan and "
            "extract a new store for them"
        )
        raise MissingDataError(msg)
