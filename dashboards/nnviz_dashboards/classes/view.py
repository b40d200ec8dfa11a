"""How are the classes drawn? The embedding, and the list below it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from math import isnan

import numpy as np
import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.classes.model import MOST_PAIRED, SubsetsModel
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    SentList,
    about_chart,
    missing_value,
    script,
)
from nnviz_dashboards.shared.theme import format_count, format_percent

__all__ = ["EmbeddingView", "SubsetListView"]

DIGITS = 3
"""Of places from -1 to 1, and of what is drawn as a colour or a width."""

NOTHING_TO_PLACE = "no class has top channels in this layer: there is nothing to place"
"""Of a layer that no instance excites, for example."""

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


ALIKE_NOTES = {
    "top": "similarity of top channels",
    "mean": "similarity of mean activations",
}

PAIRS_EXPLANATION = (
    "The order is that of a tree of the classes (average linkage). A click compares "
    "two classes as A and B; one on the diagonal chooses a class."
)

LIST_EXPLANATION = (
    "Accuracy: share of the class's instances that are predicted right. Histogram: the "
    "confidence of its predictions, from 0 on the left to 1 on the right, each row as "
    "high as its fullest bin."
)

NO_SIMILARITY = -128
"""In hundredths, of a class that is like none."""


class EmbeddingPanel(Component):
    """The classes in the plane, or why they are not."""

    layout = param.String(doc="Whether a map is drawn, or all pairs.")
    pairs = SentDict(None, allow_None=True, doc="Classes and their similarities.")
    can_pair = param.Boolean(doc="Whether there are few enough classes for pairs.")
    names = SentList([], doc="Names of the drawn classes.")
    subsets = SentList([], doc="Their indices.")
    places = SentList(None, allow_None=True, doc="x and y of each in turn, or None.")
    shade = SentList(None, allow_None=True, doc="0 to 1 for each, or all grey.")
    focus = SentDict({}, doc="The chosen class, others, and their similarity.")
    title = param.String()
    note = param.String()
    explanation = param.String()
    missing = SentDict(None, allow_None=True)

    _esm = script(
        __file__, *CHART, "class_map.js", "map_drawing.js", "class_pairs.js",
        "embedding.js",
    )  # fmt: skip


class EmbeddingView(Viewer):
    """The classes in the plane.

    Parameters
    ----------
    model
        Places, neighbours and intentions.
    layers
        Short name of each shown layer by its name.
    compare
        Called with two classes that shall be A and B.
    """

    def __init__(
        self,
        model: SubsetsModel,
        layers: Mapping[str, str],
        *,
        compare: Callable[[int, int], None],
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        classes, present = model.classes, model.classes.present
        self._panel = EmbeddingPanel(
            {
                "choose": model.choose,
                "compare": compare,
                "lay_out": lambda layout: model.lay_out(layout),
                "data": self._send_data,
            },
            layout=model.selection.param.layout,
            can_pair=1 < len(present) <= MOST_PAIRED,
            pairs=self._pairs(),
            names=[f"{classes.names[i]} {classes.marks[i]}".strip() for i in present],
            subsets=present.tolist(),
            places=self._places(),
            shade=self._shade(),
            focus=self._focus(),
            **self._texts(),
        )
        model.param.watch(self._update, ["places", "share", "neighbours", "users"])
        model.param.watch(self._update_texts, ["places", "missing", "share", "kept"])
        model.param.watch(self._update_pairs, "pairs")
        model.selection.param.watch(self._update, ["a", "b"])

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

    def _update_pairs(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(pairs=self._pairs(), **self._texts())

    def _pairs(self) -> dict[str, object] | None:
        pairs = self._model.pairs
        if pairs is None:
            return None
        hundredths = np.nan_to_num(np.round(100 * pairs.similarity), nan=NO_SIMILARITY)
        return {
            "classes": pairs.classes.tolist(),
            "similarity": base64.b64encode(
                hundredths.astype(np.int8).tobytes()
            ).decode(),
            "is_signed": pairs.alike == "mean",
        }

    def _send_data(self, kind: str) -> None:
        name = "similarity" if self._model.pairs is not None else "classes"
        self._panel.send_table(name, self._model.layout_table, kind)

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
            "versus": model.versus,
            "others": others.tolist(),
            "weights": weights,
        }

    def _texts(self) -> dict[str, object]:
        selection, share = self._model.selection, self._model.share
        note, kept = "", self._model.kept
        places = self._model.places
        if places is not None and np.isnan(places[self._model.classes.present]).all():
            note = NOTHING_TO_PLACE
        elif places is not None:
            note = self._model.method
            if not isnan(kept):
                n = self._model.n_near
                alike = "most similar classes" if n == 1 else f"{n} most similar"
                note += f"; {format_percent(kept)} of the {alike} lie nearest"
        if selection.channel >= 0:
            note = f"stronger: channel {selection.channel} is more often on top"
            if share is not None:
                note += f", at most {format_percent(float(share.max()))}"
        explanation = "" if selection.channel >= 0 else EXPLANATION
        if self._model.pairs is not None:
            alike = self._model.pairs.alike
            note = f"{ALIKE_NOTES[alike]}; alike ones together"
            explanation = f"{ALIKE_TITLES[alike]}. {PAIRS_EXPLANATION}"
        return {
            "title": f"Classes in {self._layers.get(selection.layer, selection.layer)}",
            "note": note,
            "explanation": explanation,
            "about": about_chart(explanation or EXPLANATION, self._model.code),
            "missing": missing_value(self._model.missing),
        }

    def __panel__(self) -> Viewable:
        return self._panel


class SubsetList(Component):
    """Rows of classes; only those in view are in the page."""

    table = SentDict({}, doc="What does not change: names, accuracy, confidence.")
    order = SentList([], doc="Classes, first to last.")
    similarity = SentList(None, allow_None=True, doc="Of every class, in hundredths.")
    chosen = param.Integer(-1)
    sort = param.String()
    search = param.String()
    alike = param.String(doc="What was chosen.")
    alike_labels = SentDict(ALIKE_LABELS)
    explanation = param.String(doc="Of the similarity that is shown.")

    _esm = script(__file__, *CHART, "subsets.js")


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
                "data": lambda kind: self._list.send_table(
                    "classes", model.list_table, kind
                ),
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
            values = [None if isnan(v) else round(100 * v) for v in similarity.tolist()]
        return {
            "order": self._model.order.tolist(),
            "similarity": values,
            "explanation": ALIKE_TITLES[self._model.alike],
            "about": about_chart(
                f"{LIST_EXPLANATION} Similarity: {ALIKE_TITLES[self._model.alike]}.",
                self._model.code,
            ),
        }

    def _update(self, *_: param.parameterized.Event) -> None:
        self._list.param.update(**self._rows())

    def __panel__(self) -> Viewable:
        return self._list
