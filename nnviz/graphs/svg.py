"""How is an attribution graph drawn where there is no page? As SVG, without scripts.

The same drawing as the page's, of one graph or of two that are compared: rows are
layers, from the output down; the area of a node is the share of the subset that has the
channel on top, and the width of an arc the share in which its source is among the
strongest.

Symbols: V nodes, E arcs.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nnviz.formatting import instances_text
from nnviz.graphs.drawing import COLORS, SIZES, GraphDrawing, arc_width, node_side
from nnviz.graphs.drawn_parts import Contrast, DrawnNode, Key
from nnviz.graphs.layout import arrange_rows

__all__ = ["drawing_svg"]

SLOT, GAP, ROW_GAP = SIZES["SLOT"], SIZES["GAP"], SIZES["ROW_GAP"]
MARGIN = 20
ABOVE = 14
"""Room above a node, for its number."""
NAMES = 150
"""Room for the layers' names."""
LINE = 18
"""Height of a line of the legend."""

_STYLE = (
    f".back{{fill:{COLORS['track']}}}.rim{{fill:none;stroke:{COLORS['arc']}}}"
    f".arc{{fill:none;stroke:{COLORS['arc']};stroke-opacity:.8}}"
    f"text{{font:11px system-ui,sans-serif;fill:{COLORS['text']}}}"
    f".layer{{font-weight:600}}.number{{text-anchor:middle;fill:{COLORS['muted']};"
    f"stroke:{COLORS['panel']};stroke-width:3px;paint-order:stroke}}"
    ".picture{clip-path:inset(0 round 8px)}"
    ".face{text-anchor:middle;dominant-baseline:central}"
    f".both .rim{{stroke:{COLORS['shared']};stroke-width:3}}"
    + "".join(
        f".{side} .rim{{stroke:{COLORS[side]};stroke-width:4}}"
        f".arc.{side}{{stroke:{COLORS[side]}}}"
        for side in ("first", "second")
    )
)
_KINDS = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"<s": "svg+xml"}


def drawing_svg(drawing: GraphDrawing, pictures: Mapping[Key, bytes]) -> str:
    """Return the drawing of a graph, or of two that are compared.

    Parameters
    ----------
    drawing
        What is drawn; where its nodes have no places yet, they are arranged with few
        crossings.
    pictures
        PNG or JPEG files by layer and channel; a node without shows its number.
    """
    rows = np.array([node.row for node in drawing.nodes], dtype=np.int64)
    x = _places(drawing, rows)
    used = np.unique(rows)
    across = NAMES + MARGIN + SLOT / 2 + (x - x.min(initial=0.0)) * (SLOT + GAP)
    pitch = SLOT + ROW_GAP + ABOVE
    place = np.searchsorted(used, rows).astype(np.float64)
    down = MARGIN + ABOVE + SLOT / 2 + place * pitch
    sides = [node_side(node.shown_share) for node in drawing.nodes]
    half = np.array([side / 2 for side in sides], dtype=np.float64)
    width = float(across.max(initial=NAMES) + SLOT / 2 + MARGIN)
    foot = float(down.max(initial=0.0) + SLOT / 2 + MARGIN)
    legend = _legend(drawing, foot)
    parts = [
        f"<text class='layer' x='8' y='{down[rows == row][0] + 4:.0f}'>"
        f"{html.escape(drawing.layers[len(drawing.layers) - 1 - int(row)])}</text>"
        for row in used
    ]
    parts += _arcs(drawing, across, down, half)
    for node, centre in zip(
        drawing.nodes, zip(across.tolist(), down.tolist(), half.tolist(), strict=True),
        strict=True,
    ):  # fmt: skip
        picture = pictures.get((node.layer, node.channel), b"")
        parts.append(_node(drawing, node, centre, picture))
    parts += legend
    height = foot + LINE * len(legend)
    of = drawing.subset + (f" and {drawing.versus}" if drawing.versus else "")
    label = html.escape(f"Attribution graph of {of}", quote=True)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{label}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' style='"
        f"max-width:100%;height:auto;background:{COLORS['panel']}'>"
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>"
    )


def _places(drawing: GraphDrawing, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if drawing.places:
        return np.array(drawing.places, dtype=np.float64)
    ends = [(arc.source, arc.target) for arc in drawing.arcs]
    arcs = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    channels = np.array([node.channel for node in drawing.nodes], dtype=np.float64)
    return arrange_rows(rows, arcs, channels)


def _side(contrast: Contrast | None) -> str:
    return "" if contrast is None else f" {contrast.side}"


def _arcs(
    drawing: GraphDrawing,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    half: NDArray[np.float64],
) -> list[str]:
    drawn = []
    for arc in drawing.arcs:
        upper, lower = arc.target, arc.source
        # From the lower end of the target to the upper end of the source.
        start, stop = y[upper] + half[upper], y[lower] - half[lower]
        middle = (start + stop) / 2
        path = (
            f"M{x[upper]:.1f} {start:.1f}C{x[upper]:.1f} {middle:.1f} "
            f"{x[lower]:.1f} {middle:.1f} {x[lower]:.1f} {stop:.1f}"
        )
        drawn.append(
            f"<path class='arc{_side(arc.contrast)}' d='{path}' "
            f"stroke-width='{arc_width(arc.shown_share):.2f}'/>"
        )
    return drawn


def _node(
    drawing: GraphDrawing,
    node: DrawnNode,
    place: tuple[float, float, float],
    picture: bytes,
) -> str:
    x, y, half = place
    side = f"{2 * half:.1f}"
    box = f"x='{-half:.1f}' y='{-half:.1f}' width='{side}' height='{side}'"
    text = html.escape(node.name or str(node.channel))
    if picture:
        kind = _KINDS.get(picture[:2], "png")
        data = base64.b64encode(picture).decode()
        face = (
            f"<image class='picture' {box} preserveAspectRatio='xMidYMid slice' "
            f"href='data:image/{kind};base64,{data}'/>"
        )
    else:
        size = min(0.9 * half, 3.1 * half / max(2, len(node.name or str(node.channel))))
        face = f"<text class='face' style='font-size:{size:.1f}px'>{text}</text>"
    title = html.escape(_title(drawing, node))
    return (
        f"<g class='node{_side(node.contrast)}' transform='translate({x:.1f} {y:.1f})'>"
        f"<title>{title}</title><rect class='back' rx='8' {box}/>{face}"
        f"<rect class='rim' rx='8' {box}/>"
        f"<text class='number' y='{-half - 4:.1f}'>{text}</text></g>"
    )


def _title(drawing: GraphDrawing, node: DrawnNode) -> str:
    called = f"{node.layer}, channel {node.channel}"
    called += f", {node.name}" if node.name else ""
    said = f"on top in {node.count:,} of {drawing.n_instances:,}"
    if node.contrast is not None:
        second = f"{node.contrast.second_count:,} of {drawing.n_versus:,}"
        return f"{called}: {said} of {drawing.subset}, {second} of {drawing.versus}"
    return f"{called}: {said}" + (
        "" if math.isnan(node.lift) else f", lift {node.lift:.2f}"
    )


def _legend(drawing: GraphDrawing, foot: float) -> list[str]:
    """Return the lines that say what the colours of a comparison mean."""
    if not drawing.versus:
        return []
    meanings = {
        "shared": "both",
        "first": f"only {drawing.subset} ({instances_text(drawing.n_instances)})",
        "second": f"only {drawing.versus} ({instances_text(drawing.n_versus)})",
    }
    return [
        f"<g transform='translate(8 {foot + LINE * i:.0f})'><rect width='11' "
        f"height='11' rx='3' fill='{COLORS[role]}'/><text x='18' y='10'>"
        f"{html.escape(means)}</text></g>"
        for i, (role, means) in enumerate(meanings.items())
    ]
