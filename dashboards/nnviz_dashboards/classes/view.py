"""How are the classes drawn? The embedding, and the list below it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import numpy as np
import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.shared.component import Component, missing_value, script
from nnviz_dashboards.shared.theme import format_count, format_percent

__all__ = ["EmbeddingView", "SubsetListView"]

DIGITS = 3
"""Of places from -1 to 1, and of what is drawn as a colour or a width."""

EXPLANATION = (
    "Near are classes with similar top channels, as far as two dimensions can show it: "
    "the share says how often that succeeds, over all classes. Lines join the chosen "
    "class to those that are most similar to it in the list, wherever they lie."
)

ALIKE_LABELS = {
    "auto": "alike: auto",
    "top": "alike: top",
    "mean": "alike: means",
}

ALIKE_TITLES = {
    "top": "Cosine of how often each channel is among the top channels, 0 to 1",
    "mean": "Cosine of the mean activations, less the mean of all instances, -1 to 1",
}


class EmbeddingPanel(Component):
    """The classes in the plane, or why they are not."""

    names = param.List([], doc="Names of the drawn classes.")
    subsets = param.List([], doc="Their indices.")
    places = param.List(None, allow_None=True, doc="x and y of each in turn, or None.")
    shade = param.List(None, allow_None=True, doc="0 to 1 for each, or all grey.")
    focus = param.Dict({}, doc="The chosen class, others, and their similarity.")
    title = param.String()
    note = param.String()
    explanation = param.String()
    missing = param.Dict(None, allow_None=True)

    _esm = script(__file__, "class_map.js", "map_drawing.js", "embedding.js")


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
        classes, present = model.classes, model.classes.present
        self._panel = EmbeddingPanel(
            {"choose": model.choose},
            names=[f"{classes.names[i]} {classes.marks[i]}".strip() for i in present],
            subsets=present.tolist(),
            places=self._places(),
            shade=self._shade(),
            focus=self._focus(),
            **self._texts(),
        )
        model.param.watch(self._update, ["places", "share", "neighbours", "users"])
        model.param.watch(self._update_texts, ["places", "missing", "share", "kept"])

    def _update(self, *events: param.parameterized.Event) -> None:
        values: dict[str, object] = {"focus": self._focus()}
        changed = {event.name for event in events}
        if "places" in changed:
            values["places"] = self._places()
        if "share" in changed:
            values["shade"] = self._shade()
        self._panel.param.update(**values)

    def _update_texts(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._texts())

    def _places(self) -> list[float | None] | None:
        places = self._model.places
        if places is None:
            return None
        drawn = places[self._model.classes.present].astype(np.float64).ravel()
        return [None if isnan(v) else round(v, DIGITS) for v in drawn.tolist()]

    def _shade(self) -> list[float] | None:
        share = self._model.share
        if share is None:
            return None
        drawn = share[self._model.classes.present]
        most = max(float(drawn.max(initial=0)), 1e-12)
        return [round(v, DIGITS) for v in (drawn / most).tolist()]

    def _focus(self) -> dict[str, object]:
        model = self._model
        others = model.neighbours if model.share is None else model.users
        weights = [0.0] * len(others)
        if model.similarity is not None:
            weights = [round(v, DIGITS) for v in model.similarity[others].tolist()]
        return {
            "chosen": model.selection.subset,
            "others": others.tolist(),
            "weights": weights,
        }

    def _texts(self) -> dict[str, object]:
        selection, share = self._model.selection, self._model.share
        note, kept = "", self._model.kept
        if self._model.places is not None:
            note = self._model.method
            if not isnan(kept):
                n = self._model.n_near
                alike = "most similar class" if n == 1 else f"{n} most similar"
                note += f"; {format_percent(kept)} of the {alike} lie nearest"
        if selection.channel >= 0:
            note = f"darker: channel {selection.channel} is more often on top"
            if share is not None:
                note += f", at most {format_percent(float(share.max()))}"
        return {
            "title": f"Classes in {self._layers.get(selection.layer, selection.layer)}",
            "note": note,
            "explanation": "" if selection.channel >= 0 else EXPLANATION,
            "missing": missing_value(self._model.missing),
        }

    def __panel__(self) -> Viewable:
        return self._panel


class SubsetList(Component):
    """Rows of classes; only those in view are in the page."""

    table = param.Dict({}, doc="What does not change: names, accuracy, confidence.")
    order = param.List([], doc="Classes, first to last.")
    similarity = param.List(None, allow_None=True, doc="Of every class.")
    chosen = param.Integer(-1)
    sort = param.String()
    search = param.String()
    alike = param.String(doc="What was chosen.")
    alike_labels = param.Dict(ALIKE_LABELS)
    explanation = param.String(doc="Of the similarity that is shown.")

    _esm = script(__file__, "subsets.js")


class SubsetListView(Viewer):
    """The list of classes.

    Parameters
    ----------
    model
        Rows, order and intentions.
    """

    def __init__(self, model: SubsetsModel) -> None:
        super().__init__()
        self._model = model
        self._list = SubsetList(
            {
                "choose": model.choose,
                "search": model.search,
                "sort": model.sort,
                "alike": lambda value: model.compare_by(value),
            },
            table=self._table(),
            chosen=model.selection.param.subset,
            sort=model.selection.param.sort,
            search=model.selection.param.search,
            alike=model.selection.param.alike,
            **self._rows(),
        )
        model.param.watch(self._update, ["order", "similarity", "alike"])

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
        return {
            "order": self._model.order.tolist(),
            "similarity": values,
            "explanation": ALIKE_TITLES[self._model.alike],
        }

    def _update(self, *_: param.parameterized.Event) -> None:
        self._list.param.update(**self._rows())

    def __panel__(self) -> Viewable:
        return self._list
