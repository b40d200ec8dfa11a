"""What is known of a mean from a sample? Means, errors, and intervals, per subset.

Samples of different sizes are rows of one array, filled up with NaN.

Symbols: S subsets, n instances of a sample.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = ["LEVEL", "draw_deviation", "half_width", "mean_of", "standard_error"]

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
    return float(error * stdtrit(n - 1, (1 + LEVEL) / 2))
