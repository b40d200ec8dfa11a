"""Along which axis of a value do the tokens of an instance lie, and which does it see?

The network is run on the same instances with two numbers of tokens: the one axis whose
extent changes runs over tokens, whatever happened in between. Where a network takes one
number of tokens only, it is the one axis of that extent.

A value that has as many positions as there are tokens has one for each. Others (of a
convolution without padding, a stride, a pooling) see windows of tokens, which are
followed from one operation to the next.

Symbols: N instances, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.markers import resolve
from nnviz.network.analysis.operations import (
    Operation,
    OperationGraph,
    record_operations,
)
from nnviz.network.analysis.receptive_fields import (
    after_convolution,
    after_pooling,
    union_of,
)
from nnviz.network.arguments import inputs_of
from nnviz.runs.architecture import Layer, ReceptiveField
from nnviz.runs.network_inputs import NetworkInputs

__all__ = [
    "OtherLength",
    "TokenAxes",
    "find_token_axes",
    "padded_batch",
    "record_other_length",
]

_ONE_TOKEN = ReceptiveField((1,), (1.0,), (0.0,))


@dataclass(frozen=True, slots=True)
class OtherLength:
    """The operations of a batch whose instances have another number of tokens."""

    n_tokens: int
    """T of the batch itself."""
    graph: OperationGraph | None
    """With another T; None where the network takes no other."""


@dataclass(frozen=True, slots=True)
class TokenAxes:
    """Where the tokens lie in the values of one operation graph."""

    n_tokens: int = 0
    axes: dict[int, int] = field(default_factory=dict)
    """Axis of a value's tensor that runs over tokens, by value."""
    fields: dict[int, ReceptiveField] = field(default_factory=dict)
    """Tokens that a position sees, by value; those of which it is known."""
    windows: dict[int, ReceptiveField] = field(default_factory=dict)
    """The same where each position stands for a token of its own, and sees others by
    convolution or pooling."""
    several: dict[int, list[int]] = field(default_factory=dict)
    """Axes of values of which several may run over tokens, as those of patterns do."""

    def is_unclear(self, flow: ChannelFlow, layer: Layer, value: int) -> bool:
        """Return whether it is not known which tokens a layer's positions see.

        Parameters
        ----------
        flow, layer, value
            As for :meth:`of_layer`; the layer as that returns it.
        """
        axis = self.position_axis(flow, value, layer.channel_axis)
        return layer.token_axis is None and (axis is not None or value in self.several)

    def position_axis(self, flow: ChannelFlow, value: int, channel: int) -> int | None:
        """Return which of a value's position axes runs over tokens.

        Parameters
        ----------
        flow
            Of the same graph.
        value
            Any value.
        channel
            Axis of its channels.
        """
        axis = self.axes.get(value)
        others = [i for i in self.several.get(value, ()) if i != channel]
        if len(others) == 1:
            (axis,) = others
        if axis is None or axis == channel:
            return None
        has_rows = flow.graph.instance_shape(value)[0] != flow.graph.n_instances
        if value in flow.graph.time_first and axis < 2:
            axis = 1 - axis
        if axis == 0:
            return 0 if has_rows else None
        return axis - 1 - (channel < axis) + has_rows

    def of_layer(self, flow: ChannelFlow, layer: Layer, value: int) -> Layer:
        """Return a layer that knows where its tokens are.

        Parameters
        ----------
        flow
            Of the same graph.
        layer
            As it was found.
        value
            Where it is read.
        """
        axis = self.position_axis(flow, value, layer.channel_axis)
        if axis is None:
            return layer
        seen = self.windows.get(value)
        layer = replace(layer, token_window=None if seen == _ONE_TOKEN else seen)
        if layer.positions[axis] == self.n_tokens:
            return replace(layer, token_axis=axis)
        if value not in self.fields:
            return layer
        return replace(layer, token_axis=axis, token_field=self.fields[value])


def record_other_length(model: nn.Module, batch: Tensor) -> OtherLength | None:
    """Run a network with another number of tokens, and record its operations.

    Parameters
    ----------
    model
        The network, in evaluation mode.
    batch
        Network input; packed where the network takes packed batches.

    Returns
    -------
    OtherLength or None
        None where instances have no tokens.
    """
    inputs = inputs_of(model)
    if inputs is None or not inputs.has_tokens:
        return None
    n_tokens = inputs.tokens_of(batch.shape[1])
    for other in _other_lengths(n_tokens):
        try:
            graph = record_operations(model, padded_batch(batch, inputs, other))
        except ModelError:
            continue
        return OtherLength(n_tokens, graph)
    return OtherLength(n_tokens, None)


def padded_batch(batch: Tensor, inputs: NetworkInputs, n_tokens: int) -> Tensor:
    """Return a packed batch with another number of tokens, the last one padding.

    A network may take another way where nothing is padded.

    Parameters
    ----------
    batch
        Shape (N, length).
    inputs
        What it holds.
    n_tokens
        At least 1.
    """
    cut = inputs.repacked(batch.cpu().numpy(), n_tokens - 1)
    return torch.from_numpy(inputs.repacked(cut, n_tokens)).to(batch.device)


def _other_lengths(n_tokens: int) -> list[int]:
    """Return numbers of tokens to try: other strides than 1 need some distance."""
    wanted = [2 * n_tokens, n_tokens + 4, n_tokens // 2, n_tokens - 1]
    return [n for n in dict.fromkeys(wanted) if n > 1]


def find_token_axes(flow: ChannelFlow, other: OtherLength | None) -> TokenAxes:
    """Find the axis of tokens of every value.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    other
        The same with another number of tokens; None where instances have none.
    """
    if other is None:
        return TokenAxes()
    found = _changing_axes(flow.graph, other.graph)
    if found is None:
        found = _axes_of_extent(flow.graph, other.n_tokens)
    axes = {value: own[0] for value, own in found.items() if len(own) == 1}
    return TokenAxes(
        other.n_tokens,
        axes,
        _fields(flow, axes, _of_one_token(flow, axes, other.n_tokens)),
        _windows(flow, axes, other.n_tokens),
        {value: own for value, own in found.items() if len(own) > 1},
    )


def _changing_axes(
    graph: OperationGraph, other: OperationGraph | None
) -> dict[int, list[int]] | None:
    """Return the axes whose extents differ; None where the operations differ, too."""
    if other is None or len(graph.values) != len(other.values):
        return None
    names = [[operation.name for operation in g.operations] for g in (graph, other)]
    if names[0] != names[1]:
        return None
    axes: dict[int, list[int]] = {}
    for one, two in zip(graph.values, other.values, strict=True):
        if len(one.shape) != len(two.shape):
            continue
        pairs = enumerate(zip(one.shape, two.shape, strict=True))
        changed = [axis for axis, (n, m) in pairs if n != m]
        if changed:
            axes[one.index] = changed
    return axes


def _axes_of_extent(graph: OperationGraph, n_tokens: int) -> dict[int, list[int]]:
    n_instances = graph.n_instances
    axes: dict[int, list[int]] = {}
    for value in graph.values:
        instance = int(value.index in graph.time_first)
        others = (i for i in range(len(value.shape)) if i != instance)
        found = [i for i in others if value.shape[i] == n_tokens]
        if found:
            axes[value.index] = found
        elif value.shape[:1] == (n_instances * n_tokens,):
            axes[value.index] = [0]
    return axes


def _of_one_token(
    flow: ChannelFlow, axes: dict[int, int], n_tokens: int
) -> dict[int, ReceptiveField]:
    """Return the values that have a position for each token."""
    shapes = flow.graph.values
    return {
        value: _ONE_TOKEN
        for value, axis in axes.items()
        if shapes[value].shape[axis] == n_tokens
    }


def _windows(
    flow: ChannelFlow, axes: dict[int, int], n_tokens: int
) -> dict[int, ReceptiveField]:
    """Return the tokens that positions see, also where there is one for each token.

    What is neither a window nor moves positions, such as attention, is at its own.
    """
    own = _of_one_token(flow, axes, n_tokens)
    windows = (
        output
        for operation in flow.graph.operations
        if category_of(operation.name) in ("convolution", "pooling")
        for output in operation.outputs
    )
    sources = _before(flow, axes, set(windows))
    return _fields(flow, axes, {v: seen for v, seen in own.items() if v in sources})


def _before(flow: ChannelFlow, axes: dict[int, int], windows: set[int]) -> set[int]:
    """Return the values that no window has made, nor what is made of one."""
    after = set(windows)
    for operation in flow.graph.operations:
        if any(value in after for value in flow.graph.activation_inputs(operation)):
            after.update(operation.outputs)
    return set(axes) - after


def _fields(
    flow: ChannelFlow, axes: dict[int, int], known: dict[int, ReceptiveField]
) -> dict[int, ReceptiveField]:
    """Return the tokens that positions see, of all values that have an axis for it.

    Parameters
    ----------
    flow, axes
        Of the graph.
    known
        Those of which it is known.
    """
    graph = flow.graph
    fields = dict(known)
    for operation in graph.operations:
        for output in operation.outputs if operation.live else ():
            if output in axes and output not in fields:
                found = _field(flow, operation, output, axes, fields)
                if found is not None:
                    fields[output] = found
    return fields


def _field(
    flow: ChannelFlow,
    operation: Operation,
    output: int,
    axes: dict[int, int],
    fields: dict[int, ReceptiveField],
) -> ReceptiveField | None:
    graph = flow.graph
    known = [v for v in graph.activation_inputs(operation) if v in fields]
    if not known:
        return None
    shape, axis = graph.values[output].shape, axes[output]
    category = category_of(operation.name)
    if category in ("convolution", "pooling"):
        return _of_window(flow, operation, output, axis, fields[known[0]])
    if category == "movement" and len(known) == 1:
        return _of_movement(graph, operation, output, axis, axes, fields)
    same = [v for v in known if graph.values[v].shape[axes[v]] == shape[axis]]
    return union_of([fields[v] for v in same]) if same else None


def _of_window(
    flow: ChannelFlow,
    operation: Operation,
    output: int,
    axis: int,
    seen: ReceptiveField,
) -> ReceptiveField | None:
    """Return what a window sees that slides over positions which see something."""
    n_axes = len(flow.graph.values[output].shape)
    n_spatial = int(digits) if (digits := operation.name[-2]).isdigit() else 0
    spatial = axis - (n_axes - n_spatial)
    if not 0 <= spatial < n_spatial:
        return None
    wide = ReceptiveField(
        size=(1,) * spatial + seen.size + (1,) * (n_spatial - spatial - 1),
        step=(1.0,) * spatial + seen.step + (1.0,) * (n_spatial - spatial - 1),
        start=(0.0,) * spatial + seen.start + (0.0,) * (n_spatial - spatial - 1),
    )
    if category_of(operation.name) == "convolution":
        found = after_convolution(operation, flow.graph, wide)
    else:
        found = after_pooling(flow, operation, output, wide)
    if found is None:
        return None
    return ReceptiveField(
        (found.size[spatial],), (found.step[spatial],), (found.start[spatial],)
    )


def _of_movement(
    graph: OperationGraph,
    operation: Operation,
    output: int,
    axis: int,
    axes: dict[int, int],
    fields: dict[int, ReceptiveField],
) -> ReceptiveField | None:
    """Run an operation that moves elements on the numbers of their positions."""
    arguments = {}
    for value in graph.activation_inputs(operation):
        shape = graph.values[value].shape
        numbers = torch.zeros(shape, dtype=torch.float64)
        if value in fields:
            view = [1] * len(shape)
            view[axes[value]] = -1
            extent = shape[axes[value]]
            numbers += torch.arange(1.0, extent + 1, dtype=torch.float64).view(view)
            seen = fields[value]
        arguments[value] = numbers
    try:
        result = resolve(operation, graph, arguments, constants=torch.zeros_like)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    made = (*result.made, *result.written)[operation.outputs.index(output)]
    rows = made.movedim(axis, 0).flatten(1)
    last = rows.amax(1)
    first = torch.where(rows > 0, rows, torch.inf).amin(1)
    inside = (last > 0).nonzero()[:, 0]
    if len(inside) < 2:
        return None
    at = inside.double()
    step = (first[inside][-1] - first[inside][0]) / (at[-1] - at[0])
    begin = first[inside][0] - step * at[0]
    reach = (last - first)[inside]
    is_regular = torch.equal(first[inside], begin + step * at) and bool(
        (reach == reach[0]).all()
    )
    if not is_regular or step <= 0:
        return None
    ((size,), (each,), (start,)) = seen.size, seen.step, seen.start
    return ReceptiveField(
        size=(int(size + float(reach[0]) * each),),
        step=(float(step) * each,),
        start=(start + (float(begin) - 1) * each,),
    )
