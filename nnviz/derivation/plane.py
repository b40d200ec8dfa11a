"""Where do points of many dimensions lie in the plane, and how is it turned?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["classical_scaling", "turned"]


def classical_scaling(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two leading coordinates of points, shape (S, 2).

    Parameters
    ----------
    vectors
        Shape (S, C).
    """
    coordinates = np.zeros((len(vectors), 2))
    if len(vectors) < 2:
        return coordinates
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred @ centred.T)
    leading = np.argsort(-values, kind="stable")[:2]
    coordinates[:, : len(leading)] = axes[:, leading] * np.sqrt(
        np.maximum(values[leading], 0)
    )
    # An axis has no sign of its own: its largest coordinate is made positive.
    largest = np.argmax(np.abs(coordinates), axis=0)
    coordinates *= np.where(coordinates[largest, [0, 1]] < 0, -1, 1)
    return coordinates


def turned(
    coordinates: NDArray[np.float64], before: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Turn, mirror and move points onto others (orthogonal Procrustes).

    Parameters
    ----------
    coordinates
        Shape (S, 2).
    before
        Shape (S, 2); NaN for points that are not there. None leaves them as they are.
    """
    if before is None:
        return coordinates
    known = np.isfinite(before).all(axis=1)
    if not known.any():
        return coordinates
    # Slow to import, beside what the page's other views need.
    from scipy.linalg import orthogonal_procrustes  # noqa: PLC0415

    centre, goal = coordinates[known].mean(axis=0), before[known].mean(axis=0)
    turn, _ = orthogonal_procrustes(coordinates[known] - centre, before[known] - goal)
    moved: NDArray[np.float64] = (coordinates - centre) @ turn + goal
    return moved
