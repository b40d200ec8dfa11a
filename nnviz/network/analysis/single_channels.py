"""Does a channel alone contribute to a layer what its edge says?

For each operation that enters a layer a few channels are taken, one at a time: all
others of what the operation reads are set to zero, and the network's own functions from
there to the layer are run in float64, everything else held at its value. What that
changes must be the contribution that the edge computes, in size and in sign. The edges'
own weights and factors have no part in it, so that it sees what replaying cannot.

Where the first of these functions is a convolution or a linear map, the channels that
are zero are left out of it, with the network's own weights for them: the sums are the
same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import operations_between
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import TargetEdges
from nnviz.network.analysis.entering import EnteringOperation
from nnviz.network.analysis.functions import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from nnviz.network.analysis.markers import resolve
from nnviz.network.analysis.operations import Operation, argument
from nnviz.network.analysis.replay import apply_operation
from nnviz.network.analysis.summands import Place, PreActivation, Summand
from nnviz.network.influence.channel_operations import (
    ChannelOperation,
    Convolution,
    Identity,
)

__all__ = ["CHANNELS_CHECKED", "single_channel_errors"]

CHANNELS_CHECKED = 3
"""Channels of each operation that are taken alone: the strongest of the batch."""

_MANY_ELEMENTS = 2**17
"""What has more is checked by a single channel: every one costs a convolution."""


@dataclass(slots=True)
class _Check:
    """One summand of a layer's pre-activation."""

    layer: str
    summand: Summand
    entering: list[EnteringOperation]
    place: Place
    """Where its contributions are seen."""
    start: int
    """The value of which single channels are taken."""
    operations: list[Operation] = field(default_factory=list)
    """From `start` to `place`, in order."""

    @property
    def held(self) -> tuple[int, ...]:
        """Values that lie on the way and stay what they are."""
        path = self.summand.path
        if path is None:
            return (self.start,)
        return (
            self.start,
            *(v for v in path.product.inputs if v != path.weighing.values),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """What one operation of an edge reads, and where it adds to."""

    operation: ChannelOperation
    """Without its bias, which is no channel's."""
    sources: Tensor
    """Channel number of each of its input channels."""
    x: Tensor
    """Its true input, shape (N, C, *positions)."""
    places: Tensor
    """Among the channels of the place, of each that it makes; -1: none of them."""


def single_channel_errors(
    flow: ChannelFlow, targets: Sequence[TargetEdges]
) -> dict[str, float]:
    """Return how far single channels' contributions are from what edges say.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    targets
        The layers with all that enters them.

    Returns
    -------
    dict
        Largest difference by layer, relative to the largest contribution of the taken
        channels; layers that are not entered, or whose operations cannot be run in
        float64, are left out.
    """
    checks = [check for target in targets for check in _checks(flow, target)]
    return _Run(flow, checks).errors


def _checks(flow: ChannelFlow, target: TargetEdges) -> Iterator[_Check]:
    for pre_activation, entering in target.pre_activations:
        place = _place(pre_activation)
        if place is None:
            continue
        for summand in pre_activation.summands:
            own = [one for one in entering if one.summand is summand]
            start = summand.value if summand.factor is None else summand.factor
            if own and not _divides(flow, summand):
                operations = _from(flow, start, summand, place.value)
                if operations and start in operations[0].inputs:
                    yield _Check(target.layer, summand, own, place, start, operations)


def _place(pre_activation: PreActivation) -> Place | None:
    if pre_activation.end is not None:
        return pre_activation.end
    if pre_activation.value is None:
        return None
    return Place(
        pre_activation.value,
        pre_activation.axis,
        pre_activation.channels,
        pre_activation.units,
    )


def _divides(flow: ChannelFlow, summand: Summand) -> bool:
    """Return whether a factor divides: without it there is no quotient."""
    operation = summand.operation
    inputs = flow.graph.activation_inputs(operation)
    return (
        summand.factor is not None
        and operation.name == "div"
        and summand.factor == inputs[-1]
    )


def _from(
    flow: ChannelFlow, start: int, summand: Summand, last: int
) -> list[Operation]:
    """Return the operations from what is taken apart to a value, in order."""
    operation, path = summand.operation, summand.path
    if path is not None:
        # Not by way of queries and keys.
        below = _through(flow, operation, path.weighing.values)
        above = _through(flow, path.product, last)
        return [*below, *above] if below and above else []
    through = _through(flow, operation, last)
    if start in operation.inputs or not through:
        return through
    root = flow.roots.get(start)
    same = [v for v in operation.inputs if flow.roots.get(v) == root]
    return [*operations_between(flow, start, same[0]), *through] if same else []


def _through(flow: ChannelFlow, first: Operation, last: int) -> list[Operation]:
    """Return an operation and those through which its result reaches a value.

    What it reads may reach the value in other ways, too; they are other summands, or
    gates, and are held.
    """
    graph = flow.graph
    reached = set(first.outputs)
    found = [first]
    end = graph.producer(last)
    for operation in graph.operations[first.index + 1 : end.index + 1 if end else 0]:
        if operation.live and reached.intersection(operation.inputs):
            reached.update(operation.outputs)
            found.append(operation)
    needed = {last}
    kept: list[Operation] = []
    for operation in reversed(found):
        if needed.intersection(operation.outputs):
            kept.append(operation)
            needed.update(reached.intersection(operation.inputs))
    return kept[::-1] if last in reached and first in kept else []


class _Run:
    """One forward pass that stops for each check."""

    def __init__(self, flow: ChannelFlow, checks: list[_Check]) -> None:
        self._flow = flow
        self.errors: dict[str, float] = {}
        self._values: dict[int, Tensor] = dict(flow.graph.received)
        self._found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        after: defaultdict[int, list[_Check]] = defaultdict(list)
        for check in checks:
            maker = flow.graph.producer(check.place.value)
            assert maker is not None  # a pre-activation is not the network's input
            after[maker.index].append(check)
        last = self._last_uses(after)
        with torch.no_grad():
            for operation in flow.graph.operations:
                if operation.index > max(after, default=-1):
                    break
                if operation.live and self._activations(operation):
                    self._step(operation)
                for check in after.get(operation.index, ()):
                    self._check(check)
                for old in last.get(operation.index, ()):
                    self._values.pop(old, None)
        for layer, found in self._found.items():
            scale = max(size for _, size in found)
            wrong = max((error for error, _ in found), key=_badness)
            self.errors[layer] = wrong / scale if scale else wrong

    def _activations(self, operation: Operation) -> tuple[int, ...]:
        return self._flow.graph.activation_inputs(operation)

    def _last_uses(self, after: dict[int, list[_Check]]) -> dict[int, list[int]]:
        """Return the values that are not needed behind an operation, by its index."""
        last: dict[int, int] = {}
        for operation in self._flow.graph.operations:
            for value in (*operation.inputs, *operation.outputs):
                last[value] = operation.index
        for index, checks in after.items():
            for check in checks:
                needed = {*check.held, check.summand.value, check.place.value}
                for operation in check.operations:
                    needed.update(operation.inputs)
                for value in needed:
                    last[value] = max(last.get(value, -1), index)
        by_index: defaultdict[int, list[int]] = defaultdict(list)
        for value, index in last.items():
            by_index[index].append(value)
        return by_index

    def _step(self, operation: Operation) -> None:
        try:
            made = self._made(operation, self._values)
        except (RuntimeError, TypeError, ValueError, KeyError, NotImplementedError):
            return  # what hangs on it is not checked
        self._values.update(made)

    def _made(
        self,
        operation: Operation,
        values: dict[int, Tensor],
        constants: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> dict[int, Tensor]:
        arguments = {
            value: values[value].clone()
            if value in operation.written
            else values[value]
            for value in self._activations(operation)
        }
        result = resolve(operation, self._flow.graph, arguments, constants=constants)
        made = (*result.made, *result.written)
        return dict(zip(operation.outputs, made, strict=True))

    def _made_wide(
        self, operation: Operation, values: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        """Run an operation in float64."""
        wide = {v: _wide(values[v]) for v in self._activations(operation)}
        made = self._made(operation, wide, _wide)
        return {value: _wide(tensor) for value, tensor in made.items()}

    def _check(self, check: _Check) -> None:
        values, summand = self._values, check.summand
        held = {v for v in check.held if self._flow.graph.values[v].depends}
        if not held | {summand.value, check.place.value} <= values.keys():
            return
        numbers = self._numbers(check)
        if numbers is None:
            return
        try:
            order = _order(check.place.channels)
            nothing = self._seen(check, numbers, None, order)
            read, reached = self._read(check)
            for number in self._strongest(check, numbers):
                own = self._seen(check, numbers, number, order) - nothing
                said = _said(read, number, own)[:, reached]
                own = own[:, reached]
                difference = (own - said).abs().max()
                size = max(float(own.abs().max()), float(said.abs().max()))
                self._found[check.layer].append((float(difference), size))
        except (RuntimeError, TypeError, ValueError, KeyError, NotImplementedError):
            return

    def _numbers(self, check: _Check) -> Tensor | None:
        """Return the channel number of every element of what is taken apart.

        Constants within a channel (padding, a class token) are the channel's, too.
        """
        summand, marker = check.summand, self._flow.markers.get(check.start)
        shape = self._flow.graph.values[check.start].shape
        if summand.factor is None:
            numbers, axis = summand.sources, summand.axis
        elif marker is not None and marker.channels is not None and marker.axis:
            numbers, axis = marker.channels, marker.axis
        else:
            return None if marker is None else marker.numbers
        view = [len(numbers) if i == axis else 1 for i in range(len(shape))]
        return numbers.view(view).expand(shape)

    def _strongest(self, check: _Check, numbers: Tensor) -> list[float]:
        """Return the channels of the largest values among those that are read."""
        x = self._values[check.start].abs()
        for axis in range(numbers.ndim):
            if numbers.stride(axis) == 0:
                numbers, x = numbers.narrow(axis, 0, 1), x.amax(axis, keepdim=True)
        distinct, index = numbers.flatten().unique(return_inverse=True)
        sizes = x.new_zeros(len(distinct))
        sizes.scatter_reduce_(0, index, x.flatten(), "amax")
        read = torch.cat([one.sources for one in check.entering])
        sizes[~torch.isin(distinct, read) | (distinct <= 0)] = -1.0
        order = torch.argsort(sizes, descending=True, stable=True)
        is_large = self._values[check.start].numel() > _MANY_ELEMENTS
        kept = order[sizes[order] >= 0][: 1 if is_large else CHANNELS_CHECKED]
        strongest: list[float] = distinct[kept].tolist()
        return strongest

    def _seen(
        self,
        check: _Check,
        numbers: Tensor,
        number: float | None,
        order: Tensor | None,
    ) -> Tensor:
        """Return the layer in its units with one channel alone.

        Shape (N, channel of the place in the layer's `order`, positions in a row).
        """
        x = self._values[check.start]
        values = dict(self._values)
        for operation in check.operations:
            if operation is not check.operations[0]:
                made = self._made_wide(operation, values)
            elif _leaves_out_channels(operation, check.start, numbers):
                made = self._made_from_one(operation, check.start, numbers, number)
            else:
                kept = numbers == (-torch.inf if number is None else number)
                values[check.start] = torch.where(kept, _wide(x), 0.0)
                made = self._made_wide(operation, values)
            values.update(made)
            # Whatever else reads it on the way is another summand, and is held.
            values.update((v, self._values[v]) for v in check.held if v in self._values)
        place = check.place
        seen = _wide(values[place.value]).movedim(place.axis, -1)
        if not bool((place.units.scale == 1).all()):
            seen = seen * place.units.scale
        if check.summand.share is not None:
            seen = seen * check.summand.share[place.channels]
        seen = self._flow.graph.turned(place.value, seen)
        rows = seen.reshape(self._flow.graph.n_instances, -1, seen.shape[-1])
        return (rows if order is None else rows[..., order]).movedim(-1, 1)

    def _made_from_one(
        self, operation: Operation, start: int, numbers: Tensor, number: float | None
    ) -> dict[int, Tensor]:
        """Run a convolution or a linear map on the indices of one channel."""
        axis = _channel_axis(operation, numbers.ndim)
        along = numbers[
            tuple(slice(None) if i == axis else 0 for i in range(numbers.ndim))
        ]
        index = torch.tensor([0])
        if number is not None:
            index = torch.eq(along, number).nonzero()[:, 0]
        x = _wide(self._values[start].index_select(axis, index))
        values = {start: torch.zeros_like(x) if number is None else x}
        of_weight = 0 if operation.name in TRANSPOSED_CONVOLUTIONS else 1

        def wide(tensor: Tensor) -> Tensor:
            is_bias = tensor.ndim == 1
            return _wide(tensor if is_bias else tensor.index_select(of_weight, index))

        return self._made(operation, values, wide)

    def _read(self, check: _Check) -> tuple[list[_Read], Tensor]:
        """Return what the edges read, and which channels of the place they reach."""
        graph, path = self._flow.graph, check.summand.path
        channels = check.place.channels.sort().values
        where = torch.full((int(channels.max()) + 2,), -1)  # the last: of no channel
        where[channels] = torch.arange(len(channels))
        reached = torch.zeros(len(channels), dtype=torch.bool)
        value = self._values[check.summand.value]
        leaves = [] if path is None else path.leaves(graph, self._values)
        found = []
        for one in check.entering:
            places = where[one.targets.clamp(-1, len(where) - 1)]
            reached[places[places >= 0]] = True
            x = one.input_of(value, graph.n_instances, leaves)
            operation = replace(one.operation, bias=None)
            found.append(_Read(operation, one.sources, x, places))
        return found, reached


def _order(channels: Tensor) -> Tensor | None:
    """Return what puts channels in order; None where they are."""
    order = torch.argsort(channels)
    return None if torch.equal(order, torch.arange(len(order))) else order


def _said(read: Sequence[_Read], number: float, like: Tensor) -> Tensor:
    """Return what edges say that one channel adds, of another tensor's shape."""
    n = len(like)
    total = torch.zeros_like(like)
    for one in read:
        index = torch.eq(one.sources, number).nonzero()[:, 0]
        is_identity = isinstance(one.operation, Identity)
        places = one.places[index] if is_identity else one.places
        if len(index):
            added = _added_by(one.operation, one.x, index)
            kept = (places >= 0).nonzero()[:, 0]
            rows = added[:, kept].double().reshape(n, len(kept), -1)
            rows = rows.expand(n, len(kept), like.shape[2])
            total.index_add_(1, places[kept], rows)
    return total


def _leaves_out_channels(operation: Operation, start: int, numbers: Tensor) -> bool:
    """Return whether an operation can be run on some channels of its input alone."""
    axis = _channel_axis(operation, numbers.ndim)
    weight = argument(operation, 1, "weight", None)
    n_axes = 2 if operation.name == "linear" else numbers.ndim
    return (
        (operation.name in CONVOLUTIONS or operation.name == "linear")
        and isinstance(weight, Tensor)
        and weight.ndim == n_axes
        and operation.inputs == (start,)
        and not operation.written
        and argument(operation, 6, "groups", 1) == 1
        and all(numbers.stride(i) == 0 for i in range(numbers.ndim) if i != axis)
    )


def _channel_axis(operation: Operation, n_axes: int) -> int:
    return n_axes - 1 if operation.name == "linear" else 1


def _added_by(operation: ChannelOperation, x: Tensor, index: Tensor) -> Tensor:
    """Return what some input channels of an edge's operation add, (N, C, ...).

    Of an identity the channels are the taken ones, of others all that it makes.
    """
    if isinstance(operation, Identity):
        scale = None if operation.scale is None else operation.scale[index]
        return apply_operation(Identity(scale), x.index_select(1, index).float())
    if isinstance(operation, Convolution) and operation.groups > 1:
        alone = torch.zeros_like(x, dtype=torch.float32)
        alone[:, index] = x[:, index].float()
        return apply_operation(operation, alone)
    is_turned = isinstance(operation, Convolution) and operation.transposed
    weight = operation.weight.index_select(0 if is_turned else 1, index)
    narrow = replace(operation, weight=weight)
    return apply_operation(narrow, x.index_select(1, index).float())


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _badness(error: float) -> float:
    return torch.inf if math.isnan(error) else error
