"""Which part of the input does one position of a value see?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import TRANSPOSED_CONVOLUTIONS, category_of
from nnviz.network.analysis.operations import Operation, OperationGraph, Reference
from nnviz.runs.architecture import ReceptiveField

__all__ = ["after_convolution", "after_pooling", "find_receptive_fields", "union_of"]

_POOLS = ("max_pool", "avg_pool", "lp_pool")


def find_receptive_fields(flow: ChannelFlow) -> dict[int, ReceptiveField]:
    """Return the receptive field of every value that has one.

    Parameters
    ----------
    flow
        Markers tell the channel axis, and so the axes of positions.

    Returns
    -------
    dict
        By value; values whose positions see the whole input, or whose operation is not
        local, are left out.
    """
    graph = flow.graph
    fields: dict[int, ReceptiveField] = {}
    for value in graph.received:
        n = len(graph.values[value].shape) - 2
        if n >= 1:
            fields[value] = ReceptiveField((1,) * n, (1.0,) * n, (0.0,) * n)
    if not fields:
        return {}
    for operation in graph.operations:
        if not operation.live:
            continue
        for value in operation.outputs:
            found = _field(flow, operation, value, fields)
            if found is not None:
                fields[value] = found
    return fields


def _field(
    flow: ChannelFlow,
    operation: Operation,
    output: int,
    fields: dict[int, ReceptiveField],
) -> ReceptiveField | None:
    graph = flow.graph
    inputs = graph.activation_inputs(operation)
    if not inputs or any(value not in fields for value in inputs):
        # A gate sees the whole input but says nothing about the place.
        gated = category_of(operation.name) == "elementwise"
        extents = _positions(flow, output)
        inputs = tuple(
            v for v in inputs if v in fields and _positions(flow, v) == extents
        )
        if not gated or not inputs:
            return None
    first = fields[inputs[0]]
    category = category_of(operation.name)
    if category == "convolution":
        return after_convolution(operation, graph, first)
    if category == "pooling":
        return after_pooling(flow, operation, output, first)
    if category == "normalization" and operation.name != "batch_norm":
        # Statistics over positions see everything, but the place is the position.
        return first
    same_positions = _positions(flow, output) == _positions(flow, inputs[0])
    if category in ("pointwise", "normalization"):
        return first
    if category in ("linear", "contraction", "elementwise", "movement"):
        if not same_positions:
            return None
        return union_of([fields[value] for value in inputs])
    return None


def _positions(flow: ChannelFlow, value: int) -> tuple[int, ...] | None:
    marker = flow.markers.get(value)
    if marker is None or marker.axis is None:
        return None
    shape = flow.graph.values[value].shape
    return tuple(n for axis, n in enumerate(shape) if axis not in (0, marker.axis))


def _argument(operation: Operation, index: int, name: str, default: Any) -> Any:
    if name in operation.options:
        return operation.options[name]
    if len(operation.arguments) > index:
        return operation.arguments[index]
    return default


def _per_axis(value: Any, n: int) -> tuple[int, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = tuple(int(item) for item in value)
        return items * n if len(items) == 1 else items
    return (int(value),) * n


def after_convolution(
    operation: Operation, graph: OperationGraph, field: ReceptiveField
) -> ReceptiveField | None:
    """Return what a position of a convolution sees; None with other axes than `field`.

    Parameters
    ----------
    operation, graph
        The convolution and its graph.
    field
        What a position of its input sees.
    """
    n = int(operation.name[-2])
    weight = _argument(operation, 1, "weight", None)
    shape = (
        graph.values[weight.value].shape
        if isinstance(weight, Reference)
        else tuple(weight.shape)
    )
    kernel = shape[2:]
    if len(field.size) != n:
        return None
    transposed = operation.name in TRANSPOSED_CONVOLUTIONS
    stride = _per_axis(_argument(operation, 3, "stride", 1), n)
    padding = _argument(operation, 4, "padding", 0)
    dilation = _per_axis(_argument(operation, 7 if transposed else 5, "dilation", 1), n)
    if padding == "valid":
        padding = 0
    if padding == "same":
        padding = [(d * (k - 1)) // 2 for k, d in zip(kernel, dilation, strict=True)]
    padding = _per_axis(padding, n)
    if transposed:
        return _enlarged(field, kernel, stride, padding, dilation)
    return _reduced(field, kernel, stride, padding, dilation)


def _reduced(
    field: ReceptiveField,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> ReceptiveField:
    """Return the field of a window that slides over positions with a field."""
    axes = range(len(kernel))
    reach = [dilation[i] * (kernel[i] - 1) for i in axes]
    return ReceptiveField(
        size=tuple(math.ceil(field.size[i] + reach[i] * field.step[i]) for i in axes),
        step=tuple(field.step[i] * stride[i] for i in axes),
        start=tuple(field.start[i] - padding[i] * field.step[i] for i in axes),
    )


def _enlarged(
    field: ReceptiveField,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> ReceptiveField:
    """Return a field that covers what a transposed convolution's position sees."""
    axes = range(len(kernel))
    reach = [dilation[i] * (kernel[i] - 1) / stride[i] for i in axes]
    return ReceptiveField(
        size=tuple(math.ceil(field.size[i] + reach[i] * field.step[i]) for i in axes),
        step=tuple(field.step[i] / stride[i] for i in axes),
        start=tuple(
            field.start[i] + (padding[i] / stride[i] - reach[i]) * field.step[i]
            for i in axes
        ),
    )


def after_pooling(
    flow: ChannelFlow, operation: Operation, output: int, field: ReceptiveField
) -> ReceptiveField | None:
    """Return what a position of a pooling sees; None where it is not known.

    Parameters
    ----------
    flow, operation, output
        The pooling and what it makes.
    field
        What a position of its input sees.
    """
    n = len(field.size)
    name = operation.name
    if name.startswith(_POOLS):
        offset = 1 if name.startswith("lp") else 0
        kernel = _per_axis(_argument(operation, 1 + offset, "kernel_size", 1), n)
        stride = _argument(operation, 2 + offset, "stride", None) or kernel
        padding = 0 if offset else _argument(operation, 3, "padding", 0)
        dilation = (
            _argument(operation, 4, "dilation", 1) if name.startswith("max") else 1
        )
        return _reduced(
            field, kernel, _per_axis(stride, n), _per_axis(padding, n),
            _per_axis(dilation, n),
        )  # fmt: skip
    before = _positions(flow, flow.graph.activation_inputs(operation)[0])
    after = _positions(flow, output)
    if before is None or after is None or len(before) != n or len(after) != n:
        return None
    if name.startswith("adaptive"):
        if all(a == b for a, b in zip(after, before, strict=True)):
            return field
        if any(b % a for a, b in zip(after, before, strict=True)) or max(after) == 1:
            return None
        window = [b // a for a, b in zip(after, before, strict=True)]
        return _reduced(field, window, window, (0,) * n, (1,) * n)
    if name.startswith(("interpolate", "upsample")):
        return _resized(field, before, after, operation)
    return None


def _resized(
    field: ReceptiveField,
    before: Sequence[int],
    after: Sequence[int],
    operation: Operation,
) -> ReceptiveField:
    """Return a field that covers what a position of a resized map sees."""
    nearest = "nearest" in str(_argument(operation, 3, "mode", "nearest"))
    reach = 1 if nearest else 2
    axes = range(len(before))
    step = [field.step[i] * before[i] / after[i] for i in axes]
    return ReceptiveField(
        size=tuple(math.ceil(field.size[i] + reach * field.step[i]) for i in axes),
        step=tuple(step),
        start=tuple(field.start[i] - field.step[i] * reach / 2 for i in axes),
    )


def union_of(fields: Sequence[ReceptiveField]) -> ReceptiveField | None:
    """Return a field that covers several; None if their steps differ.

    Parameters
    ----------
    fields
        At least one, all of the same axes.
    """
    first = fields[0]
    if any(f.step != first.step for f in fields):
        return None
    axes = range(len(first.size))
    start = [min(f.start[i] for f in fields) for i in axes]
    stop = [max(f.start[i] + f.size[i] for f in fields) for i in axes]
    return ReceptiveField(
        size=tuple(math.ceil(stop[i] - start[i]) for i in axes),
        step=first.step,
        start=tuple(start),
    )
