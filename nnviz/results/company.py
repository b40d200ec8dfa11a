"""Which sets of instances look alike inside? By the cosine of mean activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.subset_index import subset_index
from nnviz.store.store import Store
from nnviz.subsets.lookup import SubsetFinder

__all__ = ["most_similar", "saved_means"]

MOST_SAVED = 20
"""Saved subsets of which means are taken, the latest: each takes a moment."""


def most_similar(
    own: NDArray[np.float64],
    means: NDArray[np.float64],
    names: Sequence[str],
    n: int,
) -> list[tuple[str, float]]:
    """Return the sets whose means are most similar to one's own.

    Parameters
    ----------
    own
        Mean activations, shape (C,).
    means
        Of the others, shape (S, C).
    names
        Of the others.
    n
        Number of sets.

    Returns
    -------
    list
        (name, cosine of the two means), most similar first; sets without instances
        are left out.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = means @ own
        cosine /= np.linalg.norm(means, axis=1) * np.linalg.norm(own)
    order = np.argsort(-np.nan_to_num(cosine, nan=-2.0), kind="stable")[:n]
    return [(names[i], float(cosine[i])) for i in order if cosine[i] == cosine[i]]


def saved_means(
    store: Store, finder: SubsetFinder, layer: str, *, but: str
) -> tuple[NDArray[np.float64], list[str]]:
    """Return mean activations of the saved subsets, the latest of many.

    Parameters
    ----------
    store
        With a complete extraction.
    finder
        Of its subsets.
    layer
        Name of a shown layer.
    but
        Name of a subset that is left out.

    Returns
    -------
    tuple
        Means, shape (S, C), NaN without instances; and names.
    """
    names = [name for name in finder.saved() if name != but][-MOST_SAVED:]
    index = subset_index(store)
    means = [
        index.moments(finder.find(name).instances, maxima=False)[layer].mean
        for name in names
    ]
    n_channels = store.layer(layer).n_channels
    return np.stack(means) if means else np.zeros((0, n_channels)), names
