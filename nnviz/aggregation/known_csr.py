"""How is a sparse matrix made of arrays that are known to be one?

SciPy looks at every array that it is given. Of small matrices that is most of what they
cost, and a graph of few instances has a thousand of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["known_csr", "plain_arrays", "stacked_rows"]

CACHED_SHAPES = 4096


def known_csr(
    data: NDArray[Any],
    indices: NDArray[np.integer],
    pointers: NDArray[np.integer],
    shape: tuple[int, int],
) -> sparse.csr_array:
    """Return a sparse matrix of its arrays, which are neither looked at nor copied.

    Parameters
    ----------
    data
        Values, shape (arc,).
    indices
        Their columns, shape (arc,), in int32 if the shape and the number of values
        allow it, which is how SciPy has them.
    pointers
        Where each row begins, and the end, shape (rows + 1,), of the same dtype.
    shape
        Of the matrix.

    Examples
    --------
    >>> place = np.array([1, 0], dtype=np.int32)
    >>> bounds = np.array([0, 1, 2], dtype=np.int32)
    >>> known_csr(np.array([7, 9]), place, bounds, (2, 2)).toarray()
    array([[0, 7],
           [9, 0]])
    """
    # A copy of an empty one, without what Python's copy looks at.
    matrix = object.__new__(sparse.csr_array)
    matrix.__dict__.update(_empty(shape).__dict__)
    arrays: Any = data, indices, pointers
    matrix.data, matrix.indices, matrix.indptr = arrays
    return matrix


def stacked_rows(
    rows: Sequence[tuple[NDArray[Any], NDArray[np.integer]]], n_columns: int
) -> sparse.csr_array:
    """Return a sparse matrix of the values and the columns of each of its rows.

    Parameters
    ----------
    rows
        Of each row its values, shape (n,), of one dtype, none of them 0, and their
        columns, ascending, each once.
    n_columns
        Fewer than 2 ** 31, as all values together.

    Examples
    --------
    >>> one, other = np.array([7]), np.array([5, 9])
    >>> found = stacked_rows([(one, np.array([2])), (other, np.array([0, 1]))], 3)
    >>> found.toarray()
    array([[0, 0, 7],
           [5, 9, 0]])
    """
    data, columns = map(np.concatenate, zip(*rows, strict=True))
    bounds = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(values) for values, _ in rows], out=bounds[1:])
    shape = len(rows), n_columns
    return known_csr(data, columns.astype(np.int32, copy=False), bounds, shape)


def plain_arrays(
    matrix: sparse.csr_array, values: np.dtype[Any], places: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.integer], NDArray[np.integer]]:
    """Return the arrays of a matrix as compiled loops take them.

    In memory that can be written, and of the dtypes that are asked for: for any other
    array a loop would be compiled once more.

    Parameters
    ----------
    matrix
        Shape (J, I).
    values, places
        Dtypes of values and of columns.

    Returns
    -------
    tuple of ndarray
        Where each row begins, shape (J + 1,), columns and values, shape (arc,). Leave
        them as they are: they are those of the matrix, where these are plain.
    """
    return (
        _plain(matrix.indptr, places),
        _plain(matrix.indices, places),
        _plain(matrix.data, values),
    )


def _plain(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if array.dtype == dtype and array.flags.writeable:
        return array
    return np.array(array, dtype=dtype)


@functools.lru_cache(CACHED_SHAPES)
def _empty(shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array(shape)
