"""Which operations add up to a layer's pre-activation, and what do they read?

The pre-activation of a layer is a sum of *terms*: a convolution or a linear map of an
input, or an input itself (a residual connection, a part of a concatenation). Operations
between a term and the pre-activation (batch normalisation, layer scale, permutations)
are folded into the term.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnviz.network.analysis.affine_maps import AffineMap, affine_map
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.contractions import contraction_of
from nnviz.network.analysis.layers import Site
from nnviz.network.analysis.markers import MIXED, NOTHING, channels_along
from nnviz.network.analysis.operations import Operation, Reference, argument
from nnviz.network.analysis.products import aligned, factors_of
from nnviz.network.analysis.units import (
    Units,
    axis_of,
    before_affine,
    folded,
    only_moves_behind,
    units_beyond,
)
from nnviz.runs.architecture import EdgeOperation

__all__ = ["Entry", "Place", "Target", "Term", "find_targets"]


@dataclass(frozen=True, slots=True)
class Term:
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
class Entry:
    """A pre-activation of (a part of) a layer."""

    value: int | None
    """The value that the terms add up to; None for a part that is only passed on."""
    axis: int
    """Axis of the channels in `value`."""
    channels: Tensor
    """Channel of `value` to channel of the layer, int64."""
    constant: Tensor
    """What is added beside the terms, by channel of `value`, float64."""
    terms: list[Term]
    units: Units
    """From the channels of `value` to those of the layer as it is read; terms and
    constant have them already."""
    end: Place | None = None
    """The last value to which all is affine, where that is not `value`."""


@dataclass(slots=True)
class Target:
    """A layer with all that enters it."""

    site: Site
    entries: list[Entry] = field(default_factory=list)
    gates: list[Term] = field(default_factory=list)
    """Factors of a product that carry nothing."""
    problems: list[str] = field(default_factory=list)
    """Why something that enters it is not known."""
    notes: list[str] = field(default_factory=list)
    """What is not known of it, though its influences are."""


class _ProblemError(Exception):
    """A term cannot be described; the message says where and why."""


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


class _Builder:
    def __init__(self, flow: ChannelFlow, sites: list[Site]) -> None:
        self._flow = flow
        self._children = {
            (site.absorbed_by, site.entry): site
            for site in sites
            if site.absorbed_by is not None
        }

    def target(self, site: Site) -> Target:
        target = Target(site)
        try:
            same = Units.same(self._flow.origins[site.origin].n_channels)
            target.entries = list(self._entries(site, same))
            if site.kind == "product":
                target.gates = list(self._gates(site, target))
        except _ProblemError as error:
            target.problems.append(str(error))
            target.entries = []
        return target

    def _maker(self, site: Site) -> Operation:
        operation = self._flow.graph.producer(site.origin)
        assert operation is not None  # the network's input is no site
        return operation

    def _entries(
        self, site: Site, there: Units, end: Place | None = None
    ) -> Iterator[Entry]:
        """Describe a site; `there` leads from where its channels go to the layer.

        `end` is where a concatenation that takes its channels is still affine.
        """
        flow = self._flow
        origin = flow.origins[site.origin]
        limit = site.read if site.entry is None else site.entry
        value, fold = folded(flow, site.origin, limit)
        beyond = units_beyond(flow, site.origin, value, limit).then(there)
        channels = torch.argsort(fold.channels)
        axis = axis_of(flow, value, origin.axis)
        if site.entry is None:
            end = Place(value, axis, channels, beyond[channels])
        elif not only_moves_behind(flow, site.origin, value, limit):
            end = None
        if site.kind == "concatenation":
            units = Units(fold.scale, fold.shift).then(beyond)
            yield from self._parts(site, units, end)
            return
        terms, constant = self._terms(site)
        constant = constant * fold.scale + fold.shift
        yield Entry(
            value=value,
            axis=axis,
            channels=channels,
            constant=(constant * beyond.scale + beyond.shift)[channels],
            terms=[
                _scaled(term, replace(fold, scale=fold.scale * beyond.scale))
                for term in terms
            ],
            units=beyond[channels],
            end=end,
        )

    def _terms(self, site: Site) -> tuple[list[Term], Tensor]:
        """Return the terms of an origin and the constant beside them."""
        operation = self._maker(site)
        n_channels = self._flow.origins[site.origin].n_channels
        constant = torch.zeros(n_channels, dtype=torch.float64)
        if site.kind == "sum":
            return self._summands(site, operation, constant)
        if site.kind == "product":
            return self._factors(site, operation), constant
        if site.kind in ("convolution", "linear"):
            term = self._weighted(operation, site)
            bias = _bias(self._flow, operation)
            return [term], constant if bias is None else bias.double()
        if site.kind == "other" and operation.name.startswith("embedding"):
            return [], constant
        msg = (
            f"{operation.place} calls {operation.name}, which combines channels in a "
            "way that nnviz does not take apart"
        )
        raise _ProblemError(msg)

    def _weighted(self, operation: Operation, site: Site) -> Term:
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
        return Term(
            kind="convolution" if is_convolution else "linear",
            operation=operation,
            value=value,
            axis=axis,
            sources=self._sources(operation, value, axis),
            map=AffineMap.identity(self._flow.origins[site.origin].n_channels),
        )

    def _summands(
        self, site: Site, operation: Operation, constant: Tensor
    ) -> tuple[list[Term], Tensor]:
        axis = self._flow.origins[site.origin].axis
        terms: list[Term] = []
        for value in self._flow.graph.activation_inputs(operation):
            child = self._children.get((site.origin, value))
            if child is None:
                term, shift = self._passed(operation, value, site.origin, axis)
                constant = constant + _moved(shift, term.map.channels, len(constant))
                terms.append(term)
                continue
            own_axis = axis_of(
                self._flow, child.origin, self._flow.origins[child.origin].axis
            )
            step = affine_map(self._flow, child.origin, site.origin, (own_axis, axis))
            if step is None:
                msg = f"{operation.place} adds {self._what(value)} in an unknown way"
                raise _ProblemError(msg)
            below, summand = self._terms(child)
            terms += [_scaled(term, step) for term in below]
            constant = constant + _moved(
                summand * step.scale + step.shift, step.channels, len(constant)
            )
        return terms, constant

    def _passed(
        self, operation: Operation, value: int, last: int, axis: int
    ) -> tuple[Term, Tensor]:
        """Return what a value adds to a later one, and the constant beside it.

        Affine maps before it (a branch that is only normalised) belong to the term.
        """
        for start in dict.fromkeys((before_affine(self._flow, value), value)):
            own = axis_of(self._flow, start, axis)
            step = affine_map(self._flow, start, last, (own, axis))
            if step is not None:
                sources = self._sources(operation, start, own)
                still = replace(step, shift=torch.zeros_like(step.shift))
                term = Term("identity", operation, start, own, sources, still)
                return term, step.shift
        msg = f"{operation.place} adds {self._what(value)} in an unknown way"
        raise _ProblemError(msg)

    def _parts(self, site: Site, units: Units, end: Place | None) -> Iterator[Entry]:
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
                for entry in self._entries(child, own[order], end):
                    entry.channels = offset + order[entry.channels]
                    yield entry
            elif value is not None:
                term, shift = self._passed(operation, value, value, axis)
                channels = torch.arange(width)
                step = AffineMap(own.scale, own.shift, channels)
                shift = _moved(shift, term.map.channels, width)
                yield Entry(
                    None, axis, offset + channels, shift * own.scale + own.shift,
                    [_scaled(term, step)], own, end,
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

    def _factors(self, site: Site, operation: Operation) -> list[Term]:
        """Return what each factor that carries a product adds to it."""
        shares, _ = factors_of(self._flow, operation)
        terms: list[Term] = []
        known: dict[int, Tensor] = {}
        for value, share in shares.items():
            numbers = self._factor_channels(site, operation, value)
            scale = torch.full((len(numbers),), share, dtype=torch.float64)
            for before, other in known.items():
                # One source for both factors is one source, with both their shares.
                both = numbers == other
                scale = torch.where(both, scale + shares[before], scale)
                terms = [_without(term, both) for term in terms]
            known[value] = numbers
            same = AffineMap.identity(len(numbers))
            terms.append(
                Term(
                    "identity", operation, site.origin,
                    self._flow.origins[site.origin].axis, numbers,
                    replace(same, scale=scale), value, scale,
                )
            )  # fmt: skip
        return terms

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

    def _gates(self, site: Site, target: Target) -> Iterator[Term]:
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
            yield Term("gate", operation, value, axis, numbers, same)

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


def _scaled(term: Term, step: AffineMap) -> Term:
    """Fold another map into a term; what it adds is kept elsewhere."""
    still = replace(step, shift=torch.zeros_like(step.shift))
    return replace(term, map=term.map.then(still))


def _without(term: Term, channels: Tensor) -> Term:
    """Return a term that has no say in some channels."""
    still = torch.where(channels, NOTHING, term.sources)
    scale = torch.where(channels, 0.0, term.map.scale)
    return replace(term, sources=still, map=replace(term.map, scale=scale))


def _moved(values: Tensor, channels: Tensor, n_channels: int | None = None) -> Tensor:
    """Put each value at its target channel."""
    n = len(values) if n_channels is None else n_channels
    moved = values.new_zeros(n)
    kept = channels >= 0
    moved[channels[kept]] = values[kept]
    return moved


def _bias(flow: ChannelFlow, operation: Operation) -> Tensor | None:
    if operation.name == "addmm":
        return flow.graph.constant_of(argument(operation, 0, "input", None))
    if operation.name in ("matmul", "mm", "bmm", "einsum", "tensordot"):
        return None
    return flow.graph.constant_of(argument(operation, 2, "bias", None))


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
