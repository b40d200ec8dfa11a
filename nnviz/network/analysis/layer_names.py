"""How are the layers of a network called, and which of them would a person look at?

A layer has the path of the block whose output it is (a residual block, an Inception
module), else that of its convolution or linear map, else of the function that makes
it. By default blocks are shown, and layers that lie in no block; the inner layers of a
block are recorded, so that graphs can be composed through them, but not shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.layers import Site, settled
from nnviz.network.analysis.module_calls import ModuleCall
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.receptive_fields import find_receptive_fields
from nnviz.runs.architecture import Layer

__all__ = ["NamedSite", "name_layers"]

_BLOCK_KINDS = frozenset({"sum", "concatenation"})
_MIN_SITES_OF_A_NETWORK = 4


@dataclass(frozen=True, slots=True)
class NamedSite:
    """A site and the layer that it becomes."""

    site: Site
    layer: Layer


def name_layers(flow: ChannelFlow, sites: list[Site]) -> list[NamedSite]:
    """Make the layers of all sites that are not absorbed into another one.

    Parameters
    ----------
    flow, sites
        From the same operation graph.

    Returns
    -------
    list of NamedSite
        In order of computation, with unique names.
    """
    kept = [site for site in sites if site.absorbed_by is None]
    owners = {site.origin: _owner(flow, site, kept) for site in kept}
    fields = find_receptive_fields(flow)
    taken: set[str] = set()
    named = []
    for site in kept:
        marker = flow.markers.get(site.read)
        origin = flow.origins[site.origin]
        axis = origin.axis if marker is None or marker.axis is None else marker.axis
        shape = flow.graph.values[site.read].shape
        positions = tuple(n for i, n in enumerate(shape) if i not in (0, axis))
        n_instances = flow.graph.values[flow.graph.input_value].shape[0]
        if shape[0] != n_instances:
            # Windows of an instance follow each other on the first axis.
            positions = (shape[0] // n_instances, *positions)
        layer = Layer(
            name=_unique(_name(flow, site, owners[site.origin]), taken),
            node=_node(flow, site, owners[site.origin]),
            kind=site.kind,
            n_channels=origin.n_channels,
            positions=positions,
            channel_axis=axis,
            shown=not _is_inner(flow, site, kept, owners),
            receptive_field=fields.get(site.read) if len(shape) > 2 else None,
        )
        named.append(NamedSite(site, layer))
    return named


def _maker(flow: ChannelFlow, site: Site) -> Operation:
    operation = flow.graph.producer(site.origin)
    assert operation is not None  # the network's input is no site
    return operation


def _owner(flow: ChannelFlow, site: Site, sites: list[Site]) -> ModuleCall | None:
    """Return the module call that a person would call the layer by."""
    target = settled(flow, site.read)
    calls = [
        (call, module)
        for call, module, value in flow.graph.outputs_of_calls
        if call.path and settled(flow, value) == target
    ]
    calls.sort(key=lambda item: item[0].index)
    calls = [
        (call, module)
        for call, module in calls
        if type(module) not in (nn.Sequential, nn.ModuleList)
    ]
    maker = _maker(flow, site)
    if site.kind in _BLOCK_KINDS:
        computing = [call for call, _ in calls if call is maker.call]
        if computing:
            return _block(flow, site, sites, [call for call, _ in calls])
    for call, _ in calls:
        inside = [s for s in sites if _maker(flow, s).call.is_within(call)]
        others = [s for s in inside if s is not site and s.kind in _BLOCK_KINDS]
        is_network = len(sites) >= _MIN_SITES_OF_A_NETWORK and 2 * len(inside) > len(
            sites
        )
        if not others and (not is_network or len(inside) <= 1):
            return call
    parents = [call for call, _ in calls if call.has_children]
    if parents and site.kind in _BLOCK_KINDS:
        return parents[-1]
    return calls[-1][0] if calls else None


def _block(
    flow: ChannelFlow, site: Site, sites: list[Site], calls: list[ModuleCall]
) -> ModuleCall:
    """Return the block of a sum or concatenation, from the calls that return it.

    It is the module that computes it, or one around it that does more than to call that
    module, and that holds no other sum or concatenation.
    """
    maker = _maker(flow, site)
    block = maker.call
    for call in reversed([call for call in calls if call.index < maker.call.index]):
        n_parts = sum(c.parent is call for c, _, _ in flow.graph.outputs_of_calls)
        inside = [s for s in sites if _maker(flow, s).call.is_within(call)]
        others = [s for s in inside if s is not site and s.kind in _BLOCK_KINDS]
        if others or 2 * len(inside) > len(sites):
            break
        if n_parts > 1:
            block = call
    return block


def _name(flow: ChannelFlow, site: Site, owner: ModuleCall | None) -> str:
    maker = _maker(flow, site)
    if owner is not None and (owner.has_children or maker.call is owner):
        return owner.place
    is_module = maker.call.path and not maker.call.has_children
    is_only = maker.call.functions[maker.name] == 1
    if is_module and is_only and site.kind not in _BLOCK_KINDS:
        return maker.call.place
    return maker.place


def _unique(name: str, taken: set[str]) -> str:
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}.{n}"
    taken.add(candidate)
    return candidate


def _node(flow: ChannelFlow, site: Site, owner: ModuleCall | None) -> str:
    """Return the place at which the layer is read: a module's output if possible."""
    if owner is not None:
        return owner.place
    target = settled(flow, site.read)
    for call, _, value in flow.graph.outputs_of_calls:
        if call.path and settled(flow, value) == target:
            return call.place
    operation = flow.graph.producer(target)
    assert operation is not None  # the network's input is no site
    return operation.place


def _is_inner(
    flow: ChannelFlow,
    site: Site,
    sites: list[Site],
    owners: dict[int, ModuleCall | None],
) -> bool:
    """Return whether a layer lies within the block that another layer stands for."""
    call = _maker(flow, site).call
    mine = owners[site.origin]
    for other in sites:
        block = owners[other.origin]
        if block is None and other.kind in _BLOCK_KINDS:
            # No module returns it; the block is the module that computes it.
            block = _maker(flow, other).call
            if not _is_part(flow, block, sites):
                continue
        if other is site or block is None or not block.has_children or block is mine:
            continue
        if call.is_within(block) and (mine is None or mine.index > block.index):
            return site.kind not in _BLOCK_KINDS or call is not block or mine is None
    return False


def _is_part(flow: ChannelFlow, call: ModuleCall, sites: list[Site]) -> bool:
    """Return whether a module call computes at most half of the layers."""
    inside = [s for s in sites if _maker(flow, s).call.is_within(call)]
    return bool(call.path) and 2 * len(inside) <= len(sites)
