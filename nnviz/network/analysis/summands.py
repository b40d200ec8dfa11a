"""Which operations add up to a layer's pre-activation, and what do they read?

The pre-activation of a layer is a sum of *summands*: a convolution or a linear map of
an input, or an input itself (a residual connection, a part of a concatenation).
Operations between a summand and the pre-activation (batch normalisation, layer scale,
permutations) are folded into the summand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

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
from nnviz.network.analysis.layers import Site
from nnviz.network.analysis.markers import MIXED, channels_along
from nnviz.network.analysis.operations import Operation, Reference
from nnviz.runs.architecture import EdgeOperation

__all__ = ["PreActivation", "Summand", "Target", "argument", "find_targets"]


@dataclass(frozen=True, slots=True)
class Summand:
    """One operation of which a layer's pre-activation is a sum."""

    kind: EdgeOperation
    operation: Operation
    """The convolution, the linear map, the sum, the concatenation or the product."""
    value: int
    """What it reads; of an identity: what it adds to the target."""
    axis: int
    """Axis of the channels in `value`."""
    sources: Tensor
    """Channel number of each channel of `value`, float64."""
    map: AffineMap
    """From the operation's output channels to the target's channels; no shift."""


@dataclass(slots=True)
class PreActivation:
    """A pre-activation of (a part of) a layer."""

    value: int | None
    """The value that the summands add up to; None for a part that is only passed on."""
    axis: int
    """Axis of the channels in `value`."""
    channels: Tensor
    """Channel of `value` to channel of the layer, int64."""
    constant: Tensor
    """What is added beside the summands, by channel of `value`, float64."""
    summands: list[Summand]


@dataclass(slots=True)
class Target:
    """A layer with all that enters it."""

    site: Site
    pre_activations: list[PreActivation] = field(default_factory=list)
    gates: list[Summand] = field(default_factory=list)
    """Factors of a product beside the main one: not additive, so no influence."""
    problems: list[str] = field(default_factory=list)
    """Why something that enters it is not known."""


class _ProblemError(Exception):
    """A summand cannot be described; the message says where and why."""


def find_targets(flow: ChannelFlow, sites: list[Site]) -> list[Target]:
    """Describe what enters each layer.

    Parameters
    ----------
    flow, sites
        From the same operation graph.

    Returns
    -------
    list of Target
        One for each site that is a layer, in order of computation.
    """
    return [
        _Builder(flow, sites).target(site) for site in sites if site.absorbed_by is None
    ]


def argument(operation: Operation, index: int, name: str, default: Any) -> Any:
    """Return an argument of a recorded call by its position or name."""
    if name in operation.options:
        return operation.options[name]
    if len(operation.arguments) > index:
        return operation.arguments[index]
    return default


class _Builder:
    def __init__(self, flow: ChannelFlow, sites: list[Site]) -> None:
        self._flow = flow
        self._children = {
            (site.absorbed_by, site.entry_value): site
            for site in sites
            if site.absorbed_by is not None
        }

    def target(self, site: Site) -> Target:
        target = Target(site)
        try:
            if site.kind == "product":
                self._add_product(target)
            else:
                target.pre_activations = list(self._pre_activations(site))
        except _ProblemError as error:
            target.problems.append(str(error))
            target.pre_activations = []
        return target

    def _maker(self, site: Site) -> Operation:
        operation = self._flow.graph.producer(site.origin)
        assert operation is not None  # the network's input is no site
        return operation

    def _pre_activations(self, site: Site) -> Iterator[PreActivation]:
        if site.kind == "concatenation":
            yield from self._parts(site)
            return
        summands, constant = self._summands(site)
        origin = self._flow.origins[site.origin]
        value, fold = self._folded(site)
        yield PreActivation(
            value=value,
            axis=self._axis(value, origin.axis),
            channels=torch.argsort(fold.channels),
            constant=_moved(constant * fold.scale + fold.shift, fold.channels),
            summands=[_scaled(summand, fold) for summand in summands],
        )

    def _axis(self, value: int, default: int) -> int:
        marker = self._flow.markers.get(value)
        return default if marker is None or marker.axis is None else marker.axis

    def _folded(self, site: Site) -> tuple[int, AffineMap]:
        """Return the value up to which operations can be folded, and their map."""
        origin = self._flow.origins[site.origin]
        limit = site.read_value if site.entry_value is None else site.entry_value
        best = site.origin
        found = AffineMap.identity(origin.n_channels)
        for operation in operations_between(self._flow, site.origin, limit):
            if not is_affine(self._flow, operation):
                break
            value = operation.outputs[-1]
            name = operation.name
            if name in STILL or category_of(name) == "movement":
                continue
            axes = (origin.axis, self._axis(value, origin.axis))
            fold = affine_map(self._flow, site.origin, value, axes)
            if fold is None or bool((fold.channels < 0).any()):
                break
            best, found = value, fold
        return best, found

    def _summands(self, site: Site) -> tuple[list[Summand], Tensor]:
        """Return the summands of an origin and the constant beside them."""
        operation = self._maker(site)
        n_channels = self._flow.origins[site.origin].n_channels
        constant = torch.zeros(n_channels, dtype=torch.float64)
        if site.kind == "sum":
            return self._of_sum(site, operation, constant)
        if site.kind in ("convolution", "linear"):
            summand = self._weighted(operation, site)
            bias = _bias(self._flow, operation)
            return [summand], constant if bias is None else bias.double()
        if site.kind == "other" and category_of(operation.name) == "embedding":
            return [], constant
        msg = (
            f"{operation.place} calls {operation.name}, which combines channels in a "
            "way that nnviz does not take apart"
        )
        raise _ProblemError(msg)

    def _weighted(self, operation: Operation, site: Site) -> Summand:
        value = self._flow.graph.activation_inputs(operation)[0]
        shape = self._flow.graph.values[value].shape
        is_convolution = site.kind == "convolution"
        axis = (
            self._flow.origins[site.origin].axis if is_convolution else len(shape) - 1
        )
        if len(self._flow.graph.activation_inputs(operation)) != 1:
            msg = f"the weights of {operation.place} depend on the network's input"
            raise _ProblemError(msg)
        return Summand(
            kind="convolution" if is_convolution else "linear",
            operation=operation,
            value=value,
            axis=axis,
            sources=self._sources(operation, value, axis),
            map=AffineMap.identity(self._flow.origins[site.origin].n_channels),
        )

    def _of_sum(
        self, site: Site, operation: Operation, constant: Tensor
    ) -> tuple[list[Summand], Tensor]:
        axis = self._flow.origins[site.origin].axis
        summands: list[Summand] = []
        for value in self._flow.graph.activation_inputs(operation):
            child = self._children.get((site.origin, value))
            first = value if child is None else child.origin
            default = axis if child is None else self._flow.origins[first].axis
            own_axis = self._axis(first, default)
            step = affine_map(self._flow, first, site.origin, (own_axis, axis))
            if step is None:
                msg = f"{operation.place} adds {self._what(value)} in an unknown way"
                raise _ProblemError(msg)
            if child is not None:
                below, beside = self._summands(child)
                summands += [_scaled(summand, step) for summand in below]
                constant = constant + _moved(
                    beside * step.scale + step.shift, step.channels, len(constant)
                )
                continue
            sources = self._sources(operation, value, own_axis)
            constant = constant + _moved(step.shift, step.channels, len(constant))
            still = replace(step, shift=torch.zeros_like(step.shift))
            summands.append(
                Summand("identity", operation, value, own_axis, sources, still)
            )
        return summands, constant

    def _parts(self, site: Site) -> Iterator[PreActivation]:
        """Describe a concatenation, one part after the other."""
        operation = self._maker(site)
        axis = self._flow.origins[site.origin].axis
        offset = 0
        for value, width in _cat_parts(self._flow, operation, axis):
            child = self._children.get((site.origin, value))
            if value is not None and child is not None:
                order = self._order(child, value, axis)
                for pre_activation in self._pre_activations(child):
                    pre_activation.channels = offset + order[pre_activation.channels]
                    yield pre_activation
            elif value is not None:
                sources = self._sources(operation, value, axis)
                same = AffineMap.identity(width)
                summand = Summand("identity", operation, value, axis, sources, same)
                yield PreActivation(
                    None, axis, offset + torch.arange(width),
                    torch.zeros(width, dtype=torch.float64), [summand],
                )  # fmt: skip
            offset += width

    def _order(self, child: Site, value: int, axis: int) -> Tensor:
        """Return where each channel of a part's origin stands within the part."""
        marker = self._flow.markers.get(value)
        origin = self._flow.origins[child.origin]
        numbers = None if marker is None else channels_along(marker.numbers, axis)
        if numbers is None or len(numbers) != origin.n_channels:
            msg = f"{self._what(value)} enters a concatenation in an unknown order"
            raise _ProblemError(msg)
        order = torch.full((origin.n_channels,), -1, dtype=torch.int64)
        order[numbers.long() - origin.first] = torch.arange(len(numbers))
        return order

    def _add_product(self, target: Target) -> None:
        operation = self._maker(target.site)
        origin = self._flow.origins[target.site.origin]
        shape = self._flow.graph.values[target.site.origin].shape
        inputs = self._flow.graph.activation_inputs(operation)
        same = AffineMap.identity(origin.n_channels)
        full = [v for v in inputs if self._flow.graph.values[v].shape == shape]
        main = full[0] if full else inputs[0]
        for value in inputs:
            axis = self._axis(value, origin.axis)
            if self._flow.graph.values[value].shape[axis] != origin.n_channels:
                continue
            try:
                sources = self._sources(operation, value, axis)
            except _ProblemError as error:
                target.problems.append(str(error))
                continue
            if value == main:
                # All of the product is what the main factor adds to the target.
                summand = Summand(
                    "identity", operation, target.site.origin, origin.axis, sources,
                    same,
                )  # fmt: skip
                constant = torch.zeros(origin.n_channels, dtype=torch.float64)
                channels = torch.arange(origin.n_channels)
                target.pre_activations.append(
                    PreActivation(None, origin.axis, channels, constant, [summand])
                )
            else:
                target.gates.append(
                    Summand("identity", operation, value, axis, sources, same)
                )

    def _sources(self, operation: Operation, value: int, axis: int) -> Tensor:
        marker = self._flow.markers.get(value)
        if marker is not None:
            numbers = channels_along(marker.numbers, axis)
            if not bool((numbers == MIXED).any()):
                return numbers
        msg = f"{operation.place} reads {self._what(value)}"
        raise _ProblemError(msg)

    def _what(self, value: int) -> str:
        """Describe where the channels of a value were lost."""
        graph = self._flow.graph
        seen: set[int] = set()
        pending = [value]
        while pending:
            index = pending.pop()
            operation = graph.producer(index)
            if operation is None or index in seen or index in self._flow.origins:
                continue
            seen.add(index)
            marker = self._flow.markers.get(index)
            inputs = graph.activation_inputs(operation)
            known = [self._flow.markers.get(v) for v in inputs]
            lost_here = not any(m is None or _has_mixed(m.numbers) for m in known)
            if marker is None or _has_mixed(marker.numbers):
                if lost_here:
                    return f"the result of {operation.name} at {operation.place}"
                pending += inputs
        operation = graph.producer(value)
        if operation is None:
            return "the network's input"
        return (
            f"the result of {operation.name} at {operation.place}, where one channel "
            "holds several"
        )


def _has_mixed(numbers: Tensor) -> bool:
    return bool((numbers == MIXED).any())


def _scaled(summand: Summand, step: AffineMap) -> Summand:
    """Fold another map into a summand; what it adds is kept elsewhere."""
    still = replace(step, shift=torch.zeros_like(step.shift))
    return replace(summand, map=summand.map.then(still))


def _moved(values: Tensor, channels: Tensor, n_channels: int | None = None) -> Tensor:
    """Put each value at its target channel."""
    n = len(values) if n_channels is None else n_channels
    moved = values.new_zeros(n)
    kept = channels >= 0
    moved[channels[kept]] = values[kept]
    return moved


def _bias(flow: ChannelFlow, operation: Operation) -> Tensor | None:
    if operation.name == "addmm":
        return _constant(flow, argument(operation, 0, "input", None))
    if operation.name in ("matmul", "mm", "bmm"):
        return None
    return _constant(flow, argument(operation, 2, "bias", None))


def _constant(flow: ChannelFlow, item: Any) -> Tensor | None:
    if isinstance(item, Reference):
        return flow.graph.values[item.value].constant
    return item if isinstance(item, Tensor) else None


def _cat_parts(
    flow: ChannelFlow, operation: Operation, axis: int
) -> Iterator[tuple[int | None, int]]:
    """Yield (value or None for a constant, number of channels) for each part."""
    for item in argument(operation, 0, "tensors", ()):
        if isinstance(item, Reference):
            value = flow.graph.values[item.value]
            yield (item.value if value.depends else None), value.shape[axis]
        else:
            yield None, item.shape[axis]
