"""In which units does a channel stand where its layer is read?

Between the operation that makes a channel and the place where its layer is read lie
affine maps (normalisation, scale, minus, offset) and non-linearities. Affine maps
before the first non-linearity are folded into the operation; those behind it multiply
what enters, so that contributions have the units, and the sign, of the layer as it is
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import (
    STILL,
    AffineMap,
    affine_map,
    is_affine,
    operations_between,
)
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.markers import channels_along
from nnviz.network.analysis.operations import Operation, argument

__all__ = [
    "Units",
    "axis_of",
    "before_affine",
    "folded",
    "only_moves_behind",
    "units_beyond",
]

_WEIGHT_OF: dict[str, int] = {"group_norm": 2, "layer_norm": 2, "rms_norm": 2}
_WEIGHT_OF |= {"instance_norm": 3}
"""Place of the weight among the arguments of a normalisation by own statistics."""


@dataclass(frozen=True, slots=True)
class Units:
    """``there = scale * here + shift``, channel by channel of one origin."""

    scale: Tensor
    """Shape (channel,), float64."""
    shift: Tensor
    """Shape (channel,), float64."""

    @classmethod
    def same(cls, n_channels: int) -> Units:
        """Return units that are those of the channels themselves."""
        wide = torch.ones(n_channels, dtype=torch.float64)
        return cls(wide, torch.zeros_like(wide))

    def then(self, other: Units) -> Units:
        """Return these units followed by others."""
        return Units(self.scale * other.scale, self.shift * other.scale + other.shift)

    def __getitem__(self, channels: Tensor) -> Units:
        return Units(self.scale[channels], self.shift[channels])


def axis_of(flow: ChannelFlow, value: int, default: int) -> int:
    """Return the axis of a value along which channels lie."""
    marker = flow.markers.get(value)
    return default if marker is None or marker.axis is None else marker.axis


def folded(flow: ChannelFlow, origin: int, limit: int) -> tuple[int, AffineMap]:
    """Return the last value up to which all is affine, and the map to it.

    Parameters
    ----------
    flow
        Markers and roots.
    origin
        Value of an origin of channels.
    limit
        A later value of its family: where the layer is read, or what enters the sum or
        the concatenation that takes all of the channels.
    """
    known = flow.origins[origin]
    best, found = origin, AffineMap.identity(known.n_channels)
    for step in _steps(flow, origin, limit):
        if step.within or not is_affine(flow, step.operation):
            break
        if _only_moves(step.operation):
            continue
        axes = (known.axis, axis_of(flow, step.value, known.axis))
        fold = affine_map(flow, origin, step.value, axes)
        if fold is None or bool((fold.channels < 0).any()):
            break
        best, found = step.value, fold
    return best, found


def units_beyond(flow: ChannelFlow, origin: int, start: int, limit: int) -> Units:
    """Return what the affine maps between two values of a family make of a channel.

    Non-linearities between them are passed by. Where several ways from one value meet
    again (``x * relu6(x + 3) / 6``), they are one non-linearity together with the
    factors on and behind them, of which only the sign counts; so it is with the weights
    of a normalisation by statistics of its own.

    Parameters
    ----------
    flow, origin
        As for :func:`folded`.
    start, limit
        Values of the family of `origin`, the earlier one first.
    """
    units = Units.same(flow.origins[origin].n_channels)
    only_sign = False
    for step in _steps_behind(flow, origin, start, limit):
        if step.within:
            only_sign = True
            continue
        found = _units_of(flow, origin, step)
        if found is not None:
            if only_sign:
                found = Units(found.scale.sign(), torch.zeros_like(found.shift))
            units = units.then(found)
    return units


def before_affine(flow: ChannelFlow, value: int) -> int:
    """Return the earliest value of which a value is an affine map.

    Parameters
    ----------
    flow
        Markers and roots.
    value
        What enters a sum or a concatenation as it is.
    """
    found = current = value
    while current not in flow.origins:
        operation = flow.graph.producer(current)
        if operation is None or not is_affine(flow, operation):
            break
        (current,) = flow.graph.activation_inputs(operation)
        if flow.roots.get(current) != flow.roots.get(value):
            break
        if not _only_moves(operation):
            found = current
    return found


def only_moves_behind(flow: ChannelFlow, origin: int, start: int, limit: int) -> bool:
    """Return whether nothing changes the numbers between two values of a family.

    Parameters
    ----------
    flow, origin, start, limit
        As for :func:`units_beyond`.
    """
    steps = _steps_behind(flow, origin, start, limit)
    return all(_only_moves(step.operation) for step in steps)


@dataclass(frozen=True, slots=True)
class _Step:
    operation: Operation
    before: int
    """The value of the family that it reads."""
    value: int
    """The value that it makes."""
    within: bool
    """Whether it lies on one of several ways that meet again."""


def _steps(flow: ChannelFlow, origin: int, limit: int) -> Iterator[_Step]:
    """Yield the operations between two values of a family."""
    operations = operations_between(flow, origin, limit)
    values = [origin, *(operation.outputs[-1] for operation in operations)]
    place = {value: i for i, value in enumerate(values)}
    within = [False] * len(operations)
    for i, operation in enumerate(operations):
        own = {
            v
            for v in flow.graph.activation_inputs(operation)
            if flow.roots.get(v) == flow.roots.get(origin)
        }
        if len(own) > 1:
            fork = min(_last_common(flow, origin, value, place) for value in own)
            within[fork : i + 1] = [True] * (i + 1 - fork)
    for i, operation in enumerate(operations):
        yield _Step(operation, values[i], values[i + 1], within[i])


def _steps_behind(
    flow: ChannelFlow, origin: int, start: int, limit: int
) -> Iterator[_Step]:
    is_behind = start == origin
    for step in _steps(flow, origin, limit):
        if is_behind:
            yield step
        is_behind = is_behind or step.value == start


def _last_common(
    flow: ChannelFlow, origin: int, value: int, place: dict[int, int]
) -> int:
    """Return how far along the main way a value's own way leaves it."""
    own = [origin, *(o.outputs[-1] for o in operations_between(flow, origin, value))]
    return max(place[v] for v in own if v in place)


def _only_moves(operation: Operation) -> bool:
    return operation.name in STILL or category_of(operation.name) == "movement"


def _units_of(flow: ChannelFlow, origin: int, step: _Step) -> Units | None:
    """Return what one operation makes of each channel; None if it is not affine."""
    known = flow.origins[origin]
    operation = step.operation
    if _only_moves(operation):
        return None
    axis = axis_of(flow, step.before, known.axis)
    numbers = _numbers(flow, step.before, axis)
    if operation.name in _WEIGHT_OF and not is_affine(flow, operation):
        signs = _signs(flow, operation, axis)
        own = None if signs is None else Units(signs, torch.zeros_like(signs))
    elif is_affine(flow, operation):
        axes = (axis, axis_of(flow, step.value, axis))
        fold = affine_map(flow, step.before, step.value, axes, shifts_vary=True)
        own = None if fold is None else Units(fold.scale, fold.shift)
    else:
        own = None
    if own is None or numbers is None or len(own.scale) != len(numbers):
        return None
    order = numbers.long() - known.first
    if bool(((order < 0) | (order >= known.n_channels)).any()):
        return None
    units = Units.same(known.n_channels)
    units.scale[order], units.shift[order] = own.scale, own.shift
    return units


def _numbers(flow: ChannelFlow, value: int, axis: int) -> Tensor | None:
    marker = flow.markers.get(value)
    return None if marker is None else channels_along(marker.numbers, axis)


def _signs(flow: ChannelFlow, operation: Operation, axis: int) -> Tensor | None:
    """Return the signs of a normalisation's weights, if it has one a channel."""
    item = argument(operation, _WEIGHT_OF[operation.name], "weight", None)
    weight = flow.graph.constant_of(item)
    n_axes = len(flow.graph.values[operation.inputs[0]].shape)
    is_last = operation.name in ("layer_norm", "rms_norm")
    if weight is None or weight.ndim != 1 or (is_last and axis != n_axes - 1):
        return None
    return weight.double().sign()
