"""Which classes are alike, by their means, and how much of it can a map show?

Symbols: S classes, C channels of a layer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Alike",
    "alike_order",
    "kept_neighbours",
    "mean_similarity",
    "telling_measure",
]

Alike = Literal["top", "mean"]
"""Alike are classes with the same top channels, or with similar mean activations."""

TELLING = (0.1, 0.9)
"""Where half of all pairs are less, or more, alike, a measure tells little."""


def mean_similarity(
    means: NDArray[np.float64], n_instances: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine between the mean activations of every two classes.

    The mean of all instances is subtracted before: activations are positive for the
    most part, so that all classes would be alike.

    Parameters
    ----------
    means
        Mean activations of a layer, shape (S, C); NaN for a class without instances.
    n_instances
        Number of instances of each class, shape (S,).

    Returns
    -------
    ndarray
        Shape (S, S), float32 in [-1, 1], 1 on the diagonal; NaN in the row and column
        of a class without instances, or that is exactly like the mean of all.

    Examples
    --------
    >>> mean_similarity(np.array([[5.0, 1], [5, 3]]), np.array([10, 10]))
    array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    is_there = n_instances > 0
    rows = np.where(is_there[:, np.newaxis], means, 0)
    overall = n_instances @ rows / max(1, int(n_instances.sum()))
    rows = np.where(is_there[:, np.newaxis], rows - overall, 0)
    norms = np.linalg.norm(rows, axis=1)
    # What only rounding has left of a difference has no direction.
    largest = float(np.abs(means[is_there]).max(initial=0))
    is_defined = is_there & (norms > 1e-9 * largest)
    unit = np.where(is_defined[:, np.newaxis], rows, np.nan)
    unit = (unit / np.where(is_defined, norms, 1)[:, np.newaxis]).astype(np.float32)
    cosines = np.clip(unit @ unit.T, -1, 1)
    cosines[np.diag_indices(len(cosines))] = np.where(is_defined, 1, np.nan)
    return np.asarray(cosines, dtype=np.float32)


def telling_measure(similarity: NDArray[np.float32]) -> Alike:
    """Return by what classes can be told apart: ``top`` unless it says next to nothing.

    Parameters
    ----------
    similarity
        Cosines of the counts of the top channels, shape (S, S).
    """
    pairs = similarity[np.triu_indices(len(similarity), 1)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        return "top"
    low, high = TELLING
    return "top" if low <= float(np.median(pairs)) <= high else "mean"


def alike_order(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return an order in which classes that are alike are neighbours.

    Average linkage of ``1 - similarity``; of all orders that its tree allows, the one
    in which neighbours are most alike.

    Parameters
    ----------
    similarity
        Cosines, symmetric, shape (S, S), NaN of a class without instances.

    Returns
    -------
    ndarray
        A permutation of the classes, int64, shape (S,); those without any similarity
        come last.
    """
    from scipy.cluster import hierarchy  # noqa: PLC0415  few visitors ask for it
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    is_known = np.isfinite(np.diagonal(similarity))
    known, rest = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    if len(known) < 3:
        return np.concatenate([known, rest])
    alike = similarity[np.ix_(known, known)].astype(np.float64)
    distance = np.clip(1.0 - (alike + alike.T) / 2, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(
        squareform(distance, checks=False), method="average", optimal_ordering=True
    )
    leaves = hierarchy.leaves_list(tree).astype(np.int64)
    return np.concatenate([known[leaves], rest])


def kept_neighbours(
    places: NDArray[np.float32], similarity: NDArray[np.float32], n: int
) -> float:
    """Return which share of the classes' most similar ones a map puts nearest.

    Parameters
    ----------
    places
        Of each class on the map, shape (S, 2); NaN for none.
    similarity
        Shape (S, S).
    n
        So many of each class's most similar ones are looked for among the n nearest.

    Returns
    -------
    float
        Between 0 and 1; NaN where there are no more than n other classes.
    """
    known = np.flatnonzero(
        np.isfinite(places).all(axis=1) & np.isfinite(np.diagonal(similarity))
    )
    if len(known) <= n + 1:
        return float("nan")
    x = places[known].astype(np.float64)
    squares = (x**2).sum(axis=1)
    near = 2 * x @ x.T - squares[:, np.newaxis] - squares
    alike = similarity[np.ix_(known, known)].astype(np.float64)
    for values in (near, alike):
        values[np.diag_indices(len(known))] = -np.inf
    nearest, most_alike = (
        np.argpartition(-values, n - 1, axis=1)[:, :n] for values in (near, alike)
    )
    kept = [
        len(np.intersect1d(*pair)) for pair in zip(nearest, most_alike, strict=True)
    ]
    return float(np.mean(kept)) / n
