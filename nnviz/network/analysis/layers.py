"""Which of the operations that make channels are layers, where read, and how named?

An origin of channels becomes a layer unless all of its channels go into one
concatenation or one residual sum: then the concatenation or the sum is the layer, and
the origin's operation is how other layers' channels reach it.

A layer is read after the normalisation and the non-linearity that follow it, as long as
nothing else reads an earlier value. A sum or a concatenation is read within the module
that computes it: what the next block does to it first belongs to that block.

A layer has the name of the module that returns it, where the module stands for it: the
block of a sum or a concatenation, or the last module that changes nothing else.
Elsewhere it has the name of the function call that makes it.

What the network receives is a layer where it is asked for: the columns of a table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn

from nnviz.network.analysis.affine_maps import STILL, affine_map
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.module_calls import ModuleCall
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.receptive_fields import find_receptive_fields
from nnviz.network.analysis.recurrence import RECURRENT, is_packed
from nnviz.network.analysis.value_paths import held_operations
from nnviz.runs.architecture import Layer, LayerKind

__all__ = [
    "RECEIVED",
    "FoundLayer",
    "Site",
    "find_sites",
    "name_layers",
    "settled",
]

RECEIVED = "@received."
"""Node of a layer that the network receives, before its number among the inputs."""

_MADE_IN_PLACE = frozenset({"sum", "concatenation", "product"})
_BLOCK_KINDS = frozenset({"sum", "concatenation"})
_MIN_SITES_OF_A_NETWORK = 4
"""From here on, a module that holds most of the sites is the network, not a layer."""


@dataclass(slots=True)
class Site:
    """An origin of channels with the value at which they are read."""

    origin: int
    """Value of the origin."""
    kind: LayerKind
    read_value: int
    """Value at which the channels are read."""
    absorbed_by: int | None = None
    """Origin value of the sum or concatenation that takes all of the channels."""
    entry_value: int | None = None
    """If absorbed: the value that enters the sum or concatenation."""


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """A layer, and the site where its channels are made and read."""

    site: Site
    layer: Layer


def find_sites(flow: ChannelFlow, inputs: Collection[int] = ()) -> list[Site]:
    """Return every origin of channels that is read, in order of computation.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    inputs
        Which of the values that the network receives are layers.
    """
    sites = []
    held = held_operations(flow)
    for origin, kind in flow.kinds.items():
        if origin in flow.graph.received:
            if origin in inputs and _consumers(flow, origin):
                sites.append(Site(origin, "input", origin))
            continue
        read_value = _read_value(flow, origin, kind)
        if read_value is None:
            continue
        site = Site(origin, kind, read_value)
        _absorb(flow, site)
        sites.append(site)
    return [site for site in sites if not _is_held(flow, site, held)]


def _is_held(flow: ChannelFlow, site: Site, held: frozenset[int]) -> bool:
    """Return whether a site lies between queries and keys and an attention's pattern.

    Patterns are held fixed; the projections that queries and keys are remain layers.
    """
    maker = flow.graph.producer(site.origin)
    if maker is None or maker.index not in held:
        return False
    pending = list(flow.graph.activation_inputs(maker))
    while pending:
        value = pending.pop()
        operation = flow.graph.producer(value)
        if operation is None:
            continue
        if value not in flow.origins:
            pending += flow.graph.activation_inputs(operation)
        elif operation.index in held:
            return True
    return site.kind not in ("convolution", "linear")


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
    maker = flow.graph.producer(origin)
    if not exits:
        # Of a recurrent network the final state may be all that is read.
        if maker is None or maker.name not in RECURRENT:
            return None
        return origin if any(_consumers(flow, v) for v in maker.outputs) else None
    best = origin
    shape = flow.graph.values[origin].shape
    for value in family:
        operation = flow.graph.producer(value)
        if value == origin or operation is None or value > exits[0]:
            continue
        moves = category_of(operation.name) == "movement"
        restored = flow.graph.values[value].shape == shape and (
            flow.graph.values[best].shape != shape or _turns_back(flow, operation)
        )
        restored = restored or is_packed(maker)
        useful = restored if moves else operation.name not in STILL
        if (
            useful
            and _has_channels_of(flow, value, origin)
            and _dominates(flow, family, value, exits)
        ):
            best = value
    return best


def _turns_back(flow: ChannelFlow, operation: Operation) -> bool:
    """Return whether an operation puts time in order again, for one that runs back."""
    value = flow.graph.activation_inputs(operation)[0]
    maker = flow.graph.producer(value)
    return operation.name == "flip" and maker is not None and maker.name in RECURRENT


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
    if site.kind in ("product", "other", "attention", "input"):
        return
    heads = _heads_of(flow, site)
    if heads is not None:
        site.absorbed_by = heads
        site.entry_value = flow.value_paths[heads].weighing.values
        return
    family = flow.families[site.origin]
    exits = _exits(flow, family)
    if len(exits) != 1 or flow.graph.values[exits[0]].is_output:
        return
    entry = exits[0]
    takers = [
        operation
        for operation in _consumers(flow, entry)
        if not set(family).intersection(operation.outputs)
    ]
    if len(takers) != 1:
        return
    output = takers[0].outputs[-1]
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
        site.entry_value = entry


def _heads_of(flow: ChannelFlow, site: Site) -> int | None:
    """Return the heads of the attention that takes all of a site's channels."""
    by_product = {path.product.index: heads for heads, path in flow.value_paths.items()}
    found: set[int] = set()
    pending = [site.origin]
    while pending:
        value = pending.pop()
        if flow.graph.values[value].is_output:
            return None
        for operation in _consumers(flow, value):
            heads = by_product.get(operation.index)
            if heads is not None and flow.value_paths[heads].weighing.values == value:
                found.add(heads)
            elif operation.name in STILL or category_of(operation.name) == "movement":
                pending += operation.outputs
            else:
                return None
    return found.pop() if len(found) == 1 else None


def name_layers(
    flow: ChannelFlow, sites: list[Site], inputs: Mapping[int, str] | None = None
) -> list[FoundLayer]:
    """Make the layers of all sites that are not absorbed into another one.

    Parameters
    ----------
    flow, sites
        From the same operation graph.
    inputs
        Names of the layers that the network receives, by their values.

    Returns
    -------
    list of FoundLayer
        In order of computation, with unique names.
    """
    received = [site for site in sites if site.kind == "input"]
    kept = [site for site in sites if site.absorbed_by is None and site not in received]
    owners = {site.origin: _owner(flow, site, kept) for site in kept}
    blocks = _blocks(flow, kept, owners)
    fields = find_receptive_fields(flow)
    taken: set[str] = set()
    found = []
    for site in kept:
        marker = flow.markers.get(site.read_value)
        origin = flow.origins[site.origin]
        axis = origin.axis if marker is None or marker.axis is None else marker.axis
        shape = flow.graph.instance_shape(site.read_value)
        positions = tuple(n for i, n in enumerate(shape) if i not in (0, axis))
        n_instances = flow.graph.n_instances
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
            instance_axis=int(site.read_value in flow.graph.time_first),
            shown=not _is_inner(flow, site, owners, blocks),
            receptive_field=fields.get(site.read_value) if len(shape) > 2 else None,
        )
        found.append(FoundLayer(site, layer))
    return [*_received_layers(flow, received, inputs or {}, taken), *found]


def _received_layers(
    flow: ChannelFlow, sites: list[Site], names: Mapping[int, str], taken: set[str]
) -> list[FoundLayer]:
    """Make the layers that the network receives; others keep their names."""
    found = []
    for site in sites:
        shape = flow.graph.values[site.origin].shape
        axis = flow.origins[site.origin].axis
        layer = Layer(
            name=_unique(names[site.origin], taken),
            node=f"{RECEIVED}{site.origin}",
            kind="input",
            n_channels=shape[axis],
            positions=tuple(n for i, n in enumerate(shape) if i not in (0, axis)),
            channel_axis=axis,
        )
        found.append(FoundLayer(site, layer))
    return found


def _maker(flow: ChannelFlow, site: Site) -> Operation:
    operation = flow.graph.producer(site.origin)
    assert operation is not None  # the network's input is no site
    return operation


def _owner(flow: ChannelFlow, site: Site, sites: list[Site]) -> ModuleCall | None:
    """Return the module call that a person would call the layer by."""
    target = settled(flow, site.read_value)
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
    if site.kind == "attention" and site.origin in flow.value_paths:
        return f"{maker.call.place}@heads"
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
    target = settled(flow, site.read_value)
    for call, _, value in flow.graph.outputs_of_calls:
        if call.path and settled(flow, value) == target:
            return call.place
    operation = flow.graph.producer(target)
    assert operation is not None  # the network's input is no site
    return operation.place


def _blocks(
    flow: ChannelFlow, sites: list[Site], owners: dict[int, ModuleCall | None]
) -> list[tuple[Site, ModuleCall]]:
    """Return the layers that stand for a block, with that block."""
    found = []
    for site in sites:
        block = owners[site.origin]
        if block is None and site.kind in _BLOCK_KINDS:
            # No module returns it; the block is the module that computes it.
            block = _maker(flow, site).call
            if not _is_part(flow, block, sites):
                continue
        if block is not None and block.has_children:
            found.append((site, block))
    return found


def _is_inner(
    flow: ChannelFlow,
    site: Site,
    owners: dict[int, ModuleCall | None],
    blocks: list[tuple[Site, ModuleCall]],
) -> bool:
    """Return whether a layer lies within the block that another layer stands for."""
    call = _maker(flow, site).call
    mine = owners[site.origin]
    for other, block in blocks:
        if other is site or block is mine:
            continue
        if call.is_within(block) and (mine is None or mine.index > block.index):
            return site.kind not in _BLOCK_KINDS or call is not block or mine is None
    return False


def _is_part(flow: ChannelFlow, call: ModuleCall, sites: list[Site]) -> bool:
    """Return whether a module call computes at most half of the layers."""
    inside = [s for s in sites if _maker(flow, s).call.is_within(call)]
    return bool(call.path) and 2 * len(inside) <= len(sites)
