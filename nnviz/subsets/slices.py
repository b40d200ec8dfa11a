"""In which slices of the data does a network err most? A pruned search.

A slice is a conjunction of features (``camera = night and top(late, 5)``). Its score
rewards a mean error above that of all instances, and size [1]_:

    score = a (mean error of the slice / mean error - 1) - (1 - a) (N / size - 1)   (1)

Single features come first. A pair is looked at only if a bound from its parts, on size
and summed error, allows it to beat what has been found. Features are sparse columns, so
that top channels of all layers may be among them.

Symbols: N instances, F features.

References
----------
.. [1] Sagadeeva and Boehm, "SliceLine: fast, linear-algebra-based slice finding for ML
   model debugging", SIGMOD 2021, sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import ShapeError

__all__ = ["Slice", "features_of", "find_slices"]

SIZE_WEIGHT = 0.95
"""a in eq. (1), as its authors recommend."""

MAX_PAIRED = 200
"""Features of which pairs are made, those with the largest bounds."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slice:
    """A conjunction of features, and how badly it does."""

    features: tuple[int, ...]
    """Columns, ascending."""
    size: int
    error: float
    """Sum of the errors of its instances."""
    score: float
    """Eq. (1)."""


def features_of(
    members_of: Sequence[NDArray[np.int64]], n_instances: int
) -> sparse.csc_array:
    """Return the features that sets of instances have, bool, shape (N, F).

    Parameters
    ----------
    members_of
        Numbers of the instances with each feature, ascending; one set at least.
    n_instances
        N.
    """
    ends = np.cumsum([0, *map(len, members_of)])
    ones = np.ones(ends[-1], dtype=np.bool_)
    shape = (n_instances, len(members_of))
    return sparse.csc_array((ones, np.concatenate(members_of), ends), shape=shape)


def find_slices(
    features: sparse.csc_array,
    errors: Values,
    *,
    column_of: NDArray[np.int64],
    min_size: int,
    n_slices: int,
) -> list[Slice]:
    """Return the slices with the largest scores, best first.

    Parameters
    ----------
    features
        Which instance has which feature; bool, shape (N, F).
    errors
        Of each instance, in [0, 1], shape (N,); 1 for a wrong prediction.
    column_of
        Of which column each feature is a value, shape (F,): two values of one column
        are never combined.
    min_size
        Smallest number of instances of a slice.
    n_slices
        Return at most this number; only slices with a positive score.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    n, n_features = features.shape
    if errors.shape != (n,) or column_of.shape != (n_features,):
        msg = (
            f"features have the shape {features.shape}, errors {errors.shape} and "
            f"columns {column_of.shape}; expected (N, F), (N,) and (F,)"
        )
        raise ShapeError(msg)
    if not n or not errors.any():
        return []
    matrix = sparse.csc_array(features).astype(np.float64)
    sizes = np.diff(matrix.indptr).astype(np.float64)
    sums = matrix.T @ errors
    scores = _scores(sizes, sums, n, errors.mean())
    scores[sizes < min_size] = -np.inf
    found = _best(scores, n_slices)
    slices = [Slice((int(f),), int(sizes[f]), sums[f], scores[f]) for f in found]
    worst = slices[-1].score if len(slices) == n_slices else 0.0
    bounds = _bounds(sizes, sums, n, errors.mean(), min_size)
    alive = np.flatnonzero((sizes >= min_size) & (bounds > max(worst, 0.0)))
    alive = alive[np.argsort(-bounds[alive], kind="stable")[:MAX_PAIRED]]
    slices += _pairs(matrix, errors, np.sort(alive), column_of, min_size, n_slices)
    return sorted(slices, key=lambda one: (-one.score, one.features))[:n_slices]


def _pairs(
    matrix: sparse.csc_array,
    errors: Values,
    alive: NDArray[np.int64],
    column_of: NDArray[np.int64],
    min_size: int,
    n_slices: int,
) -> list[Slice]:
    """Return the best pairs of features that may still be combined."""
    chosen = matrix[:, alive]
    sizes = np.asarray((chosen.T @ chosen).todense())
    weighted = sparse.diags_array(errors) @ chosen
    sums = np.asarray((chosen.T @ weighted).todense())
    scores = _scores(sizes, sums, len(errors), errors.mean())
    scores[sizes < min_size] = -np.inf
    # A pair that is one of its parts says nothing new.
    alone = np.diag(sizes)
    scores[(sizes == alone[:, None]) | (sizes == alone)] = -np.inf
    scores[column_of[alive][:, None] == column_of[alive]] = -np.inf
    scores[np.tril_indices(len(alive))] = -np.inf
    best = np.unravel_index(_best(scores.ravel(), n_slices), scores.shape)
    return [
        Slice(
            (int(alive[i]), int(alive[j])), int(sizes[i, j]), sums[i, j], scores[i, j]
        )
        for i, j in zip(*best, strict=True)
    ]


def _scores(sizes: Values, sums: Values, n: int, mean_error: float) -> Values:
    """Return eq. (1); minus infinity for what has no instance."""
    filled = np.maximum(sizes, 1.0)
    scores = SIZE_WEIGHT * (sums / filled / mean_error - 1)
    scores -= (1 - SIZE_WEIGHT) * (n / filled - 1)
    return np.where(sizes > 0, scores, -np.inf)


def _bounds(
    sizes: Values, sums: Values, n: int, mean_error: float, min_size: int
) -> Values:
    """Return the largest score that any part of a slice can have (section 3.1).

    With errors of at most 1, a part of size s has at most the error min(sum, s). The
    score is monotone in s on both sides of s = sum, so its largest value is at an end.
    """
    ends = (np.clip(sums, min_size, np.maximum(sizes, min_size)), sizes)
    candidates = [_scores(size, np.minimum(sums, size), n, mean_error) for size in ends]
    return np.maximum(*candidates)


def _best(scores: Values, n: int) -> NDArray[np.intp]:
    """Return where the largest positive scores are, the largest first."""
    order = np.argsort(-scores, kind="stable")[:n]
    return order[scores[order] > 0]
