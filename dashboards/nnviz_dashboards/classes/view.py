"""How are the classes drawn? The embedding, and the list below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan

import panel as pn
import param
from panel.viewable import Child, Viewable, Viewer

from nnviz_dashboards.classes.embedding import (
    Columns,
    focus_data,
    goal_data,
    make_embedding,
)
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.shared.component import Component, missing_value, script
from nnviz_dashboards.shared.theme import format_count, format_percent

__all__ = ["EmbeddingView", "SubsetListView"]


class EmbeddingPanel(Component):
    """A heading above the figure, or why there is none."""

    drawing = Child(doc="The figure.")
    title = param.String()
    note = param.String()
    missing = param.Dict(None, allow_None=True)

    _esm = script(__file__, "embedding.js")


class EmbeddingView(Viewer):
    """The classes in the plane.

    Parameters
    ----------
    model
        Places, neighbours and intentions.
    layers
        Short name of each shown layer by its name.
    """

    def __init__(self, model: SubsetsModel, layers: Mapping[str, str]) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        self._hovered = -1
        self._drawn = make_embedding(self._goal(), self._focus())
        self._panel = EmbeddingPanel(
            {},
            drawing=pn.pane.Bokeh(self._drawn.figure, sizing_mode="stretch_both"),
            **self._texts(),
        )
        model.param.watch(self._move, ["places", "share"])
        model.param.watch(self._refocus, ["neighbours", "facts", "users"])
        model.param.watch(self._retitle, ["places", "method", "missing", "share"])
        self._drawn.points.selected.on_change("indices", self._tap)

    def hover(self, subset: int) -> None:
        """Show where a class is that is pointed at in the list."""
        self._hovered = subset
        self._refocus()

    def _goal(self) -> Columns:
        classes, places = self._model.classes, self._model.places
        present = classes.present
        names = [f"{classes.names[i]} {classes.marks[i]}".strip() for i in present]
        return goal_data(places, present, names, self._model.share)

    def _focus(self) -> Columns:
        model = self._model
        if model.share is None:
            others, role = model.neighbours, "near"
        else:
            others, role = model.users, "user"
        return focus_data(model.selection.subset, others, self._hovered, role=role)

    def _texts(self) -> dict[str, object]:
        selection = self._model.selection
        note = ""
        if self._model.places is not None:
            note = f"{self._model.method}; close: similar top channels".removeprefix(
                "; "
            )
        if selection.channel >= 0:
            note = f"darker: channel {selection.channel} is more often on top"
            share = self._model.share
            if share is not None:
                note += f", at most {format_percent(float(share.max()))}"
        return {
            "title": f"Classes in {self._layers.get(selection.layer, selection.layer)}",
            "note": note,
            "missing": missing_value(self._model.missing),
        }

    def _move(self, *_: param.parameterized.Event) -> None:
        _when_free(lambda: self._drawn.goal.update(data=self._goal()))

    def _refocus(self, *_: param.parameterized.Event) -> None:
        _when_free(lambda: self._drawn.focus.update(data=self._focus()))

    def _retitle(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._texts())

    def _tap(self, _attr: str, _old: list[int], new: list[int]) -> None:
        if new:
            self._drawn.points.selected.indices = []
            self._model.choose(int(self._model.classes.present[new[0]]))

    def __panel__(self) -> Viewable:
        return self._panel


def _when_free(change: Callable[[], None]) -> None:
    """Change models of Bokeh once this visitor's document may be changed.

    A component's message is handled without the document's lock. With its own
    parameters Panel waits for it; Bokeh's sources would raise.
    """
    pn.state.execute(change, schedule=True)


class SubsetList(Component):
    """Rows of classes; only those in view are in the page."""

    table = param.Dict({}, doc="What does not change: names, accuracy, confidence.")
    order = param.List([], doc="Classes, first to last.")
    similarity = param.List(None, allow_None=True, doc="Of every class.")
    chosen = param.Integer(-1)
    sort = param.String()
    search = param.String()

    _esm = script(__file__, "subsets.js")


class SubsetListView(Viewer):
    """The list of classes.

    Parameters
    ----------
    model
        Rows, order and intentions.
    embedding
        Shows the class that is pointed at.
    """

    def __init__(self, model: SubsetsModel, embedding: EmbeddingView) -> None:
        super().__init__()
        self._model = model
        self._list = SubsetList(
            {
                "choose": model.choose,
                "search": model.search,
                "sort": model.sort,
                "hover": embedding.hover,
            },
            table=self._table(),
            chosen=model.selection.param.subset,
            sort=model.selection.param.sort,
            search=model.selection.param.search,
            **self._rows(),
        )
        model.param.watch(self._update, ["order", "similarity"])

    def _table(self) -> dict[str, object]:
        classes = self._model.classes
        return {
            "names": list(classes.names),
            "marks": list(classes.marks),
            "n_instances": classes.n_instances.tolist(),
            "accuracy": [None if isnan(a) else a for a in classes.accuracy.tolist()],
            "confidence": classes.confidence.tolist(),
            "n_listed": len(classes.present),
            "count": format_count(len(classes.present)),
        }

    def _rows(self) -> dict[str, object]:
        similarity = self._model.similarity
        values = None
        if similarity is not None:
            values = [None if isnan(v) else round(v, 4) for v in similarity.tolist()]
        return {"order": self._model.order.tolist(), "similarity": values}

    def _update(self, *_: param.parameterized.Event) -> None:
        self._list.param.update(**self._rows())

    def __panel__(self) -> Viewable:
        return self._list
