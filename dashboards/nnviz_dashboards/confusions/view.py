"""How are the confusions drawn?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.confusions.model import ConfusionsModel, ConfusionTable
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
from nnviz_dashboards.shared.python_lines import python_lines
from nnviz_dashboards.shared.theme import format_count, format_percent

__all__ = ["ConfusionsView"]

EXPLANATION = (
    "Rows are true classes, columns predicted ones; numbers are instances. The "
    "stronger a cell, the more instances of its row are taken for its column; those "
    "on the diagonal are predicted right and have a frame instead. Of very many "
    "classes those are drawn that are most often confused; the data have all."
)


class ConfusionGrid(Component):
    """A table of classes by classes, and the most frequent confusions."""

    table = SentDict(None, allow_None=True)
    chosen = SentList([], doc="Queries of A and B.")
    missing = SentDict(None, allow_None=True)

    _esm = script(__file__, *CHART, "confusions.js")
    _style = style(__file__, "confusions.css")


class ConfusionsView(Viewer):
    """The confusions of the run.

    Parameters
    ----------
    model
        The table, and intentions.
    """

    def __init__(self, model: ConfusionsModel) -> None:
        super().__init__()
        self._model = model
        self._grid = ConfusionGrid(
            {
                "pick": lambda label, prediction, what: model.pick(
                    int(label), int(prediction), what=what
                ),
                "data": lambda kind: self._grid.send_table(
                    "confusions", model.data, kind
                ),
                "pick_class": lambda index, predicted, what: model.pick_class(
                    int(index), predicted=bool(predicted), what=what
                ),
            },
            **self._values(),
            chosen=self._chosen(),
            about=about_chart(EXPLANATION, self._code()),
        )
        model.param.watch(self._update, ["table", "missing"])
        model.selection.param.watch(self._update_chosen, ["a", "b", "subset"])

    def _update(self, *_: param.parameterized.Event) -> None:
        self._grid.param.update(**self._values())

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._grid.chosen = self._chosen()

    def _chosen(self) -> list[str]:
        selection = self._model.selection
        return [selection.a, selection.b]

    def _values(self) -> dict[str, object]:
        table = self._model.table
        return {
            "table": None if table is None else self._drawn(table),
            "missing": missing_value(self._model.missing),
        }

    def _code(self) -> str:
        return python_lines(
            self._model.results.store.url,
            "table = store.instances()",
            'table.groupby(["label", "prediction"]).size()',
        )

    def _drawn(self, table: ConfusionTable) -> dict[str, object]:
        names, pairs = self._model.results.store.class_names, self._model.results.pairs
        k = len(table.classes)
        note = f"{format_count(table.n_wrong)} wrong"
        if k < table.n_present:
            note += f"; the {k} classes that are most often confused"
        return {
            "classes": table.classes.tolist(),
            "names": [names[i] for i in table.classes],
            "counts": table.counts.tolist(),
            "n_instances": table.n_instances.tolist(),
            "note": note,
            "frequent": [
                {
                    "label": one.label,
                    "prediction": one.prediction,
                    "from": names[one.label],
                    "to": names[one.prediction],
                    "count": format_count(one.n_instances),
                    "share": format_percent(self._share(one.label, one.n_instances)),
                    "query": pairs.confusion_query(one.label, one.prediction),
                }
                for one in table.frequent
            ],
            "queries": [
                [
                    pairs.right_query(i) if i == j else pairs.confusion_query(i, j)
                    for j in table.classes.tolist()
                ]
                for i in table.classes.tolist()
            ],
        }

    def _share(self, label: int, n: int) -> float:
        return n / max(1, int(self._model.results.class_table().n_instances[label]))

    def __panel__(self) -> Viewable:
        return self._grid
