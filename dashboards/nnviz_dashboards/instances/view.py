"""How are the instances of A and B drawn, and the one that is opened?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import param
from panel.viewable import Viewable, Viewer

from nnviz.results.instances import InstanceFacts
from nnviz_dashboards.instances.drawn_inside import drawn_inside
from nnviz_dashboards.instances.inside import InsideModel
from nnviz_dashboards.instances.model import (
    BY_CHANNEL,
    PAGE,
    InstancesModel,
    Opened,
    Page,
)
from nnviz_dashboards.shared.channel_examples import channel_examples
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    SentList,
    about_chart,
    missing_value,
    script,
    style,
)
from nnviz_dashboards.shared.theme import format_count, format_percent, format_value

__all__ = ["InstancesView"]

INSIDE = ("inside", "output", "words", "is_running", "problem")
"""What of the model of the opened instance's inside is drawn."""

WORDS = {
    "confidence": "confidence of the prediction",
    "probability": "probability of the label",
    "instance": "place in the data",
}


EXPLANATION = (
    "Each square is an instance: its picture, what the network takes it for, and how "
    "sure it is of that; a frame marks those that are predicted wrong. Point at one to "
    "see its row among the neurons. The data are those of A and of B in this order, "
    "50,000 of each at most, with all columns."
)


class InstanceGrid(Component):
    """Squares of A and of B, and the instance that is opened."""

    pages = SentList([])
    order = param.String()
    orders = SentList([], doc="What can be sorted by, and what it is called.")
    marked = SentList([])
    opened = SentDict(None, allow_None=True)
    inside = SentDict(None, allow_None=True, doc="What the network did with it.")
    lit = SentList([], doc="Layer and channel that are looked at, or nothing.")
    pictures = param.String(doc="Address of the pictures.")
    missing = SentDict(None, allow_None=True)
    without_pictures = param.String(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = script(
        __file__, *CHART, "own_graph.js", "inside.js", "opened_instance.js",
        "instances.js",
    )  # fmt: skip
    _style = style(__file__, "instances.css")


class InstancesView(Viewer):
    """The instances of A and B.

    Parameters
    ----------
    model
        Pages, what is opened, and intentions.
    pictures
        Address of the pictures; ``/instances/number`` is added for an instance's, and
        ``/layer number/channel/rank`` for that of a channel.
    layers
        Short name of each shown layer by its name, in order.
    keep
        Called with the key of a row that the neuron matrix shall keep.
    inside
        What the network did with the opened instance.
    """

    def __init__(
        self,
        model: InstancesModel,
        *,
        pictures: str,
        layers: Mapping[str, str],
        keep: Callable[[str], None],
        inside: InsideModel,
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        self._inside = inside
        self._run_later = model.run_later
        self._grid = InstanceGrid(
            {
                "sort": lambda order: model.sort(order),
                "turn": model.turn,
                "open": lambda number: model.open(number),
                "mark": model.mark,
                "mark_page": model.mark_page,
                "unmark": model.unmark,
                "use_marked": model.use_marked,
                "look_at": model.look_at,
                "point": lambda number: model.point_at(int(number)),
                "data": self._send_data,
                "keep": lambda number: keep(f"#{int(number)}"),
                "explain": inside.begin,
                "explain_output": lambda output: inside.choose(output),
                "tokens": self._send_tokens,
            },
            pictures=pictures,
            is_loading=model.param.is_loading,
            without_pictures=model.param.without_pictures,
            order=model.selection.param.order,
            **self._values(),
            **self._opened(),
            marked=list(model.marked),
            inside=self._drawn_inside(),
            lit=self._lit(),
        )
        model.param.watch(self._update, ["pages", "missing"])
        model.param.watch(self._update_opened, "opened")
        model.param.watch(self._update_marked, "marked")
        model.selection.param.watch(self._update_orders, ["channel", "layer"])
        model.selection.param.watch(self._update_lit, ["channel", "layer"])
        inside.param.watch(self._update_inside, list(INSIDE))

    def _update(self, *_: param.parameterized.Event) -> None:
        self._grid.param.update(**self._values())

    def _update_opened(self, *_: param.parameterized.Event) -> None:
        self._grid.param.update(**self._opened())

    def _update_marked(self, *_: param.parameterized.Event) -> None:
        self._grid.marked = list(self._model.marked)

    def _update_inside(self, *_: param.parameterized.Event) -> None:
        self._grid.inside = self._drawn_inside()

    def _update_lit(self, *_: param.parameterized.Event) -> None:
        self._grid.lit = self._lit()

    def _drawn_inside(self) -> dict[str, object] | None:
        if self._model.opened is None:
            return None
        return drawn_inside(self._inside, self._layers)

    def _lit(self) -> list[str | int]:
        selection = self._model.selection
        known = selection.channel >= 0
        return [selection.layer, selection.channel] if known else []

    def _send_tokens(self, *, layer: str, channel: int) -> None:
        """Send how strong a channel is at every token, once it is looked at."""
        values = self._inside.token_values(str(layer), int(channel))
        self._grid._send_msg({"shaded": values})

    def _update_orders(self, *_: param.parameterized.Event) -> None:
        self._grid.orders = self._orders()

    def _values(self) -> dict[str, object]:
        model = self._model
        return {
            "pages": [self._page(page) for page in model.pages],
            "orders": self._orders(),
            "missing": missing_value(model.missing),
            "about": about_chart(EXPLANATION, model.code),
        }

    def _send_data(self, kind: str) -> None:
        table = self._model.table
        self._grid.send_table("instances", table, kind, run_later=self._run_later)

    def _orders(self) -> list[list[str]]:
        model, selection = self._model, self._model.selection
        if not model.is_seen:
            return []
        layer = self._layers.get(selection.layer, selection.layer)
        words = WORDS | {BY_CHANNEL: f"channel {selection.channel} of {layer}"}
        return [[name, words.get(name, name)] for name in model.orders()]

    def _page(self, page: Page) -> dict[str, object]:
        last = page.first + len(page.shown)
        n = format_count(page.n_instances)
        span = f"{format_count(page.first + 1)}–{format_count(last)} of {n}"
        return {
            "side": page.side,
            "name": page.name,
            "n": page.n_instances,
            "span": span if page.shown else "none",
            "first": page.first,
            "page": PAGE,
            "n_shown": len(page.shown),
            "shown": [self._square(one) for one in page.shown],
        }

    def _square(self, one: InstanceFacts) -> dict[str, object]:
        text = f"#{format_count(one.number)} {one.id}"
        if said := self._said(one):
            text += f": {said}"
        label = self._class(one.label)
        score = "" if one.confidence != one.confidence else f"{one.confidence:.2f}"
        if one.output == one.output:
            label = "" if one.target != one.target else format_value(one.target)
            score = format_value(one.output)
        return {
            "n": one.number,
            "label": label,
            "prediction": self._class(one.prediction),
            "score": score,
            "is_wrong": one.is_wrong,
            "title": text,
        }

    def _said(self, one: InstanceFacts) -> str:
        if one.output == one.output:
            return f"{self._target(one)}network {format_value(one.output)}"
        if not self._model.results.has_classes:
            return ""
        label = self._class(one.label) or "no label"
        if one.prediction < 0:
            return label
        sure = format_percent(one.confidence)
        if one.is_wrong:
            return f"{label}, taken for {self._class(one.prediction)} ({sure})"
        return f"{label}, predicted right ({sure})" if one.label >= 0 else label

    def _target(self, one: InstanceFacts) -> str:
        name = self._model.results.store.plan.target_column
        known = one.target == one.target
        return f"{name} {format_value(one.target)}, " if known else ""

    def _class(self, index: int) -> str:
        names = self._model.results.store.class_names
        return names[index] if 0 <= index < len(names) else ""

    def _opened(self) -> dict[str, object]:
        opened = self._model.opened
        return {"opened": None if opened is None else self._drawn(opened)}

    def _drawn(self, opened: Opened) -> dict[str, object]:
        facts = opened.facts
        write = format_percent if opened.is_probability else format_value
        rows = [["probability of the label", format_percent(facts.probability)]]
        if facts.probability != facts.probability:
            rows = []
        numbers = {name: i for i, name in enumerate(self._layers)}
        store = self._model.results.store
        return {
            "n": facts.number,
            "title": f"#{format_count(facts.number)}",
            "id": facts.id,
            "said": self._said(facts),
            "is_wrong": facts.is_wrong,
            "rows": [*rows, *map(list, facts.others)],
            "what": self._what(opened),
            "outputs": [
                {
                    "name": self._class(index) or f"output {index}",
                    "text": write(value),
                    "share": value if opened.is_probability else 0.0,
                    "is_label": index == facts.label,
                }
                for index, value in opened.outputs
            ],
            "channels": [
                {
                    "layer": layer,
                    "label": self._layers.get(layer, layer),
                    "number": numbers.get(layer, -1),
                    "channels": [
                        {
                            "channel": one.channel,
                            "called": store.layer(layer).called(one.channel),
                            "face": self._face(layer, one.channel),
                            "text": f"activation {format_value(one.value)}, "
                            f"{one.deviations:.1f} standard deviations above the mean",
                            "short": f"{one.deviations:+.1f} σ",
                        }
                        for one in found
                    ],
                }
                for layer, found in opened.channels
            ],
        }

    def _what(self, opened: Opened) -> str:
        """Return what the numbers are that the network gives."""
        if not self._model.results.has_classes:
            return "What the network puts out"
        what = "Probability" if opened.is_probability else "Output"
        return f"{what} of the classes"

    def _face(self, layer: str, channel: int) -> int:
        """Return the rank of a stored picture of a channel; -1 for none."""
        examples = channel_examples(self._model.results, layer, channel, -1)
        return next((e.rank for e in examples if e.has_picture), -1)

    def __panel__(self) -> Viewable:
        return self._grid
