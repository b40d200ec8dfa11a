"""How is an attribution graph drawn? With which values, for the scripts beside this."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from typing import get_args

import param
from panel.viewable import Viewable, Viewer

from nnviz.graphs.drawing import SIZES, GraphDrawing
from nnviz.graphs.drawn_parts import Contrast, DrawnArc, DrawnNode, Key
from nnviz.graphs.files import GraphFormat
from nnviz.graphs.options import graph_options
from nnviz.results.diverse_examples import DiverseExample
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz_dashboards.graph.captions import note, title, unreached
from nnviz_dashboards.graph.check import CheckModel
from nnviz_dashboards.graph.faces import RULE, ChannelFaces
from nnviz_dashboards.graph.numbers import (
    arc_numbers,
    diverse_text,
    effect_text,
    node_numbers,
    terms,
)
from nnviz_dashboards.graph.parts import PartsModel
from nnviz_dashboards.graph.shown import FILTERS, N_BLOCKS, ShownGraph
from nnviz_dashboards.layers.model import short_names
from nnviz_dashboards.shared.channel_examples import Example
from nnviz_dashboards.shared.component import (
    Component,
    SentDict,
    SentList,
    constants,
    missing_value,
    script,
)
from nnviz_dashboards.shared.selection import SHARES
from nnviz_dashboards.shared.theme import (
    format_count,
)

__all__ = ["MEMBERS", "GraphView"]

CHOSEN = (
    "collection",
    "versus",
    "errors",
    *(option.name for option in graph_options()),
    *FILTERS,
)

PUBLISHED = (
    "drawing",
    "choices",
    "code",
    "missing",
    "is_loading",
)
"""What of the model is drawn."""

COLLECTIONS = {
    "label": "Class",
    "prediction": "Predicted class",
    "outcome": "Class, right or wrong",
    "all": "All instances",
    OF_A: "Subset A",
    OF_PAIR: "A against B",
}
FEW, MANY = 4, 40
"""Names of the classes that share a part: at once, and when it is pointed at."""

MEMBERS = {"correct": "predicted right", "wrong": "predicted wrong"}

OPTIONS = [
    {
        "name": option.name,
        "label": option.label,
        "values": [
            [share, f"{100 * float(share):g} % of the scores"] for share in SHARES
        ]
        if option.values is None
        else [[name, value.label] for name, value in option.values.items()],
    }
    for option in graph_options()
] + [
    {
        "name": "errors",
        "label": "Errors",
        "values": [
            ["none", "Not estimated"],
            ["blocks", f"From {N_BLOCKS} random blocks of instances"],
        ],
    }
]
"""What the options of a graph are called, and their values."""


class GraphPanel(Component):
    """The graph, and all that changes it."""

    # Before the graph and what is pinned, which would ask for them.
    said = SentDict({}, doc="Numbers of the pinned node, while they are looked at.")
    graph = SentDict(None, allow_None=True, doc="Layers, nodes, arcs and texts.")
    names = SentList([], doc="Subsets of the collection, sent once.")
    choices = SentDict({}, doc="Subsets that can be chosen.")
    chosen = SentDict({}, doc="Options and filters.")
    options = SentList(OPTIONS)
    pinned = SentList([], doc="Layer and channel that are looked at, or nothing.")
    layer = param.String(doc="The chosen layer.")
    code = param.String()
    check = SentDict({}, doc="What ablation says of the graph, or what would tell.")
    parts = SentList([], doc="What other graphs share: texts, and whether it is here.")
    pictures = param.String(doc="Address of the pictures.")
    rule = param.String(doc="How diverse examples are chosen; empty: there are none.")
    is_written = param.Boolean(default=False, doc="Whether examples are to be read.")
    missing = SentDict(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = constants(**SIZES) + script(
        __file__, "space.js", "picture.js", "graph_scene.js", "graph_card.js",
        "graph_tools.js", "drawing_picture.js", "graph_files.js", "graph.js",
    )  # fmt: skip


class GraphView(Viewer):
    """The attribution graph of the chosen subset.

    Parameters
    ----------
    model
        The drawing and intentions.
    pictures
        Address of the pictures, to which ``/layer number/channel/rank`` is added.
    layers
        Short name of each shown layer by its name, in order.
    checks
        Makes causal checks; None for one that makes none.
    parts
        What the graphs of several classes share; None for nothing.
    faces
        What else is seen of a channel than its examples; None for nothing.
    options
        What can be chosen of how the graph is made.
    """

    def __init__(
        self,
        model: ShownGraph,
        *,
        pictures: str,
        layers: Mapping[str, str],
        checks: CheckModel | None = None,
        parts: PartsModel | None = None,
        faces: ChannelFaces | None = None,
        options: Sequence[Mapping[str, object]] = OPTIONS,
    ) -> None:
        super().__init__()
        self._model = model
        self._checks = CheckModel(model) if checks is None else checks
        self._parts = parts
        self._faces = faces
        self._layers = layers
        self._version = 0  # of what is drawn
        selection, values = model.selection, self._values()
        self._panel = GraphPanel(
            {
                "pin": model.pin,
                "unpin": model.unpin,
                "layer": model.choose_layer,
                "collection": model.choose_collection,
                "member": model.choose_member,
                "versus": model.compare_with,
                "option": model.set_option,
                "tidy": model.tidy,
                "fold": self._fold,
                "files": self._send_files,
                "numbers": self._send_numbers,
                "diverse": self._find_diverse,
                "open": lambda instance: selection.open_instance(instance),
                "arc_numbers": self._send_arc_numbers,
                "check": self._checks.begin,
                "part": self._show_part,
            },
            pictures=pictures,
            rule="" if faces is None else RULE,
            is_written=faces is not None and faces.are_written,
            options=list(options),
            layer=selection.param.layer,
            pinned=self._pinned(),
            chosen=self._chosen(),
            check=self._check(),
            parts=self._shared_parts(),
            **self._said(),
            **values,
        )
        if parts is not None:
            parts.param.watch(self._update_parts, ["motifs", "here"])
        model.param.watch(self._update_check, ["effects", "check_words"])
        self._checks.param.watch(self._update_check, ["is_running", "problem"])
        model.param.watch(self._update, list(PUBLISHED))
        selection.param.watch(self._update_pinned, ["layer", "channel", "node", "view"])
        selection.param.watch(self._update_chosen, list(CHOSEN))

    def _update(self, *events: param.parameterized.Event) -> None:
        # A drawing is large, and comparing two of them takes longer than making one.
        values = self._values({event.name for event in events})
        self._panel.param.update(**self._said(), **values)

    def _update_check(self, *_: param.parameterized.Event) -> None:
        self._panel.check = self._check()

    def _update_parts(self, *_: param.parameterized.Event) -> None:
        self._panel.parts = self._shared_parts()

    def _shared_parts(self) -> list[dict[str, object]]:
        """Return the parts that graphs share, without their nodes and arcs."""
        parts = self._parts
        if parts is None:
            return []
        return [
            {
                "text": f"{len(one.subsets)} graphs: {_some(one.subsets, FEW)}",
                "size": f"{len(one.nodes)} channels, {one.new_bits:.0f} bits",
                "title": _some(one.subsets, MANY),
                "is_here": number in parts.here,
            }
            for number, one in enumerate(parts.motifs)
        ]

    def _show_part(self, *, number: int) -> None:
        """Send the nodes and arcs of a chosen part: of all it would be much."""
        motif = None if self._parts is None else self._parts.choose(number)
        if motif is not None:
            arcs = [f"{a}-{i}>{b}-{j}" for (a, i), (b, j) in motif.arcs]
            nodes = [f"{layer}-{channel}" for layer, channel in motif.nodes]
            part = {"number": number, "nodes": nodes, "arcs": arcs}
            self._panel._send_msg({"part": part})

    def _update_pinned(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._said(), pinned=self._pinned())

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._panel.chosen = self._chosen()

    def _graph(self) -> dict[str, object] | None:
        model = self._model
        self._version += 1
        stage_of = {} if model.stages is None else model.stages.stage_of
        graph = _graph(model.drawing, self._layers, model.examples, stage_of)
        return None if graph is None else {**graph, "version": self._version}

    def _values(self, published: Collection[str] = PUBLISHED) -> dict[str, object]:
        model = self._model
        makers: dict[str, Callable[[], tuple[str, object]]] = {
            "drawing": lambda: ("graph", self._graph()),
            "choices": lambda: ("choices", self._choices()),
            "code": lambda: ("code", model.code),
            "missing": lambda: ("missing", missing_value(model.missing)),
            "is_loading": lambda: ("is_loading", model.is_loading),
        }
        values = dict(makers[name]() for name in published)
        if "choices" in values and model.choices is not None:
            return {"names": list(model.choices.names), **values}
        return values

    def _check(self) -> dict[str, object]:
        """Return what causal checks say, or the command that makes one."""
        effects, check = self._model.effects, self._checks
        request = self._model.request
        is_pair = request is not None and bool(request.versus)
        return {
            "texts": [
                [name if is_pair else "", effect_text(effect)]
                for name, effect in effects
            ],
            "is_whole": len(effects) == 1 + is_pair,
            "command": shlex.join(self._model.check_words),
            "can_run": check.can_run,
            "is_running": check.is_running,
            "problem": check.problem,
        }

    def _choices(self) -> dict[str, object]:
        choices = self._model.choices
        if choices is None:
            return {}
        places = {name: place for place, name in enumerate(choices.names)}
        return {
            "collections": [[c, COLLECTIONS.get(c, c)] for c in choices.collections],
            "members": [[m, MEMBERS.get(m, m)] for m in choices.members],
            "member": choices.member,
            "others": [
                *([key, label] for key, label in choices.beside),
                *([n, MEMBERS.get(n, n)] for n in choices.others if n not in places),
            ],
            "hint": choices.hint,
            "order": [places[name] for name in choices.others if name in places],
        }

    def _pinned(self) -> list[str | int]:
        return list(self._model.selection.pinned or ())

    def _chosen(self) -> dict[str, object]:
        return {name: getattr(self._model.selection, name) for name in CHOSEN}

    def _fold(self, *, stage: str) -> None:
        if self._model.stages is not None:
            self._model.stages.toggle(stage)

    def _send_files(self, *, format: GraphFormat) -> None:  # noqa: A002  its word
        if format not in get_args(GraphFormat):
            return
        files = [
            {"name": name, "content": base64.b64encode(content).decode()}
            for name, content in self._model.files(format).items()
        ]
        self._panel._send_msg({"files": files})

    def _send_numbers(self, *, node: int, version: int) -> None:
        """Send what a node's card says, once it is looked at: of all it would be much.

        A question about a drawing that is no longer shown has no answer.
        """
        drawing = self._model.drawing
        is_known = drawing is not None and 0 <= node < len(drawing.nodes)
        if is_known and version == self._version:
            self._panel._send_msg({"numbers": self._numbers(node)})

    def _find_diverse(self, *, node: int, version: int) -> None:
        """Send diverse examples of a node's channel, once they are found."""
        drawing, faces = self._model.drawing, self._faces
        is_known = drawing is not None and 0 <= node < len(drawing.nodes)
        if drawing is None or faces is None or not is_known or version != self._version:
            return
        one = drawing.nodes[node]

        def row(example: DiverseExample) -> list[object]:
            label = faces.label(example.instance)
            is_of_class = label >= 0 and label == self._model.selection.subset
            text = diverse_text(example, faces.name(label))
            return [*text, example.has_picture, is_of_class]

        def send(found: Sequence[DiverseExample] | None) -> None:
            rows = None if found is None else [row(example) for example in found]
            diverse = {"version": version, "node": node, "rows": rows}
            self._panel._send_msg({"diverse": diverse})

        if one.layer in self._layers:
            faces.find(one.layer, one.channel, send)

    def _numbers(self, node: int) -> dict[str, object]:
        drawing = self._model.drawing
        assert drawing is not None
        one = drawing.nodes[node]
        examples = self._model.examples.get((one.layer, one.channel), ())
        said = node_numbers(one, drawing, examples)
        faces = self._faces
        if faces is not None and faces.has_feature(one.layer, one.channel):
            said["has_feature"] = True
        return {**said, "version": self._version, "node": node}

    def _said(self) -> dict[str, dict[str, object]]:
        """Return the numbers of the pinned node, which else the page asks for."""
        drawing, selection = self._model.drawing, self._model.selection
        pinned = selection.pinned
        if drawing is None or selection.view != "graph" or pinned not in drawing.keys:
            return {"said": {}}
        return {"said": self._numbers(drawing.keys.index(pinned))}

    def _send_arc_numbers(self, *, arc: int, version: int) -> None:
        """Send the numbers of an arc, once it is looked at."""
        drawing = self._model.drawing
        is_known = drawing is not None and 0 <= arc < len(drawing.arcs)
        if drawing is not None and is_known and version == self._version:
            facts = arc_numbers(drawing.arcs[arc], drawing)
            said = {"version": version, "arc": arc, "facts": facts}
            self._panel._send_msg({"numbers": said})

    def __panel__(self) -> Viewable:
        return self._panel


def _graph(
    drawing: GraphDrawing | None,
    shown: Mapping[str, str],
    examples: Mapping[Key, tuple[Example, ...]],
    stage_of: Mapping[str, str],
) -> dict[str, object] | None:
    if drawing is None:
        return None
    names = list(drawing.layers)
    labels = dict(zip(names, short_names(names), strict=True)) | dict(shown)
    numbers = {name: number for number, name in enumerate(shown)}
    drawn = drawing.shown_layers
    known = drawing.files.channel_names
    rows = {name: len(drawn) - 1 - index for index, name in enumerate(drawn)}
    n_rows = max((node.row + 1 for node in drawing.nodes), default=len(drawn))
    return {
        "subset": drawing.subset,
        "versus": drawing.versus,
        "n_rows": n_rows,
        "layers": [
            {
                "name": name,
                "label": labels[name],
                "row": rows.get(name, -1),
                "is_shown": name in shown,
                "number": numbers.get(name, -1),
                **({"channels": known[name]} if name in known else {}),
                **_stage(name, drawing, stage_of),
            }
            for name in names
        ],
        "nodes": [
            _node(node, place, examples.get((node.layer, node.channel), ()))
            for node, place in zip(drawing.nodes, drawing.places, strict=True)
        ],
        "arcs": [_arc(arc) for arc in drawing.arcs],
        **terms(drawing.versus),
        "title": title(drawing),
        "note": note(drawing) + unreached(labels, drawn, n_rows),
        "made": f"preset {drawing.files.preset}",
        "is_relative": drawing.n_instances < 0,
        "problems": [p[:1].upper() + p[1:] + "." for p in drawing.problems],
    }


def _stage(
    name: str, drawing: GraphDrawing, stage_of: Mapping[str, str]
) -> dict[str, object]:
    """Return what folds the stage whose last drawn layer this is, if it is one."""
    stage = stage_of.get(name)
    layers = [layer for layer in drawing.layers if stage_of.get(layer) == stage]
    drawn = [layer for layer in layers if layer not in drawing.folded]
    if stage is None or len(layers) < 2 or drawn[-1:] != [name]:
        return {}
    return {"stage": stage, "n_folded": len(layers) - len(drawn)}


def _some(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    more = f" and {format_count(rest)} more" if rest > 0 else ""
    return ", ".join(names[:most]) + more


def _node(node: DrawnNode, place: float, examples: Sequence[Example]) -> list[object]:
    """Return a node's values: a graph has a hundred, and is sent at a click."""
    share, lift, side = _drawn(node, node.contrast)
    marks = "".join(_mark(example) for example in examples)
    values = [node.channel, node.row, place, share, lift, marks, node.name, side]
    return _without_usual(values, 5)


def _mark(example: Example) -> str:
    """Return one letter: picture or text; a capital where it is of the class."""
    letter = "p" if example.has_picture else "t"
    return letter.upper() if example.is_of_class else letter


def _arc(arc: DrawnArc) -> list[object]:
    """Return an arc's values; of arcs there are hundreds."""
    values = [arc.source, arc.target, *_drawn(arc, arc.contrast), arc.n_folded]
    return _without_usual(values, 4)


def _without_usual(values: Sequence[object], n_least: int) -> list[object]:
    """Leave out what is as usual at the end, but for the first few values."""
    n = len(values)
    while n > n_least and values[n - 1] in ("", 0):
        n -= 1
    return list(values[:n])


def _drawn(
    part: DrawnNode | DrawnArc, contrast: Contrast | None
) -> tuple[float, float | None, str]:
    """Return what size and filters go by, of a comparison the larger, and its side."""
    share, lift = part.shown_share, part.lift
    if contrast is not None and share > part.share and part.base_rate > 0:
        lift = share / part.base_rate
    shown = float(f"{lift:.4g}") if isfinite(lift) else None
    return round(share, 5), shown, "" if contrast is None else contrast.side
