"""Of which tensors and operations does the network consist, and in which blocks?

As in ACTIVIS, both are nodes: tensors, because their channels are what one looks at,
and the operations that lead from one to the next. Blocks are those of the network's
modules, found in the names of layers; a block that is closed is one node.

References
----------
.. [1] Kahng et al., "ActiVis: Visual Exploration of Industry-Scale Deep Neural Network
   Models", IEEE TVCG 24(1), 2018, section 6.1.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nnviz.runs.architecture import Architecture, Edge, Layer

__all__ = [
    "NetworkArc",
    "NetworkGraph",
    "NetworkNode",
    "default_open",
    "network_graph",
    "stages_of",
]

NodeKind = Literal["input", "tensor", "operation", "block"]
ArcKind = Literal["flow", "gate", "order"]

N_SHOWN = 44
"""Nodes up to which blocks are open at first: so many can be told apart."""

N_IN_STAGE = 3
"""Shown layers that make a block a stage."""

LARGEST_SHARE = 0.75
"""Of all layers that a block may hold: what holds more is the network."""

_JOINS: Mapping[str, str] = {"sum": "+", "concatenation": "concat", "product": "×"}
"""How the operation is called that joins what enters a tensor of some kinds."""


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """A tensor, an operation, or a block of both."""

    key: str
    """Unique in its graph."""
    kind: NodeKind
    label: str
    """Short, for the drawing."""
    detail: str
    """What else is known of it, for a person."""
    block: str = ""
    """Key of the block that holds it; empty outside of all blocks."""
    layer: str = ""
    """Of a tensor: name of its layer."""
    n_layers: int = 1
    """Of a block: how many layers it holds, those of inner blocks included."""
    is_open: bool = False
    """Of a block: whether its contents are shown."""


@dataclass(frozen=True, slots=True)
class NetworkArc:
    """From one node to the next."""

    source: str
    target: str
    kind: ArcKind = "flow"
    """``gate``: multiplies what enters, and has no influence of its own; ``order``:
    how the target comes about is not known, it is only computed after the source."""


@dataclass(frozen=True, slots=True)
class NetworkGraph:
    """Nodes in order of computation, each block before what it holds, and arcs."""

    nodes: tuple[NetworkNode, ...]
    arcs: tuple[NetworkArc, ...]

    @property
    def blocks(self) -> tuple[NetworkNode, ...]:
        """The blocks, outer ones first."""
        return tuple(node for node in self.nodes if node.kind == "block")

    def shown(self, opened: Iterable[str]) -> NetworkGraph:
        """Return what is seen where some blocks are open.

        Parameters
        ----------
        opened
            Keys of blocks; others are closed, and what is in them is not seen. Keys
            that are no block's mean nothing.
        """
        by_key = {node.key: node for node in self.nodes}
        open_blocks = set(opened)
        stand_in: dict[str, str] = {}
        nodes = []
        for node in self.nodes:
            holder = stand_in.get(node.block, "") if node.block else ""
            if holder:
                stand_in[node.key] = holder
                continue
            if node.kind == "block":
                is_open = node.key in open_blocks
                nodes.append(dataclasses.replace(node, is_open=is_open))
                stand_in[node.key] = "" if is_open else node.key
            else:
                nodes.append(node)
        seen: dict[tuple[str, str], NetworkArc] = {}
        for arc in self.arcs:
            source, target = (
                stand_in.get(end) or end for end in (arc.source, arc.target)
            )
            if source == target or source not in by_key or target not in by_key:
                continue
            known = seen.get((source, target))
            if known is None or known.kind != "flow":
                seen[source, target] = NetworkArc(source, target, arc.kind)
        return NetworkGraph(tuple(nodes), tuple(seen.values()))


def network_graph(architecture: Architecture) -> NetworkGraph:
    """Return the whole graph of a network, as its plan knows it.

    Parameters
    ----------
    architecture
        Layers and edges of the plan.

    Returns
    -------
    NetworkGraph
        A tensor for each layer, an operation for each convolution or linear map that
        enters it, and one where several join: a sum, a concatenation, a product.
        Layers that nothing enters come from the network's input, unless the plan says
        that what enters them is not known.
    """
    placed = list(_placed(architecture))
    blocks = _blocks(path for path, node in placed if node.kind == "tensor")
    nodes: list[NetworkNode] = []
    begun: set[str] = set()
    for path, node in placed:
        holders = [block for block in _prefixes(path) if block in blocks]
        for holder, outer in zip(holders, ["", *holders], strict=False):
            if holder not in begun:
                begun.add(holder)
                nodes.append(_block(holder, outer, blocks))
        block = f"block:{holders[-1]}" if holders else ""
        label = node.label
        if node.kind == "tensor":
            label = _own_name(node, holders[-1] if holders else "")
        nodes.append(dataclasses.replace(node, block=block, label=label))
    return NetworkGraph(tuple(nodes), tuple(_arcs(architecture)))


def default_open(graph: NetworkGraph, n_shown: int = N_SHOWN) -> frozenset[str]:
    """Return the blocks to open at first: outer ones, as long as there is room.

    Parameters
    ----------
    graph
        The whole graph.
    n_shown
        Nodes that are seen, at most; all blocks are closed if they are more already.
    """
    held = Counter(node.block for node in graph.nodes)
    depth: dict[str, int] = {"": 0}
    for block in graph.blocks:
        depth[block.key] = depth[block.block] + 1
    opened: set[str] = set()
    n = held[""]
    for level in sorted({depth[block.key] for block in graph.blocks}):
        wanted = [
            block.key
            for block in graph.blocks
            if depth[block.key] == level and (not block.block or block.block in opened)
        ]
        # All blocks of a level or none: a half would look as if they differed.
        more = sum(held[key] - 1 for key in wanted)
        if n + more > n_shown:
            break
        n += more
        opened.update(wanted)
    return frozenset(opened)


def stages_of(architecture: Architecture) -> dict[str, str]:
    """Return the stage of each layer that is in one.

    A stage is an outermost block of the network that holds several of the layers that
    are shown.

    Parameters
    ----------
    architecture
        Layers and edges of the plan.

    Returns
    -------
    dict
        Name of the stage, which is that of its module, by the name of each of its
        layers, in order of computation.
    """
    graph = network_graph(architecture)
    by_key = {node.key: node for node in graph.nodes}
    shown = {layer.name for layer in architecture.layers if layer.shown}
    stage_of: dict[str, str] = {}
    for node in graph.nodes:
        outer = by_key.get(node.block)
        while outer is not None and outer.block:
            outer = by_key[outer.block]
        if node.kind == "tensor" and outer is not None:
            stage_of[node.layer] = outer.key.removeprefix("block:")
    n_shown = Counter(stage for name, stage in stage_of.items() if name in shown)
    return {
        name: stage for name, stage in stage_of.items() if n_shown[stage] >= N_IN_STAGE
    }


def _placed(architecture: Architecture) -> Iterator[tuple[str, NetworkNode]]:
    """Yield every node but blocks, with the module path at which it stands."""
    yield "", NetworkNode("input", "input", "input", _shape_text(architecture))
    for layer in architecture.layers:
        entering = [e for e in architecture.edges if e.target == layer.name]
        for node in dict.fromkeys(e.node for e in entering if _is_map(e)):
            edges = [e for e in entering if e.node == node and _is_map(e)]
            yield (
                _path(node),
                NetworkNode(
                    f"map:{node}:{layer.name}",
                    "operation",
                    _map_label(edges[0]),
                    f"{edges[0].operation} {node}, into {layer.name}",
                ),
            )
        if entering and layer.kind in _JOINS:
            yield (
                _path(layer.name),
                NetworkNode(
                    f"join:{layer.name}",
                    "operation",
                    _JOINS[layer.kind],
                    f"{layer.kind} {layer.node}, into {layer.name}",
                ),
            )
        yield (
            _path(layer.name),
            NetworkNode(
                f"tensor:{layer.name}",
                "tensor",
                layer.name,
                _tensor_text(layer),
                layer=layer.name,
            ),
        )


def _arcs(architecture: Architecture) -> Iterator[NetworkArc]:
    before = "input"
    for layer in architecture.layers:
        tensor = f"tensor:{layer.name}"
        entering = [e for e in architecture.edges if e.target == layer.name]
        end = tensor
        if entering and layer.kind in _JOINS:
            end = f"join:{layer.name}"
            yield NetworkArc(end, tensor)
        for edge in entering:
            source = f"tensor:{edge.source}"
            if not _is_map(edge):
                kind: ArcKind = "gate" if edge.operation == "gate" else "flow"
                yield NetworkArc(source, end, kind)
                continue
            operation = f"map:{edge.node}:{layer.name}"
            yield NetworkArc(source, operation)
            yield NetworkArc(operation, end)
        if not entering:
            is_unknown = any(f"{layer.name!r}" in p for p in architecture.problems)
            if before == "input" or not is_unknown:
                yield NetworkArc("input", tensor)
            else:
                yield NetworkArc(before, tensor, "order")
        before = tensor


def _is_map(edge: Edge) -> bool:
    return edge.operation not in ("identity", "gate")


def _path(name: str) -> str:
    return name.partition("@")[0]


def _prefixes(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def _blocks(paths: Iterable[str]) -> dict[str, int]:
    """Return how many layers each module holds that is worth a block."""
    known = list(paths)
    held = Counter(prefix for path in known for prefix in _prefixes(path))
    blocks: dict[str, int] = {}
    for name, n in sorted(held.items()):
        outer = name.rpartition(".")[0]
        # None for one layer, for all that its own holder does, or nearly everything.
        if 1 < n <= LARGEST_SHARE * len(known) and held.get(outer) != n:
            blocks[name] = n
    return blocks


def _block(name: str, outer: str, blocks: Mapping[str, int]) -> NetworkNode:
    n = blocks[name]
    inner = [b for b in blocks if b.startswith(f"{name}.")]
    direct = [b for b in inner if not any(b.startswith(f"{o}.") for o in inner)]
    parts = [f"{len(direct)} blocks"] if direct else []
    label = name.removeprefix(f"{outer}.") if outer else name
    if label.isdigit():  # says nothing by itself
        label = ".".join(name.split(".")[-2:])
    return NetworkNode(
        f"block:{name}",
        "block",
        label,
        ", ".join([*parts, f"{n} layers"]),
        block=f"block:{outer}" if outer else "",
        n_layers=n,
    )


def _own_name(node: NetworkNode, holder: str) -> str:
    """Return a layer's name within its block: its kind where the block returns it."""
    path, _, call = node.layer.partition("@")
    if path == holder:
        return call or "output"
    inner = path.removeprefix(f"{holder}.") if holder else path
    return f"{inner}@{call}" if call else inner


def _map_label(edge: Edge) -> str:
    if edge.operation != "convolution":
        return edge.operation
    attributes: Mapping[str, Any] = edge.attributes
    kernel = "×".join(map(str, attributes.get("kernel", ())))
    words = ["conv", kernel] if kernel else ["conv"]
    stride = attributes.get("stride", ())
    if any(step != 1 for step in stride):
        words.append(f"/{max(stride)}")
    return " ".join(words)


def _tensor_text(layer: Layer) -> str:
    grid = " × ".join(map(str, layer.positions)) or "1"
    shown = "" if layer.shown else "; recorded, not shown"
    return f"{layer.kind}, {layer.n_channels:,} channels, {grid} positions{shown}"


def _shape_text(architecture: Architecture) -> str:
    shape = " × ".join(map(str, architecture.input_shape))
    return f"input of shape {shape}, {architecture.input_dtype}"
