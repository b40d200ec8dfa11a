"""What do influences hold at its value though channels change it, and how much is that?

A normalisation divides by statistics of all channels, and an attention weighs tokens by
a pattern that channels make. Influences hold both at their values: contributions add up
exactly, but a channel that were not there would change them, too. How much that is is
measured on the batch: a channel is set to its mean, and the network's own functions are
run again, with what is held and without.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import is_affine
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import TargetEdges
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import FoundLayer, settled
from nnviz.network.analysis.markers import channels_along, resolve
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.units import axis_of
from nnviz.runs.architecture import Held, HeldPart

__all__ = ["measure_held"]

CHANNELS_CHANGED = 3
"""Channels that are set to their means, one at a time: those that vary most."""
_MANY_ELEMENTS = 2**17
"""What has more is measured with a single channel."""


@dataclass(frozen=True, slots=True)
class _Check:
    """One place at which something is held."""

    part: HeldPart
    layer: str
    """The layer that is entered."""
    start: int
    """The value at which the layer is read whose channels are changed."""
    end: int
    """The value in which the difference is seen."""
    held: tuple[int, ...]
    """Of an attention: what makes its pattern."""
    operations: tuple[Operation, ...]
    """From `start` to `end`, in order."""


def measure_held(
    flow: ChannelFlow, layers: Sequence[FoundLayer], targets: Sequence[TargetEdges]
) -> list[Held]:
    """Return what is held on the way into each layer, with its size on the batch.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    layers, targets
        Its layers, with all that enters them.

    Returns
    -------
    list of Held
        One for each normalisation that is passed, however many layers it leads to, and
        one for each attention.
    """
    read = {settled(flow, item.site.read_value) for item in layers}
    checks: dict[int, _Check] = {}
    for item, target in zip(layers, targets, strict=True):
        for check in _checks(flow, item, target, read):
            checks.setdefault(check.end, check)
    return _measured(flow, list(checks.values()))


def _checks(
    flow: ChannelFlow, item: FoundLayer, target: TargetEdges, read: set[int]
) -> Iterator[_Check]:
    for sourced in target.operations:
        value = sourced.entering.summand.value
        start = _nearest(flow, value, read)
        if start is None:
            continue
        way = _between(flow, start, value)
        if any(_takes_statistics(flow, operation) for operation in way):
            yield _Check("normalization", target.layer, start, value, (), way)
        path = sourced.entering.summand.path
        if path is not None:
            end = item.site.origin
            held = tuple(path.pattern_values(flow.graph))
            way = _between(flow, start, end)
            yield _Check("attention pattern", target.layer, start, end, held, way)


def _nearest(flow: ChannelFlow, value: int, read: set[int]) -> int | None:
    """Return where the layer is read that a value is made from, if it is one alone."""
    while value not in read:
        operation = flow.graph.producer(value)
        if operation is None or value in flow.origins:
            return None
        value = flow.graph.activation_inputs(operation)[0]
    return value


def _takes_statistics(flow: ChannelFlow, operation: Operation) -> bool:
    """Return whether an operation scales channels by numbers that are made of others.

    A product with what is made from the channels themselves is written by hand.
    """
    if category_of(operation.name) == "normalization":
        return not is_affine(flow, operation)
    n_inputs = len(flow.graph.activation_inputs(operation))
    return operation.name in ("div", "mul") and n_inputs > 1


def _between(flow: ChannelFlow, first: int, last: int) -> tuple[Operation, ...]:
    """Return all operations by way of which one value makes another, in order."""
    graph = flow.graph
    stop = graph.producer(last)
    reached, found = {first}, []
    for operation in graph.operations[: stop.index + 1 if stop else 0]:
        if operation.live and not reached.isdisjoint(operation.inputs):
            reached.update(operation.outputs)
            found.append(operation)
    needed, kept = {last}, []
    for operation in reversed(found):
        if not needed.isdisjoint(operation.outputs):
            needed.update(operation.inputs)
            kept.append(operation)
    return tuple(kept[::-1])


def _measured(flow: ChannelFlow, checks: list[_Check]) -> list[Held]:
    """Run the network once, and measure each place when it is reached."""
    graph = flow.graph
    due: defaultdict[int, list[_Check]] = defaultdict(list)
    last: dict[int, int] = {}
    for operation in graph.operations:
        for value in operation.inputs:
            last[value] = operation.index
    for check in checks:
        maker = graph.producer(check.end)
        assert maker is not None  # it is made on the way
        due[maker.index].append(check)
        needed = {check.start, check.end, *check.held}
        needed.update(v for o in check.operations for v in o.inputs)
        for value in needed:
            last[value] = max(last.get(value, -1), maker.index)
    ends: defaultdict[int, list[int]] = defaultdict(list)
    for value, index in last.items():
        ends[index].append(value)
    values = dict(graph.received)
    found: list[Held] = []
    with torch.no_grad():
        for operation in graph.operations[: max(due, default=-1) + 1]:
            if operation.live and graph.activation_inputs(operation):
                _run(flow, operation, values)
            for check in due.get(operation.index, ()):
                size = _size(flow, check, values)
                if size:
                    found.append(Held(check.part, check.layer, size))
            for value in ends.get(operation.index, ()):
                values.pop(value, None)
    return found


def _run(flow: ChannelFlow, operation: Operation, values: dict[int, Tensor]) -> None:
    """Run an operation again; what cannot be run leaves its values out."""
    inputs = flow.graph.activation_inputs(operation)
    try:
        arguments = {
            v: values[v].clone() if v in operation.written else values[v]
            for v in inputs
        }
        result = resolve(operation, flow.graph, arguments)
    except (KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return
    made = (*result.made, *result.written)
    values.update(zip(operation.outputs, made, strict=True))


def _size(flow: ChannelFlow, check: _Check, values: dict[int, Tensor]) -> float | None:
    """Return how large a change by way of what is held is to the change beside it."""
    if not {check.start, check.end, *check.held} <= values.keys():
        return None
    start = values[check.start]
    axis = axis_of(flow, check.start, start.ndim - 1)
    if not start.is_floating_point():
        return None
    others = [i for i in range(start.ndim) if i != axis]
    spread = start.std(others, correction=0)
    n_changed = 1 if start.numel() > _MANY_ELEMENTS else CHANNELS_CHANGED
    strongest = torch.argsort(spread, descending=True, stable=True)[:n_changed]
    sizes = []
    for channel in strongest[spread[strongest] > 0].tolist():
        changed = start.clone()
        one = changed.select(axis, channel)
        one.copy_(one.mean().expand_as(one))
        free = _changed(flow, check, values, changed, ())
        if free is None:
            return None
        if check.held:
            kept = _changed(flow, check, values, changed, check.held)
            if kept is None:
                return None
            own, beside = kept - values[check.end], free - kept
        else:
            difference = free - values[check.end]
            own = _of_channel(flow, check, channel, difference)
            beside = difference - own
        if bool(own.any()):
            sizes.append(float(beside.norm() / own.norm()))
    return max(sizes, default=None)


def _changed(
    flow: ChannelFlow,
    check: _Check,
    values: dict[int, Tensor],
    changed: Tensor,
    held: tuple[int, ...],
) -> Tensor | None:
    """Return the end with other channels at the start."""
    own = {**values, check.start: changed}
    for operation in check.operations:
        for output in operation.outputs:
            own.pop(output, None)
        _run(flow, operation, own)
        own.update((value, values[value]) for value in held)
    return own.get(check.end)


def _of_channel(
    flow: ChannelFlow, check: _Check, channel: int, difference: Tensor
) -> Tensor:
    """Return the part of a difference that lies in one channel of the start."""
    marks = [flow.markers.get(value) for value in (check.start, check.end)]
    first, last = marks
    if first is None or first.axis is None or last is None or last.axis is None:
        return torch.zeros_like(difference)
    number = channels_along(first.numbers, first.axis)[channel]
    mine = channels_along(last.numbers, last.axis) == number
    view = [len(mine) if i == last.axis else 1 for i in range(difference.ndim)]
    return torch.where(mine.view(view), difference, 0.0)
