"""How is the map of the instances drawn? Points as bytes, and what is said of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import numpy as np
import param
from numpy.typing import NDArray
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.instance_map.model import InstanceMapModel, ShownMap
from nnviz_dashboards.shared.component import Component, missing_value, script, style
from nnviz_dashboards.shared.theme import format_count, format_percent, format_value

__all__ = ["InstanceMapView"]

REACH = 1.6
"""Largest coordinate that is sent; the classes are within -1 and 1."""


class InstanceMapPanel(Component):
    """Points that can be drawn around."""

    points = param.Dict(None, allow_None=True)
    names = param.List([], doc="Name of every class.")
    has_classes = param.Boolean(default=True)
    color = param.String()
    chosen = param.Integer(-1, doc="The class that is looked at.")
    pictures = param.String(doc="Address of the pictures.")
    missing = param.Dict(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = script(__file__, "instance_space.js", "instance_map.js")
    _style = style(__file__, "instance_map.css")


class InstanceMapView(Viewer):
    """The map of the instances.

    Parameters
    ----------
    model
        Points, and intentions.
    pictures
        Address of the pictures, to which ``/instances/number`` is added.
    layers
        Short name of each shown layer by its name.
    point_at
        Called with the number of the instance that is pointed at, -1 for none.
    """

    def __init__(
        self,
        model: InstanceMapModel,
        *,
        pictures: str,
        layers: Mapping[str, str],
        point_at: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        self._panel = InstanceMapPanel(
            {
                "color": lambda by: model.color(by),
                "use": model.use,
                "open": lambda number: model.open(number),
                "point": lambda number: point_at(int(number)),
            },
            names=list(model.results.store.class_names),
            has_classes=model.results.has_classes,
            pictures=pictures,
            color=model.selection.param.color,
            chosen=model.selection.param.subset,
            is_loading=model.param.is_loading,
            **self._values(),
        )
        model.param.watch(self._update, ["shown", "missing"])

    def _update(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._values())

    def _values(self) -> dict[str, object]:
        shown = self._model.shown
        return {
            "points": None if shown is None else self._drawn(shown),
            "missing": missing_value(self._model.missing),
        }

    def _drawn(self, shown: ShownMap) -> dict[str, object]:
        layer = self._layers.get(shown.map.layer, shown.map.layer)
        kept = format_percent(shown.map.kept)
        n = len(shown.instances)
        note = f"{format_count(n)} of {format_count(shown.n_usable)} instances"
        marks = shown.side + 4 * shown.is_wrong.astype(np.uint8)
        return {
            "layer": layer,
            "sides": list(shown.names),
            "note": note,
            "has_pictures": shown.has_pictures,
            "explanation": (
                f"{self._explained(layer)} No plane shows all distances: of the ten "
                f"nearest neighbours of an instance, {kept} are among its ten nearest "
                "here."
            ),
            "kept": f"{kept} of the nearest neighbours kept",
            "numbers": _encoded(shown.instances.astype("<u4")),
            "places": _encoded(_rounded(shown.places)),
            "labels": _encoded(shown.labels.astype("<i2")),
            "marks": _encoded(marks.astype(np.uint8)),
            "shades": None if shown.shades is None else _encoded(shown.shades),
            "bounds": [format_value(bound) for bound in shown.bounds],
            "classes": shown.map.classes.tolist(),
            "anchors": np.round(shown.map.class_places, 3).tolist(),
        }

    def _explained(self, layer: str) -> str:
        added = "those of A and B (500 of each, at most) with them."
        if self._model.results.has_classes:
            return (
                f"An instance stands between the classes that it resembles in {layer}, "
                "by their mean activations. As many of every class are drawn, and "
                f"{added}"
            )
        return (
            f"Instances lie along the two directions in which those of {layer} vary "
            "most, in standard deviations of each channel (principal components). Some "
            f"are drawn at random, and {added}"
        )

    def __panel__(self) -> Viewable:
        return self._panel


def _rounded(places: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return places as whole numbers, 32,767 for the largest that is sent."""
    share = np.clip(places / REACH, -1.0, 1.0)
    return np.asarray(np.round(share * 32_767).astype("<i2"))


def _encoded(values: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
