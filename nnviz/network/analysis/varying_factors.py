"""Does a product make numbers that no affine map of a whole channel gives?

A factor may differ from position to position: a fixed scale, a mask, or a gate of which
it is not known from which channels it comes. What enters the product then enters it in
units of its own at every position, so that the product is a layer by itself. So it is
where a mask takes some positions of a value and fills the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnviz.network.analysis.functions import SELECTIONS, category_of
from nnviz.network.analysis.operations import Operation, argument
from nnviz.network.analysis.products import is_bounded

if TYPE_CHECKING:
    from nnviz.network.analysis.channel_flow import ChannelFlow

__all__ = ["fills_with_zeros", "has_varying_factor", "is_of_family"]

_STEPS_OF_A_ROTATION = 8
_MOVING = ("elementwise", "movement", "pointwise")
_TURNING = frozenset({"cat", "flip", "roll", "stack"})


def has_varying_factor(flow: ChannelFlow, operation: Operation, main: int) -> bool:
    """Return whether a product multiplies a value by other numbers at each position.

    Parameters
    ----------
    flow
        Markers and roots of all that lies before the operation.
    operation
        A product, a quotient, or a selection.
    main
        The value whose channels the result has.
    """
    marker = flow.markers.get(main)
    shape = flow.graph.values[operation.outputs[0]].shape
    if marker is None or marker.axis is None or not _is_real(flow, main):
        return False
    if operation.name in SELECTIONS and marker.is_mixed():
        return False  # an attention's pattern has no channels
    if operation.name == "div" and _value(argument(operation, 0, "input", 0)) != main:
        return False
    root = flow.roots.get(main)
    others = [
        value
        for value in flow.graph.activation_inputs(operation)
        if flow.roots.get(value) != root
    ]
    if others:
        return _is_real(flow, others[0]) and (
            not is_of_family(flow, others[0], root) or _is_soft_gate(flow, others[0])
        )
    axis = marker.axis + len(shape) - len(flow.graph.values[main].shape)
    factor = _constant(flow, operation)
    return (
        factor is not None
        and _varies(factor, axis - len(shape))
        and not _is_rotation(flow, operation, main)
    )


def fills_with_zeros(flow: ChannelFlow, operation: Operation, main: int) -> bool:
    """Return whether a selection is a product of a value and a mask.

    Parameters
    ----------
    flow
        Markers and roots of all that lies before the operation.
    operation
        It takes some positions of a value and fills the others.
    main
        The value.
    """
    if operation.name == "masked_fill":
        fill = argument(operation, 2, "value", None)
    else:
        place = 0 if operation.function is torch.Tensor.where else 1
        fill = argument(operation, place, "input", None)
        if _value(fill) == main:
            fill = argument(operation, 2, "other", None)
    constant = flow.graph.constant_of(fill)
    if constant is not None:
        return not bool(constant.any())
    return isinstance(fill, (int, float)) and fill == 0


def _mask(operation: Operation) -> object:
    """Return the recorded argument that says which positions are filled."""
    if operation.name == "masked_fill":
        return argument(operation, 1, "mask", None)
    place = 1 if operation.function is torch.Tensor.where else 0
    return argument(operation, place, "condition", None)


def _is_real(flow: ChannelFlow, value: int) -> bool:
    return not flow.graph.values[value].dtype.is_complex


def _value(item: object) -> int | None:
    return getattr(item, "value", None)


def _is_soft_gate(flow: ChannelFlow, value: int) -> bool:
    """Return whether a value is a gate that is more than a threshold."""
    is_hard = flow.graph.values[value].dtype == torch.bool
    return not is_hard and is_bounded(flow, value)


def is_of_family(flow: ChannelFlow, value: int, root: int | None) -> bool:
    """Return whether a value is made from one family alone, as its statistics are.

    Parameters
    ----------
    flow
        Markers and roots of all that lies before the value.
    value
        Any value.
    root
        Root of the family.
    """
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        if flow.roots.get(current) == root:
            continue
        operation = flow.graph.producer(current)
        if operation is None or current in flow.origins:
            return False
        for before in flow.graph.activation_inputs(operation):
            if before not in seen:
                seen.add(before)
                pending.append(before)
    return True


def _constant(flow: ChannelFlow, operation: Operation) -> Tensor | None:
    """Return the constant factor of a product, or the mask of a selection."""
    if operation.name in SELECTIONS:
        return flow.graph.constant_of(_mask(operation))
    for place, name in enumerate(("input", "other")):
        found = flow.graph.constant_of(argument(operation, place, name, None))
        if found is not None:
            return found
    return None


def _varies(factor: Tensor, axis: int) -> bool:
    """Return whether a factor differs within a channel; `axis` counts from the end."""
    if factor.is_complex() or not factor.numel():
        return False
    others = [i for i in range(-factor.ndim, 0) if i != axis]
    if not others:
        return False
    numbers = factor.double()
    return not torch.equal(numbers.amin(others), numbers.amax(others))


def _is_rotation(flow: ChannelFlow, operation: Operation, main: int) -> bool:
    """Return whether a product is added to another one of the same, turned, channels.

    Rotary embeddings of positions do so; of the sum it is told where it matters.
    """
    graph = flow.graph
    (made,) = operation.outputs
    own, turns = _before(flow, main)
    for consumer in graph.values[made].consumers:
        reader = graph.operations[consumer]
        if reader.name not in ("add", "sub"):
            continue
        for value in graph.activation_inputs(reader):
            others, turns_other = _before(flow, value)
            if value != made and own & others and (turns or turns_other):
                return True
    return False


def _before(flow: ChannelFlow, value: int) -> tuple[set[int], bool]:
    """Return what a value is only moved and scaled from, and whether it is turned."""
    graph = flow.graph
    found, pending, turns = {value}, [value], False
    for _ in range(_STEPS_OF_A_ROTATION):
        makers = [graph.producer(v) for v in pending]
        pending = []
        for maker in makers:
            if maker is not None and category_of(maker.name) in _MOVING:
                turns = turns or maker.name in _TURNING
                pending += graph.activation_inputs(maker)
        found.update(pending)
    return found, turns
