"""Which edges does a network have, and what does each need of a batch?

An edge joins a source layer, a target layer and one operation. The operations that
enter a layer are :class:`nnviz.network.analysis.entering.EnteringOperation`; one of
them may read channels of several layers, and is then several edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.entering import (
    EnteringOperation,
    UnknownSummandError,
    iter_entering_operations,
)
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import FoundLayer, Site, settled
from nnviz.network.analysis.markers import MIXED
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.summands import PreActivation, Summand, Target, find_targets
from nnviz.runs.architecture import Edge

__all__ = ["NetworkEdges", "SourcedOperation", "TargetEdges", "find_edges"]


@dataclass(frozen=True, slots=True)
class SourcedOperation:
    """An operation that enters a layer, with the layers that its channels come from."""

    entering: EnteringOperation
    layers: tuple[str, ...]
    """Names of the source layers, in order of computation."""
    layer: NDArray[np.int32]
    """Index into `layers` for each input channel; -1: no layer."""
    channel: NDArray[np.int32]
    """Channel of that layer for each input channel; -1: none."""
    node: str
    """Name of the operation's place in the edges."""


@dataclass(slots=True)
class TargetEdges:
    """All that enters one layer."""

    layer: str
    read_value: int
    """Value at which the layer is read."""
    edges: list[Edge] = field(default_factory=list)
    operations: list[SourcedOperation] = field(default_factory=list)
    pre_activations: list[tuple[PreActivation, list[EnteringOperation]]] = field(
        default_factory=list
    )
    """Each pre-activation of the layer with the operations that add up to it."""
    problems: list[str] = field(default_factory=list)

    def give_up(self, reason: str) -> None:
        """Leave out everything that enters the layer, and say why."""
        self.edges, self.operations, self.pre_activations = [], [], []
        self.problems.append(
            f"influence into {self.layer!r} is not available: {reason}"
        )


NetworkEdges = list[TargetEdges]


def find_edges(
    flow: ChannelFlow, layers: Sequence[FoundLayer], sites: Sequence[Site]
) -> NetworkEdges:
    """Find all edges between the layers of a network.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    layers
        Its layers.
    sites
        All sites, also those that are absorbed.

    Returns
    -------
    list of TargetEdges
        One for each layer, in order of computation.
    """
    finder = _Finder(flow, layers)
    targets = find_targets(flow, list(sites))
    return [
        finder.entering(target, item.layer.name)
        for target, item in zip(targets, layers, strict=True)
    ]


def _node_of(operation: Operation) -> str:
    """Return the name of an operation's place: its module's where it has its own."""
    call = operation.call
    is_own = not call.has_children and call.functions[operation.name] == 1
    return call.place if call.path and is_own else operation.place


class _Finder:
    def __init__(self, flow: ChannelFlow, layers: Sequence[FoundLayer]) -> None:
        self._flow = flow
        self._read_values = {settled(flow, item.site.read_value) for item in layers}
        names = {item.site.origin: item.layer.name for item in layers}
        self._layer_of = np.full(flow.n_channels + 1, -1, np.int32)
        self._channel_of = np.full(flow.n_channels + 1, -1, np.int32)
        self._names: list[str] = []
        for value, origin in flow.origins.items():
            if value in names:
                own = slice(origin.first, origin.first + origin.n_channels)
                self._layer_of[own] = len(self._names)
                self._channel_of[own] = np.arange(origin.n_channels)
                self._names.append(names[value])

    def entering(self, target: Target, name: str) -> TargetEdges:
        """Return all that enters a layer."""
        found = TargetEdges(name, target.site.read_value)
        try:
            for pre_activation in target.pre_activations:
                entering = list(iter_entering_operations(self._flow, pre_activation))
                found.pre_activations.append((pre_activation, entering))
        except UnknownSummandError as error:
            target.problems.append(str(error))
        for problem in target.problems:
            found.give_up(problem)
        if found.problems:
            return found
        found.problems = list(target.notes)
        found.operations = [
            self._sourced(entering)
            for _, some in found.pre_activations
            for entering in some
        ]
        edges = [e for r in found.operations for e in self._edges(name, r)]
        found.edges = [*_joined(edges), *self._gates(name, target.gates)]
        return found

    def _sourced(self, entering: EnteringOperation) -> SourcedOperation:
        numbers = entering.sources.numpy().clip(min=0).astype(np.int64)
        layer = self._layer_of[numbers]
        present = sorted(set(layer[layer >= 0].tolist()))
        index = np.full(len(self._names) + 1, -1, np.int32)
        index[present] = np.arange(len(present))
        return SourcedOperation(
            entering=entering,
            layers=tuple(self._names[i] for i in present),
            layer=index[layer],
            channel=self._channel_of[numbers],
            node=_node_of(entering.summand.operation),
        )

    def _edges(self, target: str, sourced: SourcedOperation) -> Iterator[Edge]:
        entering = sourced.entering
        reached = entering.targets[entering.targets >= 0]
        if not len(reached):
            return
        span = (int(reached.min()), int(reached.max()) + 1)
        for index, source in enumerate(sourced.layers):
            mine = sourced.layer == index
            attributes = dict(entering.attributes)
            attributes["channels"] = _runs(np.flatnonzero(mine), sourced.channel[mine])
            if entering.summand.kind == "identity":
                targets = entering.targets.numpy()[mine]
                attributes["targets"] = _runs(sourced.channel[mine], targets)
            through = self._through(entering.summand)
            if through:
                attributes["through"] = through
            yield Edge(
                source, target, entering.summand.kind, sourced.node,
                span, attributes,
            )  # fmt: skip

    def _gates(self, target: str, summands: list[Summand]) -> Iterator[Edge]:
        for summand in summands:
            numbers = summand.sources.numpy().clip(min=0).astype(np.int64)
            layer = self._layer_of[numbers]
            for index in sorted(set(layer[layer >= 0].tolist())):
                yield Edge(
                    self._names[index], target, "gate", _node_of(summand.operation),
                    (0, len(numbers)),
                )  # fmt: skip

    def _through(self, summand: Summand) -> list[str]:
        """Return the functions between the source layers and what a summand reads."""
        graph = self._flow.graph
        names: list[str] = []
        value = summand.value
        while value not in self._flow.origins and value not in self._read_values:
            operation = graph.producer(value)
            if operation is None:
                break
            category = category_of(operation.name)
            if category not in ("mixing", "movement", "pointwise"):
                names.append(operation.name)
            inputs = [
                v
                for v in graph.activation_inputs(operation)
                if (m := self._flow.markers.get(v)) is not None
                and not bool((m.numbers == MIXED).any())
            ]
            if not inputs:
                break
            value = inputs[0]
        return names[::-1]


def _joined(edges: list[Edge]) -> list[Edge]:
    """Keep the first of edges that are parts of the same operation."""
    kept: dict[tuple[str, str, str], Edge] = {}
    for edge in edges:
        kept.setdefault((edge.source, edge.target, edge.node), edge)
    return list(kept.values())


def _runs(first: NDArray[Any], second: NDArray[Any]) -> list[list[int]]:
    """Return pairs of channels as runs [first, second, length, step of the second]."""
    runs: list[list[int]] = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if runs:
            start, other, length, step = runs[-1]
            if a == start + length and (length == 1 or b == other + length * step):
                runs[-1] = [
                    start,
                    other,
                    length + 1,
                    b - other if length == 1 else step,
                ]
                continue
        runs.append([a, b, 1, 1])
    return runs
