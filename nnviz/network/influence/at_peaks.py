"""What does each source contribute where the target is strongest?

The contributions at one position, over all sources and edges, plus the bias add up to
the target's pre-activation there: nothing is lost and nothing counted twice. Sources
are ranked by the size of what they contribute, and keep its sign.

On a CPU one compiled pass reads what a position reads, where the network left it, and
keeps the strongest: a few hundred products for each pair, and nothing of their size in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.compiling import compiled
from nnviz.network.influence.channel_operations import Axis, Identity, convolution_of
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.memory_layout import Strides, flat
from nnviz.network.influence.on_device import contributions_at
from nnviz.network.influence.vectors import address, advance

__all__ = ["rank_peaks", "rank_peaks_on_device"]

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Totals = NDArray[np.float64]
Sources = NDArray[np.int32]
Tables = tuple[Indices, Indices, Indices]


def rank_peaks(
    inputs: Sequence[EdgeInput],
    result: Strongest,
    positions: Indices,
    workspace: int,
) -> None:
    """Fill a result with the strongest contributions at the pairs' peaks.

    Parameters
    ----------
    inputs
        The operations that enter the target layer, on one device.
    result
        Its remainder is filled, too.
    positions
        The peak of every pair of `result`, flat.
    workspace
        Bytes that may be used beside inputs and result.
    """
    assert result.remainder is not None  # whoever ranks peaks makes room for it
    if inputs[0].x.device.type == "cpu":
        totals = np.zeros(len(result.target))
        for edge in inputs:
            _rank_edge(edge, result, positions, totals)
            totals += _bias(edge, result.target)
        result.remainder[:] = totals - result.influence.sum(1, dtype=np.float64)
    else:
        rank_peaks_on_device(inputs, result, positions, workspace)


def rank_peaks_on_device(
    inputs: Sequence[EdgeInput],
    result: Strongest,
    positions: Indices,
    workspace: int,
) -> None:
    """Do what :func:`rank_peaks` does by operations of torch, on any device."""
    bytes_each = sum(24 * _n_read(edge) for edge in inputs)
    at_once = max(1, workspace // bytes_each)
    for first in range(0, len(result.instance), at_once):
        part = slice(first, first + at_once)
        columns = [contributions_at(edge, result, part, positions) for edge in inputs]
        _keep(
            torch.cat([values for values, _ in columns], 1),
            torch.cat([numbers for _, numbers in columns], 1),
            sum(_bias(edge, result.target[part]) for edge in inputs),
            result,
            part,
        )


def _n_read(edge: EdgeInput) -> int:
    """Elements that one position of the target reads."""
    if isinstance(edge.operation, Identity):
        return 1
    convolution, _ = convolution_of(edge.operation, edge.x.shape[2:])
    return int(np.prod(convolution.kernel)) * edge.x.shape[1]


def _bias(edge: EdgeInput, target: Indices) -> Totals:
    """Return what an edge adds to each target beside its contributions."""
    if edge.operation.bias is None:
        return np.zeros(len(target))
    output = edge.outputs_of(target)
    bias = edge.operation.bias.detach().double().cpu().numpy()
    return np.where(output >= 0, bias[output.clip(min=0)], 0.0)


def _keep(
    values: torch.Tensor,
    sources: torch.Tensor,
    bias: Totals | int,
    result: Strongest,
    part: slice,
) -> None:
    """Keep the strongest of contributions that are tensors."""
    total = values.double().sum(1)
    ranked = torch.where(sources >= 0, values, 0.0)
    # Two stable sorts: by number, then by size, so that ties keep the lower number.
    sources, order = sources.sort(dim=1, stable=True)
    ranked = ranked.gather(1, order)
    order = ranked.abs().argsort(dim=1, stable=True, descending=True)
    order = order[:, : result.source.shape[1]]
    ranked, sources = ranked.gather(1, order), sources.gather(1, order)
    n_ranks = ranked.shape[1]
    result.influence[part, :n_ranks] = ranked.cpu().numpy()
    result.source[part, :n_ranks] = torch.where(ranked != 0, sources, -1).cpu().numpy()
    assert result.remainder is not None
    rest = total - ranked.double().sum(1)
    result.remainder[part] = rest.cpu().numpy() + bias


def _rank_edge(
    edge: EdgeInput, result: Strongest, positions: Indices, totals: Totals
) -> None:
    """Insert one edge's contributions into the ranks, and add them to the totals."""
    pairs = result.instance, edge.outputs_of(result.target), positions
    kept = edge.source_numbers, result.influence, result.source, totals
    x, strides = flat(edge.x)
    if isinstance(edge.operation, Identity):
        shape = (1, 1, 1, *edge.x.shape[2:])[-3:]
        factors = edge.operation.factors(edge.x.shape[1])
        rank_single(x, strides, pairs, shape[1:], factors, *kept)
        return
    convolution, axes = convolution_of(edge.operation, edge.x.shape[2:])
    weight = convolution.arrays.by_tap
    products = np.empty(weight.shape[2], np.float32)
    outputs_of_group = convolution.n_targets // convolution.groups
    tables = _read_by_outputs(axes)
    rank_read(x, strides, pairs, tables, weight, outputs_of_group, products, *kept)


@lru_cache(maxsize=512)
def _read_by_outputs(axes: tuple[Axis, ...]) -> Tables:
    """Return which elements the outputs along each of three axes read, -1 for a zero.

    Each table has shape (outputs, taps along the axis).
    """
    nothing = np.zeros((1, 1), np.int64)
    tables = [np.ascontiguousarray(axis.evaluated, np.int64) for axis in axes]
    z, y, x = [nothing] * (3 - len(axes)) + tables
    return z, y, x


@compiled
def insert_by_size(
    values: Floats, ranked: Sources, n_ranks: int, value: np.float32, source: np.int32
) -> None:
    """Put a value that is not 0 into its place in one row; ties: the lower source.

    `values` and `ranked` are pointers to the row.
    """
    size = abs(value)
    rank = n_ranks - 1
    last = abs(values[rank])
    if size < last or (size == last and source >= ranked[rank]):
        return
    while rank > 0 and (
        size > abs(values[rank - 1])
        or (size == abs(values[rank - 1]) and source < ranked[rank - 1])
    ):
        values[rank] = values[rank - 1]
        ranked[rank] = ranked[rank - 1]
        rank -= 1
    values[rank] = value
    ranked[rank] = source


@compiled
def rank_single(
    x: Floats,
    strides: Strides,
    pairs: tuple[Indices, Indices, Indices],
    shape: tuple[int, int],
    factors: Floats,
    sources: Sources,
    influence: Floats,
    source: Sources,
    totals: Totals,
) -> None:
    """Insert what each pair's one channel contributes, times its factor.

    `pairs` are instances, output channels (-1: the edge does not enter the target) and
    flat positions, shape (pairs,) each; `shape` has the extents of the last two axes of
    positions. `sources` has the number of each channel, -1 for no source. `influence`
    and `source` have shape (pairs, ranks), `totals` (pairs,).
    """
    instance, output, position = pairs
    n_y, n_x = shape
    n_ranks = influence.shape[1]
    for m in range(len(instance)):
        c = output[m]
        if c < 0:
            continue
        z = position[m] // (n_y * n_x)
        y = position[m] // n_x % n_y
        start = instance[m] * strides[0] + c * strides[1]
        start += z * strides[2] + y * strides[3] + position[m] % n_x * strides[4]
        value = x[start] * factors[c]
        totals[m] += value
        if sources[c] >= 0 and value != 0.0:
            insert_by_size(
                advance(address(influence), m * n_ranks),
                advance(address(source), m * n_ranks),
                n_ranks,
                value,
                sources[c],
            )


@compiled
def rank_read(
    x: Floats,
    strides: Strides,
    pairs: tuple[Indices, Indices, Indices],
    tables: Tables,
    weight: Floats,
    outputs_of_group: int,
    products: Floats,
    sources: Sources,
    influence: Floats,
    source: Sources,
    totals: Totals,
) -> None:
    """Insert what every source contributes at one position of each pair.

    `weight` has shape (outputs, taps, sources of a group), `tables` say what the
    outputs along an axis read, and `products` has room for a group. The others are as
    in `rank_single`.
    """
    instance, output, position = pairs
    n_taps, n_group = weight.shape[1:]
    n_y, n_x = len(tables[1]), len(tables[2])
    extents = tables[0].shape[1], tables[1].shape[1], tables[2].shape[1]
    n_ranks = influence.shape[1]
    found = address(products)
    for m in range(len(instance)):
        j = output[m]
        if j < 0:
            continue
        first = j // outputs_of_group * n_group
        own = advance(address(x), instance[m] * strides[0] + first * strides[1])
        at_z, at_y = position[m] // (n_y * n_x), position[m] // n_x % n_y
        at_x = position[m] % n_x
        for i in range(n_group):
            found[i] = np.float32(0.0)
        factors = advance(address(weight), (j * n_taps - 1) * n_group)
        for tap_z in range(extents[0]):
            for tap_y in range(extents[1]):
                for tap_x in range(extents[2]):
                    factors = advance(factors, n_group)
                    z, y = tables[0][at_z, tap_z], tables[1][at_y, tap_y]
                    p = tables[2][at_x, tap_x]
                    if z < 0 or y < 0 or p < 0:
                        continue
                    start = z * strides[2] + y * strides[3] + p * strides[4]
                    read = advance(own, start)
                    if strides[1] == 1:
                        for i in range(n_group):
                            found[i] += read[i] * factors[i]
                    else:
                        for i in range(n_group):
                            found[i] += read[i * strides[1]] * factors[i]
        total = 0.0
        values = advance(address(influence), m * n_ranks)
        numbers = advance(address(source), m * n_ranks)
        for i in range(n_group):
            total += found[i]
            number = sources[first + i]
            if number >= 0 and found[i] != 0.0:
                insert_by_size(values, numbers, n_ranks, found[i], number)
        totals[m] += total
