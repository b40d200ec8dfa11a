"""How sure are counts, shares, lifts and means? Intervals that hold for small subsets.

Symbols: k of n instances in the subset, K of N instances in all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "LEVEL",
    "difference_interval",
    "draw_deviation",
    "effect_sizes",
    "exact_interval",
    "half_width",
    "lift_interval",
    "mean_effect_sizes",
    "mean_of",
    "standard_error",
    "wilson_interval",
]

Values = NDArray[np.float64]


def wilson_interval(
    count: ArrayLike, n_instances: ArrayLike, level: float = 0.95
) -> tuple[Values, Values]:
    """Return Wilson's score interval of a share. [1]_.

    Parameters
    ----------
    count
        k, any shape.
    n_instances
        n, of a shape that fits.
    level
        Probability that the interval covers the share, about.

    Returns
    -------
    tuple
        Lower and upper ends in [0, 1]; (0, 1) where n is 0.

    References
    ----------
    .. [1] Wilson, "Probable inference", JASA 22, 1927.

    Examples
    --------
    >>> low, high = wilson_interval(0, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.0, 0.278)
    """
    k, n = np.broadcast_arrays(_floats(count), _floats(n_instances))
    z = float(special.ndtri(0.5 + level / 2))
    size = np.where(n > 0, n, 1.0)
    share, spread = k / size, z**2 / size
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    low = np.where((n > 0) & (k > 0), np.maximum(centre - half, 0.0), 0.0)
    high = np.where((n > 0) & (k < n), np.minimum(centre + half, 1.0), 1.0)
    return low, high


def exact_interval(
    count: ArrayLike, n_instances: ArrayLike, level: float = 0.95
) -> tuple[Values, Values]:
    """Return Clopper and Pearson's interval of a share: it covers for any n. [1]_.

    Parameters
    ----------
    count
        k, any shape.
    n_instances
        n, of a shape that fits.
    level
        Probability that the interval covers the share, at least.

    Returns
    -------
    tuple
        Lower and upper ends in [0, 1]; (0, 1) where n is 0.

    References
    ----------
    .. [1] Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika
       26(4), 1934.

    Examples
    --------
    >>> low, high = exact_interval(3, 3)
    >>> round(float(low), 3), round(float(high), 3)
    (0.292, 1.0)
    """
    k, n = np.broadcast_arrays(_floats(count), _floats(n_instances))
    tail = (1 - level) / 2
    low = special.betaincinv(np.maximum(k, 1), n - k + 1, tail)
    high = special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail)
    return np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)


def lift_interval(
    count: ArrayLike,
    n_instances: ArrayLike,
    base_rate: ArrayLike,
    level: float = 0.95,
) -> tuple[Values, Values]:
    """Return the exact interval of a lift.

    Parameters
    ----------
    count
        k, any shape.
    n_instances
        n, of a shape that fits.
    base_rate
        K / N, of a shape that fits. It is taken as known: it was counted over all
        instances, of which the subset is a part.
    level
        Probability that the interval covers the lift, at least.

    Returns
    -------
    tuple
        Lower and upper ends; NaN where the base rate is 0 or unknown.
    """
    low, high = exact_interval(count, n_instances, level)
    base = _floats(base_rate)
    divisor = np.where(base > 0, base, np.nan)
    return low / divisor, high / divisor


def effect_sizes(
    first: ArrayLike, n_first: ArrayLike, second: ArrayLike, n_second: ArrayLike
) -> Values:
    """Return Cohen's h of two shares: the difference of their arcsines. [1]_.

    Returns
    -------
    ndarray
        In [-pi, pi], positive where the first share is larger; 0.2 is called small, 0.5
        medium, 0.8 large. NaN where a subset is empty.

    References
    ----------
    .. [1] Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988,
       section 6.2.

    Examples
    --------
    >>> round(float(effect_sizes(10, 10, 0, 10)), 4)
    3.1416
    """
    return _angle(first, n_first) - _angle(second, n_second)


def difference_interval(
    first: ArrayLike,
    n_first: ArrayLike,
    second: ArrayLike,
    n_second: ArrayLike,
    level: float = 0.95,
) -> tuple[Values, Values]:
    """Return Newcombe's interval of the difference of two shares [1]_.

    Parameters
    ----------
    first, n_first
        Count and instances of one subset.
    second, n_second
        The same of another one that shares no instance with it.
    level
        Probability that the interval covers the first share less the second, about.

    Returns
    -------
    tuple
        Lower and upper ends in [-1, 1]; (-1, 1) where a subset is empty.

    References
    ----------
    .. [1] Newcombe, "Interval estimation for the difference between independent
       proportions", Statistics in Medicine 17, 1998, method 10.

    Examples
    --------
    >>> low, high = difference_interval(56, 70, 48, 80)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0524, 0.3339)
    """
    a, n = _floats(first), _floats(n_first)
    b, m = _floats(second), _floats(n_second)
    p, q = a / np.where(n > 0, n, 1), b / np.where(m > 0, m, 1)
    (low_p, high_p), (low_q, high_q) = (
        wilson_interval(a, n, level),
        wilson_interval(b, m, level),
    )
    low = p - q - np.hypot(p - low_p, high_q - q)
    high = p - q + np.hypot(high_p - p, q - low_q)
    is_known = (n > 0) & (m > 0)
    return np.where(is_known, low, -1.0), np.where(is_known, high, 1.0)


def mean_effect_sizes(
    means: ArrayLike, variances: ArrayLike, sizes: tuple[int, int]
) -> Values:
    """Return Cohen's d of two means: their difference in pooled deviations. [1]_.

    Parameters
    ----------
    means, variances
        Of the two subsets, shape (2, n); population variances.
    sizes
        Instances of the two.

    Returns
    -------
    ndarray
        Shape (n,), positive where the first mean is larger; 0 where the means are
        equal, NaN where a subset is empty or nothing varies but the means differ.

    References
    ----------
    .. [1] Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988,
       section 2.2.

    Examples
    --------
    >>> mean_effect_sizes([[3.0], [1.0]], [[4.0], [4.0]], (100, 100)).round(2).tolist()
    [0.99]
    """
    (a, b), (va, vb) = _floats(means), _floats(variances)
    n, m = sizes
    difference = a - b
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.sqrt((n * va + m * vb) / max(1, n + m - 2))
        found = np.where(difference == 0, 0.0, difference / pooled)
    return np.where(np.isfinite(found), found, np.nan)


def _angle(count: ArrayLike, n_instances: ArrayLike) -> Values:
    n = _floats(n_instances)
    share = _floats(count) / np.where(n > 0, n, np.nan)
    angle: Values = 2 * np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0)))
    return angle


def _floats(values: ArrayLike) -> Values:
    return np.asarray(values, dtype=np.float64)


LEVEL = 0.95
"""Of all intervals."""


def mean_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is not NaN; NaN where all is.

    Examples
    --------
    >>> mean_of(np.array([[1.0, 2.0, np.nan], [np.nan] * 3]))
    array([1.5, nan])
    """
    n = (~np.isnan(values)).sum(axis=-1)
    mean: NDArray[np.float64] = np.nansum(values, axis=-1) / np.where(n > 0, n, np.nan)
    return mean


def standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the mean over the last axis; NaN for one value."""
    n = (~np.isnan(values)).sum(axis=-1)
    squares = np.nansum((values - mean_of(values)[..., None]) ** 2, axis=-1)
    error: NDArray[np.float64] = np.sqrt(squares / np.where(n > 1, n * (n - 1), np.nan))
    return error


def draw_deviation(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation between draws, (S, draw) to (S,); 0 for one."""
    if means.shape[1] < 2:
        return np.zeros(len(means))
    deviation: NDArray[np.float64] = means.std(axis=1, ddof=1)
    return deviation


def half_width(
    means: NDArray[np.float64],
    errors: NDArray[np.float64],
    n_instances: NDArray[np.int64],
) -> float:
    """Return half the 95 % interval (Student's t) of the mean over subsets.

    Parameters
    ----------
    means, errors
        Mean of each subset, and its standard error over instances, shape (S,).
    n_instances
        Sizes of the samples, shape (S,).

    Returns
    -------
    float
        Over subsets; where only one has instances, over its instances. NaN where there
        is one value or none.
    """
    (rows,) = np.nonzero(n_instances)
    n = len(rows) if len(rows) != 1 else int(n_instances[rows[0]])
    if n < 2:
        return math.nan
    error = standard_error(means) if len(rows) > 1 else errors[rows[0]]
    return float(error * special.stdtrit(n - 1, (1 + LEVEL) / 2))
