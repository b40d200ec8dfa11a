"""How is the map of the instances drawn? Points or cells as bytes, and what is said.

What is the same wherever one looks is a value of the component; the points, or cells,
of the part that is looked at are the answer to a message.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import param
from numpy.typing import NDArray
from panel.viewable import Viewable, Viewer

from nnviz.errors import ShapeError
from nnviz.formatting import instances_text
from nnviz.results.map_colors import (
    BY_CHANNEL,
    BY_CLASS,
    BY_OUTCOME,
    BY_SIDES,
    NO_VALUE,
    MapColors,
)
from nnviz.results.map_windows import MapRaster, MapWindow
from nnviz_dashboards.instance_map.model import (
    MAX_POINTS,
    InstanceMapModel,
    MapPart,
    ShownMap,
)
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
from nnviz_dashboards.shared.theme import format_count, format_percent, format_value

__all__ = ["InstanceMapView"]

MAX_CELLS = 40_000
"""Cells that are drawn: some three pixels of a screen each."""

WORDS = {
    BY_SIDES: "A and B",
    BY_OUTCOME: "right or wrong",
    BY_CLASS: "class",
    "prediction": "predicted class",
}
"""What can be coloured by, where it is no column's own name."""

CELLS: Mapping[str, str] = {
    "sides": "what it has more of than the whole map",
    "outcome": "what it has more of than the whole map",
    "category": "its most frequent category",
    "number": "the mean of those that have a value",
    "date": "the mean of those that have a value",
}
"""What colour a cell has."""


class InstanceMapPanel(Component):
    """Points, or cells, that can be drawn around."""

    shown = SentDict(None, allow_None=True, doc="What is the same wherever one looks.")
    names = SentList([], doc="Name of every class.")
    has_classes = param.Boolean(default=True)
    color = param.String()
    colors = SentList([], doc="What can be coloured by, and what it is called.")
    chosen = param.Integer(-1, doc="The class that is looked at.")
    n_chosen = param.Integer(0, doc="Instances that were drawn around.")
    pictures = param.String(doc="Address of the pictures.")
    missing = SentDict(None, allow_None=True)
    is_loading = param.Boolean(default=False)

    _esm = script(
        __file__, *CHART, "instance_space.js", "map_bytes.js", "map_legend.js",
        "instance_map.js",
    )  # fmt: skip
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
        self._version = 0  # of what is shown
        self._turn = 0  # of what the page has asked for last
        self._panel = InstanceMapPanel(
            {
                "color": lambda by: model.color(by),
                "look": self._send_part,
                "cell": self._send_cell,
                "surround": lambda loop: model.surround(loop),
                "use": lambda side: model.use(side),
                "open": lambda number: model.open(number),
                "point": lambda number: point_at(int(number)),
                "data": self._send_data,
            },
            names=list(model.results.store.class_names),
            has_classes=model.results.has_classes,
            pictures=pictures,
            color=model.selection.param.color,
            chosen=model.selection.param.subset,
            is_loading=model.param.is_loading,
            n_chosen=model.param.n_chosen,
            **self._values(),
        )
        model.param.watch(self._update, ["shown", "missing", "part"])

    def _update(self, *events: param.parameterized.Event) -> None:
        if {event.name for event in events} != {"part"}:
            self._version += 1
            self._panel.param.update(**self._values())
        if self._model.part is not None:  # else the page asks
            self._answer(self._model.part)

    def _values(self) -> dict[str, object]:
        shown = self._model.shown
        return {
            "shown": None if shown is None else self._drawn(shown),
            "missing": missing_value(self._model.missing),
            "colors": [] if shown is None else self._colors(),
            "about": {}
            if shown is None
            else about_chart(self._explained(shown), self._model.code),
        }

    def _colors(self) -> list[list[str]]:
        channel = f"channel {self._model.selection.channel}"
        words = {**WORDS, BY_CHANNEL: channel}
        return [[name, words.get(name, name)] for name in self._model.can_color]

    def _label(self, shown: ShownMap) -> str:
        return self._layers.get(shown.placed.layer, shown.placed.layer)

    def _drawn(self, shown: ShownMap) -> dict[str, object]:
        n, colors = shown.n_instances, shown.colors
        note = f"{format_count(n)} instances"
        if shown.placed.is_sample:
            note = f"{format_count(n)} of {format_count(shown.n_usable)} instances"
        low, high = (self._end(bound, colors.kind) for bound in colors.bounds)
        return {
            "version": self._version,
            "layer": self._label(shown),
            "sides": list(shown.names),
            "note": note,
            "n": n,
            "reach": shown.placed.reach,
            "has_pictures": shown.has_pictures,
            "kept": f"{format_percent(shown.placed.kept)} of the nearest neighbours "
            "kept",
            "title": colors.title,
            "kind": colors.kind,
            "categories": list(colors.names),
            "n_other": colors.n_other,
            "low": low,
            "high": high,
            "n_missing": shown.n_missing,
            "cell_color": CELLS[colors.kind],
            "classes": shown.placed.classes.tolist(),
            "anchors": base64.b64encode(shown.middles.astype("<f4").tobytes()).decode(),
        }

    @staticmethod
    def _end(bound: float, kind: str) -> str:
        if bound != bound or kind != "date":
            return format_value(bound)
        return str(np.datetime64(int(bound), "ms").astype("datetime64[D]"))

    def _send_part(
        self, version: int, turn: int, window: list[float], shape: list[int]
    ) -> None:
        """Send what is seen of the plane, once it is known."""
        if self._model.shown is None or version != self._version:
            return
        try:
            part = MapWindow(*(float(edge) for edge in window))
            cells = _fewer(shape)
        except (ShapeError, TypeError, ValueError):
            return
        self._turn = turn
        self._model.look(part, cells)

    def _answer(self, part: MapPart) -> None:
        shown = self._model.shown
        if shown is None:
            return
        sent: dict[str, object] = {"version": self._version, "turn": self._turn}
        found, raster, window = part.points, part.raster, part.window
        if found is not None:
            is_all = len(found) == shown.n_instances
            sent |= {"is_all": is_all, "points": self.packed_points(shown, found)}
            sent["n"] = len(found)
        elif raster is not None:
            most = int(raster.counts.max())
            sent |= {
                "shape": list(part.shape),
                "window": [window.left, window.right, window.bottom, window.top],
                "cells": _packed(_cells(raster, shown.colors).tobytes()),
                "most": format_count(most),
                "n": int(raster.counts.sum()),
            }
        self._panel._send_msg({"part": sent})

    @staticmethod
    def packed_points(shown: ShownMap, at: NDArray[np.int64]) -> str:
        """Return points as compressed bytes, in base64.

        Parameters
        ----------
        shown
            The map.
        at
            Places of the points in it, ascending.

        Returns
        -------
        str
            Little endian, one after the other: the step from each number of an
            instance to the next (uint32), x and y in turn (float32), class (int16),
            colour and marks (uint8).
        """
        placed = shown.placed
        numbers = np.diff(placed.instances[at], prepend=0).astype("<u4")
        places = placed.places[at].astype("<f4")
        # Sixteen bits tell a pixel at the deepest zoom; zeros are packed.
        places = (places.view("<u4") & 0xFFFFFF00).view("<f4")
        parts = (
            numbers,
            places,
            shown.labels[at].astype("<i2"),
            shown.codes[at],
            shown.marks[at],
        )
        return _packed(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))

    def _send_cell(self, version: int, turn: int, window: list[float]) -> None:
        """Send what is in the cell that is pointed at."""
        if version != self._version:
            return
        try:
            facts = self._model.cell(MapWindow(*(float(edge) for edge in window)))
        except (ShapeError, TypeError, ValueError):
            return
        shown = self._model.shown
        if facts is None or shown is None:
            return
        n = facts.n_instances
        lines = [f"{format_count(count)} {name}" for name, count in facts.told]
        n_told = sum(count for _, count in facts.told)
        if facts.told and n_told < n:
            lines.append(f"{format_count(n - n_told)} of others")
        if facts.mean == facts.mean:
            end = self._end(facts.mean, shown.colors.kind)
            lines = [f"{shown.colors.title}: {end} on average"]
        said = {
            "turn": turn,
            "title": instances_text(n),
            "lines": lines,
            "instance": facts.instance,
        }
        self._panel._send_msg({"cell": said})

    def _send_data(self, kind: str) -> None:
        self._panel.send_table(
            "map", self._model.table, kind, run_later=self._model.run_later
        )

    def _explained(self, shown: ShownMap) -> str:
        layer, kept = self._label(shown), format_percent(shown.placed.kept)
        text = (
            f"Instances lie along the two directions in which those of {layer} vary "
            "most, in standard deviations of each channel (principal components). "
        )
        if self._model.results.has_classes:
            text = (
                f"An instance stands between the classes that it resembles in {layer}, "
                "by their mean activations. "
            )
        if shown.placed.is_sample:
            text += (
                "Drawn is a sample, as many of every class; 'nnviz derive' places all "
                "of them. "
            )
        if shown.n_instances > MAX_POINTS:
            text += (
                f"Where more than {format_count(MAX_POINTS)} are in view, they are "
                "counted in cells: the stronger a cell, the more instances (on a scale "
                f"of logarithms); its colour is {CELLS[shown.colors.kind]}. Zoom in to "
                "see the instances themselves. "
            )
        return (
            f"{text}No plane shows all distances: of the ten nearest neighbours of an "
            f"instance, {kept} are among its ten nearest here (in a sample)."
        )

    def __panel__(self) -> Viewable:
        return self._panel


def _cells(raster: MapRaster, colors: MapColors) -> NDArray[np.uint8]:
    """Return how strong cells are, and their colours, shape (2, R, Q).

    In 63 steps, which the eye hardly tells apart and which are packed well; 0 has no
    point, and none that has one is 0.
    """
    share = np.log1p(raster.counts) / np.log1p(max(1, int(raster.counts.max())))
    levels = np.where(raster.counts > 0, 3 + 4 * np.round(63 * share), 0)
    codes = raster.codes
    if not colors.names:
        codes = np.where(codes == NO_VALUE, codes, codes & 0xFC)
    return np.stack([levels.astype(np.uint8), codes])


def _fewer(shape: Sequence[float]) -> tuple[int, int]:
    """Return rows and columns of cells as wished, or as many fewer as are drawn."""
    rows, columns = (min(4_000.0, max(1.0, float(cells))) for cells in shape)
    share = min(1.0, math.sqrt(MAX_CELLS / (rows * columns)))
    return max(1, int(rows * share)), max(1, int(columns * share))


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode()
