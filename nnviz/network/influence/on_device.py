"""Influences by torch operations alone: for GPUs, and to check the compiled kernels.

Patches are gathered by an index table, multiplied with all kernels of a channel in one
batched matrix product, and reduced to their maxima, a bounded number of bytes at a
time. It serves every kind of convolution and every device; on a CPU it is correct and
slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.network.influence.channel_operations import (
    Axis,
    Convolution,
    Identity,
    convolution_of,
)
from nnviz.network.influence.inputs import EdgeInput, Extremum, Strongest

__all__ = [
    "contributions_at",
    "full_influences",
    "peak_positions",
    "preactivations",
    "rank",
]

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]

VALUES_TOGETHER = 2**22
"""Weights and pre-activations of the instances that are looked at together: 16 MiB."""


def full_influences(
    edge: EdgeInput, *, extremum: Extremum = "max", workspace: int = 48 * 2**20
) -> torch.Tensor:
    """Influence of every source on every target of one edge.

    Returns
    -------
    Tensor
        Shape (n, output channels, sources of a group), float32, on the device of `x`;
        of an identity: (n, channels, 1).
    """
    x = edge.x.float()
    sign = 1.0 if extremum == "max" else -1.0
    closed = None if edge.counted is None else ~edge.counted
    if isinstance(edge.operation, Identity):
        values = x.flatten(2) if x.ndim > 2 else x[..., None]
        scale = torch.from_numpy(edge.operation.factors(x.shape[1])).to(x.device)
        products = sign * values * scale[:, None]
        if closed is not None:
            products = products.masked_fill(closed[:, None], -torch.inf)
        return sign * products.amax(2)[..., None]
    convolution, axes = convolution_of(edge.operation, x.shape[2:])
    weight = _grouped_weight(convolution).to(x.device) * sign
    n_channels, n_targets, n_taps = weight.shape
    n_positions = math.prod(axis.n_outputs for axis in axes)
    result = x.new_empty((len(x), n_channels, n_targets))
    # Patches and products of one channel of one instance are the least that is held.
    least = 4 * n_positions * (2 * n_taps + n_targets)
    at_once = max(1, workspace // least)
    for n, channels in _blocks(len(x), n_channels, at_once):
        patches = _patches(x[n, channels], axes)
        size = (patches.shape[1], n_taps, -1)
        products = weight[channels] @ patches.permute(1, 2, 0, 3).reshape(size)
        products = products.unflatten(2, (-1, n_positions))
        if closed is not None:
            products.masked_fill_(closed[n], -torch.inf)
        maxima = products.amax(3)
        result[n, channels] = maxima.permute(2, 0, 1)
    grouped = result.unflatten(1, (convolution.groups, -1))
    influences: torch.Tensor = sign * grouped.transpose(2, 3).flatten(1, 2)
    return influences


def _blocks(n: int, n_channels: int, at_once: int) -> Iterator[tuple[slice, slice]]:
    channels = min(n_channels, at_once)
    instances = max(1, at_once // channels)
    for first in range(0, n, instances):
        for low in range(0, n_channels, channels):
            yield slice(first, first + instances), slice(low, low + channels)


def _grouped_weight(convolution: Convolution) -> torch.Tensor:
    """Weight as (sources, targets of a group, taps)."""
    weight = convolution.direct_weight
    grouped = weight.unflatten(0, (convolution.groups, -1))
    by_source: torch.Tensor = grouped.transpose(1, 2).flatten(0, 1)
    return by_source


def _patches(x: torch.Tensor, axes: tuple[Axis, ...]) -> torch.Tensor:
    """Return what every tap reads at every position, (n, channels, taps, positions)."""
    table = _patch_table(axes, tuple(x.shape[2:])).to(x.device)
    values = x.flatten(2) if x.ndim > 2 else x[..., None]
    zero = values.new_zeros((*values.shape[:2], 1))
    return torch.cat([values, zero], 2)[:, :, table]


@lru_cache(maxsize=64)
def _patch_table(axes: tuple[Axis, ...], sizes: tuple[int, ...]) -> torch.Tensor:
    """Flat element of (tap, position); the one past the last is a zero."""
    table = np.zeros((1, 1), np.int64)
    zero = np.zeros((1, 1), bool)
    for axis, size in zip(axes, sizes, strict=True):
        read = axis.evaluated.T
        n_taps, n_outputs = table.shape[0] * axis.n_taps, table.shape[1] * len(read[0])
        own_zero = read < 0
        table = table[:, None, :, None] * size + read[None, :, None, :]
        zero = zero[:, None, :, None] | own_zero[None, :, None, :]
        table, zero = table.reshape(n_taps, n_outputs), zero.reshape(n_taps, n_outputs)
    table[zero] = math.prod(sizes)
    return torch.from_numpy(table)


@lru_cache(maxsize=64)
def _reads_each_once(axes: tuple[Axis, ...], sizes: tuple[int, ...]) -> bool:
    """Return whether every position reads its own element, as linear maps do."""
    table = _patch_table(axes, sizes)
    n = math.prod(sizes)
    return table.shape == (1, n) and torch.equal(table[0], torch.arange(n))


def rank(
    inputs: Sequence[EdgeInput],
    result: Strongest,
    extremum: Extremum,
    workspace: int,
) -> None:
    """Fill a result on the inputs' device.

    Values of ``"min"`` are left negated, as the compiled kernels leave them.
    """
    sign = 1.0 if extremum == "max" else -1.0
    n_sources = sum(edge.x.shape[1] for edge in inputs)
    n_targets = max(1, len(result.instance) // len(inputs[0].x))
    instances_at_once = max(1, workspace // (32 * n_sources * n_targets))
    bounds = range(0, len(inputs[0].x), instances_at_once)
    for first in bounds:
        last = min(first + instances_at_once, len(inputs[0].x))
        begin, end = np.searchsorted(result.instance, [first, last])
        part = slice(int(begin), int(end))
        if begin == end:
            continue
        columns = [
            _contributions(edge, result, part, None, extremum, workspace // 2)
            for edge in inputs
        ]
        values = torch.cat([column for column, _ in columns], 1) * sign
        sources = torch.cat([numbers for _, numbers in columns], 1)
        _keep_strongest(values, sources, result, part)


def contributions_at(
    edge: EdgeInput, result: Strongest, part: slice, positions: Indices
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contributions of one edge at one position of each of some pairs.

    Returns
    -------
    tuple
        Contributions and the sources' numbers, (pairs, sources) each; 0 and -1 where
        the edge does not enter a target.
    """
    return _contributions(edge, result, part, positions, "max", 0)


def _contributions(
    edge: EdgeInput,
    result: Strongest,
    part: slice,
    positions: Indices | None,
    extremum: Extremum,
    workspace: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contributions of one edge to pairs, and the numbers of the sources; both (p, i).

    Where the edge does not enter a target, the number is -1.
    """
    device = edge.x.device
    output = edge.outputs_of(result.target[part])
    entered = torch.from_numpy(output >= 0).to(device)
    channel = torch.from_numpy(output.clip(min=0)).to(device)
    first = int(result.instance[part][0])
    last = int(result.instance[part][-1]) + 1
    local = torch.from_numpy(result.instance[part] - first).to(device)
    counted = None if edge.counted is None else edge.counted[first:last]
    chunk = EdgeInput(edge.x[first:last], edge.operation, counted=counted)
    if positions is None:
        full = full_influences(chunk, extremum=extremum, workspace=workspace)
        values = full[local, channel]
    else:
        position = torch.from_numpy(positions[part]).to(device)
        values = _at_positions(chunk, local, channel, position)
    numbers = torch.from_numpy(edge.source_numbers).to(device)
    if isinstance(edge.operation, Identity):
        sources = numbers[channel][:, None]
    else:
        convolution, _ = convolution_of(edge.operation, edge.x.shape[2:])
        group = channel // (convolution.n_targets // convolution.groups)
        sources = numbers.unflatten(0, (convolution.groups, -1))[group]
    entered = entered[:, None]
    return torch.where(entered, values, 0.0), torch.where(entered, sources, -1)


def _at_positions(
    edge: EdgeInput,
    instance: torch.Tensor,
    output: torch.Tensor,
    position: torch.Tensor,
) -> torch.Tensor:
    x = edge.x.float()
    values = x.flatten(2) if x.ndim > 2 else x[..., None]
    if isinstance(edge.operation, Identity):
        scale = torch.from_numpy(edge.operation.factors(x.shape[1])).to(x.device)
        return (values[instance, output, position] * scale[output])[:, None]
    convolution, axes = convolution_of(edge.operation, x.shape[2:])
    table = _patch_table(axes, tuple(x.shape[2:])).to(x.device)
    padded = torch.cat([values, values.new_zeros((*values.shape[:2], 1))], 2)
    grouped = padded.unflatten(1, (convolution.groups, -1))
    group = output // (convolution.n_targets // convolution.groups)
    read = table[:, position].T[:, None]
    channels = torch.arange(grouped.shape[2], device=x.device)[None, :, None]
    patches = grouped[instance[:, None, None], group[:, None, None], channels, read]
    weight = convolution.direct_weight.to(x.device)[output]
    total: torch.Tensor = (patches * weight).sum(2)
    return total


def _keep_strongest(
    values: torch.Tensor, sources: torch.Tensor, result: Strongest, part: slice
) -> None:
    values = torch.where((sources >= 0) & (values > 0), values, 0.0)
    # Two stable sorts: by number, then by value, so that ties keep the lower number.
    sources, order = sources.sort(dim=1, stable=True)
    values = values.gather(1, order)
    values, order = values.sort(dim=1, stable=True, descending=True)
    sources = torch.where(values > 0, sources.gather(1, order), -1)
    n_ranks = min(result.source.shape[1], values.shape[1])
    result.influence[part, :n_ranks] = values[:, :n_ranks].cpu().numpy()
    result.source[part, :n_ranks] = sources[:, :n_ranks].cpu().numpy()


def preactivations(inputs: Sequence[EdgeInput], n: int) -> torch.Tensor:
    """Sum of all edges and biases for instance `n`, (targets, positions)."""
    targets = np.arange(1 + max(int(e.target_channels.max()) for e in inputs))
    return _sum_of_edges(inputs, n, [edge.outputs_of(targets) for edge in inputs])


def _sum_of_edges(
    inputs: Sequence[EdgeInput], n: int, outputs: Sequence[Indices]
) -> torch.Tensor:
    """Add up edges by what enters the targets of each; -1 where nothing does."""
    total: torch.Tensor | None = None
    for edge, output in zip(inputs, outputs, strict=True):
        entered = np.flatnonzero(output >= 0)
        x = edge.x[n : n + 1] if edge.make is None else edge.of(n, n + 1).x
        values = _forward(edge, x.float(), output[entered])
        if total is None:
            total = values.new_zeros((len(output), values.shape[1]))
        if len(entered) == len(output):
            total += values
        else:
            total.index_add_(0, torch.from_numpy(entered).to(values.device), values)
    assert total is not None
    return total


def _forward(edge: EdgeInput, x: torch.Tensor, output: Indices) -> torch.Tensor:
    """Return some output channels of an edge's operation, (outputs, positions)."""
    operation = edge.operation
    chosen = torch.from_numpy(output).to(x.device)
    if isinstance(operation, Identity):
        scale = torch.from_numpy(operation.factors(x.shape[1])).to(x.device)
        values = x.reshape(x.shape[1], -1)[chosen] * scale[chosen, None]
    else:
        convolution, axes = convolution_of(operation, x.shape[2:])
        if _reads_each_once(axes, tuple(x.shape[2:])):
            patches = x.reshape(x.shape[1], 1, -1)
        else:
            patches = _patches(x, axes)[0]
        grouped = patches.unflatten(0, (convolution.groups, -1)).flatten(1, 2)
        weight = convolution.direct_weight.to(x.device)
        weight = weight.unflatten(0, (convolution.groups, -1)).flatten(2)
        if convolution.groups == 1:
            values = weight[0, chosen] @ grouped[0]
        else:
            values = (weight @ grouped).flatten(0, 1)[chosen]
    if operation.bias is None:
        return values
    return values + operation.bias.detach().float().to(x.device)[chosen, None]


def peak_positions(
    inputs: Sequence[EdgeInput], instance: Indices, target: Indices
) -> Indices:
    """Where each pair's pre-activation attains its maximum; the first of equals.

    Only positions that count are looked at.

    Returns
    -------
    NDArray
        Flat index into the target's positions, shape (pairs,).
    """
    positions = np.empty(len(instance), np.int64)
    counted = next((e.counted for e in inputs if e.counted is not None), None)
    if not len(target):
        return positions
    if all(_reads_its_own_position(edge) for edge in inputs):
        return _peaks_together(inputs, instance, target, counted)
    outputs = [edge.outputs_of(target) for edge in inputs]
    for n in np.unique(instance):
        rows = np.flatnonzero(instance == n)
        total = _sum_of_edges(inputs, int(n), [output[rows] for output in outputs])
        if counted is not None:
            total = total.masked_fill(~counted[int(n)], -torch.inf)
        positions[rows] = total.cpu().numpy().argmax(1)
    return positions


def _reads_its_own_position(edge: EdgeInput) -> bool:
    """Return whether an edge is one matrix, or an identity, at each position."""
    if edge.make is not None:
        return False
    if isinstance(edge.operation, Identity):
        return True
    convolution, axes = convolution_of(edge.operation, edge.x.shape[2:])
    return convolution.groups == 1 and _reads_each_once(axes, tuple(edge.x.shape[2:]))


def _peaks_together(
    inputs: Sequence[EdgeInput],
    instance: Indices,
    target: Indices,
    counted: torch.Tensor | None,
) -> Indices:
    """Do what :func:`peak_positions` does with many instances in one product.

    One by one, calls of a few targets each take longer than what they compute.
    """
    positions = np.empty(len(instance), np.int64)
    order = np.argsort(instance, kind="stable")
    names, first, number = np.unique(
        instance[order], return_index=True, return_counts=True
    )
    # A row of pairs for each instance; where it has fewer, its last one again.
    place = np.minimum(np.arange(number.max()), number[:, None] - 1)
    pairs = order[first[:, None] + place]
    width = sum(edge.x.shape[1] for edge in inputs) + math.prod(inputs[0].x.shape[2:])
    at_once = max(1, VALUES_TOGETHER // (width * pairs.shape[1]))
    for begin in range(0, len(names), at_once):
        some, mine = names[begin : begin + at_once], pairs[begin : begin + at_once]
        total = sum(_together(edge, some, target[mine]) for edge in inputs)
        assert isinstance(total, torch.Tensor)  # there is an edge
        if counted is not None:
            open_ = counted[torch.from_numpy(some).to(counted.device)]
            total = total.masked_fill(~open_[:, None], -torch.inf)
        positions[mine] = total.cpu().numpy().argmax(2)
    return positions


def _together(edge: EdgeInput, instances: Indices, target: Indices) -> torch.Tensor:
    """Return what an edge adds to targets of several instances, (N, target, position).

    `target` has shape (N, target).
    """
    device, operation = edge.x.device, edge.operation
    first, last = int(instances[0]), int(instances[-1]) + 1
    is_range = last - first == len(instances)
    x = edge.x[first:last] if is_range else edge.x[torch.from_numpy(instances)]
    x = x.float().flatten(2) if x.ndim > 2 else x.float()[..., None]
    output = edge.outputs_of(target.ravel()).reshape(target.shape)
    chosen = torch.from_numpy(output.clip(min=0)).to(device)
    if isinstance(operation, Identity):
        scale = torch.from_numpy(operation.factors(x.shape[1])).to(device)
        values = x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))
        values = values * scale[chosen][..., None]
    else:
        convolution, _ = convolution_of(operation, edge.x.shape[2:])
        weight = convolution.direct_weight.to(device).flatten(1)
        values = torch.bmm(weight[chosen], x)
    if operation.bias is not None:
        bias = operation.bias.detach().float().to(device)
        values = values + bias[chosen][..., None]
    entered = torch.from_numpy(output >= 0).to(device)
    return torch.where(entered[..., None], values, 0.0)
