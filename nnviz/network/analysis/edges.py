"""Which edges does a network have, and what does each need of a batch?

An edge joins a source layer, a target layer and one operation. The operations that
enter a layer are :class:`nnviz.network.analysis.entering.Reading`; one of them may read
channels of several layers, and is then several edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.entering import Reading, UnreadableTermError, read_entry
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import NamedSite, Site, settled
from nnviz.network.analysis.markers import MIXED
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.summands import Entry, Target, Term, find_targets
from nnviz.runs.architecture import Edge

__all__ = ["EnteringReading", "NetworkEdges", "TargetEdges", "find_edges"]


@dataclass(frozen=True, slots=True)
class EnteringReading:
    """A reading, with the layers from which its input channels come."""

    reading: Reading
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
    read: int
    """Value at which the layer is read."""
    edges: list[Edge] = field(default_factory=list)
    readings: list[EnteringReading] = field(default_factory=list)
    entries: list[tuple[Entry, list[Reading]]] = field(default_factory=list)
    """Each pre-activation of the layer with the readings that add up to it."""
    problems: list[str] = field(default_factory=list)

    def give_up(self, reason: str) -> None:
        """Leave out everything that enters the layer, and say why."""
        self.edges, self.readings, self.entries = [], [], []
        self.problems.append(
            f"influence into {self.layer!r} is not available: {reason}"
        )


NetworkEdges = list[TargetEdges]


def find_edges(
    flow: ChannelFlow, named: Sequence[NamedSite], sites: Sequence[Site]
) -> NetworkEdges:
    """Find all edges between the layers of a network.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    named
        Its layers.
    sites
        All sites, also those that are absorbed.

    Returns
    -------
    list of TargetEdges
        One for each layer, in order of computation.
    """
    finder = _Finder(flow, named)
    targets = find_targets(flow, list(sites))
    return [
        finder.entering(target, item.layer.name)
        for target, item in zip(targets, named, strict=True)
    ]


def _node_of(operation: Operation) -> str:
    """Return the name of an operation's place: its module's where it has its own."""
    call = operation.call
    is_own = not call.has_children and call.functions[operation.name] == 1
    return call.place if call.path and is_own else operation.place


class _Finder:
    def __init__(self, flow: ChannelFlow, named: Sequence[NamedSite]) -> None:
        self._flow = flow
        self._read = {settled(flow, item.site.read) for item in named}
        names = {item.site.origin: item.layer.name for item in named}
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
        found = TargetEdges(name, target.site.read)
        try:
            for entry in target.entries:
                readings = list(read_entry(self._flow, entry))
                found.entries.append((entry, readings))
        except UnreadableTermError as error:
            target.problems.append(str(error))
        for problem in target.problems:
            found.give_up(problem)
        if found.problems:
            return found
        found.problems = list(target.notes)
        found.readings = [
            self._entering(reading) for _, some in found.entries for reading in some
        ]
        edges = [e for r in found.readings for e in self._edges(name, r)]
        found.edges = [*_joined(edges), *self._gates(name, target.gates)]
        return found

    def _entering(self, reading: Reading) -> EnteringReading:
        numbers = reading.sources.numpy().clip(min=0).astype(np.int64)
        layer = self._layer_of[numbers]
        present = sorted(set(layer[layer >= 0].tolist()))
        index = np.full(len(self._names) + 1, -1, np.int32)
        index[present] = np.arange(len(present))
        return EnteringReading(
            reading=reading,
            layers=tuple(self._names[i] for i in present),
            layer=index[layer],
            channel=self._channel_of[numbers],
            node=_node_of(reading.term.operation),
        )

    def _edges(self, target: str, entering: EnteringReading) -> Iterator[Edge]:
        reading = entering.reading
        reached = reading.targets[reading.targets >= 0]
        if not len(reached):
            return
        span = (int(reached.min()), int(reached.max()) + 1)
        for index, source in enumerate(entering.layers):
            mine = entering.layer == index
            attributes = dict(reading.attributes)
            attributes["channels"] = _runs(np.flatnonzero(mine), entering.channel[mine])
            if reading.term.kind == "identity":
                targets = reading.targets.numpy()[mine]
                attributes["targets"] = _runs(entering.channel[mine], targets)
            through = self._through(reading.term)
            if through:
                attributes["through"] = through
            yield Edge(
                source, target, reading.term.kind, entering.node,
                span, attributes,
            )  # fmt: skip

    def _gates(self, target: str, terms: list[Term]) -> Iterator[Edge]:
        for term in terms:
            numbers = term.sources.numpy().clip(min=0).astype(np.int64)
            layer = self._layer_of[numbers]
            for index in sorted(set(layer[layer >= 0].tolist())):
                yield Edge(
                    self._names[index], target, "gate", _node_of(term.operation),
                    (0, len(numbers)),
                )  # fmt: skip

    def _through(self, term: Term) -> list[str]:
        """Return the functions between the source layers and what a term reads."""
        graph = self._flow.graph
        names: list[str] = []
        value = term.value
        while value not in self._flow.origins and value not in self._read:
            operation = graph.producer(value)
            if operation is None:
                break
            category = category_of(operation.name)
            if category not in ("movement", "pointwise"):
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
