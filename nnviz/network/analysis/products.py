"""Which factors of a product carry its contributions, and which are gates?

With the other factor held at its value, the contributions of each factor add up to the
product. Where exactly one factor ends in a bounded non-linearity it is a *gate*, and
the other carries all, multiplied by the gate at each position (signal takes all: Arras
et al. 2017). Otherwise both carry, one half each (the uniform rule: Achtibat et al.
2024). The order in which the factors are written never matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import STILL, is_affine
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.operations import Operation, argument

if TYPE_CHECKING:
    from nnviz.network.analysis.channel_flow import ChannelFlow

__all__ = ["Factors", "aligned", "factors_of", "is_bounded", "is_mask"]

_BOUNDED = frozenset(
    {
        "atan",
        "cos",
        "erf",
        "expit",
        "gumbel_softmax",
        "hardsigmoid",
        "sigmoid",
        "sin",
        "softmax",
        "softmin",
        "softsign",
        "special_expit",
        "special_softmax",
        "tanh",
    }
)
_CLIPPED = frozenset({"clamp", "clip", "hardtanh", "relu6"})
"""Bounded, and gates where their range is at most that of a hyperbolic tangent."""

Factors = tuple[dict[int, float], tuple[int, ...]]
"""The share of the contributions that each factor carries, and the gates."""


def factors_of(flow: ChannelFlow, operation: Operation) -> Factors:
    """Return which of the values that a product reads carry it, and how much each.

    Parameters
    ----------
    flow
        Markers and roots.
    operation
        A product (or a quotient) of two values that depend on the network's input.
    """
    inputs = flow.graph.activation_inputs(operation)
    carrying = [value for value in inputs if not is_mask(flow, value)]
    if 0 < len(carrying) < len(inputs):
        return dict.fromkeys(carrying, 1 / len(carrying)), ()
    divisor = argument(operation, 1, "other", None) if operation.name == "div" else None
    gates = [
        value
        for value in inputs
        if value != getattr(divisor, "value", None) and is_bounded(flow, value)
    ]
    if len(gates) == 1 and len(inputs) > 1:
        return {v: 1.0 for v in inputs if v != gates[0]}, (gates[0],)
    return dict.fromkeys(inputs, 1 / len(inputs)), ()


def is_mask(flow: ChannelFlow, value: int) -> bool:
    """Return whether a value is made of masks alone, and not of real numbers.

    It has no channels, and is held at its value wherever it multiplies or divides.

    Parameters
    ----------
    flow
        Origins of all that lies before the value.
    value
        Any value.
    """
    graph = flow.graph
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        operation = graph.producer(current)
        if operation is None:
            if graph.values[current].dtype.is_floating_point:
                return False
            continue
        if current in flow.origins:
            return False
        for before in graph.activation_inputs(operation):
            if before not in seen:
                seen.add(before)
                pending.append(before)
    return True


def is_bounded(flow: ChannelFlow, value: int) -> bool:
    """Return whether a value ends in a bounded non-linearity.

    What moves, averages, or scales by constants what such a non-linearity gave is still
    bounded.
    """
    graph = flow.graph
    behind: list[Operation] = []
    while True:
        operation = graph.producer(value)
        if operation is None:
            return False
        inputs = graph.activation_inputs(operation)
        if operation.name in _BOUNDED or graph.values[value].dtype == torch.bool:
            return True
        if operation.name in _CLIPPED:
            return _largest(flow, operation, behind) <= 1
        passes = (
            operation.name in STILL
            or operation.name == "mean"
            or category_of(operation.name) in ("movement", "pooling")
            or is_affine(flow, operation)
        )
        if not passes or len(inputs) != 1 or operation.name == "batch_norm":
            return False
        if is_affine(flow, operation) and operation.name in (
            "add",
            "sub",
            "mul",
            "div",
        ):
            behind.append(operation)
        value = inputs[0]


def _largest(flow: ChannelFlow, clip: Operation, behind: list[Operation]) -> float:
    """Return the largest size of what was clipped, and then scaled by numbers."""
    names = ("min_val", "max_val") if clip.name == "hardtanh" else ("min", "max")
    without: tuple[float | None, float | None] = {
        "hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0),
    }.get(clip.name, (None, None))  # fmt: skip
    low, high = (
        argument(clip, i + 1, name, default)
        for i, (name, default) in enumerate(zip(names, without, strict=True))
    )
    bounds = []
    for bound in (low, high):
        number = bound if isinstance(bound, (int, float)) else None
        for operation in reversed(behind):
            number = _applied(flow, operation, number)
        bounds.append(torch.inf if number is None else abs(number))
    return max(bounds)


def _applied(
    flow: ChannelFlow, operation: Operation, number: float | None
) -> float | None:
    """Return what an operation with one number makes of another one."""
    first, second = (argument(operation, i, "other", None) for i in (0, 1))
    constant = second
    if not isinstance(second, (int, float)):
        tensor = flow.graph.constant_of(second if second is not None else first)
        constant = None if tensor is None or tensor.numel() != 1 else float(tensor)
    if number is None or not isinstance(constant, (int, float)):
        return None
    if operation.name == "mul":
        return number * constant
    if operation.name == "div":
        return number / constant if constant else None
    return number + (constant if operation.name == "add" else -constant)


def aligned(
    numbers: Tensor, axis: int, n_axes: int, product_axis: int, shape: tuple[int, ...]
) -> Tensor | None:
    """Return a factor's channels along the axis of the product's, broadcast as it is.

    Parameters
    ----------
    numbers
        Channel numbers of the factor along its own axis.
    axis, n_axes
        That axis, and how many axes the factor has.
    product_axis, shape
        Axis of the channels in the product, and the product's shape.
    """
    n = shape[product_axis]
    if len(numbers) == 1:
        return numbers.expand(n)
    if axis + len(shape) - n_axes != product_axis or len(numbers) != n:
        return None
    return numbers
