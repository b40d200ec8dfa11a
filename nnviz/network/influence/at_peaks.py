"""What does each source contribute where the target is strongest?

The contributions at one position, over all sources and edges, plus the bias add up to
the target's pre-activation there: nothing is lost and nothing counted twice. Sources
are ranked by the size of what they contribute, and keep its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.network.influence.channel_operations import Identity, convolution_of
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.layout import flat, gather_patches, position_tables
from nnviz.network.influence.on_device import contributions_at

__all__ = ["peak_contributions", "rank_peaks"]

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]


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
    bytes_each = sum(24 * _n_read(edge) for edge in inputs)
    at_once = max(1, workspace // bytes_each)
    for first in range(0, len(result.instance), at_once):
        part = slice(first, first + at_once)
        columns = [_column(edge, result, part, positions) for edge in inputs]
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


def _column(
    edge: EdgeInput, result: Strongest, part: slice, positions: Indices
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contributions of one edge, (pairs, sources), and the sources' numbers.

    Where the edge does not enter a target, contributions are 0 and numbers -1.
    """
    if edge.x.device.type != "cpu":
        return contributions_at(edge, result, part, positions)
    output = edge.outputs_of(result.target[part])
    entered = output >= 0
    values, channels = peak_contributions(
        edge, result.instance[part], output.clip(min=0), positions[part]
    )
    numbers = np.where(entered[:, None], edge.source_numbers[channels], -1)
    values[~entered] = 0.0
    return torch.from_numpy(values), torch.from_numpy(numbers)


def _bias(edge: EdgeInput, target: Indices) -> NDArray[np.float64]:
    """Return what an edge adds to each target beside its contributions."""
    output = edge.outputs_of(target)
    if edge.operation.bias is None:
        return np.zeros(len(target))
    bias = edge.operation.bias.detach().double().cpu().numpy()
    return np.where(output >= 0, bias[output.clip(min=0)], 0.0)


def _keep(
    values: torch.Tensor,
    sources: torch.Tensor,
    bias: NDArray[np.float64] | int,
    result: Strongest,
    part: slice,
) -> None:
    total = values.double().sum(1)
    n_ranks = min(result.source.shape[1], values.shape[1])
    if values.device.type == "cpu":
        shape = len(values), n_ranks
        largest, numbers = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
        _rank_rows(values.numpy(), sources.numpy(), largest, numbers)
        ranked, sources = torch.from_numpy(largest), torch.from_numpy(numbers)
    else:
        ranked, sources = _sorted_rows(values, sources, n_ranks)
    result.influence[part, :n_ranks] = ranked.cpu().numpy()
    result.source[part, :n_ranks] = sources.cpu().numpy()
    assert result.remainder is not None  # whoever ranks peaks makes room for it
    rest = total - ranked.double().sum(1)
    result.remainder[part] = rest.cpu().numpy() + bias


def _sorted_rows(
    values: torch.Tensor, sources: torch.Tensor, n_ranks: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of each row by size, and their sources; -1 for a 0."""
    ranked = torch.where(sources >= 0, values, 0.0)
    # Two stable sorts: by number, then by size, so that ties keep the lower number.
    sources, order = sources.sort(dim=1, stable=True)
    ranked = ranked.gather(1, order)
    order = ranked.abs().argsort(dim=1, stable=True, descending=True)[:, :n_ranks]
    ranked, sources = ranked.gather(1, order), sources.gather(1, order)
    return ranked, torch.where(ranked != 0, sources, -1)


@numba.njit(nogil=True, cache=True)
def _rank_rows(values: Any, sources: Any, ranked: Any, numbers: Any) -> None:
    # Few are kept of many: a row is read once, and only what is larger than the last
    # of those kept is put in its place. `ranked` comes as 0 and `numbers` as -1.
    n_ranks = ranked.shape[1]
    sizes = np.empty(n_ranks, np.float32)
    for m in range(len(values)):
        sizes[:] = 0.0
        last = np.float32(0.0)
        for i in range(values.shape[1]):
            value = values[m, i]
            size = np.float32(np.inf) if value != value else abs(value)
            if size < last or size == 0.0 or sources[m, i] < 0:
                continue
            rank = n_ranks
            while rank and (
                sizes[rank - 1] < size
                or (sizes[rank - 1] == size and numbers[m, rank - 1] > sources[m, i])
            ):
                rank -= 1
            if rank == n_ranks:
                continue
            for other in range(n_ranks - 1, rank, -1):
                sizes[other] = sizes[other - 1]
                ranked[m, other] = ranked[m, other - 1]
                numbers[m, other] = numbers[m, other - 1]
            sizes[rank] = size
            ranked[m, rank] = value
            numbers[m, rank] = sources[m, i]
            last = sizes[n_ranks - 1]


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
