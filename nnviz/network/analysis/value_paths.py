"""How do channels reach the heads of an attention, with its patterns held fixed?

A head weighs the values of all tokens by its pattern, and the values are a linear map
of what the attention reads. With the pattern held at its value the heads are linear in
that: head h at token t is ``W_h @ sum over s of A_h[t, s] x[s] + bias``. So the
channels of the heads, side by side as the output projection reads them, are a layer,
and the projection of the values is how other layers' channels enter it.

Symbols: R rows (instances, or their windows), H heads, T tokens that attend, S tokens
that are attended to, D channels that are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import STILL
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.markers import Marker, Origin, movement_markers
from nnviz.network.analysis.operations import (
    Operation,
    OperationGraph,
    Reference,
    leaves_of,
)

__all__ = [
    "ValuePath",
    "Weighing",
    "find_value_path",
    "held_operations",
    "pattern_origins",
    "weighing_of",
]

_PRODUCTS = frozenset({"bmm", "matmul"})
_FUSED = "scaled_dot_product_attention"
_FEWEST_AXES = 3
"""Rows, tokens and channels."""
_Axes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Weighing:
    """An operation that weighs values by an attention's pattern."""

    operation: Operation
    place: int
    """Number of the values among the tensors of the call."""
    value_axes: tuple[int, ...]
    """Axes of the values in the order (..., S, channel of a head)."""
    pattern_axes: tuple[int, ...] = ()
    """Axes of the pattern in the order (..., T, S); none where the call makes it."""

    @property
    def values(self) -> int:
        """The value that is weighed."""
        found = leaves_of(self.operation)[self.place]
        assert isinstance(found, Reference)  # it depends on the network's input
        return found.value

    def n_read(self, leaves: Sequence[Tensor]) -> int:
        """Return S of a call with these tensors."""
        return leaves[self.place].shape[self.value_axes[-2]]

    def n_tokens(self, leaves: Sequence[Tensor]) -> int:
        """Return T of a call with these tensors."""
        if self.pattern_axes:
            return leaves[1 - self.place].shape[self.pattern_axes[-2]]
        return leaves[0].shape[-2]

    def pattern(self, leaves: Sequence[Tensor]) -> Tensor:
        """Return the pattern, shape (..., T, S), rows and heads before.

        Parameters
        ----------
        leaves
            The tensors of the call, in order.
        """
        values = leaves[self.place].permute(self.value_axes)
        if self.pattern_axes:
            pattern = leaves[1 - self.place].permute(self.pattern_axes)
            lead = torch.broadcast_shapes(pattern.shape[:-2], values.shape[:-2])
            return pattern.expand(*lead, *pattern.shape[-2:])
        # What attention makes of one number for each token is the pattern itself.
        n_read = values.shape[-2]
        alone = torch.eye(n_read, dtype=values.dtype, device=values.device)
        given = list(leaves)
        given[self.place] = alone.expand(*values.shape[:-2], n_read, n_read)
        waiting = iter(given)
        arguments = _refilled(self.operation.arguments, waiting)
        options = _refilled(self.operation.options, waiting)
        pattern = self.operation.function(*arguments, **options)
        assert isinstance(pattern, Tensor)
        return pattern


@dataclass(frozen=True, slots=True)
class ValuePath:
    """What the heads of one attention are made of."""

    projection: Operation
    """The linear map that makes the values."""
    read: int
    """The value that it reads."""
    weighing: Weighing
    outputs: Tensor
    """Output of the projection for each channel of the heads, int64 (channel,)."""
    n_heads: int

    @property
    def product(self) -> Operation:
        """The operation that weighs the values."""
        return self.weighing.operation

    def leaves(
        self, graph: OperationGraph, known: Mapping[int, Tensor]
    ) -> list[Tensor]:
        """Return the tensors of the product's call.

        Parameters
        ----------
        graph
            Has those that do not depend on the network's input.
        known
            Has the others, by their value.
        """
        found: list[Tensor] = []
        for item in leaves_of(self.product):
            constant = graph.constant_of(item)
            if constant is not None:
                found.append(constant)
            elif isinstance(item, Reference):
                found.append(known[item.value])
        return found

    def pattern_values(self, graph: OperationGraph) -> list[int]:
        """Return what the pattern is made of, beside constants."""
        found = leaves_of(self.product)
        del found[self.weighing.place]
        return [
            item.value
            for item in found
            if isinstance(item, Reference) and graph.values[item.value].depends
        ]

    def mixed(
        self,
        x: Tensor,
        leaves: Sequence[Tensor],
        n_instances: int,
        some: tuple[int, int] | None = None,
    ) -> Tensor:
        """Return what each head makes of the projection's input.

        Parameters
        ----------
        x
            What the projection reads, shape (..., D).
        leaves
            The tensors of the product's call, in order.
        n_instances
            Instances of the batch.
        some
            First and past-last of those that are meant; None: all.

        Returns
        -------
        Tensor
            Shape (instance, H * D, position): the channels of the first head first,
            and channels next to each other in memory.
        """
        heads = self._heads(x, leaves, n_instances, some or (0, n_instances))
        return heads.flatten(3).flatten(1, 2).transpose(1, 2)

    def extremes(
        self,
        x: Tensor,
        leaves: Sequence[Tensor],
        n_instances: int,
        some: tuple[int, int],
        counted: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return maxima and minima over all positions of what :meth:`mixed` returns.

        Parameters
        ----------
        x, leaves, n_instances, some
            As there.
        counted
            Which positions count of those instances, bool (instance, position); None:
            all.

        Returns
        -------
        tuple of Tensor
            Shape (instance, H * D) each.
        """
        heads = self._heads(x, leaves, n_instances, some)
        if counted is None:
            return heads.amax((1, 2)).flatten(1), heads.amin((1, 2)).flatten(1)
        n, n_windows, n_tokens, _, _ = heads.shape
        hidden = ~counted.view(n, n_windows, n_tokens, 1, 1)
        high = heads.masked_fill(hidden, -torch.inf).amax((1, 2))
        low = heads.masked_fill(hidden, torch.inf).amin((1, 2))
        return high.flatten(1), low.flatten(1)

    def _heads(
        self,
        x: Tensor,
        leaves: Sequence[Tensor],
        n_instances: int,
        some: tuple[int, int],
    ) -> Tensor:
        """Return what each head reads, shape (instance, window, T, H, D)."""
        first, last = some
        weighing = self.weighing
        read = x.reshape(n_instances, -1, weighing.n_read(leaves), x.shape[-1])
        rows = read[first:last].flatten(0, 1)
        own = _part(leaves, weighing.place, n_instances, first, last)
        pattern = weighing.pattern(own)
        n_tokens, n_read = pattern.shape[-2:]
        by_head = pattern.reshape(len(rows), self.n_heads, n_tokens, n_read)
        # Patterns are put in order, not the products: these are many times as large.
        flat = by_head.transpose(1, 2).flatten(1, 2).to(rows.dtype)
        size = (last - first, -1, n_tokens, self.n_heads, x.shape[-1])
        return torch.bmm(flat, rows).view(size)

    def shape_of_mixed(
        self, x: Tensor, leaves: Sequence[Tensor], n_instances: int
    ) -> tuple[int, int, int]:
        """Return the shape of what :meth:`mixed` returns for all instances.

        Parameters
        ----------
        x, leaves, n_instances
            As there.
        """
        n_channels = x.shape[-1]
        n_rows = x.numel() // (n_channels * self.weighing.n_read(leaves))
        n_positions = n_rows // n_instances * self.weighing.n_tokens(leaves)
        return n_instances, self.n_heads * n_channels, n_positions


def _part(
    leaves: Sequence[Tensor], place: int, n: int, first: int, last: int
) -> list[Tensor]:
    """Return the tensors of a call for some of its instances, which lie first."""
    values = leaves[place]
    each = len(values) // n
    return [
        leaf[first * each : last * each]
        if leaf.ndim == values.ndim and len(leaf) == len(values)
        else leaf
        for leaf in leaves
    ]


def _refilled(item: Any, leaves: Iterator[Tensor]) -> Any:
    """Put other tensors in the place of those of a recorded call, in order."""
    if isinstance(item, (Tensor, Reference)):
        return next(leaves)
    if isinstance(item, dict):
        return {key: _refilled(part, leaves) for key, part in item.items()}
    if type(item) in (list, tuple):
        return type(item)(_refilled(part, leaves) for part in item)
    return item


def weighing_of(flow: ChannelFlow, operation: Operation) -> Weighing | None:
    """Return how an operation weighs values by an attention's pattern, if it does so.

    Parameters
    ----------
    flow
        Markers of all that the operation reads.
    operation
        Any operation.
    """
    leaves = leaves_of(operation)
    place, axes = _places(flow, operation, leaves)
    if axes is None or len(axes[0]) < _FEWEST_AXES:
        return None
    values = leaves[place]
    is_plain = (
        isinstance(values, Reference)
        and flow.graph.values[values.value].depends
        and (not axes[1] or not _has_channels(flow, leaves[1 - place]))
    )
    return Weighing(operation, place, *axes) if is_plain else None


def _places(
    flow: ChannelFlow, operation: Operation, leaves: Sequence[Tensor | Reference]
) -> tuple[int, _Axes | None]:
    """Return which tensor the values are, and the axes of values and pattern."""
    if operation.name == _FUSED:
        n_axes = len(flow.graph.values[operation.outputs[0]].shape)
        return 2, (tuple(range(n_axes)), ())
    if len(leaves) != len(("pattern", "values")):
        return 0, None
    if operation.name in _PRODUCTS:
        pattern, values = (tuple(range(len(_shape(flow, item)))) for item in leaves)
        return 1, (values, pattern)
    if operation.name == "einsum":
        place = 0 if _has_channels(flow, leaves[0]) else 1
        return place, _axes_of_einsum(operation, place)
    return 0, None


def _shape(flow: ChannelFlow, item: Tensor | Reference) -> tuple[int, ...]:
    if isinstance(item, Reference):
        return flow.graph.values[item.value].shape
    return tuple(item.shape)


def _axes_of_einsum(operation: Operation, place: int) -> _Axes | None:
    """Return the axes of values and pattern as a :class:`Weighing` has them."""
    equation = operation.arguments[0]
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    left, result = equation.replace(" ", "").split("->")
    parts = left.split(",")
    values, pattern = parts[place], parts[1 - place]
    both = [k for k in values if k in pattern and k in result]
    read = [k for k in values if k in pattern and k not in result]
    own = [k for k in values if k not in pattern and k in result]
    tokens = [k for k in pattern if k not in values and k in result]
    if [len(read), len(own), len(tokens)] != [1, 1, 1] or len(result) != len(both) + 2:
        return None
    if len(values) != len(both) + 2 or len(pattern) != len(both) + 2:
        return None
    if values[:1] != pattern[:1]:
        return None  # instances come first
    return (
        tuple(values.index(k) for k in (*both, *read, *own)),
        tuple(pattern.index(k) for k in (*both, *tokens, *read)),
    )


def _has_channels(flow: ChannelFlow, item: Tensor | Reference) -> bool:
    marker = flow.markers.get(item.value) if isinstance(item, Reference) else None
    return marker is not None and not marker.is_mixed()


def find_value_path(
    flow: ChannelFlow, weighing: Weighing, joined: int
) -> ValuePath | None:
    """Return what heads are made of, at a value that holds them side by side.

    Parameters
    ----------
    flow
        Markers of all values up to `joined`.
    weighing
        Weighs values by a pattern.
    joined
        A value made from what it gives by moving its elements; its marker numbers the
        channels of the values.

    Returns
    -------
    ValuePath or None
        None if heads do not lie side by side on the last axis there, or if the values
        are no linear map, token by token.
    """
    graph = flow.graph
    marker = flow.markers.get(joined)
    shape = graph.values[joined].shape
    if marker is None or marker.channels is None or marker.axis != len(shape) - 1:
        return None
    numbers = marker.channels
    found = None if bool((numbers <= 0).any()) else flow.origin_of(float(numbers[0]))
    projection = None if found is None else graph.producer(found[0].value)
    if found is None or projection is None or flow.kinds[found[0].value] != "linear":
        return None
    origin = found[0]
    own = numbers.long() - origin.first
    if bool(((own < 0) | (own >= origin.n_channels)).any()):
        return None
    read = graph.activation_inputs(projection)[0]
    of_values = graph.values[weighing.values].shape
    n_read, width = (of_values[i] for i in weighing.value_axes[-2:])
    n_rows = math.prod(graph.values[read].shape[:-1]) // n_read
    n_made = math.prod(graph.values[weighing.operation.outputs[0]].shape)
    n_tokens = math.prod(shape[1:-1])
    if origin.axis != len(graph.values[origin.value].shape) - 1 or not n_rows:
        return None
    n_heads = n_made // (n_rows * n_tokens * width)
    side_by_side = (
        shape[0] == n_rows
        and n_rows % graph.values[graph.input_value].shape[0] == 0
        and shape[-1] == n_heads * width
        and n_made == n_rows * n_tokens * n_heads * width
        and (n_heads > 1 or len(shape) == _FEWEST_AXES)
    )
    if not side_by_side or not _in_order(flow, origin.value, weighing, n_rows):
        return None
    return ValuePath(projection, read, weighing, own, n_heads)


def _in_order(flow: ChannelFlow, first: int, weighing: Weighing, n_rows: int) -> bool:
    """Return whether tokens stay in their order, row by row, in every head."""
    graph, last = flow.graph, weighing.values
    chain: list[Operation] = []
    value = last
    while value != first:
        operation = graph.producer(value)
        if operation is None or not _moves(operation):
            return False
        inputs = graph.activation_inputs(operation)
        if len(inputs) != 1:
            return False
        chain.append(operation)
        value = inputs[0]
    shape = graph.values[first].shape
    n = math.prod(shape[:-1])
    tokens = torch.arange(1, n + 1, dtype=torch.float64).view(*shape[:-1], 1)
    known = {first: Marker(tokens.expand(shape), None)}
    for operation in reversed(chain):
        (value,) = graph.activation_inputs(operation)
        try:
            moved = movement_markers(operation, graph, known.get)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
            return False
        known = {
            output: marker
            for output, marker in zip(operation.outputs, moved, strict=True)
            if marker is not None
        }
    if last not in known:
        return False
    found = known[last].numbers.permute(weighing.value_axes)
    found = found.reshape(n_rows, -1, *found.shape[-2:])
    return bool((found == tokens.view(n_rows, 1, -1, 1)).all())


def _moves(operation: Operation) -> bool:
    return operation.name in STILL or category_of(operation.name) == "movement"


def held_operations(flow: ChannelFlow) -> frozenset[int]:
    """Return the operations that make nothing but patterns, by their index.

    Parameters
    ----------
    flow
        With all value paths of a network.
    """
    graph = flow.graph
    paths = {path.product.index: path for path in flow.value_paths.values()}
    free: set[int] = {value.index for value in graph.values if value.is_output}
    held: set[int] = set()
    for operation in reversed(graph.operations):
        if not operation.live:
            continue
        if not free.isdisjoint(operation.outputs):
            path = paths.get(operation.index)
            free.update(operation.inputs if path is None else [path.weighing.values])
        else:
            held.add(operation.index)
    return frozenset(held)


def pattern_origins(
    flow: ChannelFlow, path: ValuePath, kept: frozenset[int]
) -> Iterator[Origin]:
    """Yield the origins of the channels that a pattern is made of, nearest first.

    Parameters
    ----------
    flow
        Origins of all channels.
    path
        Its pattern is meant.
    kept
        Origins that count, by their value; others are looked through.
    """
    pending = path.pattern_values(flow.graph)
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        operation = flow.graph.producer(value)
        if value in seen or operation is None:
            continue
        seen.add(value)
        if value in kept:
            yield flow.origins[value]
        else:
            pending += flow.graph.activation_inputs(operation)
