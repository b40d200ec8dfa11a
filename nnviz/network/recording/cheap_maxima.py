"""Where are a layer's maxima cheapest to compute?

Not always where the layer is read: the maxima of a concatenation are those of its
parts, and those of a ReLU come nearly for free when it is applied, if its input is
nobody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from nnviz.network.analysis.channel_flow import ChannelFlow, follow_channels
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import find_sites, name_layers, settled
from nnviz.network.analysis.operations import (
    Operation,
    Reference,
    argument,
    record_operations,
)
from nnviz.runs.architecture import Architecture

__all__ = ["Part", "plan_reads"]

_MAKERS = frozenset({"convolution", "elementwise", "linear", "normalization"})


@dataclass(frozen=True, slots=True)
class Part:
    """A function call whose output has some of a layer's channels."""

    place: str
    channel_axis: int
    fuses: bool
    """Whether it is a ReLU that may be applied in place."""


def plan_reads(
    model: nn.Module, architecture: Architecture, batch: Tensor
) -> Mapping[str, tuple[Part, ...]]:
    """Return where the maxima of each layer are computed.

    Parameters
    ----------
    model
        The network as it is run, in evaluation mode, on the CPU.
    architecture
        Layers to record.
    batch
        One or two instances of the network's input.

    Returns
    -------
    mapping
        Parts by the layer's name, in the order of its channels. Layers that are best
        read where they are have none.
    """
    flow = follow_channels(record_operations(model, batch))
    wanted = {layer.name for layer in architecture.layers}
    plan: dict[str, tuple[Part, ...]] = {}
    for item in name_layers(flow, find_sites(flow)):
        if item.layer.name in wanted:
            parts = _parts(flow, settled(flow, item.site.read), item.layer.channel_axis)
            if parts is not None:
                plan[item.layer.name] = parts
    return plan


def _parts(flow: ChannelFlow, value: int, axis: int) -> tuple[Part, ...] | None:
    graph = flow.graph
    operation = graph.producer(value)
    shape = graph.values[value].shape
    if operation is None or len(operation.outputs) != 1:
        return None
    if shape[0] != graph.values[graph.input_value].shape[0]:
        return None
    if operation.name == "cat" and flow.kinds.get(value) == "concatenation":
        parts: list[Part] = []
        for item in argument(operation, 0, "tensors", ()):
            known = isinstance(item, Reference) and graph.values[item.value].depends
            own = _parts(flow, settled(flow, item.value), axis) if known else None
            if own is None:
                return None
            parts += own
        return tuple(parts)
    if category_of(operation.name) == "unknown" or operation.name == "view_write":
        return None
    return (Part(operation.place, axis, _may_fuse(flow, operation)),)


def _may_fuse(flow: ChannelFlow, operation: Operation) -> bool:
    """Return whether a ReLU may write into its input without anybody noticing."""
    graph = flow.graph
    if operation.name != "relu":
        return False
    if operation.written:
        return True
    (value,) = operation.inputs
    readers = [other for other in graph.operations if value in other.inputs]
    maker = graph.producer(settled(flow, value))
    return (
        len(readers) == 1
        and settled(flow, value) == value
        and not graph.values[value].is_output
        and maker is not None
        and category_of(maker.name) in _MAKERS
    )
