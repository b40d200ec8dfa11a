"""What do the outputs of a classifier say: how sure it is, and how far off?

Outputs are logits, whose softmax are the probabilities of the classes. A network that
ends in a softmax gives the probabilities themselves; their logarithms are logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_probabilities", "as_logits", "outcomes", "softmax"]

ROUNDING = 2e-3
"""How far the probabilities of an instance may be from a sum of 1."""

SMALLEST = np.finfo(np.float32).tiny
"""A probability that is stored as 0 is at most this."""


def are_probabilities(outputs: NDArray[np.float32] | None) -> bool:
    """Whether outputs are probabilities: from 0 to 1, with a sum of 1, each time.

    Parameters
    ----------
    outputs
        Of a batch, shape (instance, class); None if the network is no classifier.

    Examples
    --------
    >>> are_probabilities(np.array([[0.25, 0.75], [1.0, 0.0]], np.float32))
    True
    >>> are_probabilities(np.array([[0.25, 0.75], [1.0, 0.5]], np.float32))
    False
    """
    if outputs is None or outputs.shape[1] < 2:
        return False
    rows = outputs[np.isfinite(outputs).all(axis=1)].astype(np.float64)
    is_inside = bool(((rows >= 0) & (rows <= 1)).all())
    return (
        bool(len(rows))
        and is_inside
        and bool((np.abs(rows.sum(axis=1) - 1) < ROUNDING).all())
    )


def as_logits(
    outputs: NDArray[np.floating], *, gives_probabilities: bool
) -> NDArray[np.float64]:
    """Return logits, shape (instance, class): logarithms, if outputs are probabilities.

    Parameters
    ----------
    outputs
        Shape (instance, class).
    gives_probabilities
        Whether they are the probabilities of the classes.
    """
    values = outputs.astype(np.float64)
    return np.log(np.maximum(values, SMALLEST)) if gives_probabilities else values


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return softmax probabilities, shape (instance, class)."""
    shifted: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def outcomes(
    logits: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int32],
) -> dict[str, NDArray[np.float64]]:
    """Return how sure the network is, and how far off, each of shape (instance,).

    Parameters
    ----------
    logits
        Shape (instance, class), for two classes or more.
    probabilities
        Their softmax.
    labels
        True class; -1 where there is none.

    Returns
    -------
    dict
        ``margin``, ``entropy``, ``loss`` and ``rank``.
    """
    row, has_label = np.arange(len(labels)), labels >= 0
    n_outputs = logits.shape[1]
    second = np.partition(probabilities, n_outputs - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = probabilities * np.log(probabilities)
    largest = logits.max(axis=1)
    # Not the logarithm of the probability, which may have become zero.
    total = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    own = logits[row, labels]
    before = np.arange(n_outputs) < labels[:, None]
    is_above = (logits > own[:, None]) | ((logits == own[:, None]) & before)
    return {
        "margin": second[:, -1] - second[:, -2],
        "entropy": -np.nansum(terms, axis=1),
        "loss": np.where(has_label, total - own, np.nan),
        "rank": np.where(has_label, is_above.sum(axis=1) + 1, -1),
    }
