"""Where are a layer's maxima cheapest to compute?

Not always where the layer is read: the maxima of a concatenation are those of its
parts, and those of a ReLU come nearly for free when it is applied, if its input is
nobody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnviz.network.analysis.analysis import Analysis
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import settled
from nnviz.network.analysis.operations import Operation, Reference, argument
from nnviz.runs.architecture import Architecture

__all__ = ["LayerPart", "find_cheap_maxima"]

_MAKERS = frozenset({"convolution", "elementwise", "linear", "normalization"})


@dataclass(frozen=True, slots=True)
class LayerPart:
    """A function call whose output has some of a layer's channels."""

    place: str
    channel_axis: int
    fuses: bool
    """Whether it is a ReLU that may be applied in place."""


def find_cheap_maxima(
    analysis: Analysis, architecture: Architecture
) -> Mapping[str, tuple[LayerPart, ...]]:
    """Return where the maxima of each layer are computed.

    Parameters
    ----------
    analysis
        Of the network as it is run.
    architecture
        Layers to record.

    Returns
    -------
    mapping
        Parts by the layer's name, in the order of its channels. The maxima
        of a layer that has none are best taken where the layer is read.
    """
    flow = analysis.flow
    wanted = {layer.name for layer in architecture.layers}
    found: dict[str, tuple[LayerPart, ...]] = {}
    for item in analysis.layers:
        if item.layer.name in wanted:
            parts = _parts(
                flow, settled(flow, item.site.read_value), item.layer.channel_axis
            )
            if parts is not None:
                found[item.layer.name] = parts
    return found


def _parts(flow: ChannelFlow, value: int, axis: int) -> tuple[LayerPart, ...] | None:
    graph = flow.graph
    operation = graph.producer(value)
    shape = graph.values[value].shape
    if operation is None or len(operation.outputs) != 1:
        return None
    if shape[0] != graph.n_instances or value in graph.time_first:
        return None
    if operation.name == "cat" and flow.kinds.get(value) == "concatenation":
        parts: list[LayerPart] = []
        for item in argument(operation, 0, "tensors", ()):
            known = isinstance(item, Reference) and graph.values[item.value].depends
            own = _parts(flow, settled(flow, item.value), axis) if known else None
            if own is None:
                return None
            parts += own
        return tuple(parts)
    if category_of(operation.name) == "unknown" or operation.name == "view_write":
        return None
    return (LayerPart(operation.place, axis, _may_fuse(flow, operation)),)


def _may_fuse(flow: ChannelFlow, operation: Operation) -> bool:
    """Return whether a ReLU may write into its input without anybody noticing."""
    graph = flow.graph
    if operation.name != "relu":
        return False
    if operation.written:
        return True
    (value,) = operation.inputs
    users = [other for other in graph.operations if value in other.inputs]
    maker = graph.producer(settled(flow, value))
    return (
        len(users) == 1
        and settled(flow, value) == value
        and not graph.values[value].is_output
        and maker is not None
        and category_of(maker.name) in _MAKERS
    )
