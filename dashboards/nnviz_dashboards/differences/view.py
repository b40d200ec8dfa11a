"""How is it drawn by which channels A and B differ?"""

from __future__ import annotations

from collections.abc import Mapping

import param
from panel.viewable import Viewable, Viewer

from nnviz.formatting import p_value_text
from nnviz.results.neuron_matrix import Measure
from nnviz_dashboards.differences.model import (
    LEVEL,
    N_ROWS,
    Differences,
    DifferencesModel,
    DifferingChannel,
)
from nnviz_dashboards.shared.channel_examples import channel_examples
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    about_chart,
    missing_value,
    script,
    style,
)
from nnviz_dashboards.shared.theme import (
    format_count,
    format_percent,
    format_value,
)

__all__ = ["DifferencesView"]

N_FACES = 5

WORDS: Mapping[Measure, str] = {
    "mean": "mean activation",
    "share": "share of instances in which it is on top",
    "maximum": "largest activation",
    "relevance": "mean relevance for the explained output, against the mean of all",
    "gradient": "mean gradient of the explained output, summed over positions",
    "gradient_norm": "mean norm of the gradient of the explained output over positions",
}
COHENS_D = ("d", "Cohen's d: difference of the means in standard deviations")
WELCH = "Welch's test of the means, adjusted for the channels of the layer"
EFFECTS: Mapping[Measure, tuple[str, str]] = {
    "mean": COHENS_D,
    "relevance": COHENS_D,
    "gradient": COHENS_D,
    "gradient_norm": COHENS_D,
    "share": ("h", "Cohen's h of the two shares"),
    "maximum": ("A − B", "difference of the two maxima; no test is made of it"),
}
TESTS: Mapping[Measure, str] = {
    "mean": WELCH,
    "relevance": WELCH,
    "gradient": WELCH,
    "gradient_norm": WELCH,
    "share": "Fisher's exact test of the counts, adjusted for all shown channels",
    "maximum": "no test is made of maxima",
}


class DifferenceTable(Component):
    """Channels with what they are in A and in B."""

    table = SentDict(None, allow_None=True)
    chosen = SentDict({}, doc="Measure, which layers, and the channel looked at.")
    pictures = param.String(doc="Address of the pictures.")
    missing = SentDict(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = script(__file__, *CHART, "differences.js")
    _style = style(__file__, "differences.css")


class DifferencesView(Viewer):
    """The channels by which A and B differ.

    Parameters
    ----------
    model
        The channels, and intentions.
    pictures
        Address of the pictures, to which ``/layer number/channel/rank`` is added.
    layers
        Short name of each shown layer by its name, in order.
    """

    def __init__(
        self, model: DifferencesModel, *, pictures: str, layers: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        self._table = DifferenceTable(
            {
                "limit": lambda among: model.limit(among),
                "measure": lambda name: model.measure(name),
                "look_at": model.look_at,
                "show_instances": model.show_instances,
                "open": lambda instance: model.selection.open_instance(instance),
                "data": lambda kind: self._table.send_table(
                    "differences", model.table, kind
                ),
            },
            pictures=pictures,
            is_loading=model.pairs.param.is_loading,
            chosen=self._chosen(),
            **self._values(),
        )
        model.param.watch(self._update, ["found", "missing"])
        model.selection.param.watch(
            self._update_chosen, ["measure", "among", "layer", "channel", "node"]
        )

    def _update(self, *_: param.parameterized.Event) -> None:
        self._table.param.update(**self._values())

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._table.chosen = self._chosen()

    def _chosen(self) -> dict[str, object]:
        selection = self._model.selection
        return {
            "measure": selection.measure,
            "measures": list(self._model.results.neurons.measures),
            "among": selection.among,
            "layer": self._layers.get(selection.layer, selection.layer),
            "pinned": list(selection.pinned or ()),
        }

    def _values(self) -> dict[str, object]:
        found = self._model.found
        return {
            "table": None if found is None else self._drawn(found),
            "missing": missing_value(self._model.missing),
            "about": self._about(found),
        }

    def _about(self, found: Differences | None) -> dict[str, object]:
        if found is None:
            return {}
        _, effect = EFFECTS[found.measure]
        explanation = (
            f"A, B: {WORDS[found.measure]}. The bar in the middle: {effect}; to the "
            f"left more in A, to the right more in B. p: {TESTS[found.measure]}; pale "
            f"where it is {LEVEL:g} or more. The surest channels are first."
        )
        return about_chart(explanation, self._model.code)

    def _drawn(self, found: Differences) -> dict[str, object]:
        shown = found.channels[:N_ROWS]
        pair = self._model.pairs.pair
        n = len(found.channels)
        differ = "differs" if found.n_different == 1 else "differ"
        note = (
            f"{format_count(found.n_different)} of {format_count(n)} channels {differ}"
        )
        if found.measure == "maximum":
            note = f"{format_count(n)} channels"
        if n > len(shown):
            note += f"; {len(shown)} are listed"
        sign, explanation = EFFECTS[found.measure]
        return {
            "names": list(pair.names) if pair is not None else ["A", "B"],
            "note": note,
            "what": WORDS[found.measure],
            "sign": sign,
            "explanation": explanation,
            "test": TESTS[found.measure],
            "scale": max((abs(one.effect) for one in shown), default=0.0) or 1.0,
            "rows": [self._row(one, found.measure) for one in shown],
        }

    def _row(self, one: DifferingChannel, measure: Measure) -> dict[str, object]:
        write = format_percent if measure == "share" else format_value
        is_signed = measure in ("relevance", "gradient")
        largest = max(abs(one.a), abs(one.b)) or 1.0
        if measure == "share":
            largest = 1.0
        examples = channel_examples(self._model.results, one.layer, one.channel, -1)
        faces = [
            [e.rank, e.instance, f"{e.label or 'instance'} #{format_count(e.instance)}"]
            for e in examples
            if e.has_picture
        ][:N_FACES]
        labels = [e.label or f"#{e.instance}" for e in examples][:N_FACES]
        return {
            "layer": one.layer,
            "label": self._layers.get(one.layer, one.layer),
            "number": list(self._layers).index(one.layer),
            "channel": one.channel,
            "called": self._model.results.store.layer(one.layer).called(one.channel),
            "a": _signed(write(one.a)),
            "b": _signed(write(one.b)),
            "bars": [
                (abs(value) if is_signed else max(value, 0.0)) / largest
                for value in (one.a, one.b)
            ],
            "effect": one.effect,
            "effect_text": _signed(f"{one.effect:+.2f}"),
            "p": p_value_text(one.p_value),
            "is_sure": one.p_value < LEVEL,
            "faces": faces,
            "seen": ", ".join(labels),
        }

    def __panel__(self) -> Viewable:
        return self._table


def _signed(number: str) -> str:
    """Return a number with a minus that is as wide as a plus."""
    return number.replace("-", "−", 1) if number.startswith("-") else number
