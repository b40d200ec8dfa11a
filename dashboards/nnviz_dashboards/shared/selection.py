"""What has the reader chosen? The only state that the views share.

A :class:`Selection` keeps its invariants itself: a layer is one of the shown layers, a
class one of the classes that have instances, a channel belongs to the chosen layer.
Whatever an address or a click asks for, an impossible value becomes the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import get_args
from urllib.parse import parse_qs, urlencode

import param

from nnviz.aggregation.channel_use import Ranking
from nnviz.graphs.options import SUMMIT_SHARE, graph_options
from nnviz.results.class_similarity import Alike
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz.results.neuron_matrix import MEASURES
from nnviz.subsets.expressions import MAX_CHARACTERS

__all__ = [
    "ALIKE",
    "BETWEEN_NAMES",
    "BY_CLUSTER",
    "BY_DIFFERENCE",
    "BY_NUMBER",
    "LAYOUTS",
    "MAX_BESIDE",
    "NO_NAME",
    "OPTIONS",
    "ORDERS",
    "OVERLAYS",
    "PANELS",
    "RANKINGS",
    "SHADES",
    "SHARES",
    "SORTS",
    "VIEWS",
    "Choice",
    "Selection",
]

SORTS = ("similarity", "accuracy", "errors", "name")
"""Orders of the list of classes; ``errors`` puts the least accurate first."""

ALIKE = ("auto", *get_args(Alike))
"""By what classes are alike; ``auto`` takes what tells them apart in the layer."""

LAYOUTS = ("map", "pairs")
"""How classes are laid out: in the plane, or as a matrix of all pairs."""

RANKINGS = get_args(Ranking)
"""Orders of the channels of a class: most frequent, or most specific."""

MAX_SEARCH_CHARACTERS = 200
"""Longer texts are not searched for."""

VIEWS = (
    "graph",
    "channels",
    "differences",
    "instances",
    "map",
    "confusions",
    "model",
)
"""What the large part of the page shows."""

SHADES = ("layer", "channel")
"""What the darkest cell of the neuron matrix is: the largest of the layer, or of its
own channel."""

BY_DIFFERENCE, BY_NUMBER, BY_CLUSTER = "a-b", "number", "cluster"
ORDERS = (BY_DIFFERENCE, BY_NUMBER, BY_CLUSTER)
"""Orders of the channels that are no row's."""

PANELS = ("closed", "open", "large")
"""How much room the neuron matrix has; large is also that of the view below."""

OVERLAYS = ("none", "dead", "a-b", "reach")
"""What the tensors of the network are shaded by."""

ERRORS = ("none", "blocks")
"""Whether errors of a graph's scores are estimated, from blocks of instances."""

AMONG = ("all", "layer")
"""Whose channels are compared: those of all layers, or of the chosen one."""

SHARES = ("0.03", f"{SUMMIT_SHARE:g}", "0.15", "0.3", "0.6")
"""Shares of each layer's scores that a graph may keep."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    option.name: SHARES if option.values is None else tuple(option.values)
    for option in graph_options()
}
"""Values of the options of an attribution graph, as nnviz declares them."""

BETWEEN_NAMES = ","
"""Between names of modules in the address; none has it in its name."""

NO_NAME = "-"
"""Stands in the address for no name, where nothing means: as at first."""

MAX_BESIDE = 3
"""Layers whose neurons may be open beside those of the chosen one."""

NONE = -1
MAX_GAP = 300
"""Largest gap between nodes and between rows of the graph, in its own pixels."""
MAX_LIFT = 1000.0
MAX_INSTANCE = 10**12

Choice = str | int | float
"""What can be chosen: a name, a number of a class or channel, or a threshold."""


class Selection(param.Parameterized):
    """What one visitor looks at.

    Parameters
    ----------
    layers
        Number of channels of every shown layer, by name, in order of computation.
    subsets
        Indices of the classes that can be chosen.
    layer, subset
        What is chosen at first.
    collections
        Names of the collections of subsets; the first is that of the classes.
    view
        What the large part of the page shows at first.
    """

    layer = param.String(doc="Name of a shown layer.")
    subset = param.Integer(default=NONE, doc="Index of a class; -1 for none.")
    channel = param.Integer(default=NONE, doc="Channel of the layer; -1 for none.")
    sort = param.String(SORTS[0], doc="One of `SORTS`.")
    alike = param.String(ALIKE[0], doc="One of `ALIKE`.")
    layout = param.String(LAYOUTS[0], doc="One of `LAYOUTS`.")
    search = param.String(doc="What the names of the listed classes contain.")
    ranking = param.String(RANKINGS[0], doc="One of `RANKINGS`.")
    view = param.String(VIEWS[0], doc="One of `VIEWS`.")
    collection = param.String(doc="Name of a collection of subsets.")
    member = param.String(doc="Which subset of it; empty: that of the class.")
    versus = param.String(doc="Subset that it is compared with; empty for none.")
    preset = param.String(OPTIONS["preset"][0], doc="One of `OPTIONS`.")
    scoring = param.String(OPTIONS["scoring"][0], doc="One of `OPTIONS`.")
    weight = param.String(OPTIONS["weight"][0], doc="One of `OPTIONS`.")
    share = param.String(SHARES[1], doc="One of `SHARES`.")
    inner = param.String(OPTIONS["inner"][0], doc="One of `OPTIONS`.")
    strength = param.Number(0.0, doc="Nodes with a smaller share are hidden.")
    specificity = param.Number(0.0, doc="Nodes with a smaller lift are hidden.")
    errors = param.String(ERRORS[0], doc="One of `ERRORS`.")
    gap = param.Integer(NONE, doc="Between nodes; -1: as fits.")
    row_gap = param.Integer(NONE, doc="Between rows; -1: as fits.")
    a = param.String(doc="Query of the subset A; empty: the chosen class.")
    b = param.String(doc="Query of the subset B; empty: all other instances.")
    measure = param.String(MEASURES[0], doc="One of `MEASURES`: of a neuron's rows.")
    shade = param.String(SHADES[0], doc="One of `SHADES`.")
    sorted_by = param.String(
        BY_DIFFERENCE, doc="How channels are sorted: one of `ORDERS`, or a row."
    )
    kept = param.String(doc="Further rows, one a line: #number, or a query.")
    matrix = param.String(PANELS[0], doc="One of `PANELS`.")
    beside = param.String(doc="Further layers whose neurons are open, with commas.")
    node = param.String(doc="Pinned channel of another layer than the chosen one.")
    color = param.String(
        "sides", doc="What points of the map of the instances are coloured by."
    )
    among = param.String(AMONG[0], doc="One of `AMONG`.")
    blocks = param.String(doc="Open blocks of the network; empty: as at first.")
    stages = param.String(doc="Open stages; empty: as at first.")
    overlay = param.String(OVERLAYS[0], doc="One of `OVERLAYS`.")
    order = param.String("confidence", doc="Column, with - the smallest value first.")
    instance = param.Integer(NONE, doc="That is opened; -1 for none.")

    def __init__(
        self,
        layers: Mapping[str, int],
        subsets: Sequence[int],
        *,
        layer: str,
        subset: int,
        collections: Sequence[str] = ("label",),
        view: str = VIEWS[0],
    ) -> None:
        self._layers = dict(layers)
        self._subsets = frozenset(subsets)
        first = {
            "layer": layer,
            "subset": subset,
            "collection": collections[0],
            "view": view,
        }
        self._names: dict[str, Sequence[str]] = {
            **_NAMES,
            "collection": tuple(collections),
        }
        super().__init__(**first)
        self._defaults: dict[str, Choice] = {
            name: getattr(self, name) for name in _ADDRESS
        }

    @classmethod
    def choices(cls) -> list[str]:
        """Return the names of everything that can be chosen."""
        return list(_ADDRESS)

    @property
    def first_collection(self) -> str:
        """The collection of subsets that is chosen at first."""
        return str(self._defaults["collection"])

    def choose(self, **values: Choice) -> None:
        """Change several choices as one event.

        Parameters
        ----------
        **values
            New values by the name of the parameter; one that is impossible becomes the
            default. Another layer clears the channel, another collection what was
            chosen of it, and a class the subsets A and B and their graph, unless one
            is given. A layer that is open beside the chosen one changes places with it,
            and a view has the room that a large matrix took.
        """
        wanted = {name: value for name, value in values.items() if name in _ADDRESS}
        if wanted.get("layer", self.layer) != self.layer:
            wanted.setdefault("channel", NONE)
        if "subset" in wanted:
            wanted.setdefault("a", "")
            wanted.setdefault("b", "")
            if self.collection in (OF_A, OF_PAIR):
                wanted.setdefault("collection", self.first_collection)
        if wanted.get("collection", self.collection) != self.collection:
            wanted.setdefault("member", "")
            wanted.setdefault("versus", "")
        if "view" in wanted and self.matrix == "large":
            wanted.setdefault("matrix", "open")
        if wanted.keys() & {"layer", "channel"}:
            wanted.setdefault("node", "")
        layer = str(wanted.get("layer", self.layer))
        if layer not in self._layers:
            layer = str(self._defaults["layer"])
        for name, value in wanted.items():
            if not self._is_possible(name, value, layer):
                wanted[name] = self._defaults[name]
        beside = str(wanted.get("beside", self.beside)).split(BETWEEN_NAMES)
        if "beside" not in wanted:
            beside = [self.layer if name == layer else name for name in beside]
        open_layers = dict.fromkeys([layer, *(x for x in beside if x in self._layers)])
        wanted["beside"] = BETWEEN_NAMES.join([*open_layers][1 : 1 + MAX_BESIDE])
        self.param.update(**wanted)

    def choose_node(self, layer: str, channel: int) -> None:
        """Look at a channel of any layer; the chosen layer stays."""
        if layer == self.layer:
            self.choose(channel=channel)
        else:  # the layer that the other views show stays
            self.choose(channel=NONE, node=f"{layer}-{channel}")

    def open_instance(self, number: int) -> None:
        """Look at one instance, in the view that shows it whole."""
        self.choose(view="instances", instance=int(number))

    @property
    def layers_beside(self) -> tuple[str, ...]:
        """Further layers whose neurons are open, in order."""
        is_open = self.beside and self.matrix != PANELS[0]
        return tuple(self.beside.split(BETWEEN_NAMES)) if is_open else ()

    def toggle_beside(self, layer: str) -> None:
        """Open a layer's neurons below those that are open, or close them.

        Where as many are open as may be, the first that was opened makes room.
        """
        others = [x for x in self.beside.split(BETWEEN_NAMES) if x not in ("", layer)]
        is_opened = layer not in (self.layer, *self.layers_beside)
        names = [*others, layer] if is_opened else others
        kept = BETWEEN_NAMES.join(names[-MAX_BESIDE:])
        self.choose(beside=kept, matrix=max(self.matrix, "open", key=PANELS.index))

    @property
    def pinned(self) -> tuple[str, int] | None:
        """Layer and channel that are looked at, or None."""
        layer, _, channel = self.node.rpartition("-")
        if layer and channel.isdecimal():
            return layer, int(channel)
        return (self.layer, self.channel) if self.channel >= 0 else None

    def address(self) -> str:
        """Return the choices that differ from the defaults as a query string.

        Returns
        -------
        str
            ``?layer=...&class=...``; layer and class are always there.
        """
        pairs = {
            key: getattr(self, name)
            for name, key in _ADDRESS.items()
            if name in ("layer", "subset")
            or getattr(self, name) != self._defaults[name]
        }
        return "?" + urlencode(pairs)

    def restore(self, address: str) -> None:
        """Take the choices from a query string; the others become the defaults."""
        given = {key: values[-1] for key, values in parse_qs(address[1:]).items()}
        values = dict(self._defaults)
        for name, key in _ADDRESS.items():
            if key in given:
                values[name] = _parse(given[key], self._defaults[name])
        self.choose(**values)

    def _is_possible(self, name: str, value: object, layer: str) -> bool:
        if name == "layer":
            return value in self._layers
        if name == "subset":
            return value in self._subsets
        if name == "channel":
            n_channels = self._layers.get(layer, 0)
            return isinstance(value, int) and 0 <= value < n_channels
        if name in self._names:
            return value in self._names[name]
        if name in _LARGEST:
            kind = int if isinstance(self._defaults[name], int) else (int, float)
            return isinstance(value, kind) and 0 <= value <= _LARGEST[name]
        is_long = name in ("a", "b", "kept", "sorted_by", "blocks", "beside", "stages")
        longest = MAX_CHARACTERS if is_long else MAX_SEARCH_CHARACTERS
        return isinstance(value, str) and len(value) <= longest


_NAMES: Mapping[str, Sequence[str]] = {
    "sort": SORTS,
    "alike": ALIKE,
    "layout": LAYOUTS,
    "ranking": RANKINGS,
    "view": VIEWS,
    "measure": MEASURES,
    "shade": SHADES,
    "matrix": PANELS,
    "among": AMONG,
    "errors": ERRORS,
    "overlay": OVERLAYS,
    **OPTIONS,
}
"""Values of the choices that have few."""

_LARGEST: Mapping[str, float] = {
    "strength": 1.0,
    "specificity": MAX_LIFT,
    "gap": MAX_GAP,
    "row_gap": MAX_GAP,
    "instance": MAX_INSTANCE,
}
"""Largest values of the choices that are numbers; the smallest is 0."""

_ADDRESS = {
    "layer": "layer",
    "subset": "class",
    "channel": "channel",
    "sort": "sort",
    "alike": "alike",
    "layout": "classes",
    "search": "find",
    "ranking": "channels",
    "view": "view",
    "collection": "of",
    "member": "subset",
    "versus": "versus",
    "preset": "preset",
    "scoring": "scoring",
    "weight": "weight",
    "inner": "inner",
    "share": "share",
    "strength": "strength",
    "specificity": "lift",
    "errors": "errors",
    "gap": "gap",
    "row_gap": "rows",
    "node": "node",
    "a": "a",
    "b": "b",
    "measure": "measure",
    "shade": "shade",
    "sorted_by": "sorted",
    "kept": "kept",
    "matrix": "matrix",
    "beside": "beside",
    "among": "among",
    "color": "color",
    "blocks": "blocks",
    "stages": "stages",
    "overlay": "shaded",
    "order": "order",
    "instance": "instance",
}
"""Name of each choice in the address."""


def _parse(text: str, default: Choice) -> Choice:
    if isinstance(default, str):
        return text
    if isinstance(default, float):
        try:
            value = float(text)
        except ValueError:
            return default
        return value if math.isfinite(value) else default
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else default
