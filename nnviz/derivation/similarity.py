"""Which subsets look alike inside the network? Cosines of their counts.

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["cosine_similarity", "nearest_subsets"]


def cosine_similarity(counts: sparse.csr_array) -> NDArray[np.float32]:
    """Return the cosine between the activation counts of every two subsets.

    Parameters
    ----------
    counts
        Activation counts of one layer, shape (S, C).

    Returns
    -------
    ndarray
        Shape (S, S), float32 in [0, 1]; symmetric, exactly 1 on the diagonal; NaN in
        the row and the column of a subset without counts.

    Notes
    -----
    The measure of the paper [1]_; the published page compares the indices of channels
    instead of their counts.

    References
    ----------
    .. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, section 7.2.

    Examples
    --------
    >>> counts = sparse.csr_array([[3, 4, 0], [6, 8, 0], [0, 0, 5], [0, 0, 0]])
    >>> cosine_similarity(counts)
    array([[ 1.,  1.,  0., nan],
           [ 1.,  1.,  0., nan],
           [ 0.,  0.,  1., nan],
           [nan, nan, nan, nan]], dtype=float32)
    """
    rows = counts.astype(np.float64)
    # Counts are integers below 2^26, so that these products are exact in any order.
    products = (rows @ rows.T).toarray()
    squares = np.diagonal(products)
    norms = np.sqrt(np.outer(squares, squares))
    is_defined = norms > 0
    cosines = products / np.where(is_defined, norms, 1)
    cosines = np.where(is_defined, np.clip(cosines, 0, 1), np.nan)
    return cosines.astype(np.float32)


def nearest_subsets(similarity: NDArray[np.float32], row: int) -> NDArray[np.int64]:
    """Return all subsets by their similarity to one, most similar first.

    Parameters
    ----------
    similarity
        Shape (S, S).
    row
        The subset to compare with; it comes first itself.

    Returns
    -------
    ndarray
        Rows, shape (S,); equals by their row, those without counts last.

    Examples
    --------
    >>> nearest_subsets(np.array([[1.0, 0.2, np.nan, 0.9]] * 4, np.float32), 0)
    array([0, 3, 1, 2])
    """
    keys = -np.nan_to_num(similarity[row].astype(np.float64), nan=-1.0)
    keys[row] = -np.inf
    return np.argsort(keys, kind="stable").astype(np.int64)
