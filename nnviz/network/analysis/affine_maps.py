"""Which factor and summand do the operations between two values give each channel?

Batch normalisation, layer scale, a signed or scaled residual branch: whatever chain of
affine operations a network uses, it is run on zeros and on ones, which shows what it
does, without a rule for each.

Symbols: C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnviz.network.analysis.functions import SELECTIONS, category_of
from nnviz.network.analysis.markers import MIXED, channels_along, resolve
from nnviz.network.analysis.operations import Operation, argument, references

if TYPE_CHECKING:
    from nnviz.network.analysis.channel_flow import ChannelFlow

__all__ = [
    "STILL",
    "AffineMap",
    "affine_map",
    "in_same_order",
    "is_affine",
    "operations_between",
]

STILL = frozenset(
    {
        "alpha_dropout",
        "bfloat16",
        "clone",
        "contiguous",
        "cpu",
        "cuda",
        "data",
        "detach",
        "double",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "feature_alpha_dropout",
        "feature_dropout",
        "float",
        "half",
        "positive",
        "requires_grad",
        "to",
        "type",
        "type_as",
    }
)
"""Functions that change nothing in evaluation mode."""
_ELSEWHERE = -3.0
"""Beside 0 and 1, where a function must have the same slope."""
_AFFINE = frozenset({"add", "batch_norm", "div", "mul", "neg", "sub"})


@dataclass(frozen=True, slots=True)
class AffineMap:
    """``target[channels[c]] = scale[c] * source[c] + shift[c]`` at every position."""

    scale: Tensor
    """Shape (C,), float64, by source channel."""
    shift: Tensor
    """Shape (C,), float64."""
    channels: Tensor
    """Target channel of each source channel, int64 (C,); -1 where it goes nowhere."""

    def then(self, other: AffineMap) -> AffineMap:
        """Return this map followed by another one."""
        known = self.channels >= 0
        index = self.channels.clamp_min(0)
        return AffineMap(
            scale=self.scale * other.scale[index],
            shift=self.shift * other.scale[index] + other.shift[index],
            channels=torch.where(known, other.channels[index], -1),
        )

    @classmethod
    def identity(cls, n_channels: int) -> AffineMap:
        """Return the map that changes nothing."""
        return cls(
            torch.ones(n_channels, dtype=torch.float64),
            torch.zeros(n_channels, dtype=torch.float64),
            torch.arange(n_channels),
        )


def is_affine(flow: ChannelFlow, operation: Operation) -> bool:
    """Return whether an operation is affine in its only activation input."""
    graph, name = flow.graph, operation.name
    inputs = graph.activation_inputs(operation)
    if len(inputs) != 1:
        return False
    if name == "batch_norm":
        return not argument(operation, 5, "training", default=False)
    if name == "instance_norm":
        # With statistics of its own it is batch normalisation.
        return not argument(operation, 5, "use_input_stats", default=True)
    if name in SELECTIONS:
        # With a fixed mask; one that takes whole channels is no more than a scale.
        return graph.values[inputs[0]].dtype != torch.bool
    if name in ("mul", "div"):
        # x * x has one input, too, and c / x cannot be told from x / c here: probing
        # with numbers refuses it.
        found = references((operation.arguments, operation.options))
        return sum(value == inputs[0] for value in found) == 1
    return name in _AFFINE or name in STILL or category_of(name) == "movement"


def operations_between(flow: ChannelFlow, first: int, last: int) -> list[Operation]:
    """Return the operations from one value to a later one, along single inputs."""
    operations: list[Operation] = []
    value = last
    while value != first:
        operation = flow.graph.producer(value)
        assert operation is not None  # callers give values of one family
        operations.append(operation)
        inputs = [
            v
            for v in flow.graph.activation_inputs(operation)
            if flow.roots.get(v) == flow.roots.get(first)
        ]
        value = inputs[0]
    return operations[::-1]


def affine_map(
    flow: ChannelFlow,
    first: int,
    last: int,
    axes: tuple[int, int],
    *,
    shifts_vary: bool = False,
) -> AffineMap | None:
    """Return what lies between two values, channel by channel.

    Parameters
    ----------
    flow
        Markers and roots.
    first, last
        Values; `last` is made from `first` by affine operations, or is the sum or the
        concatenation that such a value enters.
    axes
        Axis of the channels in `first` and in `last`.
    shifts_vary
        Take also what adds other numbers at other positions, as position embeddings
        do; the map then has no shift.

    Returns
    -------
    AffineMap or None
        None if an operation is not affine, or differs between positions.
    """
    graph = flow.graph
    chain = _chain(flow, first, last)
    if chain is None:
        return None
    shape = graph.values[first].shape
    n_channels = shape[axes[0]]
    probed = None
    if axes[0] == axes[1] and not any(
        category_of(operation.name) == "movement" for operation in chain
    ):
        # Every position is treated alike, so one will do.
        one_position = tuple(
            n if axis == axes[0] else 1 for axis, n in enumerate(shape)
        )
        probed = _probe(flow, chain, first, one_position, axes)
    if probed is None:
        probed = _probe(flow, chain, first, shape, axes)
    if probed is None:
        return None
    zeros, ones, moved = probed
    channels = channels_along(moved, axes[1])
    if bool((channels == MIXED).any()):
        return None
    low, high = (_over_positions(zeros, moved, axes[1], f) for f in ("amin", "amax"))
    slopes = ones - zeros
    low_slope, high_slope = (
        _over_positions(slopes, moved, axes[1], f) for f in ("amin", "amax")
    )
    if not torch.allclose(low_slope, high_slope, rtol=1e-9, atol=1e-12):
        return None
    if not torch.allclose(low, high, rtol=1e-9, atol=1e-12):
        if not shifts_vary:
            return None
        low = torch.zeros_like(low)
    targets = torch.full((n_channels,), -1, dtype=torch.int64)
    scale = torch.zeros(n_channels, dtype=torch.float64)
    shift = torch.zeros(n_channels, dtype=torch.float64)
    reached = channels > 0
    source = channels[reached].long() - 1
    if len(source.unique()) != len(source):
        return None
    targets[source] = torch.nonzero(reached).flatten()
    scale[source] = low_slope[reached]
    shift[source] = low[reached]
    return AffineMap(scale, shift, targets)


def _probe(
    flow: ChannelFlow,
    chain: list[Operation],
    first: int,
    shape: tuple[int, ...],
    axes: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Run a chain on zeros, on ones and on channel numbers of one shape."""
    axis = axes[0]
    view = [n if i == axis else 1 for i, n in enumerate(shape)]
    numbers = torch.arange(1, shape[axis] + 1, dtype=torch.float64).view(view)
    whole = shape == flow.graph.values[first].shape
    try:
        zeros = _run(
            flow, chain, first, torch.zeros(shape, dtype=torch.float64), whole=whole
        )
        ones = _run(
            flow, chain, first, torch.ones(shape, dtype=torch.float64), whole=whole
        )
        other = torch.full(shape, _ELSEWHERE, dtype=torch.float64)
        elsewhere = _run(flow, chain, first, other, whole=whole)
        expected = zeros + _ELSEWHERE * (ones - zeros)
        if not torch.allclose(elsewhere, expected, rtol=1e-6, atol=1e-9):
            return None  # not affine, or not finite
        if not whole:
            # A constant that differs between positions has widened the result.
            return None if zeros.shape != shape else (zeros, ones, numbers)
        moved = _moved(flow, chain, first, numbers.expand(shape).clone())
        numbers = _position_numbers(flow.graph.instance_shape(first), axis)
        numbers = flow.graph.turned(first, numbers).contiguous()
        moved_positions = _moved(flow, chain, first, numbers)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    # Where positions change their order, maps cannot be added element by element.
    # Where it is only that the instance comes before or behind time, they can.
    last = chain[-1].outputs[-1] if chain else first
    columns = flow.graph.turned(last, moved_positions)
    columns = columns.movedim(axes[1], -1).flatten(0, -2)
    reached = (moved > 0).movedim(axes[1], -1).flatten(0, -2).all(0)
    order = torch.arange(1, len(columns) + 1, dtype=torch.float64)[:, None]
    is_kept = bool(reached.any()) and bool((columns[:, reached] == order).all())
    return (zeros, ones, moved) if is_kept else None


def _position_numbers(shape: tuple[int, ...], axis: int) -> Tensor:
    """Return the numbers of instances and positions, from 1, for every channel."""
    others = [n for i, n in enumerate(shape) if i != axis]
    n_positions = int(torch.Size(others).numel())
    numbers = torch.arange(1, n_positions + 1, dtype=torch.float64).view(others)
    return numbers.unsqueeze(axis).expand(shape).clone()


def _chain(flow: ChannelFlow, first: int, last: int) -> list[Operation] | None:
    """Return the operations between two values, which may end in a sum or `cat`."""
    if first == last:
        return []
    operation = flow.graph.producer(last)
    if operation is None:
        return None
    if last in flow.origins and last != first:
        entries = [
            v
            for v in flow.graph.activation_inputs(operation)
            if v == first or flow.roots.get(v) == flow.roots.get(first)
        ]
        if len(entries) != 1:
            return None
        before = _chain(flow, first, entries[0])
        return None if before is None else [*before, operation]
    chain = operations_between(flow, first, last)
    return chain if all(is_affine(flow, item) for item in chain) else None


def _run(
    flow: ChannelFlow, chain: list[Operation], first: int, start: Tensor, *, whole: bool
) -> Tensor:
    """Run a chain in float64, with zeros for all other activations."""
    values = {first: start}
    current = start
    for operation in chain:
        arguments: dict[int, Tensor] = {}
        for value in flow.graph.activation_inputs(operation):
            known = values.get(value)
            if known is None:
                shape = flow.graph.values[value].shape if whole else start.shape
                known = torch.zeros(shape, dtype=torch.float64)
            arguments[value] = known.clone() if value in operation.written else known
        result = resolve(operation, flow.graph, arguments, constants=Tensor.double)
        for value, tensor in zip(
            operation.outputs, (*result.made, *result.written), strict=True
        ):
            if tensor.is_complex():
                raise TypeError(operation.name)
            values[value] = tensor.double()
        current = values[operation.outputs[-1]]
    return current


def _moved(
    flow: ChannelFlow, chain: list[Operation], first: int, numbers: Tensor
) -> Tensor:
    """Follow channel numbers through a chain."""
    current = numbers
    value = first
    for operation in chain:
        if category_of(operation.name) == "movement":
            arguments = {
                v: torch.zeros(flow.graph.values[v].shape, dtype=torch.float64)
                for v in flow.graph.activation_inputs(operation)
            }
            arguments[value] = current
            moved = resolve(
                operation, flow.graph, arguments, constants=torch.zeros_like
            )
            current = (*moved.made, *moved.written)[-1].double().contiguous()
        elif current.shape != flow.graph.values[operation.outputs[-1]].shape:
            current = current.expand(flow.graph.values[operation.outputs[-1]].shape)
        value = operation.outputs[-1]
    return current


def in_same_order(flow: ChannelFlow, values: Sequence[int]) -> bool:
    """Return whether values of one family hold its elements in the same order.

    Parameters
    ----------
    flow
        Markers and roots.
    values
        Values with the same root, of the same shape.
    """
    root = flow.roots.get(values[0], values[0])
    ways = [operations_between(flow, root, value) for value in values]
    if not any(category_of(o.name) == "movement" for way in ways for o in way):
        return True
    shape = flow.graph.values[root].shape
    n_elements = int(torch.Size(shape).numel())
    elements = torch.arange(1, n_elements + 1, dtype=torch.float64).view(shape)
    first, *others = (_moved(flow, way, root, elements) for way in ways)
    return all(torch.equal(first, other) for other in others)


def _over_positions(values: Tensor, moved: Tensor, axis: int, reduction: str) -> Tensor:
    """Reduce the elements that come from the source, for each target channel."""
    fill = torch.inf if reduction == "amin" else -torch.inf
    rows = torch.where(moved.expand(values.shape) > 0, values, fill)
    rows = rows.movedim(axis, 0).flatten(1)
    reduced = rows.amin(1) if reduction == "amin" else rows.amax(1)
    return torch.where(reduced.isinf(), 0.0, reduced)
