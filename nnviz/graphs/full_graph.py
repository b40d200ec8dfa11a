"""What does every channel rest on, in one subset? The full graph, before any cut.

1. A subset's row of the influence counts is cut into one matrix for each pair of layers
   (:func:`influence_matrices`).
2. Layers that are not wanted as nodes are composed away by the widest path: an arc
   counts as much as the narrowest hop of the best way (:func:`composed`).

Rows of all matrices are targets, columns are sources. Symbols: J targets, B channels of
an inner layer, I sources, V nodes: the channels of all layers, one after another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.known_csr import known_csr, plain_arrays
from nnviz.errors import ShapeError

__all__ = [
    "EnteringEdge",
    "FullGraph",
    "arcs_into",
    "composed",
    "influence_matrices",
    "row_sums",
    "truncated_to_direct_degree",
    "widest_product",
]

Matrices = Mapping[tuple[str, str], sparse.csr_array]
"""A matrix for each pair (target layer, source layer)."""


@dataclass(frozen=True, slots=True)
class EnteringEdge:
    """What of a target layer's sources belongs to one edge."""

    source: str
    n_channels: int
    """Channels of the source layer."""


@dataclass(frozen=True, slots=True, eq=False)
class FullGraph:
    """Every channel of every layer of one subset, and all arcs between them."""

    layers: tuple[str, ...]
    """Names in order of computation."""
    counts: tuple[NDArray[np.int64], ...]
    """Activation counts of each layer, shape (channel,)."""
    arcs: Matrices
    """Influence counts (or sums) of each pair of layers (target, source)."""
    n_instances: int
    """Usable instances of the subset."""

    def __post_init__(self) -> None:
        sizes = {
            name: len(counts)
            for name, counts in zip(self.layers, self.counts, strict=True)
        }
        for (target, source), matrix in self.arcs.items():
            wanted = sizes.get(target), sizes.get(source)
            if matrix.shape != wanted:
                msg = (
                    f"the arcs from {source!r} to {target!r} have shape "
                    f"{matrix.shape}; the layers have {wanted} channels"
                )
                raise ShapeError(msg)

    @property
    def offsets(self) -> dict[str, int]:
        """Number of the first node of each layer."""
        sizes = [0, *(len(counts) for counts in self.counts)]
        return dict(zip(self.layers, np.cumsum(sizes)[:-1].tolist(), strict=True))

    @property
    def n_nodes(self) -> int:
        """Channels of all layers."""
        return sum(len(counts) for counts in self.counts)

    def span(self, layer: str) -> slice:
        """Return where the nodes of a layer are."""
        start = self.offsets[layer]
        return slice(start, start + len(self.counts[self.layers.index(layer)]))

    @property
    def spans(self) -> dict[str, slice]:
        """Where the nodes of each layer are."""
        offsets = self.offsets
        return {
            name: slice(offsets[name], offsets[name] + len(counts))
            for name, counts in zip(self.layers, self.counts, strict=True)
        }

    def sources_of(self, target: str) -> list[str]:
        """Return the layers that a layer's arcs come from, in order of computation."""
        return [layer for layer in self.layers if (target, layer) in self.arcs]


def influence_matrices(
    indices: NDArray[np.integer],
    values: NDArray[np.integer | np.floating],
    edges: Sequence[EnteringEdge],
    n_targets: int,
) -> dict[str, sparse.csr_array]:
    """Cut one subset's influences on a layer into a matrix for each source layer.

    Parameters
    ----------
    indices
        Places ``target * n_sources + source`` as the store numbers them, ascending,
        shape (arc,); sources are numbered over all entering edges in plan order.
    values
        Counts or sums there, shape (arc,). The matrix of an only edge shares them.
    edges
        The entering edges in plan order.
    n_targets
        Channels of the target layer.

    Returns
    -------
    dict
        By source layer, in the order of the edges: matrices of shape (J, I). Where two
        edges lead from one channel to the same target, the larger value.

    Examples
    --------
    >>> edges = [EnteringEdge("a", 2), EnteringEdge("b", 1)]
    >>> found = influence_matrices(np.array([1, 5]), np.array([7, 9]), edges, 2)
    >>> {name: matrix.toarray().tolist() for name, matrix in found.items()}
    {'a': [[0, 7], [0, 0]], 'b': [[0], [9]]}
    """
    n_sources = sum(edge.n_channels for edge in edges)
    # They ascend and none is there twice: nothing has to be sorted or added.
    if len(edges) == 1:
        starts = np.arange(n_targets + 1) * n_sources
        bounds = np.searchsorted(indices, starts)
        columns = (indices % max(1, n_sources)).astype(np.int32)
        shape = n_targets, n_sources
        only = known_csr(values, columns, bounds.astype(np.int32), shape)
        return {edges[0].source: only}
    targets, sources = np.divmod(np.asarray(indices, dtype=np.int64), max(1, n_sources))
    matrices: dict[str, sparse.csr_array] = {}
    start = 0
    for edge in edges:
        stop = start + edge.n_channels
        is_here = (sources >= start) & (sources < stop)
        bounds = np.searchsorted(targets[is_here], np.arange(n_targets + 1))
        columns = (sources[is_here] - start).astype(np.int32)
        shape = n_targets, edge.n_channels
        matrix = known_csr(values[is_here], columns, bounds.astype(np.int32), shape)
        before = matrices.get(edge.source)
        matrices[edge.source] = _wider(before, matrix)
        start = stop
    return matrices


def widest_product(
    outer: sparse.csr_array, inner: sparse.csr_array
) -> sparse.csr_array:
    """Return the width of the widest path over an inner layer.

    Parameters
    ----------
    outer
        From the inner layer to the targets, shape (J, B), not negative.
    inner
        From the sources to the inner layer, shape (B, I), not negative.

    Returns
    -------
    csr_array
        Shape (J, I): the maximum over b of ``min(outer[j, b], inner[b, i])``.

    References
    ----------
    .. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, section 6.2, which names the
       minimum; the maximum over b is in its published notebook attribution-graph.

    Examples
    --------
    >>> outer = sparse.csr_array([[5, 2]])
    >>> inner = sparse.csr_array([[1, 9, 0], [4, 3, 2]])
    >>> widest_product(outer, inner).toarray()
    array([[2, 5, 2]])
    """
    # Compiled code takes a second to load, and stored graphs need none.
    from nnviz.graphs.graph_kernels import widest_ways  # noqa: PLC0415

    values = np.result_type(outer.dtype, inner.dtype)
    places = np.result_type(outer.indices.dtype, inner.indices.dtype)
    shape = outer.shape[0], inner.shape[1]
    bounds, columns, widths = widest_ways(
        *plain_arrays(outer, values, places),
        *plain_arrays(inner, values, places),
        shape[1],
    )
    return known_csr(widths, columns, bounds, shape)


def row_sums(matrix: sparse.csr_array) -> NDArray[np.float64]:
    """Return the sum of each row, shape (J,), added from left to right."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    sums = np.bincount(rows, matrix.data, minlength=matrix.shape[0])
    return np.asarray(sums, dtype=np.float64)


def arcs_into(
    matrix: sparse.csr_array, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return the arcs into some targets, one target after the other.

    Parameters
    ----------
    matrix
        Shape (J, I).
    rows
        Which targets, shape (R,).

    Returns
    -------
    tuple of ndarray
        Of each arc the place of its target in ``rows``, its source and its value.

    Examples
    --------
    >>> matrix = sparse.csr_array([[0, 7], [5, 0], [1, 2]])
    >>> for column in arcs_into(matrix, np.array([2, 0])):
    ...     print(column)
    [0 0 1]
    [0 1 1]
    [1 2 7]
    """
    starts = matrix.indptr[rows].astype(np.int64)
    n_arcs = matrix.indptr[rows + 1] - starts
    ends = np.cumsum(n_arcs)
    row = np.repeat(np.arange(len(rows)), n_arcs)
    place = np.arange(len(row)) + np.repeat(starts - (ends - n_arcs), n_arcs)
    return row, matrix.indices[place].astype(np.int64), matrix.data[place]


def composed(
    matrices: Matrices,
    layers: Sequence[str],
    kept: Collection[str],
    *,
    truncated: bool = False,
) -> dict[tuple[str, str], sparse.csr_array]:
    """Compose away all layers but some; arcs lead from kept layers to kept layers.

    Parameters
    ----------
    matrices
        Influence matrices of all layers.
    layers
        All layers in order of computation.
    kept
        Those that stay. Arcs that come from a layer that does not stay, and into which
        no arc leads, are lost: they rest on nothing that is shown.
    truncated
        Whether composed arcs are cut to the degree of the direct ones, as in SUMMIT
        (:func:`truncated_to_direct_degree`).

    Returns
    -------
    dict
        Matrices without stored zeros, by (target layer, source layer). Of several ways
        from one channel to another the widest counts.

    Notes
    -----
    Where layers repeat (a target that is computed before its source), the arcs of that
    pair stay if both layers stay, and are lost if one of them is composed away.
    """
    place = {name: index for index, name in enumerate(layers)}
    into: dict[str, dict[str, sparse.csr_array]] = {}
    for target in layers:
        direct: dict[str, sparse.csr_array] = {}
        over_inner: dict[str, sparse.csr_array] = {}
        for (to, source), matrix in matrices.items():
            if to != target:
                continue
            if source in kept:
                direct[source] = matrix
            elif place[source] < place[target]:
                for origin, inner in into[source].items():
                    way = widest_product(matrix, inner)
                    over_inner[origin] = _wider(over_inner.get(origin), way)
        if truncated:
            over_inner = {
                source: truncated_to_direct_degree(way, list(direct.values()))
                for source, way in over_inner.items()
            }
        for source, way in over_inner.items():
            direct[source] = _wider(direct.get(source), way)
        into[target] = direct
    return {
        (target, source): matrix
        for target in layers
        if target in kept
        for source, matrix in into[target].items()
        if matrix.nnz
    }


def truncated_to_direct_degree(
    way: sparse.csr_array, direct: Sequence[sparse.csr_array]
) -> sparse.csr_array:
    """Keep of each target's composed arcs as many as direct targets have on average.

    Parameters
    ----------
    way
        Composed arcs, shape (J, I).
    direct
        Direct arcs into the same targets, each of shape (J, any).

    Returns
    -------
    csr_array
        Shape (J, I). Rows with direct arcs are left as they are, and all rows where no
        target has any.

    Notes
    -----
    SUMMIT cuts channels behind a bottleneck to the floor of the mean number of sources
    of the channels without one [1]_. There every channel has sources; here channels
    that are nowhere a top channel have none, and do not count in the mean. Equal counts
    go to the lower channel; in the original, to the order of its dictionaries.

    References
    ----------
    .. [1] Summit's published notebook attribution-graph, ``gen_full_graph``.
    """
    degrees = np.zeros(way.shape[0], dtype=np.int64)
    for matrix in direct:
        degrees += np.diff(matrix.indptr)
    is_direct = degrees > 0
    if not is_direct.any():
        return way
    limit = int(degrees[is_direct].mean())
    keep = np.ones(way.nnz, dtype=np.bool_)
    for row in np.flatnonzero(~is_direct):
        part = slice(way.indptr[row], way.indptr[row + 1])
        order = np.lexsort((way.indices[part], -way.data[part]))
        keep[part.start + order[limit:]] = False
    rows = np.repeat(np.arange(way.shape[0]), np.diff(way.indptr))
    entries = way.data[keep], (rows[keep], way.indices[keep])
    return sparse.csr_array(entries, shape=way.shape)


def _wider(
    first: sparse.csr_array | None, second: sparse.csr_array
) -> sparse.csr_array:
    """Return the larger value of each arc that one of two matrices has."""
    if first is None:
        return second
    n_columns = first.shape[1]
    key = np.concatenate([_places(first), _places(second)])
    order = np.argsort(key, kind="stable")  # finds and merges what ascends
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    data = np.concatenate([first.data, second.data])[order]
    widest = np.maximum.reduceat(data, starts) if len(starts) else data
    row, column = np.divmod(key[starts], max(1, n_columns))
    bounds = np.searchsorted(row, np.arange(first.shape[0] + 1)).astype(np.int32)
    return known_csr(widest, column.astype(np.int32), bounds, first.shape)


def _places(matrix: sparse.csr_array) -> NDArray[np.int64]:
    """Return ``row * I + column`` of each arc, ascending."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices
