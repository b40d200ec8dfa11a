"""Which channels of two networks correspond? By what the same instances excite.

Symbols: N instances, C channels of a layer in the first network, D in the second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError
from nnviz.graphs.full_graph import FullGraph

__all__ = ["match_channels", "permuted_graph"]


def match_channels(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match the channels of one layer in two networks, one to one.

    Parameters
    ----------
    first
        Activations in the first network, shape (N, C).
    second
        Vectors of the same instances in the second network, shape (N, D).

    Returns
    -------
    tuple
        For each channel of the first, the channel of the second (int64, shape (C,), -1
        where there are more than D), and the correlation of the two (NaN there). The
        sum of the correlations is the largest that is possible; channels that are
        constant correlate with nothing.

    Raises
    ------
    ShapeError
        If the activations are not of the same number of instances.

    Examples
    --------
    >>> values = np.array([[1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
    >>> match_channels(values, values[:, ::-1])[0]
    array([1, 0])
    """
    if len(first) != len(second):
        msg = (
            f"activations of {len(first):,} and {len(second):,} instances cannot be "
            "matched; take the same instances in both networks"
        )
        raise ShapeError(msg)
    # Slow to import, and graphs of one network do not need it.
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    correlation = _standardized(first).T @ _standardized(second)
    rows, columns = linear_sum_assignment(correlation, maximize=True)
    matched = np.full(first.shape[1], -1, dtype=np.int64)
    matched[rows] = columns
    strength = np.full(first.shape[1], np.nan)
    strength[rows] = correlation[rows, columns]
    return matched, strength


def permuted_graph(
    graph: FullGraph, channels: dict[str, NDArray[np.int64]]
) -> FullGraph:
    """Renumber the channels of a network as those of another one.

    Parameters
    ----------
    graph
        A full graph of the second network.
    channels
        For each layer, the channel of the second network at each channel of the first
        (:func:`match_channels`), shape (C,), each once; layers without stay.

    Returns
    -------
    FullGraph
        The same graph in the first network's numbers, to be compared with its graphs.
    """
    order = {
        name: channels.get(name, np.arange(len(counts)))
        for name, counts in zip(graph.layers, graph.counts, strict=True)
    }
    counts = tuple(
        values[order[name]]
        for name, values in zip(graph.layers, graph.counts, strict=True)
    )
    arcs = {
        (target, source): matrix[order[target]][:, order[source]]
        for (target, source), matrix in graph.arcs.items()
    }
    return FullGraph(graph.layers, counts, arcs, graph.n_instances)


def _standardized(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns with mean 0 and length 1; constant columns are 0."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0)
    standardized: NDArray[np.float64] = centred / np.where(length > 0, length, np.inf)
    return standardized
