"""How are the subsets A and B drawn, and what is written about them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import param
from panel.viewable import Viewable, Viewer

from nnviz.results.subset_pairs import NamedQuery
from nnviz_dashboards.shared.component import (
    Component,
    SentDict,
    SentList,
    missing_value,
    script,
    style,
)
from nnviz_dashboards.shared.selection import NONE
from nnviz_dashboards.shared.theme import format_count
from nnviz_dashboards.subsets.model import SubsetPairModel
from nnviz_dashboards.subsets.sentence import (
    Part,
    said_of_answer,
    said_of_channels,
    said_of_estimate,
    said_of_sizes,
)

__all__ = ["SubsetBarView"]


class SubsetBar(Component):
    """A and B as chips, the query field, and one sentence."""

    sides = SentList([], doc="Name, number of instances and query of A and B.")
    problem = SentDict(None, allow_None=True)
    sentence = SentList([], doc="Pieces; some are channels that can be chosen.")
    is_loading = param.Boolean(default=False)
    of_class = SentList([], doc="Parts of the chosen class, or of the target.")
    of_what = param.String(doc="What these are called.")
    asked = param.String("label = horse and confidence > 0.5", doc="For instance.")
    suggested = SentList(None, allow_None=True)
    is_searching = param.Boolean(default=False)
    missing = SentDict(None, allow_None=True)
    code = param.String()

    _esm = script(__file__, "completion.js", "subset_menu.js", "subset_bar.js")
    _style = style(__file__, "subset_bar.css")


class SubsetBarView(Viewer):
    """The bar of the subsets.

    Parameters
    ----------
    model
        A, B and intentions.
    layers
        Short name of each shown layer by its name.
    """

    def __init__(self, model: SubsetPairModel, layers: Mapping[str, str]) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        texts = {"of_what": "The class and its parts"}
        if not model.results.has_classes:
            layer = model.selection.layer
            usual = model.results.pairs.usual_query(NONE)
            asked = usual or f"activation({layer}, 0) > 1"
            texts = {"of_what": "Parts of target and error", "asked": asked}
        self._bar = SubsetBar(
            {
                "write": model.write,
                "swap": model.swap,
                "look_at": model.look_at,
                "suggest": model.suggest,
                "complete": self._complete,
                "saved": self._send_saved,
            },
            is_loading=model.param.is_loading,
            is_searching=model.param.is_searching,
            **texts,
            **self._sides(),
            **self._said(),
            **self._choices(),
        )
        model.param.watch(self._update_sides, ["pair", "problem", "missing"])
        model.param.watch(
            self._update_said, ["pair", "counted", "estimated", "is_loading"]
        )
        model.param.watch(self._update_choices, ["of_class", "suggested"])
        model.selection.param.watch(self._update_said, "layer")

    def _update_sides(self, *_: param.parameterized.Event) -> None:
        self._bar.param.update(**self._sides())

    def _update_said(self, *_: param.parameterized.Event) -> None:
        self._bar.param.update(**self._said())

    def _update_choices(self, *_: param.parameterized.Event) -> None:
        self._bar.param.update(**self._choices())

    def _sides(self) -> dict[str, object]:
        model, pair = self._model, self._model.pair
        sides = []
        if pair is not None:
            sizes = (pair.found.n_instances, pair.found.n_against)
            sides = [
                {"name": name, "n": n, "count": format_count(n), "query": query}
                for name, n, query in zip(pair.names, sizes, model.queries, strict=True)
            ]
        return {
            "sides": sides,
            "problem": None if model.problem is None else asdict(model.problem),
            "missing": missing_value(model.missing),
            "code": self._code(),
        }

    def _said(self) -> dict[str, object]:
        model, pair = self._model, self._model.pair
        if pair is None:
            return {"sentence": []}
        parts = [Part(said_of_sizes(pair))]
        if model.counted is not None:
            parts += said_of_channels(
                model.results.neurons,
                model.counted,
                pair.names,
                layer=model.selection.layer,
                layers=self._layers,
            )
            parts.append(said_of_answer(model.counted.answered_by))
        elif model.is_loading and model.estimated is not None:
            parts += said_of_estimate(
                *model.estimated, layer=model.selection.layer, layers=self._layers
            )
        return {"sentence": [asdict(part) for part in parts]}

    def _choices(self) -> dict[str, object]:
        suggested = self._model.suggested
        return {
            "of_class": [_choice(one) for one in self._model.of_class],
            "suggested": None
            if suggested is None
            else [{**_choice(s.subset), "title": s.sentence} for s in suggested],
        }

    def _complete(self, text: str, cursor: int, turn: int) -> None:
        found = [asdict(one) for one in self._model.complete(text, cursor)]
        self._bar._send_msg({"completions": found, "turn": turn})

    def _send_saved(self) -> None:
        saved = [_choice(one) for one in self._model.saved()]
        self._bar._send_msg({"saved": saved})

    def _code(self) -> str:
        model = self._model
        if model.pair is None:
            return ""
        a, b = model.queries
        arguments = repr(a) if not b else f"{a!r}, {b!r}"
        return "\n".join(
            [
                "import nnviz",
                f"store = nnviz.open_store({model.results.store.url!r})",
                f"found = store.look({arguments})  # found.channels, found.confusion",
                f"store.save_subset('my subset', {a!r})",
            ]
        )

    def __panel__(self) -> Viewable:
        return self._bar


def _choice(subset: NamedQuery) -> dict[str, object]:
    return {
        "name": subset.name,
        "query": subset.query,
        "count": format_count(subset.n_instances),
        "title": subset.query,
    }
