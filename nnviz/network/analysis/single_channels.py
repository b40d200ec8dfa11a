"""Does a channel alone contribute to a layer what its edge says?

For each operation that enters a layer a few channels are taken, one at a time: all
others of what the operation reads are set to zero, and the network's own functions from
there to the layer are run in float64, everything else held at its value. What that
changes must be the contribution that the edge computes, in size and in sign. The edges'
own weights and factors have no part in it, so that it sees what replaying cannot.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import operations_between
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import TargetEdges
from nnviz.network.analysis.entering import EnteringOperation
from nnviz.network.analysis.markers import resolve
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.replay import apply_operation
from nnviz.network.analysis.summands import Place, PreActivation, Summand

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


def single_channel_errors(
    flow: ChannelFlow, targets: Sequence[TargetEdges], batch: Tensor
) -> dict[str, float]:
    """Return how far single channels' contributions are from what edges say.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    targets
        The layers with all that enters them.
    batch
        What the network received.

    Returns
    -------
    dict
        Largest difference by layer, relative to the largest contribution of the taken
        channels; layers that are not entered, or whose operations cannot be run in
        float64, are left out.
    """
    checks = [check for target in targets for check in _checks(flow, target)]
    return _Run(flow, checks, batch).errors


def _checks(flow: ChannelFlow, target: TargetEdges) -> Iterator[_Check]:
    for pre_activation, entering in target.pre_activations:
        place = _place(pre_activation)
        if place is None:
            continue
        for summand in pre_activation.summands:
            own = [one for one in entering if one.summand is summand]
            start = summand.value if summand.factor is None else summand.factor
            if own and not _divides(flow, summand):
                operations = _from(flow, start, summand.operation, place.value)
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
    flow: ChannelFlow, start: int, operation: Operation, last: int
) -> list[Operation]:
    """Return the operations from what is taken apart to a value, in order."""
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
    """One forward pass in float64 that stops for each check."""

    def __init__(self, flow: ChannelFlow, checks: list[_Check], batch: Tensor) -> None:
        self._flow = flow
        self.errors: dict[str, float] = {}
        self._values: dict[int, Tensor] = {flow.graph.input_value: _wide(batch)}
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
                needed = {check.start, check.summand.value, check.place.value}
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
        self, operation: Operation, values: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        arguments = {
            value: values[value].clone()
            if value in operation.written
            else values[value]
            for value in self._activations(operation)
        }
        result = resolve(operation, self._flow.graph, arguments, constants=_wide)
        made = (*result.made, *result.written)
        return {
            value: _wide(tensor)
            for value, tensor in zip(operation.outputs, made, strict=True)
        }

    def _check(self, check: _Check) -> None:
        values, summand = self._values, check.summand
        if not {check.start, summand.value, check.place.value} <= values.keys():
            return
        numbers = self._numbers(check)
        if numbers is None:
            return
        try:
            nothing = self._seen(check, numbers, None)
            for number in self._strongest(check, numbers):
                own = self._seen(check, numbers, number) - nothing
                said, reached = self._said(check, number, own)
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

    def _seen(self, check: _Check, numbers: Tensor, number: float | None) -> Tensor:
        """Return the layer in its units with one channel alone, channels on axis 1."""
        x = self._values[check.start]
        kept = numbers == number if number is not None else torch.zeros_like(numbers)
        values = dict(self._values)
        values[check.start] = torch.where(kept.bool(), x, 0.0)
        for operation in check.operations:
            values.update(self._made(operation, values))
            # Whatever else reads it on the way is another summand, and is held.
            values[check.start] = x
        place = check.place
        seen = values[place.value].movedim(place.axis, -1) * place.units.scale
        if check.summand.share is not None:
            seen = seen * check.summand.share[place.channels]
        return self._by_layer_channel(seen, place.channels)

    def _by_layer_channel(self, seen: Tensor, channels: Tensor) -> Tensor:
        """Return (N, channel of `channels` in order, positions in a row)."""
        n = self._flow.graph.values[self._flow.graph.input_value].shape[0]
        rows = seen.reshape(n, -1, seen.shape[-1])
        return rows[..., torch.argsort(channels)].movedim(-1, 1)

    def _said(
        self, check: _Check, number: float, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what the edges say of one channel, and which channels they reach."""
        n = self._flow.graph.values[self._flow.graph.input_value].shape[0]
        order = check.place.channels.sort().values
        where = {int(c): i for i, c in enumerate(order.tolist())}
        total = torch.zeros_like(like)
        reached = torch.zeros(like.shape[1], dtype=torch.bool)
        for one in check.entering:
            x = one.input_of(self._values[check.summand.value].float(), n)
            own = (one.sources == number).view(-1, *[1] * (x.ndim - 2))
            x = torch.where(own, x, 0.0)
            added = apply_operation(replace(one.operation, bias=None), x)
            places = [where.get(int(c), -1) for c in one.targets.tolist()]
            kept = [i for i, place in enumerate(places) if place >= 0]
            index = torch.tensor([places[i] for i in kept], dtype=torch.int64)
            reached[index] = True
            rows = added[:, kept].double().reshape(n, len(kept), -1)
            total.index_add_(1, index, rows.expand(n, len(kept), like.shape[2]))
        return total[:, reached], reached


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _badness(error: float) -> float:
    return torch.inf if math.isnan(error) else error
