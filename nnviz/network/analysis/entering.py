"""With which operations do channels enter a layer, and what is the input of each?

An :class:`EnteringOperation` holds what an influence needs of one summand: the
operation with everything folded into its weights, and from which layer's channel each
of its inputs comes. Where one source channel has several indices on the channel axis
(its positions after a flatten, its neighbours after a space-to-depth), these become
one more axis of positions, so that the contribution of the channel is that of all of
them together.

Symbols: N instances, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.contractions import contraction_of
from nnviz.network.analysis.functions import TRANSPOSED_CONVOLUTIONS
from nnviz.network.analysis.operations import Operation, argument
from nnviz.network.analysis.summands import PreActivation, Summand
from nnviz.network.analysis.value_paths import ValuePath
from nnviz.network.influence.channel_operations import (
    ChannelOperation,
    Convolution,
    Identity,
    Linear,
)

__all__ = ["EnteringOperation", "UnknownSummandError", "iter_entering_operations"]


class UnknownSummandError(Exception):
    """A summand has no form that influence knows; the message says where and why."""


@dataclass(frozen=True, slots=True)
class EnteringOperation:
    """One operation that enters a layer, ready for a batch."""

    summand: Summand
    operation: ChannelOperation
    """With normalisation and everything else folded in."""
    sources: Tensor
    """Channel number of each input channel of `operation`, float64 (C,)."""
    targets: Tensor
    """Layer channel of each output channel of `operation`, int64; -1 for none."""
    order: Tensor | None = None
    """Channels of the operation's true input to take, in order; None: all."""
    indices_per_source: int = 1
    """Neighbouring input channels that belong to one source channel."""
    positions: tuple[int, ...] = ()
    """For a summand with fewer positions than the sum: those of the sum."""
    is_time_first: bool = False
    """Whether what the network's function reads has the instance on axis 1."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """What people may want to know of the operation from the plan; JSON values."""

    def input_of(
        self,
        values: Tensor,
        n_instances: int,
        leaves: Sequence[Tensor] = (),
        *,
        positions: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Return the operation's true input, shape (N, C, *positions).

        Parameters
        ----------
        values
            The tensor that the network's function reads.
        n_instances
            Instances of the batch; more rows than that are positions (windows).
        leaves
            Where it reaches the heads of an attention: the tensors of the call that
            weighs values.
        positions
            Those of the sum in this batch, where that differs from the one by which the
            operation was found; None: :attr:`positions`.
        """
        if self.summand.path is not None:
            return self.summand.path.mixed(values, leaves, n_instances)
        x = values.transpose(0, 1) if self.is_time_first else values
        axis = self.summand.axis
        if len(x) != n_instances:
            x = x.unflatten(0, (n_instances, -1))
            axis += 1
        x = x.movedim(axis, 1)
        if self.order is not None:
            x = x.index_select(1, self.order.to(x.device))
        if self.indices_per_source > 1:
            x = x.unflatten(1, (-1, self.indices_per_source))
        wanted = self.positions if positions is None else positions
        if self.positions and tuple(x.shape[2:]) != wanted:
            x = x.expand(*x.shape[:2], *wanted)
        return x


def iter_entering_operations(
    flow: ChannelFlow, pre_activation: PreActivation
) -> Iterator[EnteringOperation]:
    """Yield the operations that enter a pre-activation.

    Parameters
    ----------
    flow, pre_activation
        From the same operation graph.

    Raises
    ------
    UnknownSummandError
        If a summand has no form that influence knows.
    """
    left = torch.ones(len(pre_activation.channels), dtype=torch.bool)
    for summand in pre_activation.summands:
        known = summand.map.channels >= 0
        index = summand.map.channels.clamp_min(0)
        # A constant beside the summands goes to the first one that reaches its channel.
        takes = known & left[index]
        bias = torch.where(takes, pre_activation.constant[index], 0.0)
        left[summand.map.channels[known]] = False
        targets = torch.where(known, pre_activation.channels[index], -1)
        positions = _positions(flow, pre_activation)
        is_time_first = summand.value in flow.graph.time_first
        for found in _entering_operations(flow, summand, bias, targets, positions):
            yield replace(found, is_time_first=is_time_first)


def _positions(flow: ChannelFlow, pre_activation: PreActivation) -> tuple[int, ...]:
    if pre_activation.value is None:
        return ()
    shape = flow.graph.instance_shape(pre_activation.value)
    n_instances = flow.graph.n_instances
    rows = () if shape[0] == n_instances else (shape[0] // n_instances,)
    return (
        *rows,
        *(n for i, n in enumerate(shape) if i not in (0, pre_activation.axis)),
    )


def _entering_operations(
    flow: ChannelFlow,
    summand: Summand,
    bias: Tensor,
    targets: Tensor,
    positions: tuple[int, ...],
) -> Iterator[EnteringOperation]:
    scale = summand.map.scale
    if summand.kind == "identity":
        is_plain = bool((scale == 1).all()) and not bool(bias.any())
        operation = Identity() if is_plain else Identity(scale.float(), bias.float())
        shape = flow.graph.values[summand.value].shape
        n_axes = len(shape) - 2
        yield EnteringOperation(
            summand, operation, summand.sources, targets,
            positions=positions if n_axes == len(positions) else (),
        )  # fmt: skip
        return
    weight = _weight(flow, summand)
    if summand.path is not None:
        yield _of_heads(summand, summand.path, weight, bias, targets)
        return
    if summand.kind == "linear" and weight.ndim > 2:
        weight = weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))
        whole = Convolution(weight.float(), bias.float())
        yield from _grouped(flow, summand, whole, targets)
        return
    if summand.kind == "linear":
        if bool((scale != 1).any()):
            weight = weight.double() * scale[:, None]
        linear = Linear(weight.float(), bias.float())
        yield from _grouped(flow, summand, linear, targets)
        return
    yield from _grouped(
        flow,
        summand,
        _convolution(flow, summand.operation, weight, scale, bias),
        targets,
    )


def _of_heads(
    summand: Summand, path: ValuePath, weight: Tensor, bias: Tensor, targets: Tensor
) -> EnteringOperation:
    """Return how an attention's heads read what their pattern mixes, each its own."""
    own = weight.double()[path.outputs] * summand.map.scale[:, None]
    return EnteringOperation(
        summand=summand,
        operation=Convolution(
            own.float()[..., None], bias.float(), groups=path.n_heads
        ),
        sources=summand.sources.repeat(path.n_heads),
        targets=targets,
        attributes={"heads": path.n_heads},
    )


def _weight(flow: ChannelFlow, summand: Summand) -> Tensor:
    operation = summand.operation
    name = operation.name
    known = contraction_of(flow.graph, operation)
    if known is not None and known.is_plain:
        kernel = known.kernel(summand.axis)
        # A linear map where nothing but channels is summed over.
        return kernel if len(known.summed) > 1 else kernel.flatten(1)
    if name in ("matmul", "mm", "bmm", "addmm"):
        number = 2 if name == "addmm" else 1
        weight = flow.graph.constant_of(argument(operation, number, "other", None))
        weight = None if weight is None or weight.ndim != 2 else weight.T
        if weight is not None and name == "addmm":
            weight = weight * operation.options.get("alpha", 1)
    else:
        weight = flow.graph.constant_of(argument(operation, 1, "weight", None))
    if weight is None:
        msg = f"the weights of {operation.place} are not one matrix for all positions"
        raise UnknownSummandError(msg)
    return weight


def _each(value: Any, n: int) -> tuple[int, ...]:
    items = (value,) if isinstance(value, int) else tuple(value)
    return tuple(int(item) for item in (items * n if len(items) == 1 else items))


def _convolution(
    flow: ChannelFlow, operation: Operation, weight: Tensor, scale: Tensor, bias: Tensor
) -> Convolution:
    n = weight.ndim - 2
    transposed = operation.name in TRANSPOSED_CONVOLUTIONS
    groups = int(argument(operation, 6, "groups", 1))
    padding = argument(operation, 4, "padding", 0)
    if bool((scale != 1).any()):
        weight = _times(weight.double(), scale, groups if transposed else 0)
    n_rows = flow.graph.instance_shape(flow.graph.activation_inputs(operation)[0])[0]
    convolution = Convolution(
        weight=weight.float(),
        bias=bias.float(),
        stride=_each(argument(operation, 3, "stride", 1), n),
        padding=padding if isinstance(padding, str) else _each(padding, n),
        dilation=_each(argument(operation, 7 if transposed else 5, "dilation", 1), n),
        groups=groups,
        transposed=transposed,
        output_padding=(
            _each(argument(operation, 5, "output_padding", 0), n) if transposed else 0
        ),
    )
    if n_rows == flow.graph.n_instances:
        return convolution
    return _with_axis(convolution, 1)


def _times(weight: Tensor, scale: Tensor, n_transposed_groups: int) -> Tensor:
    """Multiply each output channel's weights by its factor."""
    ones = [1] * (weight.ndim - 2)
    if not n_transposed_groups:
        return weight * scale.view([-1, 1, *ones])
    # (sources, targets of a group, *kernel)
    factor = scale.view([n_transposed_groups, 1, -1, *ones])
    by_group = weight.unflatten(0, (n_transposed_groups, -1))
    product: Tensor = by_group * factor
    return product.flatten(0, 1)


def _with_axis(convolution: Convolution, n_taps: int) -> Convolution:
    """Return a convolution with one more axis in front, whose taps are given."""
    weight = convolution.weight
    if n_taps == 1:
        weight = weight.unsqueeze(2)
    kernel = tuple(weight.shape[3:])
    n = len(kernel)
    padding: Any = convolution.padding
    if padding == "same":
        dilation = _each(convolution.dilation, n)
        spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = [(span // 2, span - span // 2) for span in spans]
    elif convolution.transposed:
        padding = _each(padding, n)
    elif not isinstance(padding, str):
        padding = [(one, one) for one in _each(padding, n)]
    nothing = 0 if convolution.transposed else (0, 0)
    return Convolution(
        weight=weight,
        bias=convolution.bias,
        stride=(1, *_each(convolution.stride, n)),
        padding=padding if isinstance(padding, str) else (nothing, *padding),
        dilation=(1, *_each(convolution.dilation, n)),
        groups=convolution.groups,
        transposed=convolution.transposed,
        output_padding=(
            (0, *_each(convolution.output_padding, n)) if convolution.transposed else 0
        ),
    )


def _grouped(
    flow: ChannelFlow,
    summand: Summand,
    operation: Convolution | Linear,
    targets: Tensor,
) -> Iterator[EnteringOperation]:
    """Yield operations in which each source channel is one input channel."""
    numbers = summand.sources
    attributes = _attributes(operation)
    indices_of = _indices_by_channel(numbers)
    if all(len(indices) == 1 for indices in indices_of.values()):
        yield EnteringOperation(
            summand, operation, numbers, targets, attributes=attributes
        )
        return
    is_plain = isinstance(operation, Linear) or (
        operation.groups == 1 and not operation.transposed
    )
    if not is_plain:
        msg = (
            f"{summand.operation.place} reads the same channel at several indices of "
            "the channel axis, in groups"
        )
        raise UnknownSummandError(msg)
    shape = flow.graph.values[summand.value].shape
    n_positions = len(shape) - 2 + (shape[0] != flow.graph.n_instances)
    by_count: dict[int, list[tuple[float, list[int]]]] = {}
    for number, indices in indices_of.items():
        by_count.setdefault(len(indices), []).append((number, indices))
    nothing = [i for i, number in enumerate(numbers.tolist()) if number <= 0]
    if nothing:
        by_count.setdefault(1, []).extend((0.0, [i]) for i in nothing)
    for position, (count, items) in enumerate(sorted(by_count.items(), reverse=True)):
        order = torch.tensor([i for _, indices in items for i in indices])
        plain = torch.equal(order, torch.arange(len(numbers)))
        yield EnteringOperation(
            summand=summand,
            operation=_part(
                operation,
                order,
                count,
                with_bias=position == 0,
                n_positions=n_positions,
            ),
            sources=torch.tensor([n for n, _ in items], dtype=torch.float64),
            targets=targets,
            order=None if plain else order,
            indices_per_source=count,
            attributes={**attributes, "places": count},
        )


def _indices_by_channel(numbers: Tensor) -> dict[float, list[int]]:
    """Return the indices of each channel number, in order of first appearance."""
    indices_of: dict[float, list[int]] = {}
    for index, number in enumerate(numbers.tolist()):
        if number > 0:
            indices_of.setdefault(number, []).append(index)
    return indices_of


def _part(
    operation: Convolution | Linear,
    order: Tensor,
    count: int,
    *,
    with_bias: bool,
    n_positions: int,
) -> Convolution | Linear:
    weight = operation.weight[:, order]
    bias = operation.bias if with_bias else None
    if isinstance(operation, Linear):
        if count == 1:
            return Linear(weight, bias)
        weight = weight.unflatten(1, (-1, count))
        return Convolution(weight.view(*weight.shape, *[1] * n_positions), bias)
    if count == 1:
        return Convolution(
            weight, bias, operation.stride, operation.padding,
            dilation=operation.dilation,
        )  # fmt: skip
    wide = weight.unflatten(1, (-1, count))
    return _with_axis(
        Convolution(
            wide, bias, operation.stride, operation.padding, dilation=operation.dilation
        ),
        count,
    )


def _attributes(operation: Convolution | Linear) -> dict[str, Any]:
    if isinstance(operation, Linear):
        return {}
    padding = operation.padding
    return {
        "kernel": list(operation.kernel),
        "stride": list(_each(operation.stride, operation.n_axes)),
        "padding": padding if isinstance(padding, str) else _lists(padding),
        "dilation": list(_each(operation.dilation, operation.n_axes)),
        "groups": operation.groups,
        "transposed": operation.transposed,
    }


def _lists(value: Any) -> Any:
    """Return nested sequences as JSON has them."""
    return value if isinstance(value, int) else [_lists(item) for item in value]
