"""How is a sparse matrix stored? As AnnData does, so that other tools open it.

A group with the attributes ``encoding-type: csr_matrix``, ``encoding-version: 0.1.0``
and ``shape``, and the arrays ``data``, ``indices`` and ``indptr``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.errors import StoreFormatError
from nnviz.store.hierarchy import Hierarchy

__all__ = ["read_csr", "write_csr"]

ENCODING = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0"}


def write_csr(
    hierarchy: Hierarchy,
    path: str,
    matrix: sparse.csr_array,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Write a sparse matrix as a group, with sorted indices and without duplicates.

    Parameters
    ----------
    hierarchy
        Opened for writing.
    path
        Path of the group.
    matrix
        Shape (rows, columns), any dtype.
    attributes
        Further attributes of the group.
    """
    matrix = sparse.csr_array(matrix, copy=True)
    matrix.sum_duplicates()
    shape = [int(extent) for extent in matrix.shape]
    hierarchy.create_group(path, {**ENCODING, "shape": shape, **(attributes or {})})
    hierarchy.write_dense(f"{path}/data", matrix.data, dimensions=("entry",))
    for name in ("indices", "indptr"):
        values = np.asarray(getattr(matrix, name), dtype=np.int64)
        axis = "entry" if name == "indices" else "row + 1"
        hierarchy.write_dense(f"{path}/{name}", values, dimensions=(axis,))


def read_csr(
    hierarchy: Hierarchy, path: str, rows: slice = slice(None)
) -> sparse.csr_array:
    """Read a sparse matrix that :func:`write_csr`, or AnnData, wrote.

    Parameters
    ----------
    hierarchy
        Opened.
    path
        Path of the group.
    rows
        Neighbouring rows; of the others only the places in ``indptr`` are read.

    Raises
    ------
    StoreFormatError
        If the group is not a CSR matrix, or a part of it is missing or damaged.
    """
    attributes = hierarchy.attributes(path)
    if attributes.get("encoding-type") != "csr_matrix":
        msg = f"{path!r} in {hierarchy.url!r} is not a CSR matrix: {attributes}"
        raise StoreFormatError(msg)
    n_rows, n_columns = _shape(hierarchy, path, attributes.get("shape"))
    first, last, _ = rows.indices(n_rows)
    last = max(first, last)
    indptr = _read(hierarchy, f"{path}/indptr", first, last + 1)
    n_entries = hierarchy.shape(f"{path}/indices")
    # SciPy's own code trusts these numbers: wrong ones would read foreign memory.
    if (
        hierarchy.shape(f"{path}/data") != n_entries
        or len(indptr) != last + 1 - first
        or indptr[0] < 0
        or indptr[-1] > n_entries[0]
        or (np.diff(indptr) < 0).any()
    ):
        raise _not_csr(hierarchy, path, "'indptr' does not fit 'data' and 'indices'")
    data, indices = (
        _read(hierarchy, f"{path}/{name}", int(indptr[0]), int(indptr[-1]))
        for name in ("data", "indices")
    )
    if len(indices) and (indices.min() < 0 or indices.max() >= n_columns):
        reason = f"'indices' leave the {n_columns:,} columns of its 'shape'"
        raise _not_csr(hierarchy, path, reason)
    parts = (data, indices, indptr - indptr[0])
    return sparse.csr_array(parts, shape=(last - first, n_columns))


def _shape(hierarchy: Hierarchy, path: str, value: Any) -> tuple[int, int]:
    """Return rows and columns, if the arrays can have that many."""
    is_pair = isinstance(value, list) and len(value) == 2
    if not is_pair or not all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        raise _not_csr(hierarchy, path, f"its 'shape' is {str(value)[:80]}")
    n_places = hierarchy.shape(f"{path}/indptr")
    if n_places != (value[0] + 1,):
        reason = f"its 'shape' is {value}, and 'indptr' has {n_places} values"
        raise _not_csr(hierarchy, path, reason)
    return value[0], value[1]


def _not_csr(hierarchy: Hierarchy, path: str, reason: str) -> StoreFormatError:
    msg = f"the CSR matrix {path!r} in {hierarchy.url!r} is damaged: {reason}"
    return StoreFormatError(f"{msg}; 'nnviz verify {hierarchy.url}' looks for more")


def _read(hierarchy: Hierarchy, path: str, start: int, stop: int) -> NDArray[Any]:
    hierarchy.check_pieces(path, start, stop)
    return hierarchy.read(path, start, stop)
