"""How is it drawn which class is looked at, and what the large part of the page is?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.classes.model import SubsetFacts, SubsetsModel
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.shared.component import Component, script
from nnviz_dashboards.shared.theme import format_count, format_percent
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["FactsView"]


class FactsBar(Component):
    """The class, and the choice between graph and channels."""

    facts = param.Dict(None, allow_None=True)
    view = param.String()

    _esm = script(__file__, "facts.js")


class FactsView(Viewer):
    """What is known of the chosen class.

    Parameters
    ----------
    model
        Facts and intentions.
    graph
        Names what is looked at where that is no class.
    pairs
        Looks at instances that are taken for another class.
    """

    def __init__(
        self, model: SubsetsModel, graph: GraphModel, pairs: SubsetPairModel
    ) -> None:
        super().__init__()
        self._model = model
        self._graph = graph
        self._bar = FactsBar(
            {"confusion": pairs.compare_confusion, "show": model.show},
            facts=self._facts(),
            view=model.selection.param.view,
        )
        model.param.watch(self._update, "facts")
        model.selection.param.watch(self._update, "view")
        graph.param.watch(self._update, ["drawing", "choices"])

    def _update(self, *_: param.parameterized.Event) -> None:
        self._bar.facts = self._facts()

    def _facts(self) -> dict[str, object] | None:
        choices = self._graph.choices
        is_seen = self._model.selection.view == "graph"
        if not is_seen or choices is None or choices.is_of_class:
            return _facts(self._model.facts)
        text = f"of {self._model.selection.collection}"
        drawing = self._graph.drawing
        if drawing is not None:
            text = f"{_instances(drawing.n_instances)} {text}"
        return {"name": choices.member, "mark": "", "text": text, "confusions": []}

    def __panel__(self) -> Viewable:
        return self._bar


def _instances(n: int) -> str:
    return f"{format_count(n)} {'instance' if n == 1 else 'instances'}"


def _facts(facts: SubsetFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    text = _instances(facts.n_instances)
    if facts.accuracy == facts.accuracy:
        text += f", {format_percent(facts.accuracy)} predicted right"
    confusions = [
        {"subset": c.subset, "text": f"{c.name} ({format_count(c.n_instances)})"}
        for c in facts.confusions
    ]
    return {
        "name": facts.name,
        "mark": facts.mark,
        "text": text,
        "confusions": confusions,
    }
