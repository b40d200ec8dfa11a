"""Is a difference more than chance? Tests of counts, means and scores, and of many.

Symbols: k of n instances in the subset, K of N instances in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "adjusted_p_values",
    "difference_p_values",
    "difference_tests",
    "enrichment_p_values",
    "familywise_p_values",
    "least_p_values",
    "mean_difference_p_values",
    "score_difference_p_values",
]

Values = NDArray[np.float64]

FEW = 1_000
"""Instances of which SciPy's probabilities are quick."""

RATE = 0.05
"""Tests that cannot have a smaller p-value are left out of many."""


def enrichment_p_values(
    count: ArrayLike, n_instances: ArrayLike, base_count: ArrayLike, n_total: ArrayLike
) -> Values:
    """Return how probable such a count or a larger one is in a random subset.

    Parameters
    ----------
    count, n_instances, base_count, n_total
        k, n, K, N, of shapes that fit.

    Returns
    -------
    ndarray
        Upper tail of the hypergeometric distribution: Fisher's exact test, one-sided.
    """
    from scipy import stats  # noqa: PLC0415  half a second, and only tests need it

    k, n = _floats(count), _floats(n_instances)
    p = stats.hypergeom.sf(k - 1, _floats(n_total), _floats(base_count), n)
    return np.clip(np.asarray(p, dtype=np.float64), 0.0, 1.0)


def difference_p_values(
    first: ArrayLike, n_first: ArrayLike, second: ArrayLike, n_second: ArrayLike
) -> Values:
    """Return Fisher's exact test of two shares, two-sided, mid-p. [1]_.

    Parameters
    ----------
    first, n_first
        Count and instances of one subset.
    second, n_second
        The same of another one that shares no instance with it.

    Returns
    -------
    ndarray
        Twice the smaller tail, in which the probability of what was seen counts half;
        at most 1, and 1 where a subset is empty.

    Notes
    -----
    Counts are whole numbers, so that without mid-p 3 % of what is alike has a p-value
    below 5 % among hundreds of instances, and under 1 % among dozens.

    References
    ----------
    .. [1] Lancaster, "Significance tests in discrete distributions", JASA 56, 1961.
    """
    from scipy import stats  # noqa: PLC0415  as above

    a, n, b, m = np.broadcast_arrays(
        _floats(first), _floats(n_first), _floats(second), _floats(n_second)
    )
    # Both tails together are 1. The one beyond what is seen is nearly always the
    # smaller one; where it is not, both are about a half, and as exact.
    tail = np.empty_like(a)
    is_more = a * m > b * n
    for some, beyond, counts in (
        (is_more, stats.hypergeom.sf, a),
        (~is_more, stats.hypergeom.cdf, a - 1),
    ):
        tail[some] = beyond(counts[some], (n + m)[some], (a + b)[some], n[some])
    tail += _probabilities(a, n + m, a + b, n) / 2
    p = np.clip(2 * np.minimum(tail, 1 - tail), 0.0, 1.0)
    return np.where((n > 0) & (m > 0), p, 1.0)


def _probabilities(
    count: Values, n_total: Values, base_count: Values, n_instances: Values
) -> Values:
    """Return the hypergeometric probability of counts that are possible.

    SciPy's takes apart the factorials into primes, a few hundred times as slow; of few
    instances it is quick, and exact where a probability meets a bound, as 1 of 20.
    """
    from scipy import stats  # noqa: PLC0415  as above

    k, total, base, n = np.broadcast_arrays(count, n_total, base_count, n_instances)
    found = np.empty_like(k)
    few = total <= FEW
    found[few] = stats.hypergeom.pmf(k[few], total[few], base[few], n[few])
    k, total, base, n = (values[~few] for values in (k, total, base, n))
    ways = _chosen(base, k) + _chosen(total - base, n - k) - _chosen(total, n)
    found[~few] = np.exp(ways)
    return found


def _chosen(n: Values, k: Values) -> Values:
    """Return the logarithm of in how many ways k of n can be chosen."""
    log = special.gammaln
    return np.asarray(log(n + 1) - log(k + 1) - log(n - k + 1))


def difference_tests(
    first: ArrayLike, n_first: int, second: ArrayLike, n_second: int
) -> tuple[Values, Values]:
    """Return Fisher's test of many shares of two subsets, and what is left of it.

    Parameters
    ----------
    first, n_first
        Counts of one subset, shape (m,), and its instances.
    second, n_second
        The same of another one that shares no instance with it.

    Returns
    -------
    tuple
        p-values as :func:`difference_p_values`, and adjusted for their number as
        :func:`adjusted_p_values`, over those that can be below 0.05 at all; 1 for
        the others. [1]_

    Notes
    -----
    What a test can reach follows from the sum of both counts, which says nothing of
    their difference, so that leaving tests out by it keeps the rate. Tarone's and
    Gilbert's bounds fall with the number of tests, and find less here.

    References
    ----------
    .. [1] Tarone, "A modified Bonferroni method for discrete data", Biometrics 46,
       1990; for the false discovery rate: Gilbert, "A modified false discovery rate
       multiple-comparisons procedure for discrete data", Applied Statistics 54, 2005.

    Examples
    --------
    >>> p, adjusted = difference_tests([9, 1], 10, [1, 0], 10)
    >>> p.round(4).tolist(), adjusted.round(4).tolist()
    ([0.0006, 0.5], [0.0006, 1.0])
    """
    a, b = _floats(first), _floats(second)
    p_values = difference_p_values(a, n_first, b, n_second)
    adjusted = np.ones_like(p_values)
    chosen = least_p_values(a + b, n_first, n_second) <= RATE
    adjusted[chosen] = adjusted_p_values(p_values[chosen])
    return p_values, adjusted


def least_p_values(both: ArrayLike, n_first: int, n_second: int) -> Values:
    """Return the smallest p-value that counts with these sums can have.

    Parameters
    ----------
    both
        Counts of two subsets together, shape (m,).
    n_first, n_second
        Their instances.

    Returns
    -------
    ndarray
        Shape (m,), of :func:`difference_p_values` where one subset has all it can have.
    """
    k = _floats(both)
    if not n_first or not n_second:
        return np.ones_like(k)
    ends = np.maximum(0, k - n_second), np.minimum(n_first, k)
    n, total = _floats(n_first), _floats(n_first + n_second)
    low, high = (_probabilities(end, total, k, n) for end in ends)
    return np.asarray(np.clip(np.minimum(low, high), 0.0, 1.0))


def mean_difference_p_values(
    means: ArrayLike, variances: ArrayLike, sizes: tuple[int, int]
) -> Values:
    """Return Welch's test of two means, two-sided. [1]_.

    Parameters
    ----------
    means, variances
        Of the two subsets, shape (2, n); population variances.
    sizes
        Instances of the two, which share none.

    Returns
    -------
    ndarray
        Shape (n,); 1 where a subset has fewer than two instances, or nothing varies.

    References
    ----------
    .. [1] Welch, "The generalization of Student's problem when several different
       population variances are involved", Biometrika 34, 1947.
    """
    (a, b), (va, vb) = _floats(means), _floats(variances)
    n, m = sizes
    if n < 2 or m < 2:
        return np.ones_like(a)
    ea, eb = va / (n - 1), vb / (m - 1)
    error = ea + eb
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = error**2 / (ea**2 / (n - 1) + eb**2 / (m - 1))
        p = 2 * special.stdtr(freedom, -np.abs(a - b) / np.sqrt(error))
    return np.where(error > 0, np.clip(p, 0.0, 1.0), 1.0)


def score_difference_p_values(
    difference: ArrayLike, error: ArrayLike, freedom: int
) -> Values:
    """Return Student's test of differences whose errors were estimated, two-sided.

    Parameters
    ----------
    difference, error
        Of each score, and its standard error, shape (n,).
    freedom
        Degrees of freedom of the errors.

    Returns
    -------
    ndarray
        Shape (n,); NaN where the error is 0.
    """
    d, e = _floats(difference), _floats(error)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(freedom, -np.abs(d) / e)
    return np.where(e > 0, p, np.nan)


def adjusted_p_values(p_values: Values) -> Values:
    """Return p-values adjusted for their number, as Benjamini and Hochberg do. [1]_.

    Parameters
    ----------
    p_values
        Shape (n,).

    Returns
    -------
    ndarray
        Shape (n,): if all below q are called different, at most a fraction q of these
        calls is expected to be wrong.

    References
    ----------
    .. [1] Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57(1),
       1995.

    Examples
    --------
    >>> adjusted_p_values(np.array([0.01, 0.04, 0.5])).round(3).tolist()
    [0.03, 0.06, 0.5]
    """
    from scipy import stats  # noqa: PLC0415  as above

    return np.asarray(stats.false_discovery_control(p_values, method="bh"))


def familywise_p_values(p_values: ArrayLike) -> Values:
    """Return p-values of which even one below 0.05 is unlikely by chance. [1]_.

    Stricter than :func:`adjusted_p_values`, which lets a share of what is found be
    chance.

    Parameters
    ----------
    p_values
        Of each test, shape (m,).

    Returns
    -------
    ndarray
        Adjusted, shape (m,), at most 1.

    References
    ----------
    .. [1] Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6(2), 1979.

    Examples
    --------
    >>> familywise_p_values([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _floats(p_values)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def _floats(values: ArrayLike) -> Values:
    return np.asarray(values, dtype=np.float64)
