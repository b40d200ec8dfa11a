"""What will a long answer be, about? Means from a sample of the instances, with errors.

Means over many instances take as long as their activations take to read: on a cold disk
seconds with an index, and minutes without one. A sample answers in a fraction of that:

- with an index, instances drawn at random, each read by itself;
- without one, all that a few chunks drawn at random hold of the set, because a chunk is
  read as a whole. Neighbours are alike, and the error says so: it follows from how much
  the chunks differ, not the instances [1]_.

Symbols: k drawn units, m_i instances and y_i their sum in unit i of K.

References
----------
.. [1] Cochran, "Sampling Techniques", 3rd edition, 1977: the ratio of two totals over
   clusters, eq. (2.39) and section 9A.1. A unit of one instance gives eq. (2.20).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from nnviz.aggregation.subset_index import SubsetIndex

__all__ = ["Estimates", "estimate", "is_worthwhile"]

SAMPLE = 2_000
"""Instances that are drawn where there is an index."""

SAMPLED_CHUNKS = 16
"""Chunks that are drawn where there is none."""

LARGE = 50_000
"""Instances, with an index, of which an estimate is far quicker than the means."""

LARGE_CHUNKS = 64
"""The same in chunks, without one."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """What the channels of a layer do in a set of instances, from a part of them."""

    layer: str
    mean: Values
    """Mean activation, shape (C,); NaN for no instance."""
    mean_error: Values
    """Half of its 95 % interval, shape (C,): 0 where all instances were read, infinite
    where a single unit says nothing of the others."""
    share: Values
    """Share of the instances in which the channel is on top, shape (C,)."""
    share_error: Values
    """As of the mean; 0 with an index, which counts all of them."""
    n_sampled: int
    """Instances of which the mean was taken."""
    n_instances: int
    """Usable instances of the set."""


def is_worthwhile(index: SubsetIndex, instances: NDArray[np.integer]) -> bool:
    """Whether a sample is far less than all of some instances, and so far quicker."""
    if index.is_complete:
        return len(instances) >= LARGE
    starts = [start for start, _ in index.pieces.state.layout.chunks]
    n_chunks = len(np.unique(np.searchsorted(starts, instances, side="right")))
    return n_chunks >= LARGE_CHUNKS


def estimate(
    index: SubsetIndex, instances: NDArray[np.integer], *, seed: int = 0
) -> dict[str, Estimates]:
    """Estimate what the channels of the shown layers do in some instances.

    Parameters
    ----------
    index
        Of the store; without pieces it reads chunks.
    instances
        In any order; unusable ones do not count.
    seed
        Equal seeds draw equal samples.

    Returns
    -------
    dict
        By layer.
    """
    members = index.counted(instances)
    rng = np.random.default_rng(seed)
    if index.is_complete:
        return _by_instances(index, members, rng)
    return _by_chunks(index, members, rng)


def _by_instances(
    index: SubsetIndex, members: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Estimates]:
    drawn = members
    if len(members) > SAMPLE:
        drawn = np.sort(rng.choice(members, SAMPLE, replace=False))
    counts = index.activation_counts(members)
    n, n_all = len(drawn), len(members)
    found = {}
    for layer, one in index.moments(drawn).items():
        share = counts[layer] / (n_all or np.nan)
        variance = one.variance * n / max(n - 1, 1)
        error = _half_width(variance, n, n / max(n_all, 1))
        exact = np.zeros_like(share)
        found[layer] = Estimates(layer, one.mean, error, share, exact, n, n_all)
    return found


def _by_chunks(
    index: SubsetIndex, members: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Estimates]:
    starts = [start for start, _ in index.pieces.state.layout.chunks]
    parts = [p for p in np.split(members, np.searchsorted(members, starts)) if len(p)]
    n_units, k = len(parts), min(SAMPLED_CHUNKS, len(parts))
    units = [parts[i] for i in rng.choice(n_units, k, replace=False)] or [members]
    sums = [index.moments(unit) for unit in units]
    counts = [index.activation_counts(unit) for unit in units]
    size = np.array([len(unit) for unit in units], dtype=np.float64)
    n, found = int(size.sum()), {}
    for layer in sums[0]:
        totals = (
            np.stack([one[layer].total for one in sums]),
            np.stack([one[layer].astype(np.float64) for one in counts]),
        )
        mean, share = (_ratio(total, size, n_units) for total in totals)
        found[layer] = Estimates(layer, *mean, *share, n, len(members))
    return found


def _ratio(total: Values, size: Values, n_units: int) -> tuple[Values, Values]:
    """Return the mean of k units' instances, and half of its 95 % interval.

    Parameters
    ----------
    total
        Sums over the instances of each unit, shape (k, C).
    size
        Instances of each unit, shape (k,).
    n_units
        K.
    """
    k = len(size)
    mean = total.sum(axis=0) / (size.sum() or np.nan)
    residual = total - mean * size[:, None]
    spread = (residual**2).sum(axis=0) / max(k - 1, 1)
    variance = spread / (size.mean() or np.nan) ** 2
    return mean, _half_width(variance, k, k / max(n_units, 1))


def _half_width(variance: Values, k: int, share: float) -> Values:
    """Return half of the 95 % interval of the mean of k units, a share of all."""
    if share >= 1:
        return np.zeros_like(variance)
    if k < 2:
        return np.full_like(variance, np.inf)
    quantile = special.stdtrit(k - 1, 0.975)
    return np.asarray(quantile * np.sqrt(np.maximum(variance, 0) * (1 - share) / k))
