"""What is drawn in the place of the classes, where a network has none?

Why there are none, and the parts of target and error, each to be looked at as A or B.
"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz.results.missing import Missing
from nnviz_dashboards.shared.component import (
    Component,
    SentDict,
    SentList,
    missing_value,
    script,
    style,
)
from nnviz_dashboards.shared.theme import format_count
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["PartsView"]


class PartsList(Component):
    """Parts of the target."""

    missing = SentDict({}, doc="Why there are no classes.")
    parts = SentList([], doc="Name, query and number of instances of each.")
    chosen = SentList([], doc="Queries of A and of B.")

    _esm = script(__file__, "parts.js")
    _style = style(__file__, "parts.css")


class PartsView(Viewer):
    """The parts of the target of a run without classes.

    Parameters
    ----------
    model
        A, B and intentions.
    missing
        Why there are no classes.
    """

    def __init__(self, model: SubsetPairModel, missing: Missing) -> None:
        super().__init__()
        self._model = model
        self._list = PartsList(
            {"choose": model.write},
            missing=missing_value(missing),
            parts=[
                {
                    "name": one.name,
                    "query": one.query,
                    "count": format_count(one.n_instances),
                }
                for one in model.results.pairs.parts
            ],
            chosen=list(model.queries),
        )
        model.param.watch(self._update, "pair")

    def _update(self, *_: param.parameterized.Event) -> None:
        self._list.chosen = list(self._model.queries)

    def __panel__(self) -> Viewable:
        return self._list
