"""What influences are computed from, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.errors import ShapeError
from nnviz.network.influence.channel_operations import (
    ChannelOperation,
    Identity,
    convolution_of,
)

__all__ = ["EdgeInput", "Extremum", "Signal", "Strongest", "all_pairs", "check_inputs"]

Extremum = Literal["max", "min"]
Signal = Literal["max", "peak"]
Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Sources = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class EdgeInput:
    """One operation that enters a target layer, with the batch that it received."""

    x: torch.Tensor
    """The operation's true input, after any pooling, shape (n, channels, *positions);
    of an identity: what it adds to the target. Either memory format."""
    operation: ChannelOperation
    sources: Sources | None = None
    """Number of each channel of `x` among the sources of all edges that enter the
    target; -1 where a channel belongs to no recorded layer. None: 0, 1, 2, …"""
    targets: Sources | None = None
    """Target channel of each output channel of the operation (of an identity: of each
    channel of `x`); -1: none. None: 0, 1, 2, …"""
    extremes: tuple[torch.Tensor, torch.Tensor] | None = None
    """Maxima and minima of `x` over all positions, shape (n, channels) each, where they
    are known; for a minimum that is not negative, 0 will do. They save a pass over `x`
    where the operation evaluates every position once."""
    counted: torch.Tensor | None = None
    """Which of the operation's output positions count, bool (n, positions), row-major,
    on the device of `x`; None: all. At others no influence is looked for."""
    make: Callable[[tuple[int, int]], torch.Tensor] | None = None
    """Makes `x` of some instances, from the first to before the last, where it would be
    too large to be held of all; `x` then has no values (it lies on the device meta)."""
    make_extremes: (
        Callable[
            [tuple[int, int], torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]
        ]
        | None
    ) = None
    """Makes `extremes` of these instances and of their positions that count, for less
    than `x` itself; only on a CPU, where they are used."""

    def of(self, first: int, last: int) -> EdgeInput:
        """Return the input of some instances, with its values.

        Parameters
        ----------
        first, last
            The first instance, and the one after the last.
        """
        some = slice(first, last)
        return replace(
            self,
            x=self.x[some] if self.make is None else self.make((first, last)),
            extremes=self.extremes and (self.extremes[0][some], self.extremes[1][some]),
            counted=None if self.counted is None else self.counted[some],
            make=None,
            make_extremes=None,
        )

    def with_extremes(self, first: int, last: int) -> EdgeInput:
        """Return the input of some instances, with no more of it than its extremes.

        Parameters
        ----------
        first, last
            The first instance, and the one after the last.
        """
        if self.make_extremes is None:
            return self.of(first, last)
        counted = None if self.counted is None else self.counted[first:last]
        extremes = self.make_extremes((first, last), counted)
        nothing = extremes[0].new_zeros(1, 1, 1)
        return replace(
            self,
            x=nothing.expand(last - first, *self.x.shape[1:]),
            extremes=extremes,
            counted=counted,
            make=None,
            make_extremes=None,
        )

    @property
    def counted_array(self) -> NDArray[np.bool_] | None:
        """`counted` as a contiguous array."""
        if self.counted is None:
            return None
        return np.ascontiguousarray(self.counted.cpu().numpy())

    @property
    def n_outputs(self) -> int:
        """Output channels of the operation."""
        if isinstance(self.operation, Identity):
            return int(self.x.shape[1])
        return convolution_of(self.operation, self.x.shape[2:])[0].n_targets

    @property
    def source_numbers(self) -> Sources:
        """`sources`, always an array."""
        if self.sources is None:
            return np.arange(self.x.shape[1], dtype=np.int32)
        return np.ascontiguousarray(self.sources, np.int32)

    @property
    def target_channels(self) -> Sources:
        """`targets`, always an array."""
        if self.targets is None:
            return np.arange(self.n_outputs, dtype=np.int32)
        return np.ascontiguousarray(self.targets, np.int32)

    def outputs_of(self, target: Indices) -> Indices:
        """Output channel that enters each target channel; -1 where none does."""
        own = self.target_channels
        output = np.full(max(int(own.max()), int(target.max())) + 1, -1, np.int64)
        entered = own >= 0
        output[own[entered]] = np.flatnonzero(entered)
        return output[target]


@dataclass(frozen=True, eq=False)
class Strongest:
    """The K strongest sources of every asked (instance, target) pair."""

    instance: Indices
    """Index into the batch, shape (pairs,)."""
    target: Indices
    """Target channel, shape (pairs,)."""
    source: Sources
    """Numbers of the sources, strongest first, shape (pairs, ranks); -1: none."""
    influence: Floats
    """Their influences, shape (pairs, ranks); 0 where there is no source."""
    remainder: Floats | None = None
    """For the signal ``peak``: what all else adds to the target's pre-activation there
    (weaker sources, channels of no layer, the bias), shape (pairs,)."""


def all_pairs(inputs: Sequence[EdgeInput]) -> tuple[Indices, Indices]:
    """Every instance with every target channel, instance by instance."""
    n_targets = 1 + max(int(edge.target_channels.max()) for edge in inputs)
    n = len(inputs[0].x)
    return np.repeat(np.arange(n), n_targets), np.tile(np.arange(n_targets), n)


def check_inputs(inputs: Sequence[EdgeInput], instance: Indices) -> None:
    """Refuse inputs that do not fit together.

    Raises
    ------
    ShapeError
        If channels do not fit an operation, batches differ, or pairs are not sorted.
    """
    sizes = {len(edge.x) for edge in inputs}
    if len(sizes) != 1:
        msg = (
            f"the edges that enter one target have batches of {sorted(sizes)} "
            "instances; give at least one edge, and one batch for all"
        )
        raise ShapeError(msg)
    if len(instance) and (np.diff(instance) < 0).any():
        msg = (
            "the pairs are not sorted by instance; sort them, as a CSR matrix does by "
            "itself"
        )
        raise ShapeError(msg)
    for edge in inputs:
        if isinstance(edge.operation, Identity):
            continue
        wanted = convolution_of(edge.operation, edge.x.shape[2:])[0].n_sources
        if edge.x.shape[1] != wanted:
            msg = (
                f"the input has {edge.x.shape[1]} channels but the operation reads "
                f"{wanted}; give (instance, channel, *positions)"
            )
            raise ShapeError(msg)
