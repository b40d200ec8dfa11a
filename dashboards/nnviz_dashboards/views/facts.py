"""How is it drawn which class is looked at, and what the large part of the page is?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.theme import format_count, format_percent
from nnviz_dashboards.viewmodels.subsets import SubsetFacts, SubsetsModel
from nnviz_dashboards.views.component import Component, script

__all__ = ["FactsView"]


class FactsBar(Component):
    """The class, and the choice between graph and channels."""

    facts = param.Dict(None, allow_None=True)
    view = param.String()

    _esm = script("facts.js")


class FactsView(Viewer):
    """What is known of the chosen class.

    Parameters
    ----------
    model
        Facts and intentions.
    """

    def __init__(self, model: SubsetsModel) -> None:
        super().__init__()
        self._model = model
        self._bar = FactsBar(
            {"choose_subset": model.choose, "show": model.show},
            facts=_facts(model.facts),
            view=model.selection.param.view,
        )
        model.param.watch(self._update, "facts")

    def _update(self, *_: param.parameterized.Event) -> None:
        self._bar.facts = _facts(self._model.facts)

    def __panel__(self) -> Viewable:
        return self._bar


def _facts(facts: SubsetFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    n = facts.n_instances
    text = f"{format_count(n)} {'instance' if n == 1 else 'instances'}"
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
