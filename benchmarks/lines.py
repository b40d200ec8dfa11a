"""A plot of lines as SVG, which a document shows and no library has to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "draw"]

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 40, 46
# Told apart by those who see no red or green, too (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


@dataclass(frozen=True)
class Line:
    """One line; a dashed one is an expectation, not a measurement."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def draw(
    lines: Sequence[Line], *, title: str, x: str, y: str, log_x: bool = False
) -> str:
    """Return the plot as SVG; the axis of y begins at zero."""
    xs = [value for line in lines for value in line.x]
    low, high = min(xs), max(xs)
    top = max(value for line in lines for value in line.y) * 1.05 or 1.0
    step = 10 ** math.floor(math.log10(top / 2))
    step *= next(k for k in (1, 2, 5, 10) if top / (step * k) <= 6)

    def scaled(value: float) -> float:
        return math.log2(value) if log_x else value

    def at_x(value: float) -> float:
        span = scaled(high) - scaled(low) or 1.0
        share = (scaled(value) - scaled(low)) / span
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def at_y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    ticks = sorted(set(xs)) if log_x else [low + (high - low) * i / 4 for i in range(5)]
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    value = 0.0
    while value <= top:
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(value):.1f}" '
            f'y2="{at_y(value):.1f}" stroke="#ddd"/><text x="{LEFT - 6}" '
            f'y="{at_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
        value = round(value + step, 10)
    parts += [
        f'<text x="{at_x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" '
        f'text-anchor="middle">{tick:.4g}</text>'
        for tick in ticks
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x)}</text><text transform="translate(14 '
        f'{(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>"
    )
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        points = " ".join(
            f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in zip(line.x, line.y, strict=True)
        )
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        place = TOP + 16 * index
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{dash}/><line x1="{WIDTH - RIGHT + 8}" '
            f'x2="{WIDTH - RIGHT + 28}" y1="{place}" y2="{place}" stroke="{colour}" '
            f'stroke-width="2"{dash}/><text x="{WIDTH - RIGHT + 33}" y="{place + 4}">'
            f"{escape(line.name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
