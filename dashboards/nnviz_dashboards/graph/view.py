"""How is an attribution graph drawn? With which values, for the scripts beside this."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite, isnan
from typing import TypeVar, get_args

import panel as pn
import param
from panel.viewable import Viewable, Viewer

from nnviz.graphs.attribution_graph import reach_text
from nnviz.graphs.drawing import (
    SIZES,
    Contrast,
    DrawnArc,
    DrawnNode,
    GraphDrawing,
    Key,
    Linked,
)
from nnviz.graphs.options import graph_options
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz_dashboards.channels.examples import Example
from nnviz_dashboards.graph.model import FILTERS, GraphFormat, GraphModel
from nnviz_dashboards.layers.model import short_names
from nnviz_dashboards.shared.component import (
    Component,
    constants,
    missing_value,
    script,
)
from nnviz_dashboards.shared.selection import SHARES
from nnviz_dashboards.shared.theme import (
    format_count,
    format_lift,
    format_p,
    format_percent,
    format_value,
)

__all__ = ["MEMBERS", "GraphView", "later"]

Result = TypeVar("Result")

NODE_TERMS = {
    "count": (
        "On top in",
        (
            "Instances of the subset in which the channel is among the top "
            "channels, those with the largest activations of its layer; in brackets "
            "their share"
        ),
    ),
    "base": ("Base rate", "Share of all instances of the run of which that is true"),
    "lift": (
        "Lift",
        (
            "Share in the subset divided by the base rate: 2 × is twice as often as in "
            "all instances; in brackets the 95 % interval"
        ),
    ),
    "second": ("On top in {}", "The same for the subset that is compared"),
    "kept": ("Drawn for", "Whose graph keeps it: it is strong enough in that subset"),
    "difference": ("Difference", "First share minus second, in percentage points"),
    "effect": (
        "Effect (h)",
        (
            "Cohen's h, a difference of shares that counts the same near 0 % as near "
            "50 %: about 0.2 is small, 0.5 medium, 0.8 large"
        ),
    ),
    "p": (
        "Adjusted p",
        (
            "How likely so large a difference is by chance (Fisher's exact test), "
            "adjusted for everything compared; below 0.05 it is hardly chance"
        ),
    ),
    "score": (
        "Score",
        (
            "What the channel was kept by: larger is stronger; 'Options' chooses "
            "what it measures"
        ),
    ),
}
"""What the numbers of a channel are called, and what they mean."""

ARC_TERMS = NODE_TERMS | {
    "count": (
        "Feeds in",
        (
            "Instances of the subset in which the source is among the "
            "strongest sources of the target; in brackets their share"
        ),
    ),
    "second": ("Feeds in, {}", "The same for the subset that is compared"),
    "weakest": (
        "Strongest path",
        (
            "Through layers that are folded: of all paths the strongest, and in how "
            "many instances its weakest arc is; the path is in no more"
        ),
    ),
    "weakest_second": ("Strongest path, {}", "The same for the compared subset"),
    "folded": ("Folded layers", "That the path leads through; open them to see it"),
}
"""The same for an arc."""

CHOSEN = (
    "collection",
    "versus",
    *(option.name for option in graph_options()),
    *FILTERS,
)

PUBLISHED = ("drawing", "choices", "code", "missing", "is_loading")
"""What of the model is drawn."""

COLLECTIONS = {
    "label": "Class",
    "prediction": "Predicted class",
    "outcome": "Class, right or wrong",
    "all": "All instances",
    OF_A: "Subset A",
    OF_PAIR: "A against B",
}
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
]
"""What the options of a graph are called, and their values."""


class GraphPanel(Component):
    """The graph, and all that changes it."""

    graph = param.Dict(None, allow_None=True, doc="Layers, nodes, arcs and texts.")
    choices = param.Dict({}, doc="Subsets that can be chosen.")
    chosen = param.Dict({}, doc="Options and filters.")
    options = param.List(OPTIONS)
    pinned = param.List([], doc="Layer and channel that are looked at, or nothing.")
    layer = param.String(doc="The chosen layer.")
    code = param.String()
    pictures = param.String(doc="Address of the pictures.")
    missing = param.Dict(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = constants(**SIZES) + script(
        __file__, "space.js", "graph_scene.js", "graph_card.js", "graph_tools.js",
        "graph_files.js", "graph.js",
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
    """

    def __init__(
        self, model: GraphModel, *, pictures: str, layers: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        selection = model.selection
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
                "examples": self._send_examples,
            },
            pictures=pictures,
            layer=selection.param.layer,
            pinned=self._pinned(),
            chosen=self._chosen(),
            **self._values(),
        )
        model.param.watch(self._update, list(PUBLISHED))
        selection.param.watch(self._update_pinned, ["layer", "channel", "node"])
        selection.param.watch(self._update_chosen, list(CHOSEN))

    def _update(self, *events: param.parameterized.Event) -> None:
        # A drawing is large, and comparing two of them takes longer than making one.
        self._panel.param.update(**self._values({event.name for event in events}))

    def _update_pinned(self, *_: param.parameterized.Event) -> None:
        self._panel.pinned = self._pinned()

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._panel.chosen = self._chosen()

    def _values(self, published: Collection[str] = PUBLISHED) -> dict[str, object]:
        model = self._model
        makers: dict[str, Callable[[], tuple[str, object]]] = {
            "drawing": lambda: (
                "graph",
                _graph(
                    model.drawing,
                    self._layers,
                    model.examples,
                    {} if model.stages is None else model.stages.stage_of,
                ),
            ),
            "choices": lambda: ("choices", self._choices()),
            "code": lambda: ("code", model.code),
            "missing": lambda: ("missing", missing_value(model.missing)),
            "is_loading": lambda: ("is_loading", model.is_loading),
        }
        return dict(makers[name]() for name in published)

    def _choices(self) -> dict[str, object]:
        choices = self._model.choices
        if choices is None:
            return {}
        return {
            "collections": [[c, COLLECTIONS.get(c, c)] for c in choices.collections],
            "members": [[m, MEMBERS.get(m, m)] for m in choices.members],
            "member": choices.member,
            "others": [[name, MEMBERS.get(name, name)] for name in choices.others],
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

    def _send_examples(self, *, layer: str, channel: int) -> None:
        """Send the texts of a node's examples, which are many, once they are seen."""
        examples = self._model.examples.get((layer, channel))
        if examples:
            texts = [_example(example) for example in examples]
            key = f"{layer}-{channel}"
            self._panel._send_msg({"examples": {"key": key, "texts": texts}})

    def __panel__(self) -> Viewable:
        return self._panel


def later(done: Callable[[Result], None]) -> Callable[[Result], None]:
    """Return a function that any thread may call, for one of this visitor's document.

    Parameters
    ----------
    done
        Called with the same value once the document may be changed.
    """
    document = pn.state.curdoc

    def call(result: Result) -> None:
        if document is not None:
            document.add_next_tick_callback(lambda: done(result))

    return call


def _graph(
    drawing: GraphDrawing | None,
    shown: Mapping[str, str],
    examples: Mapping[Key, tuple[Example, ...]],
    stage_of: Mapping[str, str],
) -> dict[str, object] | None:
    if drawing is None:
        return None
    names = list(drawing.layers)
    indices = {name: index for index, name in enumerate(names)}
    labels = dict(zip(names, short_names(names), strict=True)) | dict(shown)
    numbers = {name: number for number, name in enumerate(shown)}
    drawn = drawing.shown_layers
    rows = {name: len(drawn) - 1 - index for index, name in enumerate(drawn)}
    n_rows = max((node.row + 1 for node in drawing.nodes), default=len(drawn))
    sides = {"both": "both", "first": drawing.subset, "second": drawing.versus}
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
                **_stage(name, drawing, stage_of),
            }
            for name in names
        ],
        "nodes": [
            {
                **_node(node, place, indices, sides),
                "examples": "".join(
                    _mark(example)
                    for example in examples.get((node.layer, node.channel), ())
                ),
            }
            for node, place in zip(drawing.nodes, drawing.places, strict=True)
        ],
        "arcs": [_arc(arc, sides) for arc in drawing.arcs],
        "node_terms": _terms(NODE_TERMS, drawing.versus),
        "arc_terms": _terms(ARC_TERMS, drawing.versus),
        "title": _title(drawing),
        "note": _note(drawing) + _reach(labels, drawn, n_rows),
        "made": f"preset {drawing.files.preset}",
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


def _title(drawing: GraphDrawing) -> str:
    first = f"{drawing.subset} ({_instances(drawing.n_instances)})"
    if not drawing.versus:
        return first
    return f"{first} and {drawing.versus} ({_instances(drawing.n_versus)})"


def _note(drawing: GraphDrawing) -> str:
    n_nodes, n_arcs = len(drawing.nodes), len(drawing.arcs)
    likeness = drawing.similarity
    tops = {node.channel for node in drawing.nodes if node.row == 0 and node.name}
    start = f"; begins at {len(tops)} outputs" if len(tops) > 1 else ""
    if likeness is None:
        return (
            f"{format_count(n_nodes)} channels, {format_count(n_arcs)} arcs{start}"
            f"{_arriving(drawing)}"
        )
    if drawing.is_equal:
        return "nothing differs: the same channels and arcs, as often"
    return (
        f"shared: {format_percent(likeness.node_jaccard)} of the channels, "
        f"{format_percent(likeness.arc_jaccard)} of the arcs; "
        f"counts overlap by {format_percent(likeness.count_overlap)}{start}"
    )


def _arriving(drawing: GraphDrawing) -> str:
    """Say how much of the evidence arrives at the lowest layer, where that is known."""
    graph = drawing.files
    if not len(graph.reach):
        return ""
    share = reach_text(float(graph.reach[0]))
    return f"; {share} of the evidence arrives at {graph.layers[0]}"


def _reach(labels: Mapping[str, str], names: Sequence[str], n_rows: int) -> str:
    """Return how far back the graph goes, where that is not to the first layer."""
    if n_rows >= len(names):
        return ""
    return f"; reaches back to {labels[names[-n_rows]]}"


def _instances(n: int) -> str:
    return f"{format_count(n)} {'instance' if n == 1 else 'instances'}"


def _terms(terms: Mapping[str, tuple[str, str]], versus: str) -> dict[str, list[str]]:
    return {
        key: [name.format(versus), explanation]
        for key, (name, explanation) in terms.items()
    }


def _node(
    node: DrawnNode, place: float, indices: Mapping[str, int], sides: Mapping[str, str]
) -> dict[str, object]:
    """Return a node's values, short: a graph has a hundred, and is sent at a click."""
    facts = {**_facts(node), **_contrast(node.contrast, sides)}
    if not isnan(node.score):
        facts["score"] = format_value(node.score)
    return {
        "channel": node.channel,
        "row": node.row,
        "x": place,
        **({"name": node.name} if node.name else {}),
        **_drawn(node, node.contrast),
        "facts": facts,
        "sources": [_linked(link, indices) for link in node.sources],
        "targets": [_linked(link, indices) for link in node.targets],
    }


def _mark(example: Example) -> str:
    """Return one letter: picture or text; a capital where it is of the class."""
    letter = "p" if example.has_picture else "t"
    return letter.upper() if example.is_of_class else letter


def _example(example: Example) -> list[str]:
    """Return a short and a long text."""
    number = f"#{format_count(example.instance)}"
    value = format_value(example.value)
    return [
        example.label or number,
        f"{example.label or 'instance'} {number}: activation {value}",
    ]


def _arc(arc: DrawnArc, sides: Mapping[str, str]) -> dict[str, object]:
    return {
        "source": arc.source,
        "target": arc.target,
        **_drawn(arc, arc.contrast),
        "facts": {**_facts(arc), **_contrast(arc.contrast, sides)}
        if not arc.n_folded
        else _path_facts(arc),
        **({"n_folded": arc.n_folded} if arc.n_folded else {}),
    }


def _path_facts(arc: DrawnArc) -> dict[str, str]:
    """Return what is known of a path through layers that are not drawn."""
    second = {}
    if arc.contrast is not None:
        count, share = arc.contrast.second_count, arc.contrast.second_share
        text = f"{format_count(count)} ({format_percent(share)})"
        second = {"weakest_second": text}
    return {
        "weakest": f"{format_count(arc.count)} ({format_percent(arc.share)})",
        **second,
        "folded": format_count(arc.n_folded),
    }


def _drawn(part: DrawnNode | DrawnArc, contrast: Contrast | None) -> dict[str, object]:
    """Return what size and filters go by: in a comparison the larger of the two."""
    share, lift = part.shown_share, part.lift
    if contrast is not None and share > part.share and part.base_rate > 0:
        lift = share / part.base_rate
    side = {} if contrast is None else {"side": contrast.side}
    return {
        **side,
        "share": round(share, 5),
        "lift": float(f"{lift:.4g}") if isfinite(lift) else None,
    }


def _facts(part: DrawnNode | DrawnArc) -> dict[str, str]:
    interval = (
        ""
        if isnan(part.lift_low)
        else f" ({part.lift_low:.1f} to {_end(part.lift_high)})"
    )
    return {
        "count": f"{format_count(part.count)} ({format_percent(part.share)})",
        "base": format_percent(part.base_rate),
        "lift": format_lift(part.lift) + interval,
    }


def _end(value: float) -> str:
    return "∞" if not isfinite(value) else f"{value:.1f}"


def _contrast(contrast: Contrast | None, sides: Mapping[str, str]) -> dict[str, str]:
    if contrast is None:
        return {}
    second = format_count(contrast.second_count)
    only = "" if contrast.side == "both" else "only "
    return {
        "second": f"{second} ({format_percent(contrast.second_share)})",
        "kept": only + sides[contrast.side],
        "difference": _signed(100 * contrast.difference, " points"),
        "effect": _signed(contrast.effect, ""),
        "p": format_p(contrast.adjusted_p),
    }


def _signed(value: float, unit: str) -> str:
    return "–" if isnan(value) else f"{value:+.3g}{unit}"


def _linked(link: Linked, indices: Mapping[str, int]) -> list[int]:
    return [indices[link.layer], link.channel, link.count]
