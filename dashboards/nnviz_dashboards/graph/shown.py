"""What is drawn of the graph that is looked at, and what a visitor may do with it?

This is the same wherever the graph comes from: a run, or a file.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import numpy as np
import param

from nnviz.graphs.drawing import GraphDrawing
from nnviz.graphs.files import GraphFormat, comparison_files, graph_files
from nnviz.graphs.folded_stages import fold
from nnviz.graphs.layout import GraphLayout
from nnviz.graphs.options import graph_options
from nnviz.results.causal_effects import CausalEffect
from nnviz.results.graph_results import GraphRequest
from nnviz.results.missing import Missing
from nnviz_dashboards.graph.node_places import Places
from nnviz_dashboards.layers.network_stages import StagesModel
from nnviz_dashboards.shared.publishing import publish, published
from nnviz_dashboards.shared.selection import NONE, Choice, Selection

__all__ = ["FILTERS", "N_BLOCKS", "OPTIONS", "Effects", "ShownGraph", "SubsetChoices"]

Effects = tuple[tuple[str, CausalEffect], ...]
"""Names of subsets, each with what a check says of its graph."""
N_BLOCKS = 20
"""Of instances, from which errors are estimated."""

OPTIONS = tuple(option.name for option in graph_options())
FILTERS = ("strength", "specificity", "gap", "row_gap")
"""What a visitor may set by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class SubsetChoices:
    """Which subsets can be looked at, and compared."""

    collections: tuple[str, ...]
    members: tuple[str, ...]
    """Subsets of the collection; empty where the class decides."""
    member: str
    """The chosen one of these."""
    others: tuple[str, ...]
    """What the subset can be compared with."""
    is_of_class: bool
    """Whether another class means another subset."""
    beside: tuple[tuple[str, str], ...] = ()
    """What else it can be, that is not of the run: keys and how they are called."""
    names: tuple[str, ...] = ()
    """Subsets of the collection that have instances, in its order."""
    hint: str = ""
    """How to have beside it what cannot be chosen here."""


class ShownGraph(param.Parameterized):
    """The graph that is looked at.

    Parameters
    ----------
    selection
        What the visitor has chosen.
    layers
        Names of the layers that can be chosen.
    stages
        Which stages are folded; None for none.
    """

    drawing = published(GraphDrawing, "What is drawn.")
    examples = param.Dict({}, constant=True, doc="Examples of its nodes, by node.")
    effects = param.ClassSelector(
        class_=tuple, default=(), constant=True,
        doc="What stored causal checks say of the graph, or of each of two, by name.",
    )  # fmt: skip
    check_words = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Command that makes such a check."
    )
    choices = published(SubsetChoices, "What to choose from.")
    code = param.String(constant=True, doc="Three lines that make the same graph.")
    is_loading = param.Boolean(
        default=False, constant=True, doc="Whether a graph is made."
    )
    missing = published(Missing, "Why there is no graph.")

    def __init__(
        self,
        selection: Selection,
        layers: Iterable[str],
        *,
        stages: StagesModel | None = None,
    ) -> None:
        super().__init__()
        self.selection = selection
        self._layers = frozenset(layers)
        self._places = Places()
        self._whole: GraphDrawing | None = None  # with all of its layers
        self.stages = stages
        if stages is not None:
            stages.param.watch(self._refold, "folded")

    @property
    def request(self) -> GraphRequest | None:
        """What of a run is looked at; None where there is no graph, or no run."""
        return None

    def pin(self, layer: str, channel: int) -> None:
        """Look at this channel, or no longer if it is looked at already."""
        if self.selection.pinned == (layer, channel):
            self.unpin()
        else:
            self.selection.choose_node(layer, channel)

    def unpin(self) -> None:
        """Look at no channel."""
        self.selection.choose(channel=NONE)

    def choose_layer(self, layer: str) -> None:
        """Look at this layer, if it is shown."""
        if layer in self._layers:
            self.selection.choose(layer=layer)

    def choose_collection(self, name: str) -> None:
        """Look at the subsets of this collection."""
        self.selection.choose(collection=name)

    def choose_member(self, name: str) -> None:
        """Look at this subset of the collection."""
        self.selection.choose(member=name)

    def compare_with(self, name: str) -> None:
        """Compare with this subset; with an empty name with none."""
        self.selection.choose(versus=name)

    def set_option(self, name: str, value: Choice) -> None:
        """Set how the graph is made, or what of it is shown."""
        if name in (*OPTIONS, *FILTERS, "errors"):
            self.selection.choose(**{name: value})

    def read_effects(self) -> None:
        """Look again for causal checks of the graph, where there can be some."""

    def tidy(self) -> None:
        """Lay out the graph anew, with few crossings."""
        self._places.forget()
        self._refold()

    def _refold(self, *_: param.parameterized.Event) -> None:
        if self._whole is not None:
            publish(self, {"drawing": self._placed(self._whole)})

    def files(self, format_: GraphFormat) -> dict[str, bytes]:
        """Return the files of the shown graph by their names."""
        drawing = self.drawing
        if drawing is None:
            return {}
        graph, compared = drawing.files, drawing.compared
        stem = _stem(drawing.subset)
        if compared is not None and format_ != "summit":  # that has none of two
            stem = f"{stem}-and-{_stem(drawing.versus)}"
            return comparison_files(compared, stem, format_)
        if compared is not None or drawing.folded:  # files have all layers
            return graph_files(graph, stem, format_)
        rows = np.array([node.row for node in drawing.nodes], dtype=np.int64)
        layout = GraphLayout(np.array(drawing.places, dtype=np.float64), rows)
        return graph_files(graph, stem, format_, layout=layout)

    def _placed(self, drawing: GraphDrawing) -> GraphDrawing:
        if self.stages is not None:
            drawing = fold(drawing, self.stages.folded)
        rows = np.array([node.row for node in drawing.nodes], dtype=np.int64)
        arcs = np.array(
            [(arc.target, arc.source) for arc in drawing.arcs], dtype=np.int64
        ).reshape(-1, 2)
        places = self._places.place(drawing.keys, rows, arcs.T)
        return dataclasses.replace(drawing, places=tuple(places.tolist()))


def _stem(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "graph"
