"""Which of the places where channels are made are layers, and where are they read?

An origin of channels becomes a layer unless all of its channels go into one
concatenation or one residual sum: then the concatenation or the sum is the layer, and
the origin's operation is how other layers' channels reach it.

A layer is read after the normalisation and the non-linearity that follow it, as long as
nothing else reads an earlier value. A sum or a concatenation is read within the module
that computes it: what the next block does to it first belongs to that block.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnviz.network.analysis.affine_maps import STILL, affine_map
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.operations import Operation
from nnviz.runs.architecture import LayerKind

__all__ = ["Site", "find_sites", "settled"]

_MADE_IN_PLACE = frozenset({"sum", "concatenation", "product"})


@dataclass(slots=True)
class Site:
    """An origin of channels with the value at which they are read."""

    origin: int
    """Value of the origin."""
    kind: LayerKind
    read: int
    """Value at which the channels are read."""
    absorbed_by: int | None = None
    """Origin value of the sum or concatenation that takes all of the channels."""
    entry: int | None = None
    """If absorbed: the value that enters the sum or concatenation."""


def find_sites(flow: ChannelFlow) -> list[Site]:
    """Return every origin of channels that is read, in order of computation."""
    sites = []
    for origin, kind in flow.kinds.items():
        if origin == flow.graph.input_value:
            continue
        read = _read_value(flow, origin, kind)
        if read is None:
            continue
        site = Site(origin, kind, read)
        _absorb(flow, site)
        sites.append(site)
    return sites


def settled(flow: ChannelFlow, value: int) -> int:
    """Return the earliest value that holds the same numbers in the same layout."""
    while True:
        operation = flow.graph.producer(value)
        if operation is None or operation.name not in STILL:
            return value
        inputs = flow.graph.activation_inputs(operation)
        if not inputs:
            return value
        value = inputs[0]


def _family(flow: ChannelFlow, origin: int, kind: LayerKind) -> list[int]:
    """Return the values made from an origin without loss, within its reach."""
    maker = flow.graph.producer(origin)
    family = [origin]
    for value in flow.families[origin]:
        operation = flow.graph.producer(value)
        if value == origin or operation is None or maker is None:
            continue
        own = [
            v
            for v in flow.graph.activation_inputs(operation)
            if flow.roots.get(v) == origin
        ]
        near = kind not in _MADE_IN_PLACE or operation.call is maker.call
        near = near or operation.call.parent is maker.call
        if near and own and all(v in family for v in own):
            family.append(value)
    return family


def _consumers(flow: ChannelFlow, value: int) -> list[Operation]:
    return [flow.graph.operations[i] for i in flow.graph.values[value].consumers]


def _exits(flow: ChannelFlow, family: list[int]) -> list[int]:
    """Return the members of a family that something outside of it reads."""
    members = set(family)
    return [
        value
        for value in family
        if flow.graph.values[value].is_output
        or any(
            not members.intersection(operation.outputs)
            for operation in _consumers(flow, value)
        )
    ]


def _dominates(
    flow: ChannelFlow, family: list[int], value: int, exits: list[int]
) -> bool:
    """Return whether every way from the origin to an exit passes through `value`."""
    reached = {family[0]} - {value}
    for member in family[1:]:
        operation = flow.graph.producer(member)
        if operation is None or member == value:
            continue
        if reached.intersection(operation.inputs):
            reached.add(member)
    return not reached.intersection(exits)


def _read_value(flow: ChannelFlow, origin: int, kind: LayerKind) -> int | None:
    family = _family(flow, origin, kind)
    exits = _exits(flow, family)
    if not exits:
        return None
    best = origin
    shape = flow.graph.values[origin].shape
    for value in family:
        operation = flow.graph.producer(value)
        if value == origin or operation is None or value > exits[0]:
            continue
        moves = category_of(operation.name) == "movement"
        restored = (
            flow.graph.values[value].shape == shape
            and flow.graph.values[best].shape != shape
        )
        useful = restored if moves else operation.name not in STILL
        if (
            useful
            and _has_channels_of(flow, value, origin)
            and _dominates(flow, family, value, exits)
        ):
            best = value
    return best


def _has_channels_of(flow: ChannelFlow, value: int, origin: int) -> bool:
    """Return whether the value's channels are the origin's, in order."""
    marker = flow.markers.get(value)
    known = flow.origins[origin]
    if marker is None or marker.axis is None or marker.channels is None:
        return False
    numbers = marker.channels.tolist()
    return numbers == list(range(known.first, known.first + known.n_channels))


def _absorb(flow: ChannelFlow, site: Site) -> None:
    """Find the one sum or concatenation that takes all of a site's channels."""
    if site.kind in ("product", "other", "attention"):
        return
    family = flow.families[site.origin]
    exits = _exits(flow, family)
    if len(exits) != 1 or flow.graph.values[exits[0]].is_output:
        return
    entry = exits[0]
    readers = [
        operation
        for operation in _consumers(flow, entry)
        if not set(family).intersection(operation.outputs)
    ]
    if len(readers) != 1:
        return
    output = readers[0].outputs[-1]
    kind = flow.kinds.get(output)
    if kind is None:
        return
    axes = (flow.origins[site.origin].axis, flow.origins[output].axis)
    if kind == "concatenation" or (
        kind == "sum"
        and site.kind != "concatenation"
        and flow.graph.values[entry].shape == flow.graph.values[output].shape
        and affine_map(flow, site.origin, output, axes) is not None
    ):
        site.absorbed_by = output
        site.entry = entry
