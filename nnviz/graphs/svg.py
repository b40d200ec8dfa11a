"""How is an attribution graph drawn where there is no page? As SVG, without scripts.

The same drawing as the page's: rows are layers, from the output down; the area of a
node is the share of the subset that has the channel on top, and the width of an arc the
share in which its source is among the strongest. ``graph_scene.js`` has the same
numbers, which a test holds together.

Symbols: V nodes, E arcs.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.layout import arrange_rows

__all__ = ["arc_width", "graph_svg", "node_side"]

SLOT = 64
"""Side of the largest node, in pixels."""
LEAST = 20
"""Side of a node that is on top nowhere."""
GAP = 26
ROW_GAP = 30
WIDEST = 11
"""Width of an arc that all instances have."""
MARGIN = 20
NAMES = 150
"""Room for the layers' names."""

_STYLE = (
    ".back{fill:#f5f6f8}.rim{fill:none;stroke:#98a2b3}.arc{fill:none;stroke:#7986cb;"
    "stroke-opacity:.55}text{font:11px system-ui,sans-serif;fill:#1f2430}"
    ".layer{font-weight:600}.number{text-anchor:middle;fill:#475467;stroke:#fff;"
    "stroke-width:3px;paint-order:stroke}.picture{clip-path:inset(0 round 8px)}"
    ".face{text-anchor:middle;dominant-baseline:central}"
)
_KINDS = {b"\x89P": "png", b"\xff\xd8": "jpeg"}


def node_side(share: float) -> float:
    """Return the side of a node in pixels, whose area beyond the least is a share.

    Examples
    --------
    >>> node_side(0.0), node_side(1.0)
    (20.0, 64.0)
    """
    known = 0.0 if math.isnan(share) else min(1.0, max(0.0, share))
    return LEAST + (SLOT - LEAST) * math.sqrt(known)


def arc_width(share: float) -> float:
    """Return the width of an arc in pixels.

    Examples
    --------
    >>> arc_width(0.0), arc_width(1.0)
    (0.8, 11.0)
    """
    return max(0.8, WIDEST * (0.0 if math.isnan(share) else share))


def graph_svg(
    graph: AttributionGraph,
    pictures: Mapping[tuple[str, int], bytes],
    names: tuple[str, ...] = (),
) -> str:
    """Return the drawing of a graph.

    Parameters
    ----------
    graph
        Its last layer is at the top.
    pictures
        PNG or JPEG files by layer and channel; a node without shows its number.
    names
        Of the channels of the last layer, if it is the network's output.
    """
    rows = len(graph.layers) - 1 - graph.layer.astype(np.int64)
    arcs = np.stack([graph.source, graph.target]).astype(np.int64)
    x = arrange_rows(rows, arcs, graph.channel.astype(np.float64))
    used = np.unique(rows)
    place_of = {int(row): number for number, row in enumerate(used)}
    centre = np.array([place_of[int(row)] for row in rows], dtype=np.float64)
    across = NAMES + MARGIN + SLOT / 2 + (x - x.min(initial=0.0)) * (SLOT + GAP)
    down = MARGIN + SLOT / 2 + centre * (SLOT + ROW_GAP + 14)
    width = float(across.max(initial=NAMES) + SLOT / 2 + MARGIN)
    height = float(down.max(initial=0.0) + SLOT / 2 + MARGIN + 14)
    half = np.array([node_side(share) / 2 for share in graph.share.tolist()])
    parts = [
        f"<text class='layer' x='8' y='{down[rows == row][0] + 4:.0f}'>"
        f"{html.escape(graph.layers[len(graph.layers) - 1 - int(row)])}</text>"
        for row in used
    ]
    parts += _arcs(graph, across, down, half)
    for node, (layer, channel) in enumerate(graph):
        is_output = layer == graph.layers[-1] and channel < len(names)
        name = names[channel] if is_output else ""
        picture = pictures.get((layer, channel), b"")
        called = f"{layer}, channel {channel}" + (f", {name}" if name else "")
        title = f"{called}: {_said(graph, node)}"
        place = (float(across[node]), float(down[node]), float(half[node]))
        parts.append(_node(place, channel, name, picture, title))
    label = html.escape(f"Attribution graph of {graph.subset}", quote=True)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{label}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"style='max-width:100%;height:auto;background:#fff'><style>{_STYLE}</style>"
        f"{''.join(parts)}</svg>"
    )


def _arcs(
    graph: AttributionGraph,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    half: NDArray[np.float64],
) -> list[str]:
    drawn = []
    for arc, share in enumerate(graph.arc_share.tolist()):
        upper, lower = int(graph.target[arc]), int(graph.source[arc])
        # From the lower end of the target to the upper end of the source.
        start, stop = y[upper] + half[upper], y[lower] - half[lower]
        middle = (start + stop) / 2
        path = (
            f"M{x[upper]:.1f} {start:.1f}C{x[upper]:.1f} {middle:.1f} "
            f"{x[lower]:.1f} {middle:.1f} {x[lower]:.1f} {stop:.1f}"
        )
        width = arc_width(share)
        drawn.append(f"<path class='arc' d='{path}' stroke-width='{width:.2f}'/>")
    return drawn


def _node(
    place: tuple[float, float, float],
    channel: int,
    name: str,
    picture: bytes,
    title: str,
) -> str:
    x, y, half = place
    side = f"{2 * half:.1f}"
    box = f"x='{-half:.1f}' y='{-half:.1f}' width='{side}' height='{side}'"
    if picture:
        kind = _KINDS.get(picture[:2], "png")
        data = base64.b64encode(picture).decode()
        face = (
            f"<image class='picture' {box} preserveAspectRatio='xMidYMid slice' "
            f"href='data:image/{kind};base64,{data}'/>"
        )
    else:
        text = name or str(channel)
        size = min(0.9 * half, 3.1 * half / max(2, len(text)))
        face = (
            f"<text class='face' style='font-size:{size:.1f}px'>"
            f"{html.escape(text)}</text>"
        )
    return (
        f"<g transform='translate({x:.1f} {y:.1f})'><title>{html.escape(title)}</title>"
        f"<rect class='back' rx='8' {box}/>{face}<rect class='rim' rx='8' {box}/>"
        f"<text class='number' y='{half + 12:.1f}'>"
        f"{html.escape(name) or channel}</text></g>"
    )


def _said(graph: AttributionGraph, node: int) -> str:
    said = f"on top in {graph.count[node]:,} of {graph.n_instances:,}"
    lift = float(graph.lift[node])
    return said if math.isnan(lift) else f"{said}, lift {lift:.2f}"
