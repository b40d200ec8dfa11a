"""How is the network drawn?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz.results.chart_tables import ChartTable
from nnviz.results.network_graph import NetworkNode
from nnviz.results.network_layout import DIAMETER, LONGEST, TITLE, Box, Point
from nnviz_dashboards.network.model import NetworkDrawing, NetworkModel
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    SentList,
    about_chart,
    constants,
    script,
    style,
)
from nnviz_dashboards.shared.theme import format_count

__all__ = ["NetworkView"]

SHADINGS = [
    ["none", "nothing"],
    ["dead", "dead channels"],
    ["a-b", "what tells A from B"],
    ["reach", "reach of the graph"],
]
"""By what tensors can be shaded, and how it is called."""


EXPLANATION = (
    "Left to right, from the input to the output: circles are tensors, whose channels "
    "are looked at, and plates the operations that lead from one to the next. A frame "
    "is a block of the network's modules; one that is closed is a plate of its own and "
    "stands for all that is in it."
)


class NetworkPanel(Component):
    """Tensors and operations, left to right; blocks open and close."""

    drawing = SentDict(None, allow_None=True)
    shades = SentDict({}, doc="Share and text by the node's key.")
    note = param.String(doc="What the shades mean.")
    overlay = param.String()
    layer = param.String(doc="The chosen layer.")
    beside = SentList([], doc="Further layers whose neurons are open.")
    shadings = SentList(SHADINGS)

    _esm = constants(DIAMETER=DIAMETER, LONGEST=LONGEST, TITLE=TITLE) + script(
        __file__, *CHART, "drawing_picture.js", "space.js", "network.js"
    )
    _style = style(__file__, "network.css")


class NetworkView(Viewer):
    """The network of the run.

    Parameters
    ----------
    model
        What is seen of it, and intentions.
    """

    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self._model = model
        self._panel = NetworkPanel(
            {
                "toggle": model.toggle,
                "open_all": model.open_all,
                "close_all": model.close_all,
                "reset": model.reset,
                "shade": model.shade,
                "fit": lambda is_narrow: model.fit(is_narrow=bool(is_narrow)),
                "look_at": model.look_at,
                "toggle_beside": model.toggle_beside,
                "data": self._send_data,
            },
            **self._values(),
            layer=model.selection.param.layer,
            beside=param.bind(
                lambda *_: list(model.selection.layers_beside),
                model.selection.param.beside,
                model.selection.param.matrix,
            ),
            overlay=model.selection.param.overlay,
        )
        model.param.watch(self._update, ["drawing", "shading"])

    def _update(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._values())

    def _send_data(self, kind: str, place: int = 0) -> None:
        """Send the nodes that are seen, or the arcs between them, as a table."""
        make = self._arc_table if place == 1 else self._node_table
        self._panel.send_table("model-arcs" if place == 1 else "model", make, kind)

    def _node_table(self) -> ChartTable | None:
        drawing = self._model.drawing
        if drawing is None:
            return None
        nodes = drawing.graph.nodes
        shades = [self._shade(node) or (None, None) for node in nodes]
        return ChartTable(
            (
                ("node", [node.key for node in nodes]),
                ("kind", [node.kind for node in nodes]),
                ("name", [node.label for node in nodes]),
                ("detail", [node.detail for node in nodes]),
                ("block", [node.block for node in nodes]),
                ("layer", [node.layer for node in nodes]),
                ("shade", [shade for shade, _ in shades]),
                ("shaded_by", [text for _, text in shades]),
            )
        )

    def _arc_table(self) -> ChartTable | None:
        drawing = self._model.drawing
        if drawing is None:
            return None
        arcs = drawing.graph.arcs
        return ChartTable(
            (
                ("source", [arc.source for arc in arcs]),
                ("target", [arc.target for arc in arcs]),
                ("kind", [arc.kind for arc in arcs]),
            )
        )

    def _values(self) -> dict[str, object]:
        drawing, shading = self._model.drawing, self._model.shading
        if drawing is None:
            return {"drawing": None, "shades": {}, "note": "", "about": {}}
        return {
            "drawing": self._drawn(drawing),
            "shades": {
                node.key: shade
                for node in drawing.graph.nodes
                if (shade := self._shade(node)) is not None
            },
            "note": shading.note,
            "about": about_chart(
                f"{EXPLANATION} {shading.note}.".removesuffix(" ."),
                self._model.code,
            ),
        }

    def _shade(self, node: NetworkNode) -> list[object] | None:
        shades = self._model.shading.shades
        if node.kind not in ("tensor", "block") or node.is_open or not shades:
            return None
        found = [
            (shades[name], name)
            for name in self._model.layers_in(node)
            if name in shades
        ]
        if not found:
            return None
        # A closed block shows the most of what is in it.
        shade, name = max(found, key=lambda one: one[0].share)
        text = shade.text if node.kind == "tensor" else f"{name}: {shade.text}"
        return [round(shade.share, 3), text]

    def _drawn(self, drawing: NetworkDrawing) -> dict[str, object]:
        boxes = drawing.layout.boxes
        shown = {layer.name for layer in self._model.results.layers}
        n = sum(node.kind == "tensor" for node in drawing.graph.nodes)
        return {
            "width": round(drawing.layout.width),
            "height": round(drawing.layout.height),
            "n_blocks": drawing.n_blocks,
            "has_order": drawing.has_order,
            "summary": f"{format_count(n)} of "
            f"{format_count(len(self._model.results.store.plan.architecture.layers))} "
            "layers in view",
            "nodes": [
                {
                    "key": node.key,
                    "kind": node.kind,
                    "label": node.label,
                    "detail": node.detail,
                    "layer": node.layer,
                    "is_open": node.is_open,
                    "is_shown": node.layer in shown,
                    "box": _rounded(boxes[node.key]),
                }
                for node in drawing.graph.nodes
            ],
            "arcs": [
                {
                    "source": arc.source,
                    "target": arc.target,
                    "kind": arc.kind,
                    "way": _flat(drawing.layout.ways[arc.source, arc.target]),
                }
                for arc in drawing.graph.arcs
            ],
        }

    def __panel__(self) -> Viewable:
        return self._panel


def _rounded(box: Box) -> list[float]:
    return [round(value, 1) for value in (box.x, box.y, box.width, box.height)]


def _flat(way: tuple[Point, ...]) -> list[float]:
    return [round(value, 1) for point in way for value in point]
