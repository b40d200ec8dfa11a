"""Where are channels made, and where do they go?

One pass over an operation graph, in order of computation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import in_same_order
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.following_contractions import (
    contracted_marker,
    follow_contraction,
    follow_convolution,
    follow_matrix_product,
)
from nnviz.network.analysis.functions import Category, category_of
from nnviz.network.analysis.markers import (
    MIXED,
    Marker,
    movement_markers,
    pooling_marker,
    reduction_marker,
)
from nnviz.network.analysis.operations import Operation, OperationGraph, argument
from nnviz.network.analysis.recurrence import RECURRENT, is_packed
from nnviz.network.analysis.value_paths import find_value_path, weighing_of
from nnviz.network.analysis.varying_factors import (
    fills_with_zeros,
    has_varying_factor,
    is_of_family,
)
from nnviz.runs.architecture import LayerKind

__all__ = ["follow_channels"]

_SUMS = frozenset({"add", "sub"})
_PRODUCTS = frozenset({"mul", "div"})
_MIXING: dict[Category, LayerKind] = {
    "embedding": "other",
    "fused_attention": "attention",
    "mixing": "other",
}
"""Categories that make channels along the last axis, and what such a layer is."""


def follow_channels(graph: OperationGraph) -> ChannelFlow:
    """Find the origins of channels and follow them through the graph.

    Parameters
    ----------
    graph
        From :func:`nnviz.network.analysis.operations.record_operations`.
    """
    flow = ChannelFlow(graph)
    for value in graph.received:
        axis = 1 if len(graph.values[value].shape) > 1 else 0
        flow.add_origin(None, value, axis, "other")
    for operation in graph.operations:
        if operation.live and any(graph.values[v].depends for v in operation.outputs):
            _follow(flow, operation)
            _join_heads(flow, operation)
    return flow


def _join_heads(flow: ChannelFlow, operation: Operation) -> None:
    """Let channels begin where the heads of an attention lie side by side."""
    output = operation.outputs[-1]
    weighing = weighing_of(flow, operation)
    if weighing is not None:
        flow.weighings[output] = weighing
    weighing = flow.weighings.get(flow.roots.get(output, output))
    if weighing is None or len(operation.outputs) > 1:
        return
    path = find_value_path(flow, weighing, output)
    if path is not None:
        axis = len(flow.graph.values[output].shape) - 1
        flow.add_origin(operation, output, axis, "attention")
        flow.value_paths[output] = path


def _follow(flow: ChannelFlow, operation: Operation) -> None:
    graph = flow.graph
    inputs = graph.activation_inputs(operation)
    output = operation.outputs[-1] if operation.written else operation.outputs[0]
    shape = graph.values[output].shape
    category = category_of(operation.name)
    if category == "convolution":
        follow_convolution(flow, operation, inputs)
    elif category == "linear":
        follow_matrix_product(flow, operation, inputs, kind="linear")
    elif category == "contraction":
        follow_contraction(flow, operation, inputs)
    elif category in _MIXING:
        if operation.name in RECURRENT:
            _follow_recurrence(flow, operation)
        elif shape:
            flow.add_origin(operation, output, len(shape) - 1, _MIXING[category])
    elif operation.name == "pad_packed_sequence":
        _follow_padding(flow, operation, inputs)
    elif category == "attention":
        weighing = weighing_of(flow, operation)
        values = -1 if weighing is None else weighing.values
        flow.mark(output, contracted_marker(flow, values, shape))
    elif operation.name == "masked_fill" and has_varying_factor(
        flow, operation, inputs[0]
    ):
        _add_selection(flow, operation, inputs[0])
    elif category in ("pointwise", "normalization"):
        same = graph.values[inputs[0]].shape == shape
        marker = flow.markers.get(inputs[0])
        flow.mark(output, marker if same else None, inputs[0] if same else None)
    elif category == "elementwise":
        _follow_elementwise(flow, operation, inputs)
    elif category == "pooling":
        source = flow.markers.get(inputs[0])
        source_shape = graph.values[inputs[0]].shape
        for value in operation.outputs:
            known = graph.values[value].shape
            pooled = pooling_marker(source, source_shape, known) if source else None
            flow.mark(value, pooled)
    elif category == "reduction":
        source = flow.markers.get(inputs[0])
        marker = reduction_marker(operation, graph, source) if source else None
        for value in operation.outputs:
            flow.mark(value, marker)
    elif category == "movement":
        _follow_movement(flow, operation, inputs)
    elif operation.name.startswith("fft_"):
        _follow_spectrum(flow, operation, inputs)
    else:
        flow.unknown.append(operation)
        for value in operation.outputs:
            flow.mark(value, None)


def _follow_recurrence(flow: ChannelFlow, operation: Operation) -> None:
    """Let channels begin at what a recurrent network puts out, or at its final state.

    The final state has the channels of what is put out.
    """
    graph = flow.graph
    out, last = operation.outputs[:2]
    if is_packed(operation) and not graph.values[out].consumers:
        # Sequences that stay packed have no rows that are instances.
        flow.add_origin(operation, last, len(graph.values[last].shape) - 1, "other")
        return
    flow.add_origin(operation, out, len(graph.values[out].shape) - 1, "other")
    channels, shape = flow.markers[out], graph.values[last].shape
    if channels is None or channels.channels is None or not shape:
        return
    own = channels.channels.view(-1, 1, shape[-1])
    below = torch.full((shape[0] - len(own), 1, shape[-1]), MIXED, dtype=torch.float64)
    numbers = torch.cat([below, own]).expand(shape)
    flow.mark(last, Marker(numbers, len(shape) - 1 if len(numbers) == 1 else None))


def _follow_padding(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    """Follow sequences that were packed: they get an axis of time, and padding."""
    out = operation.outputs[0]
    marker, shape = flow.markers.get(inputs[0]), flow.graph.values[out].shape
    if marker is not None and marker.channels is not None and marker.axis == 1:
        known = Marker(marker.channels.expand(shape), len(shape) - 1)
        flow.mark(out, known, inputs[0])


def _follow_spectrum(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    """Follow a Fourier transform: channels stay if it goes over positions only."""
    graph = flow.graph
    output = operation.outputs[0]
    marker = flow.markers.get(inputs[0])
    n_axes = len(graph.values[inputs[0]].shape)
    default: object = -1
    if operation.name.endswith("2"):
        default = (-2, -1)
    elif operation.name.endswith(("n", "shift")):
        default = None
    place = 1 if operation.name.endswith("shift") else 2
    dims = argument(operation, place, "dim", default)
    if dims is None:
        dims = tuple(range(n_axes))
    axes = {d % n_axes for d in (dims if isinstance(dims, (list, tuple)) else [dims])}
    if marker is None or marker.axis is None or marker.axis in axes:
        flow.unknown.append(operation)
        flow.mark(output, None)
        return
    shape = graph.values[output].shape
    flow.mark(output, pooling_marker(marker, graph.values[inputs[0]].shape, shape))


def _follow_movement(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    graph = flow.graph
    if operation.name == "cat" and _joins_channels(flow, operation, inputs):
        output = operation.outputs[0]
        axis = _cat_axis(operation, len(graph.values[output].shape))
        flow.add_origin(operation, output, axis, "concatenation")
        return
    if operation.name == "index_select" and len(inputs) > 1:
        _follow_choice(flow, operation, inputs[0])
        return
    try:
        markers = movement_markers(operation, graph, flow.markers.get)
    except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError):
        flow.unknown.append(operation)
        markers = [None] * len(operation.outputs)
    for value, marker in zip(operation.outputs, markers, strict=True):
        keeps = (
            len(inputs) == 1
            and len(operation.outputs) == 1
            and _numel(graph, value) == _numel(graph, inputs[0])
        )
        flow.mark(value, marker, inputs[0] if keeps else None)


def _follow_choice(flow: ChannelFlow, operation: Operation, value: int) -> None:
    """Follow a choice of rows, or positions, that the network's input makes."""
    graph, output = flow.graph, operation.outputs[0]
    marker, shape = flow.markers.get(value), graph.values[value].shape
    axis = int(argument(operation, 1, "dim", 0)) % len(shape)
    known = None
    if marker is not None and marker.axis != axis:
        known = pooling_marker(marker, shape, graph.values[output].shape)
    same = known is not None and graph.values[output].shape == shape
    flow.mark(output, known, value if same else None)


def _numel(graph: OperationGraph, value: int) -> int:
    return int(torch.Size(graph.values[value].shape).numel())


def _cat_axis(operation: Operation, n_axes: int) -> int:
    dim = operation.options.get("dim", operation.options.get("axis"))
    if dim is None:
        dim = operation.arguments[1] if len(operation.arguments) > 1 else 0
    return int(dim) % n_axes


def _joins_channels(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> bool:
    """Return whether a concatenation makes a layer of its own.

    It does not if it joins positions, or parts of one origin, or if all its parts are
    read elsewhere too and no module returns it: then it is only a view of layers.
    """
    graph = flow.graph
    output = operation.outputs[0]
    axis = _cat_axis(operation, len(graph.values[output].shape))
    markers = [flow.markers.get(value) for value in inputs]
    if len(inputs) < 2 or axis == 0:
        return False
    if any(m is not None and m.axis not in (axis, None) for m in markers):
        return False
    known = [m.numbers for m in markers if m is not None]
    if len(known) == len(inputs) and len(_origins_in(flow, known)) == 1:
        return False
    if any(value == output for _, _, value in graph.outputs_of_calls):
        return True
    return not all(_is_read_elsewhere(flow, value, operation) for value in inputs)


def _origins_in(flow: ChannelFlow, markers: list[Tensor]) -> set[int]:
    distinct = torch.cat([_distinct(m) for m in markers])
    numbers = sorted(set(distinct.tolist()))
    found = [flow.origin_of(number) for number in numbers]
    return {origin.value for origin, _ in (f for f in found if f is not None)}


def _distinct(numbers: Tensor) -> Tensor:
    """Return the distinct numbers of a marker without unfolding expanded axes."""
    index = tuple(
        slice(0, 1) if numbers.stride(i) == 0 else slice(None)
        for i in range(numbers.ndim)
    )
    distinct: Tensor = numbers[index].unique()
    return distinct


def _is_read_elsewhere(flow: ChannelFlow, value: int, operation: Operation) -> bool:
    graph = flow.graph
    family = set(flow.families[flow.roots[value]])
    return any(
        consumer != operation.index
        and not family.intersection(graph.operations[consumer].outputs)
        for member in family
        for consumer in graph.values[member].consumers
    )


def _follow_elementwise(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    graph = flow.graph
    output = operation.outputs[0]
    shape = graph.values[output].shape
    main = _main_operand(flow, operation, inputs, shape)
    if main is not None and operation.name == "where":
        is_whole = graph.values[main].shape == shape
        if is_whole and has_varying_factor(flow, operation, main):
            _add_selection(flow, operation, main)
            return
    elif main is not None and operation.name in _PRODUCTS:
        if graph.values[output].dtype.is_complex and flow.roots[main] in flow.origins:
            flow.unknown.append(operation)
            flow.mark(output, None)
            return
        if has_varying_factor(flow, operation, main):
            main = None
    elif main is not None and _has_other_channels(flow, inputs, main):
        main = None
    if main is not None:
        same = graph.values[main].shape == shape
        marker = flow.markers.get(main)
        if marker is not None and not same:
            try:
                marker = Marker(marker.numbers.expand(shape), marker.axis)
            except RuntimeError:
                marker = None
        flow.mark(output, marker, main if same else None)
        return
    kind: LayerKind = "other"
    if operation.name in _SUMS:
        kind = "sum"
    elif operation.name in _PRODUCTS:
        kind = "product"
    else:
        flow.unknown.append(operation)
    full = [v for v in inputs if graph.values[v].shape == shape] or list(inputs)
    markers = [m for v in full if (m := flow.markers.get(v)) is not None]
    markers.sort(key=Marker.is_mixed)
    known = [marker.axis for marker in markers if marker.axis is not None]
    if not known:
        flow.mark(output, None)
        return
    flow.add_origin(operation, output, known[0], kind)


def _add_selection(flow: ChannelFlow, operation: Operation, main: int) -> None:
    """Let what a mask takes of a value be a layer: it is a product with the mask.

    What is filled with anything but zeros has no form that influence knows.
    """
    marker = flow.markers[main]
    assert marker is not None  # else nothing is known of a factor
    assert marker.axis is not None
    kind: LayerKind = "product" if fills_with_zeros(flow, operation, main) else "other"
    flow.add_origin(operation, operation.outputs[-1], marker.axis, kind)


def _has_other_channels(flow: ChannelFlow, inputs: tuple[int, ...], main: int) -> bool:
    """Return whether something beside a value brings channels that are not known.

    Statistics of its own family are part of what normalises it.
    """
    own = flow.markers.get(main)
    if own is None or own.axis is None or own.is_mixed():
        return False
    root = flow.roots.get(main)
    return any(
        (marker := flow.markers.get(value)) is not None
        and marker.is_mixed()
        and flow.graph.values[value].dtype.is_floating_point
        and not is_of_family(flow, value, root)
        for value in inputs
        if flow.roots.get(value) != root
    )


def _main_operand(
    flow: ChannelFlow,
    operation: Operation,
    inputs: tuple[int, ...],
    shape: tuple[int, ...],
) -> int | None:
    """Return the operand whose channels the result has; None if several have a say."""
    graph = flow.graph
    by_root = {flow.roots.get(value, value): value for value in reversed(inputs)}
    operands = list(by_root.values())[::-1]
    # A mask or a condition of `where` has no channels of its own.
    operands = [v for v in operands if graph.values[v].dtype != torch.bool] or operands
    if len(operands) == 1:
        family = flow.families[flow.roots.get(operands[0], operands[0])]
        same = [v for v in inputs if v in family and graph.values[v].shape == shape]
        return operands[0] if len(same) < 2 or in_same_order(flow, same) else None
    attributable = [
        v for v in operands if (m := flow.markers.get(v)) is None or not m.is_mixed()
    ]
    if operation.name in _PRODUCTS:
        attributable = [
            v for v in attributable if flow.markers.get(v) is not None
        ] or attributable
    if len(attributable) == 1:
        return attributable[0]
    if len(attributable) == 2:
        large, small = sorted(attributable, key=lambda v: -_numel(graph, v))
        marks = [flow.markers.get(v) for v in (large, small)]
        if (
            _numel(graph, small) < _numel(graph, large)
            and marks[0] is not None
            and marks[1] is not None
            and set(_distinct(marks[1].numbers).tolist())
            <= set(_distinct(marks[0].numbers).tolist())
        ):
            return large
    return None
