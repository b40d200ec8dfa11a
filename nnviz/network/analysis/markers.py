"""From which channel of which operation does every element of a tensor come?

Every operation that makes new channels (a convolution, a residual sum, a concatenation)
is an *origin*, and each of its channels gets a number. Operations that only move
elements (views, permutations, slices, concatenations, padding, channel shuffles, slice
assignment) are run again on these numbers, so their effect on channels is known exactly
without a rule for each; pointwise operations, normalisation and pooling keep them.

A *marker* is a float64 tensor of the shape of a value that holds, for every element,
the number of the channel it comes from; ``NOTHING`` for elements that do not depend on
the input (padding, constants), ``MIXED`` where several channels or positions were
combined in a way that no edge describes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnviz.network.analysis.operations import Operation, OperationGraph, Reference
from nnviz.network.analysis.outputs import iter_tensors

__all__ = [
    "MIXED",
    "NOTHING",
    "Marker",
    "Origin",
    "channel_axis",
    "channels_along",
    "einsum_marker",
    "movement_markers",
    "origin_marker",
    "pooling_marker",
    "reduction_marker",
    "resolve",
]

NOTHING = 0.0
MIXED = -1.0

_NORMS = frozenset({"linalg_norm", "linalg_vector_norm", "norm"})
"""Reductions that take their order before the axes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An operation that makes new channels."""

    operation: int | None
    """Index of the operation; None for the network's input."""
    value: int
    first: int
    """Number of its channel 0."""
    n_channels: int
    axis: int
    """Axis of the channels in the value."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Where the elements of one value come from."""

    numbers: Tensor
    """Float64, of the value's shape; often expanded from few elements."""
    axis: int | None
    """The one axis along which channels lie; None if they lie along several."""

    @property
    def channels(self) -> Tensor | None:
        """Numbers along the channel axis; None if channels lie along several axes."""
        return None if self.axis is None else channels_along(self.numbers, self.axis)

    def is_mixed(self) -> bool:
        """Return whether no element has a channel to which it can be attributed."""
        return not bool((self.numbers > 0).any())


def origin_marker(shape: tuple[int, ...], axis: int, first: int) -> Marker:
    """Return the marker of an origin's own value."""
    n = shape[axis]
    numbers = torch.arange(first, first + n, dtype=torch.float64)
    view = [1] * len(shape)
    view[axis] = n
    return Marker(numbers.view(view).expand(shape), axis)


def channels_along(numbers: Tensor, axis: int) -> Tensor:
    """Return the channel number at each index of an axis.

    Returns
    -------
    Tensor
        ``NOTHING`` where no element depends on the input, ``MIXED`` where elements of
        one index come from different channels. Padding within a channel does not count.
    """
    rows = _without_copies(numbers.movedim(axis, 0))
    if not rows.numel():
        return torch.full((numbers.shape[axis],), NOTHING, dtype=torch.float64)
    rows = rows.reshape(rows.shape[0], -1)
    if rows.shape[1] == 1:  # one number for each index already
        return rows[:, 0].expand(numbers.shape[axis])
    high = rows.amax(1)
    low = torch.where(rows == NOTHING, torch.inf, rows).amin(1)
    known = torch.where((low == high) & (high > 0), high, MIXED)
    known = torch.where((high == NOTHING) & (low == torch.inf), NOTHING, known)
    return known.expand(numbers.shape[axis])


def channel_axis(numbers: Tensor, default: int | None = None) -> int | None:
    """Return the axis along which channels lie, each at one index of it.

    Parameters
    ----------
    numbers
        Channel numbers, one for each element.
    default
        The answer where several axes would do, as with a single channel.

    Returns
    -------
    int or None
        None if channels lie along several axes.
    """

    def may_be(axis: int) -> bool:
        return not bool((channels_along(numbers, axis) == MIXED).any())

    if default is not None and 0 < default < numbers.ndim and may_be(default):
        return default
    axes = [axis for axis in range(1, numbers.ndim) if may_be(axis)]
    return axes[0] if len(axes) == 1 or (axes and default is None) else None


def _without_copies(numbers: Tensor) -> Tensor:
    """Return a marker with one element along every expanded axis."""
    index = tuple(
        slice(0, 1) if numbers.stride(i) == 0 else slice(None)
        for i in range(numbers.ndim)
    )
    return numbers[index]


def movement_markers(
    operation: Operation, graph: OperationGraph, marker: Callable[[int], Marker | None]
) -> list[Marker | None]:
    """Run an operation that moves elements on markers in place of its values.

    Returns
    -------
    list of Marker or None
        One for each output; None where an input's marker is not known.
    """
    arguments: dict[int, Tensor] = {}
    axes = []
    for index in graph.activation_inputs(operation):
        known = marker(index)
        if known is None:
            return [None] * len(operation.outputs)
        # Written in place by the replay where the operation writes.
        written = index in operation.written
        arguments[index] = known.numbers.clone() if written else known.numbers
        axes.append(known.axis)
    try:
        replayed = resolve(operation, graph, dict(arguments), constants=_as_marker)
    except RuntimeError:
        # A view of what is contiguous in the network, but expanded here.
        whole = {index: numbers.contiguous() for index, numbers in arguments.items()}
        replayed = resolve(operation, graph, whole, constants=_as_marker)
    results = replayed.made[: len(operation.outputs) - len(operation.written)]
    results += replayed.written
    default = axes[0] if axes else None
    return [
        _compact(numbers, default)
        if numbers.shape == graph.values[output].shape
        else None
        for numbers, output in zip(results, operation.outputs, strict=True)
    ]


def pooling_marker(
    source: Marker, source_shape: tuple[int, ...], shape: tuple[int, ...]
) -> Marker | None:
    """Return the marker after an operation that combines positions of each channel."""
    channels = source.channels
    if channels is None or source.axis is None or len(source_shape) != len(shape):
        return None
    if shape[source.axis] != len(channels):
        return None
    view = [1] * len(shape)
    view[source.axis] = len(channels)
    return Marker(channels.view(view).expand(shape), source.axis)


def reduction_marker(
    operation: Operation, graph: OperationGraph, source: Marker
) -> Marker:
    """Return the marker after an operation that combines the axes of its arguments."""
    value = graph.values[operation.outputs[0]]
    mixed = Marker(torch.full((), MIXED, dtype=torch.float64).expand(value.shape), None)
    options = {k: v for k, v in operation.options.items() if k in ("dim", "keepdim")}
    options |= {k: operation.options[k] for k in ("axis",) if k in operation.options}
    dims = options.get("dim", options.get("axis"))
    keep = bool(options.get("keepdim", False))
    # The first argument of a norm is its order.
    first = 2 if operation.name in _NORMS else 1
    positional = [
        a for a in operation.arguments[first:] if not isinstance(a, Reference)
    ]
    for argument in positional:
        if isinstance(argument, bool):
            keep = argument
        elif isinstance(argument, (int, tuple, list)) and dims is None:
            dims = argument
    if dims is None:
        return mixed
    numbers = source.numbers
    low, high = numbers.amin(dims, keepdim=keep), numbers.amax(dims, keepdim=keep)
    if low.shape != value.shape or not torch.equal(low, high):
        return mixed
    return _compact(low, None)


def einsum_marker(
    operation: Operation, graph: OperationGraph, marker: Callable[[int], Marker | None]
) -> Marker | None:
    """Return the marker after an ``einsum`` that weights positions, as attention does.

    The result has the channels of the one operand whose channels are not summed over.
    """
    equation = operation.arguments[0]
    operands = [a for item in operation.arguments[1:] for a in _flat(item)]
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    left, right = equation.replace(" ", "").split("->")
    shape = graph.values[operation.outputs[0]].shape
    extents = dict(zip(right, shape, strict=True))
    found = []
    for letters, operand in zip(left.split(","), operands, strict=True):
        known = marker(operand.value) if isinstance(operand, Reference) else None
        if known is None or known.is_mixed() or len(set(letters)) < len(letters):
            continue
        numbers = known.numbers
        for axis, letter in enumerate(letters):
            if letter not in right:
                head = numbers.narrow(axis, 0, 1)
                if not bool((numbers == head).all()):
                    break
                numbers = head
        else:
            kept = [axis for axis, letter in enumerate(letters) if letter in right]
            others = [axis for axis in range(numbers.ndim) if axis not in kept]
            numbers = numbers.permute(*kept, *others)
            numbers = numbers.reshape(*numbers.shape[: len(kept)], -1)[..., 0]
            order = [letters[axis] for axis in kept]
            for letter in right:
                if letter not in order:
                    numbers = numbers.unsqueeze(-1)
                    order.append(letter)
            numbers = numbers.permute(*(order.index(letter) for letter in right))
            numbers = numbers.expand(*(extents[letter] for letter in right))
            found.append(_compact(numbers, None))
    return found[0] if len(found) == 1 else None


def _flat(item: Any) -> list[Any]:
    return list(item) if isinstance(item, (list, tuple)) else [item]


@dataclass(frozen=True, slots=True)
class _Replayed:
    made: list[Tensor]
    written: list[Tensor]


def resolve(
    operation: Operation,
    graph: OperationGraph,
    arguments: dict[int, Tensor],
    *,
    constants: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> _Replayed:
    """Run a recorded operation again on other tensors.

    Parameters
    ----------
    operation, graph
        The recorded operation and its graph.
    arguments
        Tensors to take in place of values, by the values' index.
    constants
        Applied to floating-point tensors that do not depend on the network's input.
    """

    def put(item: Any) -> Any:
        if isinstance(item, Reference):
            if item.value in arguments:
                return arguments[item.value]
            constant = graph.values[item.value].constant
            return put(constant.clone()) if constant is not None else None
        if isinstance(item, Tensor):
            return constants(item) if item.is_floating_point() else item
        if isinstance(item, slice):
            return slice(put(item.start), put(item.stop), put(item.step))
        if isinstance(item, dict):
            return {key: put(part) for key, part in item.items()}
        if type(item) in (list, tuple):
            return type(item)(put(part) for part in item)
        return item

    # The same object must stand wherever the operation had the same tensor.
    for index in operation.written:
        if index not in arguments:
            constant = graph.values[index].constant
            if constant is not None:
                fresh = constant.clone()
                arguments[index] = (
                    constants(fresh) if fresh.is_floating_point() else fresh
                )
    with torch.no_grad():
        result = operation.function(*put(operation.arguments), **put(operation.options))
    written = [arguments[index] for index in operation.written]
    made = [t for t in iter_tensors(result) if not any(t is w for w in written)]
    return _Replayed(made, written)


def _as_marker(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=torch.float64)


def _compact(numbers: Tensor, default: int | None) -> Marker:
    """Forget the axes along which a marker's numbers are all the same."""
    if default is not None and default >= numbers.ndim:
        default = None
    axis = channel_axis(numbers, default)
    small = numbers
    for i in range(numbers.ndim):
        if small.shape[i] > 1 and i != axis:
            head = small.narrow(i, 0, 1)
            if bool((small == head).all()):
                small = head
    if small.numel() < numbers.numel():
        numbers = small.clone().expand(numbers.shape)
    return Marker(numbers, axis)
