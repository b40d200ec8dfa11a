"""How is the strip of layers drawn?"""

from __future__ import annotations

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.layers.model import LayerItem, LayersModel
from nnviz_dashboards.layers.network_stages import StagesModel
from nnviz_dashboards.shared.component import Component, SentDict, SentList, script
from nnviz_dashboards.shared.theme import format_count

__all__ = ["LayersView"]


class LayerStrip(Component):
    """Shown layers from input to output; one is chosen."""

    items = SentList([], doc="What the script shows of each layer.")
    chosen = param.String(doc="Name of the chosen layer.")
    stages = SentDict({}, doc="Whether it is folded, and its layers, by stage.")
    beside = SentList([], doc="Names of further layers whose neurons are open.")

    _esm = script(__file__, "layers.js")


class LayersView(Viewer):
    """The strip of layers.

    Parameters
    ----------
    model
        Its layers and intentions.
    stages
        Which of them are folded.
    """

    def __init__(self, model: LayersModel, stages: StagesModel) -> None:
        super().__init__()
        self._stages = stages
        self._strip = LayerStrip(
            {
                "choose": model.choose,
                "toggle_beside": model.toggle_beside,
                "fold": stages.toggle,
            },
            items=[_item(item) for item in model.items],
            chosen=model.selection.param.layer,
            stages=param.bind(lambda *_: self._folds(), stages.param.folded),
            beside=param.bind(
                lambda *_: list(model.selection.layers_beside),
                model.selection.param.beside,
                model.selection.param.matrix,
            ),
        )

    def _folds(self) -> dict[str, object]:
        opened = self._stages.opened
        return {
            stage: {"is_open": stage in opened, "layers": layers}
            for stage, layers in self._stages.shown.items()
        }

    def __panel__(self) -> Viewable:
        return self._strip


def _item(item: LayerItem) -> dict[str, object]:
    grid = " × ".join(map(str, item.positions)) or "1"
    return {
        "name": item.name,
        "label": item.label,
        "n_channels": item.n_channels,
        "is_input": item.kind == "input",
        "size": format_count(item.n_channels),
        "title": f"{item.name}: {item.kind}, {format_count(item.n_channels)} channels, "
        f"{grid} positions. Shift-click: open its neurons below those that are open",
    }
