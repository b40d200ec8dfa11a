"""How strongly does each source channel drive each target channel, per instance?

The influence of source i on target j is the largest contribution of i alone to j's
pre-activation, ``max over positions of (x_i * W[j, i])``, over all positions that the
network evaluates. It is exact: see ``bounded`` for how most products are avoided where
an instance has many targets, ``over_sources`` for what is faster where it has few, and
``on_device`` for other devices than the CPU.

Ranks are joint over all operations that enter a target, because their contributions add
up in the same pre-activation. Contributions that are not positive (for ``"min"``: not
negative) are never counted: their rank has source -1 and influence 0. (Contributions at
a peak are signed, and those of 0 are left out.) Inputs must be
finite; callers refuse NaN and infinity, for which no maximum is defined.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.network.influence import at_peaks as influence_peaks
from nnviz.network.influence import on_device as influence_torch
from nnviz.network.influence.bounded import rank_bounded
from nnviz.network.influence.channel_operations import (
    Axis,
    Convolution,
    Identity,
    convolution_of,
)
from nnviz.network.influence.inputs import (
    EdgeInput,
    Extremum,
    Signal,
    Strongest,
    all_pairs,
    check_inputs,
)
from nnviz.network.influence.memory_layout import (
    aligned_zeros,
    buffers,
    channel_extremes,
    counted_extremes,
    counted_masks,
    flat,
    gather_patches,
    lay_out,
    position_tables,
    vector,
)
from nnviz.network.influence.over_sources import (
    lanes_of,
    places_between,
    rank_over_sources,
)
from nnviz.network.influence.ranking import rank_exact, rank_identity, rank_patches
from nnviz.network.influence.vectors import LANES

__all__ = ["strongest_sources"]

Axes = tuple[Axis, ...]
Range = tuple[int, int]
Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Sources = NDArray[np.int32]

_FEW_POSITIONS = 4
"""Up to here lanes over sources waste less than lanes over positions."""

_FEW_TARGETS = 16
"""So many targets of an instance take as long with bounds as without, in SqueezeNet."""

_FEW_VALUES = 8192
"""Up to here, in the maps of an instance, bounds are slower whatever the targets: in
ResNet-20 all of them take 1.2 to 1.5 times as long with bounds."""


def strongest_sources(
    inputs: Sequence[EdgeInput],
    pairs: tuple[Indices, Indices] | None = None,
    *,
    ranks: int = 5,
    extremum: Extremum = "max",
    signal: Signal = "max",
    positions: Indices | None = None,
    threads: int = 1,
    workspace: int = 48 * 2**20,
) -> Strongest:
    """Find the strongest sources of target channels, jointly over all edges.

    Parameters
    ----------
    inputs
        The operations that enter one target layer.
    pairs
        Instances and target channels of the pairs, two arrays of one length, sorted by
        instance; None: every target of every instance.
    ranks
        Sources to keep for each pair, at least 1.
    extremum
        ``"max"``: strongest excitation; ``"min"``: strongest inhibition.
    signal
        ``"max"``: over all positions; ``"peak"``: at the one position where the target
        attains its maximum; then sources are ranked by the size of their contributions,
        which keep their signs whatever `extremum` is, and what all else adds up to is
        the remainder.
    positions
        For ``"peak"``: that position as a flat index for each pair; None: it is found
        by computing the pre-activation.
    threads
        Threads of the compiled kernels on the CPU.
    workspace
        Bytes that all threads together may use beside inputs and results; one padded
        map for each thread is the least.

    Returns
    -------
    Strongest
        Ties go to the lower number; the same on any number of threads, bit by bit.

    Raises
    ------
    ShapeError
        If inputs and operations do not fit together, or pairs are not sorted.
    """
    instance, target = all_pairs(inputs) if pairs is None else pairs
    instance = np.ascontiguousarray(instance, np.int64)
    target = np.ascontiguousarray(target, np.int64)
    check_inputs(inputs, instance)
    if any(edge.make is not None for edge in inputs):
        options = {"ranks": ranks, "extremum": extremum, "signal": signal}
        return _few_at_once(
            inputs, (instance, target), positions, workspace, threads=threads, **options
        )
    source = np.full((len(instance), ranks), -1, np.int32)
    influence = np.zeros((len(instance), ranks), np.float32)
    remainder = np.zeros(len(instance), np.float32) if signal == "peak" else None
    result = Strongest(instance, target, source, influence, remainder)
    if len(instance) == 0:
        return result
    if signal == "peak":
        if positions is None:
            positions = influence_torch.peak_positions(inputs, instance, target)
        influence_peaks.rank_peaks(inputs, result, positions, workspace)
        return result
    if inputs[0].x.device.type == "cpu":
        _rank_on_cpu(inputs, result, extremum, threads, workspace)
    else:
        influence_torch.rank(inputs, result, extremum, workspace)
    if extremum == "min":
        np.negative(influence, out=influence, where=source >= 0)
    return result


def _few_at_once(
    inputs: Sequence[EdgeInput],
    pairs: tuple[Indices, Indices],
    positions: Indices | None,
    workspace: int,
    **options: Any,
) -> Strongest:
    """Find the strongest sources of a few instances at a time.

    Inputs that are made for it take no more than the workspace, or one instance.
    """
    instance, target = pairs
    # Over all positions, the extremes of what a linear map reads are enough.
    closed = options["signal"] == "max"
    # Two copies while they are made.
    sizes = [8 * edge.x[:1].numel() for edge in inputs if edge.make is not None]
    n, at_once = len(inputs[0].x), max(1, workspace // sum(sizes))
    parts = []
    for first in range(0, n, at_once):
        last = min(n, first + at_once)
        begin, end = np.searchsorted(instance, [first, last]).tolist()
        some = [
            edge.with_extremes(first, last) if closed else edge.of(first, last)
            for edge in inputs
        ]
        found = strongest_sources(
            some,
            (instance[begin:end] - first, target[begin:end]),
            positions=None if positions is None else positions[begin:end],
            workspace=workspace,
            **options,
        )
        parts.append(found)
    remainders = [p.remainder for p in parts if p.remainder is not None]
    return Strongest(
        instance,
        target,
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.influence for part in parts]),
        np.concatenate(remainders) if remainders else None,
    )


def _rank_on_cpu(
    inputs: Sequence[EdgeInput],
    result: Strongest,
    extremum: Extremum,
    threads: int,
    workspace: int,
) -> None:
    jobs = [_job(edge, result, extremum, threads, workspace) for edge in inputs]
    jobs = [job for job in jobs if len(job.rows)]
    # Influences that are exact at once come first: their ranks prune the others.
    for job in sorted(jobs, key=lambda job: job.n_taps):
        _rank_maxima(job)


@dataclass(frozen=True, eq=False)
class _Job:
    """One edge, and the pairs of the result that it enters."""

    edge: EdgeInput
    starts: Indices
    """Pairs of instance n are ``starts[n]`` to ``starts[n + 1]``, shape (n + 1,)."""
    outputs: Indices
    """Output channel of the operation for each pair."""
    rows: Indices
    """Row of the result for each pair."""
    result: Strongest
    extremum: Extremum
    threads: int
    workspace: int

    @property
    def n_taps(self) -> int:
        operation = self.edge.operation
        return math.prod(operation.kernel) if isinstance(operation, Convolution) else 1

    @property
    def pairs(self) -> tuple[Indices, Indices, Indices]:
        return self.starts, self.outputs, self.rows

    @property
    def ranked(self) -> tuple[Floats, Sources]:
        return self.result.influence, self.result.source

    def each_range(self, work: Callable[[Range], object]) -> None:
        """Call `work` with ranges of instances, on the job's threads."""
        n = len(self.edge.x)
        limits = np.linspace(0, n, min(self.threads, n) + 1).astype(int).tolist()
        ranges = list(itertools.pairwise(limits))
        if len(ranges) == 1:
            work(ranges[0])
            return
        with ThreadPoolExecutor(len(ranges)) as pool:
            list(pool.map(work, ranges))


def _job(
    edge: EdgeInput,
    result: Strongest,
    extremum: Extremum,
    threads: int,
    workspace: int,
) -> _Job:
    outputs = edge.outputs_of(result.target)
    rows = np.flatnonzero(outputs >= 0)
    starts = np.searchsorted(result.instance[rows], np.arange(len(edge.x) + 1))
    return _Job(edge, starts, outputs[rows], rows, result, extremum, threads, workspace)


def _rank_maxima(job: _Job) -> None:
    operation = job.edge.operation
    if isinstance(operation, Identity):
        _rank_identity(job, operation)
        return
    convolution, axes = convolution_of(operation, job.edge.x.shape[2:])
    if job.extremum == "min":
        convolution = convolution.negated
    if all(axis.n_taps == 1 for axis in axes):
        _rank_exact(job, convolution, axes)
    elif math.prod(axis.n_outputs for axis in axes) <= _FEW_POSITIONS:
        _rank_few_positions(job, convolution, axes)
    elif _has_few_pairs(job, convolution):
        _rank_over_sources(job, convolution, axes)
    else:
        _rank_bounded(job, convolution, axes)


def _has_few_pairs(job: _Job, convolution: Convolution) -> bool:
    """Return whether bounds cost more than all products of the pairs that there are."""
    x = job.edge.x
    most = np.inf if x[0].numel() <= _FEW_VALUES else _FEW_TARGETS * len(x)
    return x.stride(1) == 1 and convolution.groups == 1 and len(job.rows) <= most


def _rank_over_sources(job: _Job, convolution: Convolution, axes: Axes) -> None:
    layout = lay_out(axes)
    by_tap = convolution.arrays.by_tap
    weights = aligned_zeros((*by_tap.shape[:2], lanes_of(by_tap.shape[2])))
    weights[:, :, : by_tap.shape[2]] = by_tap
    x, strides = flat(job.edge.x)
    sources = job.edge.source_numbers
    counted = job.edge.counted_array
    if counted is None:
        counted = np.ones((1, len(layout.positions)), np.bool_)
    most = job.workspace // (4 * layout.size * job.threads) // LANES * LANES
    width = max(LANES, min(most, weights.shape[2]))
    places, offsets = places_between(axes, width)

    def work(instances: Range) -> None:
        rank_over_sources(
            x,
            strides,
            instances,
            *job.pairs,
            weights,
            sources,
            aligned_zeros((layout.size, width)),
            places,
            offsets,
            counted,
            layout.into,
            layout.elements,
            *job.ranked,
        )

    job.each_range(work)


def _rank_identity(job: _Job, operation: Identity) -> None:
    x = job.edge.x
    maxima, minima = _extremes(job, tuple(Axis.whole(size) for size in x.shape[2:]))
    scale = operation.factors(x.shape[1])
    if job.extremum == "min":
        scale = -scale
    influences = np.maximum(scale * maxima, scale * minima)
    sources = job.edge.source_numbers
    rank_identity((0, len(x)), *job.pairs, influences, sources, *job.ranked)


def _rank_exact(job: _Job, convolution: Convolution, axes: Axes) -> None:
    maxima, minima = _extremes(job, axes)
    weight = convolution.arrays.by_tap[:, 0]
    sources = job.edge.source_numbers

    def work(instances: Range) -> None:
        rank_exact(
            instances,
            *job.pairs,
            maxima,
            minima,
            weight,
            sources,
            vector(weight.shape[1]),
            *job.ranked,
        )

    job.each_range(work)


def _extremes(job: _Job, axes: Axes) -> tuple[Floats, Floats]:
    """Maxima and minima over the positions that a kernel of one tap reads.

    Those of positions that do not count are left out.
    """
    whole = all(axis == Axis.whole(len(axis.source)) for axis in axes)
    if whole and job.edge.extremes is not None:
        high, low = (part.float().numpy() for part in job.edge.extremes)
        return np.ascontiguousarray(high), np.ascontiguousarray(low)
    x, strides = flat(job.edge.x)
    size = tuple(job.edge.x.shape[:2])
    counted = job.edge.counted_array
    if counted is not None:
        maxima, minima = np.empty(size, np.float32), np.empty(size, np.float32)
        tables = position_tables(axes, np.arange(counted.shape[1]))
        job.each_range(
            lambda instances: counted_extremes(
                x, strides, instances, tables, counted, maxima, minima
            )
        )
        return maxima, minima
    elements = lay_out(axes).elements
    zero = any(-1 in axis.source[:: axis.stride][: axis.n_outputs] for axis in axes)
    maxima = np.full(size, 0.0 if zero else -np.inf, np.float32)
    minima = np.full(size, 0.0 if zero else np.inf, np.float32)

    def work(instances: Range) -> None:
        channel_extremes(x, strides, instances, elements, maxima, minima)

    job.each_range(work)
    return maxima, minima


def _rank_bounded(job: _Job, convolution: Convolution, axes: Axes) -> None:
    arrays = convolution.arrays
    layout = lay_out(axes)
    # Longer sums round more; bounds stay above them with room to spare.
    slack = max(1e-5, 4 * float(np.finfo(np.float32).eps) * arrays.weight.shape[2])
    n_channels = job.edge.x.shape[1]
    at_once = job.workspace // (4 * layout.size * job.threads)
    at_once = max(1, min(n_channels, at_once))
    x, strides = flat(job.edge.x)
    sources = job.edge.source_numbers
    masks = counted_masks(layout, job.edge.counted_array)

    def work(instances: Range) -> None:
        rank_bounded(
            x,
            strides,
            instances,
            *job.pairs,
            arrays.weight,
            arrays.sums,
            sources,
            slack,
            buffers(layout, at_once, arrays.weight.shape[1]),
            layout.offsets,
            masks,
            layout.starts,
            layout.block,
            layout.blocks,
            layout.spans,
            layout.into,
            layout.elements,
            *job.ranked,
        )

    job.each_range(work)


def _rank_few_positions(job: _Job, convolution: Convolution, axes: Axes) -> None:
    n_positions = math.prod(axis.n_outputs for axis in axes)
    tables = position_tables(axes, np.arange(n_positions))
    by_tap = convolution.arrays.by_tap
    x, strides = flat(job.edge.x)
    n_channels = job.edge.x.shape[1]
    sources = job.edge.source_numbers
    counted = job.edge.counted_array
    bytes_each = 8 * n_positions * by_tap.shape[1] * n_channels
    at_once = max(1, job.workspace // (bytes_each * job.threads))

    def work(instances: Range) -> None:
        for first in range(*instances, at_once):
            last = min(first + at_once, instances[1])
            every = np.repeat(np.arange(first, last), n_positions)
            z, y, p = (np.tile(table, (last - first, 1)) for table in tables)
            patches = np.empty((len(every), by_tap.shape[1], n_channels), np.float32)
            gather_patches(x, strides, every, np.zeros_like(every), (z, y, p), patches)
            size = (last - first, n_positions, by_tap.shape[1], convolution.groups, -1)
            patches = np.ascontiguousarray(patches.reshape(size).swapaxes(2, 3))
            rank_patches(
                (first, last),
                *job.pairs,
                patches,
                counted,
                by_tap,
                sources,
                vector(by_tap.shape[2]),
                *job.ranked,
            )

    job.each_range(work)
