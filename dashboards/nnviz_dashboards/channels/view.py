"""How are the channels of a class drawn?"""

from __future__ import annotations

from collections.abc import Mapping

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.channels.model import ChannelRow, ChannelsModel
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    SentList,
    about_chart,
    missing_value,
    script,
)
from nnviz_dashboards.shared.theme import (
    format_count,
    format_lift,
    format_percent,
    format_value,
)

__all__ = ["ChannelsView"]

EXPLANATION = (
    "Count: instances of {of} in which the channel is among the top channels of its "
    "layer. Bar: the count as a share of {of}; its mark: the share of all instances "
    "(base rate). Lift: the first share divided by the second. Examples: the instances "
    "of the whole run that excite the channel most, strongest first."
)


class ChannelList(Component):
    """The channels of A."""

    title = param.String()
    of = param.String(doc="Whose they are: of the class, or of A.")
    note = param.String()
    ranking = param.String()
    rows = SentList([])
    uses = SentList([])
    chosen = param.Integer(-1)
    pictures = param.String(doc="Address of the layer's pictures.")
    features = param.String(doc="Address of pictures of its channels' features.")
    is_cropped = param.Boolean(default=True, doc="Whether an example shows a part.")
    missing = SentDict(None, allow_None=True)
    missing_examples = SentDict(None, allow_None=True)

    _esm = script(__file__, *CHART, "channels.js")


class ChannelsView(Viewer):
    """The channels of A in the chosen layer.

    Parameters
    ----------
    model
        Rows and intentions.
    pictures
        Address of the pictures, to which ``/layer number/channel/rank`` is added.
    layers
        Short name of each shown layer by its name, in order.
    """

    def __init__(
        self,
        model: ChannelsModel,
        *,
        pictures: str,
        layers: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._model = model
        self._pictures = pictures
        self._layers = layers
        self._list = ChannelList(
            {
                "choose": model.choose,
                "choose_subset": model.choose_subset,
                "rank": lambda key: model.rank(key),
                "data": self._send_data,
                "open": lambda instance: model.selection.open_instance(instance),
            },
            is_cropped=model.are_examples_cropped,
            ranking=model.selection.param.ranking,
            chosen=model.selection.param.channel,
            **self._rows(),
            **self._uses(),
        )
        model.param.watch(self._update, ["rows", "missing", "missing_examples"])
        model.param.watch(self._update_uses, "uses")

    def _update(self, *_: param.parameterized.Event) -> None:
        self._list.param.update(**self._rows())

    def _update_uses(self, *_: param.parameterized.Event) -> None:
        self._list.param.update(**self._uses())

    def _rows(self) -> dict[str, object]:
        model, layer = self._model, self._model.selection.layer
        note = ""
        if model.rows:
            note = (
                f"{format_count(model.n_used)} of {format_count(model.n_channels)} "
                "channels are ever among the top"
            )
            if len(model.rows) < model.n_used:
                note += f"; {len(model.rows)} are shown"
        number = list(self._layers).index(layer) if layer in self._layers else 0
        return {
            "title": f"Top channels in {self._layers.get(layer, layer)}",
            "of": "the class" if model.is_of_class else "A",
            "note": note,
            "rows": [_row(row) for row in model.rows],
            "pictures": f"{self._pictures}/{number}",
            "features": f"{self._pictures}/features/{number}",
            "missing": missing_value(model.missing),
            "missing_examples": missing_value(model.missing_examples),
            "about": self._about(),
        }

    def _uses(self) -> dict[str, object]:
        uses = [
            {"subset": use.subset, "text": f"{use.name} {format_percent(use.share)}"}
            for use in self._model.uses
        ]
        return {"uses": uses}

    def _about(self) -> dict[str, object]:
        model = self._model
        of = "the class" if model.is_of_class else "A"
        return about_chart(EXPLANATION.format(of=of), model.code)

    def _send_data(self, kind: str) -> None:
        layer = self._model.selection.layer
        self._list.send_table(f"channels-{layer}", self._model.table, kind)

    def __panel__(self) -> Viewable:
        return self._list


def _row(row: ChannelRow) -> dict[str, object]:
    return {
        "channel": row.channel,
        "called": row.called,
        "count": format_count(row.count),
        "share": row.share,
        "share_text": format_percent(row.share),
        "base_rate": row.base_rate,
        "base_text": f"base {format_percent(row.base_rate)}",
        "lift": format_lift(row.lift),
        "has_feature": row.has_feature,
        "examples": [
            {
                "rank": e.rank,
                "instance": e.instance,
                "value": format_value(e.value),
                "label": e.label,
                "is_of_class": e.is_of_class,
                "has_picture": e.has_picture,
                "text": e.text,
            }
            for e in row.examples
        ],
    }
