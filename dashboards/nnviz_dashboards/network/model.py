"""What does the network look like, and where in it does something show?

Blocks are opened and closed; what is open is in the address, so that a link shows the
same. Tensors are shaded by one property of their layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import param

from nnviz.errors import NnvizError
from nnviz.graphs.attribution_graph import reach_text
from nnviz.results.network_graph import (
    NetworkGraph,
    NetworkNode,
    default_open,
    network_graph,
)
from nnviz.results.network_layout import NetworkLayout, arrange_network
from nnviz.results.neuron_matrix import PAIRED, Measure
from nnviz.results.run_results import RunResults
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import look_lines, python_lines
from nnviz_dashboards.shared.selection import BETWEEN_NAMES, NO_NAME, Selection
from nnviz_dashboards.shared.theme import format_count, format_percent
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["NetworkDrawing", "NetworkModel", "Shade", "Shading"]

LEVEL = 0.05

_PREFIX = "block:"


@dataclass(frozen=True, slots=True)
class NetworkDrawing:
    """What is seen, and where it stands."""

    graph: NetworkGraph
    layout: NetworkLayout
    n_blocks: int
    """Of the whole network, seen or not."""
    has_order: bool
    """Whether there are tensors of which it is not known how they come about."""


@dataclass(frozen=True, slots=True)
class Shade:
    """How a tensor is shaded."""

    share: float
    """0 for the palest to 1 for the strongest colour."""
    text: str
    """The number behind it."""


@dataclass(frozen=True, slots=True)
class Shading:
    """The shades of all tensors that have one."""

    shades: Mapping[str, Shade]
    """By the name of the layer."""
    note: str
    """What they mean, or why there are none."""


WIDE, NARROW = 2.2, 0.8
"""Width by height of the place that the network is laid out for."""


class NetworkModel(param.Parameterized):
    """The network of a run.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B, and the selection.
    graph
        The attribution graph whose reach can be shown.
    """

    drawing = published(NetworkDrawing, "What is drawn.")
    shading = param.ClassSelector(
        class_=Shading, default=Shading({}, ""), constant=True, doc="How it is shaded."
    )

    def __init__(
        self, results: RunResults, pairs: SubsetPairModel, graph: GraphModel
    ) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self._pairs, self._graph = pairs, graph
        self._whole: NetworkGraph | None = None
        self._drawn: tuple[frozenset[str], float] | None = None
        self._aspect = WIDE
        self._shaders: Mapping[str, Callable[[], Shading]] = {
            "none": lambda: Shading({}, ""),
            "dead": self._dead,
            "a-b": self._different,
            "reach": self._reach,
        }
        follow(self.selection, ["view", "blocks", "overlay", "measure"], self._update)
        pairs.param.watch(self._update_shading, ["counted", "is_loading"])
        graph.param.watch(self._update_shading, ["drawing", "missing"])

    @property
    def opened(self) -> frozenset[str]:
        """Keys of the open blocks."""
        names = self.selection.blocks
        if not names:
            return default_open(self._network())
        known = {block.key for block in self._network().blocks}
        return frozenset(
            key
            for name in names.split(BETWEEN_NAMES)
            if (key := _PREFIX + name) in known
        )

    @property
    def code(self) -> str:
        """Lines of Python that give the network, and what it is shaded by."""
        url, layer = self.results.store.url, self.selection.layer
        network = (
            "layers = store.plan.architecture.layers",
            "edges = store.plan.architecture.edges",
        )
        overlay = self.selection.overlay
        if overlay == "a-b" and self._pairs.queries[0]:
            read = PAIRED.get(self._compared_by, "means")
            found = f"a, b = found.{read}({layer!r})  # of one layer"
            return look_lines(url, *self._pairs.queries, *network, found)
        if overlay == "reach" and self._graph.code:
            drawing = self._graph.drawing
            is_pair = drawing is not None and drawing.compared is not None
            graph = "comparison.first" if is_pair else "graph"
            return "\n".join([self._graph.code, *network, f"{graph}.reach"])
        return python_lines(url, *network)

    def toggle(self, key: str) -> None:
        """Open a block that is closed, or close one that is open."""
        self._open(self.opened ^ {key})

    def open_all(self) -> None:
        """Open every block."""
        self._open(frozenset(block.key for block in self._network().blocks))

    def close_all(self) -> None:
        """Close every block."""
        self._open(frozenset())

    def reset(self) -> None:
        """Open the blocks that are open at first."""
        self.selection.choose(blocks="")

    def fit(self, *, is_narrow: bool) -> None:
        """Lay it out for a window that is wide, or for one that is high."""
        self._aspect = NARROW if is_narrow else WIDE
        self._update(set())

    def shade(self, name: str) -> None:
        """Shade tensors by this."""
        self.selection.choose(overlay=name)

    def look_at(self, layer: str) -> None:
        """Choose a layer, for all views, and open its neurons."""
        self.selection.choose(layer=layer, matrix="open")

    def toggle_beside(self, layer: str) -> None:
        """Open a layer's neurons below those that are open, or close them."""
        self.selection.toggle_beside(layer)

    def _open(self, keys: frozenset[str]) -> None:
        # Those inside of closed ones stay open for when these are opened again.
        names = [
            block.key.removeprefix(_PREFIX)
            for block in self._network().blocks
            if block.key in keys
        ]
        is_first = keys == default_open(self._network())
        blocks = BETWEEN_NAMES.join(names) or NO_NAME
        self.selection.choose(blocks="" if is_first else blocks)

    def _network(self) -> NetworkGraph:
        if self._whole is None:
            self._whole = network_graph(self.results.store.plan.architecture)
        return self._whole

    def _update(self, changed: set[str]) -> None:
        if self.selection.view != "model":
            return
        opened = self.opened
        if (opened, self._aspect) != self._drawn:
            self._drawn = opened, self._aspect
            graph = self._network().shown(opened)
            drawing = NetworkDrawing(
                graph,
                arrange_network(graph, aspect=self._aspect),
                len(self._network().blocks),
                any(arc.kind == "order" for arc in graph.arcs),
            )
            publish(self, {"drawing": drawing})
        if changed & {"view", "overlay", "measure"}:
            self._update_shading()

    def _update_shading(self, *_: object) -> None:
        if self.selection.view != "model":
            return
        try:
            shading = self._shaders[self.selection.overlay]()
        except NnvizError as error:
            shading = Shading({}, str(error))
        publish(self, {"shading": shading})

    def layers_in(self, node: NetworkNode) -> list[str]:
        """Return the layers of a tensor, or of a block with all inside of it."""
        if node.kind == "tensor":
            return [node.layer]
        inside, layers = {node.key}, []
        for one in self._network().nodes:
            if one.block in inside:
                inside.add(one.key)
                layers += [one.layer] if one.layer else []
        return layers

    def _dead(self) -> Shading:
        shades = {}
        for layer in self.results.layers:
            dead = self.results.neurons.dead(layer.name)
            n, share = int(dead.sum()), float(dead.mean())
            text = f"{format_count(n)} of {format_count(len(dead))} channels are dead"
            shades[layer.name] = Shade(share, text)
        return Shading(
            shades, "Stronger: a larger share of channels that no instance excites"
        )

    def _different(self) -> Shading:
        counted = self._pairs.counted
        if counted is None:
            waits = "A and B are being counted" if self._pairs.is_loading else ""
            return Shading({}, waits or "There is nothing to compare: choose A and B")
        measure = self._compared_by
        shares: dict[str, tuple[int, int]] = {}
        for layer in self.results.layers:
            contrast = self.results.neurons.contrast(counted, layer.name, measure)
            n = int(np.count_nonzero(contrast.p_value < LEVEL))
            shares[layer.name] = (n, len(contrast.p_value))
        most = max((n / of for n, of in shares.values()), default=0.0) or 1.0
        shades = {
            name: Shade(
                n / of / most,
                f"{format_count(n)} of {format_count(of)} channels "
                f"({format_percent(n / of)}) tell A from B by their {measure}: "
                "adjusted p below 0.05",
            )
            for name, (n, of) in shares.items()
        }
        return Shading(
            shades,
            f"Stronger: a larger share of channels tells A from B by their {measure} "
            "(adjusted p below 0.05)",
        )

    @property
    def _compared_by(self) -> Measure:
        """What is compared of A and B: maxima have no test, so means instead."""
        measure = cast("Measure", self.selection.measure)
        return "mean" if measure == "maximum" else measure

    def _reach(self) -> Shading:
        drawing, missing = self._graph.drawing, self._graph.missing
        if drawing is None:
            waits = "The graph is being made" if missing is None else missing.title
            return Shading({}, waits)
        if not len(drawing.files.reach):
            text = (
                "Reach is known of a graph that starts at an output: choose the preset "
                "directed in the view Graph"
            )
            return Shading({}, text)
        graph = drawing.files
        shades = {
            name: Shade(
                float(reach),
                f"{reach_text(float(reach))} of the evidence for {drawing.subset} "
                "arrives here",
            )
            for name, reach in zip(graph.layers, graph.reach.tolist(), strict=True)
        }
        return Shading(
            shades, f"Stronger: more of the evidence for {drawing.subset} arrives here"
        )
