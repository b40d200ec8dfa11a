"""How is it drawn which class is looked at, and what the large part of the page is?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz.formatting import instances_text
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz_dashboards.classes.model import SubsetFacts, SubsetsModel
from nnviz_dashboards.graph.model import OUTCOMES, GraphModel
from nnviz_dashboards.graph.view import MEMBERS
from nnviz_dashboards.shared.component import Component, SentDict, script, style
from nnviz_dashboards.shared.theme import format_count, format_percent
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["FactsView"]


class FactsBar(Component):
    """The class, and the choice between graph and channels."""

    facts = SentDict(None, allow_None=True)
    view = param.String()
    has_views = param.Boolean(default=True, doc="Whether there are several views.")

    _esm = script(__file__, "facts.js")
    _style = style(__file__, "facts.css")


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
        self._pairs = pairs
        self._bar = FactsBar(
            {"confusion": pairs.compare_confusion, "show": model.show},
            facts=self._facts(),
            view=model.selection.param.view,
        )
        model.param.watch(self._update, "facts")
        model.selection.param.watch(self._update, "view")
        graph.param.watch(self._update, ["drawing", "choices"])
        pairs.param.watch(self._update, "pair")

    def _update(self, *_: param.parameterized.Event) -> None:
        self._bar.facts = self._facts()

    def _facts(self) -> dict[str, object] | None:
        choices, selection = self._graph.choices, self._model.selection
        of_class = _facts(self._model.facts) or self._of_pair()
        if selection.view != "graph" or choices is None:
            return of_class
        drawing = self._graph.drawing
        n = None if drawing is None else drawing.n_instances
        if choices.members == OUTCOMES and self._model.facts is not None:
            whole = instances_text(self._model.facts.n_instances)
            part = MEMBERS[choices.member]
            text = f"{part}: " + (f"{format_count(n)} of " if n is not None else "")
            facts = {**(of_class or {}), "text": text + whole, "confusions": []}
        elif choices.is_of_class:
            facts = of_class or {}
        else:
            text = f"of {selection.collection}"
            if selection.collection in (OF_A, OF_PAIR):
                text = ""
            text = text if n is None else f"{instances_text(n)} {text}".strip()
            facts = {"name": choices.member, "mark": "", "text": text, "confusions": []}
            facts = facts if choices.member else {}
        if drawing is not None and drawing.versus and facts:
            other = MEMBERS.get(selection.versus, drawing.versus)
            facts["against"] = f"; against {other}"
            if drawing.n_versus >= 0:
                facts["against"] = (
                    f"; against {other}: {instances_text(drawing.n_versus)}"
                )
        return facts or None

    def _of_pair(self) -> dict[str, object] | None:
        """Return what is said where no class is chosen: what A and B are."""
        pair = self._pairs.pair
        if pair is None:
            return None
        a, b = pair.names
        return {
            "name": a,
            "mark": "",
            "text": instances_text(pair.found.n_instances),
            "against": f"; against {b}: {instances_text(pair.found.n_against)}",
            "confusions": [],
        }

    def __panel__(self) -> Viewable:
        return self._bar


def _facts(facts: SubsetFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    text = instances_text(facts.n_instances)
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
