"""What does each source contribute where the target is strongest?

The contributions at one position, over all sources and edges, plus the bias add up to
the target's pre-activation there: nothing is lost and nothing counted twice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnviz.network.influence.channel_operations import (
    Convolution,
    Identity,
    convolution_of,
)
from nnviz.network.influence.inputs import EdgeInput, Extremum, Strongest
from nnviz.network.influence.layout import flat, gather_patches, position_tables, vector
from nnviz.network.influence.ranking import rank_rows

__all__ = ["peak_contributions", "rank_peaks"]

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


def rank_peaks(
    edge: EdgeInput,
    output: Indices,
    row: Indices,
    positions: Indices,
    extremum: Extremum,
    result: Strongest,
    workspace: int,
) -> None:
    """Rank one edge's contributions at the peaks of the pairs that it enters.

    Parameters
    ----------
    output, row
        For each pair that the edge enters: output channel of the operation, and row of
        `result`.
    positions
        The peak of every pair of `result`, flat.
    """
    taps = (
        math.prod(edge.operation.kernel)
        if isinstance(edge.operation, Convolution)
        else 1
    )
    at_once = max(1, workspace // (12 * taps * edge.x.shape[1]))
    for first in range(0, len(row), at_once):
        part = slice(first, first + at_once)
        rows = row[part]
        contributions, channels = peak_contributions(
            edge, result.instance[rows], output[part], positions[rows]
        )
        if extremum == "min":
            contributions = -contributions
        sources = edge.source_numbers[channels]
        rank_rows(
            contributions,
            sources,
            rows,
            vector(contributions.shape[1]),
            result.influence,
            result.source,
        )


def peak_contributions(
    edge: EdgeInput, instance: Indices, output: Indices, position: Indices
) -> tuple[Floats, Indices]:
    """Contribution of every source at one position of each pair.

    Parameters
    ----------
    edge
        The operation and its input.
    instance, output, position
        For each pair: index into the batch, output channel of the operation, flat
        index of the position in its output; shape (pairs,).

    Returns
    -------
    contributions
        Shape (pairs, sources of a group).
    channels
        The channels of `edge.x` that they belong to, the same shape.
    """
    if isinstance(edge.operation, Identity):
        values = edge.x.flatten(2) if edge.x.ndim > 2 else edge.x[..., None]
        found = values[instance, output, position].float().numpy()
        found = found * edge.operation.factors(edge.x.shape[1])[output]
        return found[:, None], output[:, None]
    convolution, axes = convolution_of(edge.operation, edge.x.shape[2:])
    weight = convolution.arrays.by_tap
    n_taps, n_group = weight.shape[1:]
    group = output // (convolution.n_targets // convolution.groups)
    channels = group[:, None] * n_group + np.arange(n_group)
    x, strides = flat(edge.x)
    patches = np.empty((len(instance), n_taps, n_group), np.float32)
    first = np.ascontiguousarray(channels[:, 0])
    tables = position_tables(axes, position)
    gather_patches(x, strides, instance, first, tables, patches)
    return np.einsum("mti,mti->mi", patches, weight[output]), channels
