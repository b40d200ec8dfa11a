"""What is a layer of a transformer to its block, and how do others call it?

A transformer is a residual stream, a chain of sums, into which attentions and
perceptrons write in turn. Which layer is what follows from the edges alone, whatever
modules are called: heads are known, a perceptron's hidden layer is what else is
written from, and the last sum of a block is the stream after it.

The other names are those of TransformerLens, which many people know by heart
(``blocks.0.mlp.hook_post``). Its weights have the normalisations folded in unless it is
told otherwise; here they are as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import NetworkEdges
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import FoundLayer
from nnviz.runs.architecture import Edge, Layer

__all__ = ["with_roles"]


@dataclass(slots=True)
class _Sum:
    """One sum of a residual stream."""

    name: str
    before: str
    """The layer that holds the stream before it."""
    heads: list[str] = field(default_factory=list)
    """Attentions that write into it."""
    hidden: list[str] = field(default_factory=list)
    """Hidden layers that write into it."""


def with_roles(
    flow: ChannelFlow, layers: Sequence[FoundLayer], targets: NetworkEdges
) -> list[FoundLayer]:
    """Say of a transformer's layers how others call them, and which are shown.

    Shown are heads, hidden layers of perceptrons and the stream after each block;
    within a block, nothing else is.

    Parameters
    ----------
    flow, layers, targets
        Of one network. Where it has no attention, its layers stay as they are.

    Returns
    -------
    list of FoundLayer
        The same layers in the same order.
    """
    edges = [edge for target in targets for edge in target.edges]
    roles = _Roles([item.layer for item in layers], edges)
    if not roles.sums:
        return list(layers)
    normalized = {item.layer.name for item in layers if _is_normalized(flow, item)}
    names = roles.names(normalized)
    found = []
    for item in layers:
        own = names.get(item.layer.name, ())
        shown = item.layer.shown and item.layer.name not in roles.inner
        shown = shown or item.layer.name in roles.shown
        layer = replace(item.layer, aliases=tuple(own), shown=shown)
        found.append(replace(item, layer=layer))
    return found


def _is_normalized(flow: ChannelFlow, item: FoundLayer) -> bool:
    """Return whether a layer is read behind a normalisation."""
    value = item.site.read_value
    while value != item.site.origin:
        operation = flow.graph.producer(value)
        if operation is None:
            return False
        if category_of(operation.name) == "normalization":
            return True
        value = flow.graph.activation_inputs(operation)[0]
    return False


class _Roles:
    """The residual streams of a network, in order of computation."""

    def __init__(self, layers: Sequence[Layer], edges: Sequence[Edge]) -> None:
        self._kinds = {layer.name: layer.kind for layer in layers}
        self._entering: dict[str, list[Edge]] = {name: [] for name in self._kinds}
        for edge in edges:
            self._entering[edge.target].append(edge)
        self.sums: dict[str, _Sum] = {}
        """By name."""
        self.inner: set[str] = set()
        """Layers of a block that are not shown."""
        self._roots: dict[str, str] = {}
        for layer in layers:
            if layer.kind == "sum":
                self._add(layer.name)
        self._blocks = self._by_block()
        self.shown = {
            name
            for blocks in self._blocks.values()
            for block in blocks
            for one in block
            for name in (*one.heads, *one.hidden)
        }
        for blocks in self._blocks.values():
            for *first, last in blocks:
                self.inner.update(one.name for one in first)
                self.shown.add(last.name)
        for name in self.shown:
            self.inner.update(
                edge.source
                for edge in self._entering[name]
                if edge.operation in ("gate", "identity")
                and self._kinds[edge.source] == "linear"
            )
        self.inner -= self.shown

    def _add(self, name: str) -> None:
        """Take a sum for one of a stream if an attention or a part of one writes it."""
        kept = [e.source for e in self._entering[name] if e.operation == "identity"]
        kept.sort(key=list(self._kinds).index)
        known = [source for source in kept if source in self._roots]
        others = [source for source in kept if self._kinds[source] != "linear"]
        before = next(iter([*known[-1:], *others, *kept]), None)
        # A branch that is normalised before it is added is a layer of its own.
        branches = [s for s in kept if self._kinds[s] == "linear" and s != before]
        writers = [
            edge.source
            for layer in (name, *branches)
            for edge in self._entering[layer]
            if edge.operation == "linear"
        ]
        heads = [w for w in writers if self._kinds[w] == "attention"]
        if before is None or not (heads or known):
            return
        hidden = [w for w in writers if w not in heads and w not in kept]
        self.sums[name] = _Sum(name, before, heads, hidden)
        self._roots[name] = self._roots.setdefault(before, before)
        self.inner.update(branches)

    def _by_block(self) -> dict[str, list[list[_Sum]]]:
        """Return the sums of each block, by the layer at which their stream begins."""
        found: dict[str, list[list[_Sum]]] = {}
        for one in self.sums.values():
            blocks = found.setdefault(self._roots[one.name], [])
            begins = any(not self._is_across(name) for name in one.heads)
            if begins or not blocks:
                blocks.append([])
            blocks[-1].append(one)
        return found

    def _is_across(self, heads: str) -> bool:
        """Return whether an attention reads values elsewhere than it asks."""
        edges = self._entering[heads]
        read = {edge.source for edge in edges if edge.operation == "linear"}
        asked = [edge.source for edge in edges if edge.operation == "gate"]
        return any(
            read.isdisjoint(edge.source for edge in self._entering[name])
            for name in asked
            if self._entering[name]
        )

    def names(self, normalized: set[str]) -> Mapping[str, list[str]]:
        """Return the other names of the layers that have any."""
        across = {
            root: any(self._is_across(h) for b in blocks for s in b for h in s.heads)
            for root, blocks in self._blocks.items()
        }
        found: dict[str, list[str]] = {}
        taken: set[str] = set()

        def name(layer: str, alias: str) -> None:
            if alias not in taken:
                taken.add(alias)
                found.setdefault(layer, []).append(alias)

        for root, blocks in self._blocks.items():
            kind = "decoder" if across[root] else "encoder"
            prefix = kind if any(across.values()) else "blocks"
            for i, block in enumerate(blocks):
                place = f"{prefix}.{i}"
                name(block[0].before, f"{place}.hook_resid_pre")
                for one in block:
                    for heads in one.heads:
                        part = "cross_attn" if self._is_across(heads) else "attn"
                        name(heads, f"{place}.{part}.hook_z")
                    for hidden in one.hidden:
                        name(hidden, f"{place}.mlp.hook_post")
                    what = _stream_name(one, block)
                    if one.name not in normalized:
                        name(one.name, f"{place}.hook_{what}")
                    elif what == "resid_post":
                        name(one.name, f"{place}.hook_normalized_{what}")
        return found


def _stream_name(one: _Sum, block: Sequence[_Sum]) -> str:
    if one is block[-1]:
        return "resid_post"
    return "resid_mid" if one is block[0] else "resid_mid_cross"
