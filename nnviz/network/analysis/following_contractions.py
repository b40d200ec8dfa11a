"""Where do the channels of linear maps go: of convolutions, matrix products, einsum?"""

from __future__ import annotations

import torch

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.contractions import Contraction, contraction_of
from nnviz.network.analysis.functions import CONVOLUTIONS, category_of
from nnviz.network.analysis.markers import Marker, einsum_marker, pooling_marker
from nnviz.network.analysis.operations import Operation
from nnviz.runs.architecture import LayerKind

__all__ = [
    "contracted_marker",
    "follow_contraction",
    "follow_convolution",
    "follow_matrix_product",
]

_STEPS_TO_SOFTMAX = 12


def follow_convolution(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    """Let channels begin at the output of a convolution."""
    output = operation.outputs[0]
    n_axes = int(operation.name[-2]) + 2
    axis = 1 if len(flow.graph.values[output].shape) == n_axes else 0
    kind: LayerKind = "convolution" if operation.name in CONVOLUTIONS else "other"
    flow.add_origin(operation, output, axis, kind)


def follow_matrix_product(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...], kind: LayerKind
) -> None:
    """Follow a product over the last axis of its activation input."""
    output = operation.outputs[0]
    shape = flow.graph.values[output].shape
    marker = flow.markers.get(inputs[0])
    if marker is not None and _positions_only(marker, marker.numbers.ndim - 1):
        # Positions (tokens) are mixed, every channel by itself.
        source_shape = flow.graph.values[inputs[0]].shape
        flow.mark(output, pooling_marker(marker, source_shape, shape))
        return
    flow.add_origin(operation, output, len(shape) - 1, kind)


def follow_contraction(
    flow: ChannelFlow, operation: Operation, inputs: tuple[int, ...]
) -> None:
    """Follow a sum of products: of a value with weights, or of two values."""
    graph = flow.graph
    output = operation.outputs[0]
    shape = graph.values[output].shape
    known = contraction_of(graph, operation)
    if not shape:
        flow.mark(output, None)
    elif known is not None and (
        operation.name in ("einsum", "tensordot") or operation.inputs[0] != known.value
    ):
        _follow_weights(flow, operation, known)
    elif len(inputs) == 1 and operation.name not in ("einsum", "tensordot"):
        first = operation.inputs[0] == inputs[0] or operation.name == "addmm"
        if first:
            follow_matrix_product(flow, operation, inputs, kind="linear")
        else:
            flow.mark(output, contracted_marker(flow, inputs[0], shape))
    elif operation.name == "einsum":
        flow.mark(output, einsum_marker(operation, graph, flow.markers.get))
    elif len(inputs) == 2 and operation.name != "tensordot":
        # Attention weights times values: channels are those of the values.
        flow.mark(output, contracted_marker(flow, inputs[1], shape))
    else:
        flow.mark(output, None)
    marker = flow.markers.get(output)
    if (marker is None or marker.is_mixed()) and not _is_attended(flow, output):
        flow.unknown.append(operation)


def _follow_weights(
    flow: ChannelFlow, operation: Operation, known: Contraction
) -> None:
    """Follow a sum of products with constant weights, over whichever axes."""
    output = operation.outputs[0]
    marker = flow.markers.get(known.value)
    shape = flow.graph.values[output].shape
    axis = None if marker is None else marker.axis
    letter = "" if axis is None else known.of_value[axis]
    if letter and letter in known.result and letter not in known.made:
        # Channels stay, each by itself; positions are mixed or scaled.
        assert marker is not None  # it has an axis
        assert marker.channels is not None
        view = [1] * len(shape)
        view[known.result.index(letter)] = len(marker.channels)
        numbers = marker.channels.view(view).expand(shape)
        flow.mark(output, Marker(numbers, known.result.index(letter)))
    elif known.is_plain:
        flow.add_origin(operation, output, known.result.index(known.made), "linear")
    else:
        flow.mark(output, None)


def _is_attended(flow: ChannelFlow, value: int) -> bool:
    """Return whether a value becomes the weights of an attention."""
    graph = flow.graph
    pending = [value]
    for _ in range(_STEPS_TO_SOFTMAX):
        readers = [
            operation
            for operation in graph.operations
            if operation.live and set(pending).intersection(operation.inputs)
        ]
        if any(
            "softmax" in operation.name or "attention" in operation.name
            for operation in readers
        ):
            return True
        pending = [
            v
            for operation in readers
            if category_of(operation.name) in ("elementwise", "movement", "pointwise")
            for v in operation.outputs
        ]
    return False


def contracted_marker(
    flow: ChannelFlow, value: int, shape: tuple[int, ...]
) -> Marker | None:
    """Return the marker of ``weights @ value``, where `value` is (..., T, channels)."""
    marker = flow.markers.get(value)
    if marker is None or marker.numbers.ndim < 2:
        return None
    numbers = marker.numbers.narrow(-2, 0, 1)
    if not bool((marker.numbers == numbers).all()):
        numbers = torch.full_like(numbers[..., :1], -1.0)
    if len(shape) > 2 and numbers.ndim == len(shape) and numbers.shape[-3] > 1:
        # Several heads share the values of one.
        numbers = numbers.repeat_interleave(shape[-3] // numbers.shape[-3], -3)
    try:
        return Marker(numbers.expand(shape), marker.axis)
    except RuntimeError:
        return None


def _positions_only(marker: Marker, axis: int) -> bool:
    """Return whether channels lie along another axis than this one."""
    return (
        marker.axis is not None
        and marker.axis != axis
        and marker.numbers.shape[marker.axis] > 1
    )
