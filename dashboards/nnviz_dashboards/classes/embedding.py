"""How are the classes of a layer drawn in the plane?

The server sends where the classes belong (``goal``) and which of them matter
(``focus``); the browser moves the points there, and decides which names fit between
them. What the browser draws (``points``, ``marks``, ``labels``) never comes back.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from bokeh.core.properties import value
from bokeh.events import DoubleTap
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    DataRange1d,
    HoverTool,
    PanTool,
    Scatter,
    TapTool,
    Text,
    WheelZoomTool,
)
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure
from bokeh.transform import linear_cmap
from numpy.typing import NDArray

from nnviz_dashboards.shared.theme import (
    ACCENT,
    ACCENT_LIGHT,
    FONT,
    MUTED,
    TEXT,
    TOOLTIP,
    ramp,
)

__all__ = ["Columns", "EmbeddingFigure", "focus_data", "goal_data", "make_embedding"]

CODE = (Path(__file__).parent / "embedding_figure.js").read_text(encoding="utf-8")

POINT_SIZE = 6

Columns: TypeAlias = dict[str, Any]
"""Values of a data source by column: arrays or lists of one length."""


@dataclass(frozen=True, slots=True)
class EmbeddingFigure:
    """The figure and the sources that a view changes."""

    figure: figure
    goal: ColumnDataSource
    focus: ColumnDataSource
    points: ColumnDataSource
    """What is drawn; its selection is what was tapped."""


def goal_data(
    places: NDArray[np.float32] | None,
    subsets: NDArray[np.int64],
    names: Sequence[str],
    shade: NDArray[np.float64] | None,
) -> Columns:
    """Return where each class belongs.

    Parameters
    ----------
    places
        Embedding of all classes, shape (S, 2), in -1 to 1; NaN for none,
        None where there is no embedding.
    subsets
        Indices of the classes that are drawn, shape (P,).
    names
        Their names, P of them.
    shade
        From 0 (grey) to the largest (accent) for all classes, shape (S,), or None for
        grey.
    """
    if places is None:
        places = np.full((int(subsets.max(initial=0)) + 1, 2), np.nan, np.float32)
    shades = np.zeros(len(subsets)) if shade is None else shade[subsets]
    shades = shades / max(float(shades.max(initial=0)), 1e-12)
    return {
        "x": places[subsets, 0].astype(np.float32),
        "y": places[subsets, 1].astype(np.float32),
        "shade": shades.astype(np.float32),
        "subset": subsets.astype(np.int32),
        "name": list(names),
    }


def focus_data(
    chosen: int, others: NDArray[np.int64], hovered: int, *, role: str = "near"
) -> Columns:
    """Return which classes matter: the hovered one, the chosen one, others.

    Parameters
    ----------
    chosen, hovered
        -1 for none.
    others
        Most important first, shape (n,).
    role
        Roles of the others: ``near`` are marked and named, ``user`` are named only.
    """
    rows = [(chosen, "chosen")] if chosen >= 0 else []
    if hovered >= 0 and hovered != chosen:
        rows.insert(0, (hovered, "hovered"))
    rows += [(int(i), role) for i in others if i not in (chosen, hovered)]
    return {"subset": [row[0] for row in rows], "role": [row[1] for row in rows]}


def make_embedding(goal: Columns, focus: Columns) -> EmbeddingFigure:
    """Draw the classes; equal distances are equal in both directions."""
    sources = {
        "goal": ColumnDataSource(goal),
        "focus": ColumnDataSource(focus),
        "points": ColumnDataSource(copy.deepcopy(goal)),
        "marks": ColumnDataSource(_empty("x", "y", "role", "size", "color")),
        "labels": ColumnDataSource(
            _empty("x", "y", "text", "dx", "dy", "align", "weight", "color")
        ),
    }
    drawn = _empty_figure()
    points = drawn.scatter(
        "x", "y", source=sources["points"], size=POINT_SIZE, line_color=None,
        fill_color=linear_cmap("shade", ramp(), 0, 1), fill_alpha=0.75,
    )  # fmt: skip
    points.nonselection_glyph = None
    points.selection_glyph = None
    _add_names(drawn, sources["labels"])
    drawn.scatter(
        "x", "y", source=sources["marks"], size="size", line_color="white",
        line_width=1.5, fill_color="color",
    )  # fmt: skip
    _add_tools(drawn, points)
    _add_redrawing(drawn, sources)
    return EmbeddingFigure(drawn, sources["goal"], sources["focus"], sources["points"])


def _empty_figure() -> figure:
    # The frame is the same for all layers, so that nothing but the points moves.
    frame = GlyphRenderer(
        data_source=ColumnDataSource({"x": [-1, 1], "y": [-1, 1]}),
        glyph=Scatter(x="x", y="y", size=0, fill_alpha=0, line_alpha=0),
    )
    x_range, y_range = (
        DataRange1d(range_padding=0.14, renderers=[frame]) for _ in range(2)
    )
    drawn = figure(
        sizing_mode="stretch_both",
        min_height=120,
        min_width=200,
        toolbar_location=None,
        match_aspect=True,
        output_backend="webgl",
        x_range=x_range,
        y_range=y_range,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=0,
        tools=[],
    )
    drawn.axis.visible = False
    drawn.grid.visible = False
    drawn.renderers.append(frame)
    return drawn


def _add_names(drawn: figure, labels: ColumnDataSource) -> None:
    names = Text(
        x="x", y="y", text="text", x_offset="dx", y_offset="dy",
        text_baseline="middle",
        text_font=value(FONT), text_font_size="11px", text_font_style="weight",
        text_align="align", text_color="color", background_fill_color="white",
        background_fill_alpha=0.7,
    )  # fmt: skip
    drawn.add_glyph(labels, names)


def _add_tools(drawn: figure, points: GlyphRenderer[Scatter]) -> None:
    zoom = WheelZoomTool(zoom_on_axis=False)
    drawn.add_tools(
        PanTool(), zoom, TapTool(renderers=[points]),
        HoverTool(renderers=[points], tooltips=TOOLTIP, attachment="above"),
    )  # fmt: skip
    drawn.toolbar.active_scroll = zoom
    reset = CustomJS(args={"plot": drawn}, code="plot.reset.emit()")
    drawn.js_on_event(DoubleTap, reset)


def _add_redrawing(drawn: figure, sources: dict[str, ColumnDataSource]) -> None:
    colors = {"chosen": ACCENT, "hovered": ACCENT, "near": ACCENT_LIGHT}
    redraw = CustomJS(
        args={
            **sources, "plot": drawn, "colors": colors, "font": FONT, "ink": TEXT,
            "muted": MUTED,
        },
        code=CODE,
    )  # fmt: skip
    for source in (sources["goal"], sources["focus"]):
        source.js_on_change("data", redraw)
    for axis in (drawn.x_range, drawn.y_range):
        axis.js_on_change("start", redraw)
    drawn.js_on_change("inner_width", redraw)


def _empty(*names: str) -> Columns:
    return {name: [] for name in names}
