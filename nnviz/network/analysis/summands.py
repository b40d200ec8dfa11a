"""Which operations add up to a layer's pre-activation, and what do they read?

The pre-activation of a layer is a sum of *summands*: a convolution or a linear map of
an input, or an input itself (a residual connection, a part of a concatenation).
Operations between a summand and the pre-activation (batch normalisation, layer scale,
permutations) are folded into the summand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import AffineMap, affine_map
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.contractions import bias_of, contraction_of
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import Site
from nnviz.network.analysis.markers import MIXED, NOTHING, Marker, channels_along
from nnviz.network.analysis.operations import Operation, Reference, argument
from nnviz.network.analysis.products import aligned, factors_of
from nnviz.network.analysis.recurrence import RECURRENT
from nnviz.network.analysis.units import (
    Units,
    axis_of,
    before_affine,
    folded,
    only_moves_behind,
    units_beyond,
)
from nnviz.network.analysis.value_paths import ValuePath, pattern_origins
from nnviz.runs.architecture import EdgeOperation

__all__ = ["Place", "PreActivation", "Summand", "Target", "find_targets"]


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
    factor: int | None = None
    """Of a product: the factor whose share of the product this is."""
    share: Tensor | None = None
    """That share, by channel of the product."""
    path: ValuePath | None = None
    """Of the heads of an attention: how what is read reaches them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A value that is affine in what enters it, with the layer's channels in it."""

    value: int
    axis: int
    """Axis of the channels."""
    channels: Tensor
    """Channel of `value` to channel of the layer, int64."""
    units: Units
    """From the channels of `value` to those of the layer as it is read."""


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
    units: Units
    """From the channels of `value` to those of the layer as it is read; summands and
    constant have them already."""
    end: Place | None = None
    """The last value to which all is affine, where that is not `value`."""


@dataclass(slots=True)
class Target:
    """A layer with all that enters it."""

    site: Site
    pre_activations: list[PreActivation] = field(default_factory=list)
    gates: list[Summand] = field(default_factory=list)
    """Factors of a product that carry nothing."""
    problems: list[str] = field(default_factory=list)
    """Why something that enters it is not known."""
    notes: list[str] = field(default_factory=list)
    """What is not known of it, though its influences are."""


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
    builder = _Builder(flow, sites)
    own = [site for site in sites if site.absorbed_by is None]
    return [Target(s) if s.kind == "input" else builder.target(s) for s in own]


class _Builder:
    def __init__(self, flow: ChannelFlow, sites: list[Site]) -> None:
        self._flow = flow
        self._kept = frozenset(site.origin for site in sites)
        self._children = {
            (site.absorbed_by, site.entry_value): site
            for site in sites
            if site.absorbed_by is not None
        }

    def target(self, site: Site) -> Target:
        target = Target(site)
        try:
            same = Units.same(self._flow.origins[site.origin].n_channels)
            target.pre_activations = list(self._pre_activations(site, same))
            if site.kind == "product":
                target.gates = list(self._gates(site, target))
            elif site.origin in self._flow.value_paths:
                target.gates = list(self._pattern(site))
        except _ProblemError as error:
            target.problems.append(str(error))
            target.pre_activations = []
        return target

    def _maker(self, site: Site) -> Operation:
        operation = self._flow.graph.producer(site.origin)
        assert operation is not None  # the network's input is no site
        return operation

    def _pre_activations(
        self, site: Site, there: Units, end: Place | None = None
    ) -> Iterator[PreActivation]:
        """Describe a site; `there` leads from where its channels go to the layer.

        `end` is where a concatenation that takes its channels is still affine.
        """
        flow = self._flow
        origin = flow.origins[site.origin]
        limit = site.read_value if site.entry_value is None else site.entry_value
        value, fold = folded(flow, site.origin, limit)
        beyond = units_beyond(flow, site.origin, value, limit).then(there)
        channels = torch.argsort(fold.channels)
        axis = axis_of(flow, value, origin.axis)
        if site.entry_value is None:
            end = Place(value, axis, channels, beyond[channels])
        elif not only_moves_behind(flow, site.origin, value, limit):
            end = None
        if site.kind == "concatenation":
            units = Units(fold.scale, fold.shift).then(beyond)
            yield from self._parts(site, units, end)
            return
        summands, constant = self._summands(site)
        constant = constant * fold.scale + fold.shift
        yield PreActivation(
            value=value,
            axis=axis,
            channels=channels,
            constant=(constant * beyond.scale + beyond.shift)[channels],
            summands=[
                _scaled(summand, replace(fold, scale=fold.scale * beyond.scale))
                for summand in summands
            ],
            units=beyond[channels],
            end=end,
        )

    def _summands(self, site: Site) -> tuple[list[Summand], Tensor]:
        """Return the summands of an origin and the constant beside them."""
        operation = self._maker(site)
        n_channels = self._flow.origins[site.origin].n_channels
        constant = torch.zeros(n_channels, dtype=torch.float64)
        if site.kind == "sum":
            return self._of_sum(site, operation, constant)
        if site.kind == "product":
            return self._factors(site, operation), constant
        if site.kind in ("convolution", "linear"):
            summand = self._weighted(operation, site)
            bias = bias_of(self._flow.graph, operation)
            return [summand], constant if bias is None else bias.double()
        if site.origin in self._flow.value_paths:
            return self._heads(site)
        if site.kind == "other" and category_of(operation.name) == "embedding":
            return [], constant
        how = (
            "in which what is read acts on all times after it"
            if operation.name in RECURRENT
            else "which combines channels in a way that nnviz does not take apart"
        )
        msg = f"{operation.place} calls {operation.name}, {how}"
        raise _ProblemError(msg)

    def _weighted(self, operation: Operation, site: Site) -> Summand:
        value = self._flow.graph.activation_inputs(operation)[0]
        shape = self._flow.graph.values[value].shape
        is_convolution = site.kind == "convolution"
        axis = (
            self._flow.origins[site.origin].axis if is_convolution else len(shape) - 1
        )
        known = contraction_of(self._flow.graph, operation)
        if known is not None:
            if not known.keeps_order:
                msg = f"{operation.place} puts positions in another order"
                raise _ProblemError(msg)
            axis = known.of_value.index(known.summed[0])
            if len(known.summed) > 1:
                axis = axis_of(self._flow, value, axis)
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

    def _heads(self, site: Site) -> tuple[list[Summand], Tensor]:
        """Return what the heads of an attention are made of, and their bias."""
        path = self._flow.value_paths[site.origin]
        axis = len(self._flow.graph.values[path.read].shape) - 1
        bias = bias_of(self._flow.graph, path.projection)
        summand = Summand(
            kind="linear",
            operation=path.projection,
            value=path.read,
            axis=axis,
            sources=self._sources(path.projection, path.read, axis),
            map=AffineMap.identity(len(path.outputs)),
            path=path,
        )
        zeros = torch.zeros(len(path.outputs), dtype=torch.float64)
        return [summand], zeros if bias is None else bias.double()[path.outputs]

    def _pattern(self, site: Site) -> Iterator[Summand]:
        """Yield the queries and keys of an attention: they carry nothing."""
        flow = self._flow
        path = flow.value_paths[site.origin]
        for origin in pattern_origins(flow, path, self._kept):
            numbers = torch.arange(origin.n_channels, dtype=torch.float64)
            same = AffineMap.identity(len(numbers))
            yield Summand(
                "gate", path.product, origin.value, origin.axis,
                origin.first + numbers, same,
            )  # fmt: skip

    def _of_sum(
        self, site: Site, operation: Operation, constant: Tensor
    ) -> tuple[list[Summand], Tensor]:
        axis = self._flow.origins[site.origin].axis
        summands: list[Summand] = []
        for value in self._flow.graph.activation_inputs(operation):
            child = self._children.get((site.origin, value))
            if child is None:
                summand, shift = self._passed(operation, value, site.origin, axis)
                constant = constant + _moved(shift, summand.map.channels, len(constant))
                summands.append(summand)
                continue
            own_axis = axis_of(
                self._flow, child.origin, self._flow.origins[child.origin].axis
            )
            step = affine_map(self._flow, child.origin, site.origin, (own_axis, axis))
            if step is None:
                msg = f"{operation.place} adds {self._result(value)} in an unknown way"
                raise _ProblemError(msg)
            below, beside = self._summands(child)
            summands += [_scaled(summand, step) for summand in below]
            constant = constant + _moved(
                beside * step.scale + step.shift, step.channels, len(constant)
            )
        return summands, constant

    def _passed(
        self, operation: Operation, value: int, last: int, axis: int
    ) -> tuple[Summand, Tensor]:
        """Return what a value adds to a later one, and the constant beside it.

        Affine maps before it (a branch that is only normalised) belong to the summand.
        """
        for start in dict.fromkeys((before_affine(self._flow, value), value)):
            own = axis_of(self._flow, start, axis)
            step = affine_map(self._flow, start, last, (own, axis))
            if step is not None:
                sources = self._sources(operation, start, own)
                still = replace(step, shift=torch.zeros_like(step.shift))
                summand = Summand("identity", operation, start, own, sources, still)
                return summand, step.shift
        msg = f"{operation.place} adds {self._result(value)} in an unknown way"
        raise _ProblemError(msg)

    def _parts(
        self, site: Site, units: Units, end: Place | None
    ) -> Iterator[PreActivation]:
        """Describe a concatenation, one part after the other.

        `units` leads from its channels to those of the layer as it is read.
        """
        operation = self._maker(site)
        axis = self._flow.origins[site.origin].axis
        offset = 0
        for value, width in _cat_parts(self._flow, operation, axis):
            child = self._children.get((site.origin, value))
            own = units[torch.arange(offset, offset + width)]
            if value is not None and child is not None:
                order = self._order(child, value, axis)
                for pre_activation in self._pre_activations(child, own[order], end):
                    pre_activation.channels = offset + order[pre_activation.channels]
                    yield pre_activation
            elif value is not None:
                summand, shift = self._passed(operation, value, value, axis)
                channels = torch.arange(width)
                step = AffineMap(own.scale, own.shift, channels)
                shift = _moved(shift, summand.map.channels, width)
                yield PreActivation(
                    None, axis, offset + channels, shift * own.scale + own.shift,
                    [_scaled(summand, step)], own, end,
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

    def _factors(self, site: Site, operation: Operation) -> list[Summand]:
        """Return what each factor that carries a product adds to it."""
        shares, _ = factors_of(self._flow, operation)
        summands: list[Summand] = []
        known: dict[int, Tensor] = {}
        for value, share in shares.items():
            numbers = self._factor_channels(site, operation, value)
            scale = torch.full((len(numbers),), share, dtype=torch.float64)
            for before, other in known.items():
                # One source for both factors is one source, with both their shares.
                both = numbers == other
                scale = torch.where(both, scale + shares[before], scale)
                summands = [_without(summand, both) for summand in summands]
            known[value] = numbers
            same = AffineMap.identity(len(numbers))
            summands.append(
                Summand(
                    "identity", operation, site.origin,
                    self._flow.origins[site.origin].axis, numbers,
                    replace(same, scale=scale), value, scale,
                )
            )  # fmt: skip
        return summands

    def _factor_channels(self, site: Site, operation: Operation, value: int) -> Tensor:
        origin = self._flow.origins[site.origin]
        graph = self._flow.graph
        shape = graph.values[site.origin].shape
        own = graph.values[value].shape
        axis = axis_of(self._flow, value, max(0, origin.axis - len(shape) + len(own)))
        numbers = self._sources(operation, value, axis)
        found = aligned(numbers, axis, len(own), origin.axis, shape)
        if found is None:
            msg = (
                f"{operation.place} multiplies by {self._what(value)}, whose channels "
                "do not stand beside its own"
            )
            raise _ProblemError(msg)
        return found

    def _gates(self, site: Site, target: Target) -> Iterator[Summand]:
        """Yield the factors of a product that carry nothing."""
        operation = self._maker(site)
        _, gates = factors_of(self._flow, operation)
        for value in gates:
            try:
                numbers = self._factor_channels(site, operation, value)
            except _ProblemError as error:
                target.notes.append(f"the gate at {operation.place}: {error}")
                continue
            axis = axis_of(self._flow, value, 1)
            same = AffineMap.identity(len(numbers))
            yield Summand("gate", operation, value, axis, numbers, same)

    def _sources(self, operation: Operation, value: int, axis: int) -> Tensor:
        marker = self._flow.markers.get(value)
        if marker is not None:
            numbers = channels_along(marker.numbers, axis)
            if not bool((numbers == MIXED).any()):
                return numbers
            if self._is_input(marker):
                return torch.full_like(numbers, NOTHING)
        msg = f"{operation.place} reads {self._what(value)}"
        raise _ProblemError(msg)

    def _is_input(self, marker: Marker) -> bool:
        """Return whether all comes from the network's input, which is no layer."""
        known = self._flow.origins[self._flow.graph.input_value]
        low, high = marker.numbers.min(), marker.numbers.max()
        return bool(low >= NOTHING) and bool(high < known.first + known.n_channels)

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
        is_input = graph.producer(value) is None
        several = "" if is_input else ", where one channel holds several"
        return self._result(value) + several

    def _result(self, value: int) -> str:
        operation = self._flow.graph.producer(value)
        if operation is None:
            return "the network's input"
        return f"the result of {operation.name} at {operation.place}"


def _has_mixed(numbers: Tensor) -> bool:
    return bool((numbers == MIXED).any())


def _scaled(summand: Summand, step: AffineMap) -> Summand:
    """Fold another map into a summand; what it adds is kept elsewhere."""
    still = replace(step, shift=torch.zeros_like(step.shift))
    return replace(summand, map=summand.map.then(still))


def _without(summand: Summand, channels: Tensor) -> Summand:
    """Return a summand that has no say in some channels."""
    still = torch.where(channels, NOTHING, summand.sources)
    scale = torch.where(channels, 0.0, summand.map.scale)
    return replace(summand, sources=still, map=replace(summand.map, scale=scale))


def _moved(values: Tensor, channels: Tensor, n_channels: int | None = None) -> Tensor:
    """Put each value at its target channel."""
    n = len(values) if n_channels is None else n_channels
    moved = values.new_zeros(n)
    kept = channels >= 0
    moved[channels[kept]] = values[kept]
    return moved


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
