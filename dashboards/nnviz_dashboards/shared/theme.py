"""How does the dashboard look? All colours, fonts and number formats.

One accent colour. Two font sizes. Numbers with thousands separators, shares as percent.
"""

from __future__ import annotations

import math

__all__ = [
    "ACCENT",
    "ACCENT_LIGHT",
    "FONT",
    "MUTED",
    "TEXT",
    "TOOLTIP",
    "css_variables",
    "format_count",
    "format_lift",
    "format_p",
    "format_percent",
    "format_value",
    "ramp",
    "shorten_path",
]

ACCENT = "#1a237e"
ACCENT_LIGHT = "#7986cb"
TEXT = "#1f2430"
MUTED = "#667085"
POINT = "#98a2b3"
TOOLTIP = (
    f"<div style='font: 11px sans-serif; color: {TEXT}; padding: 1px 3px'>@name</div>"
)
"""Bokeh escapes what it puts in the place of ``@name``."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

_VARIABLES = {
    "accent": ACCENT,
    "accent-light": ACCENT_LIGHT,
    "accent-wash": "#eef0fa",
    "text": TEXT,
    "muted": MUTED,
    "line": "#e4e7ec",
    "track": "#eceff3",
    "page": "#f5f6f8",
    "hover": "#f7f8fa",
    "glyph": "#cfd4dc",
    "point": POINT,
    "source": "#0b8a7a",
    "target": "#c2570c",
    "first": "#1f6feb",
    "second": "#8a2bb3",
    "shared": "#667085",
    "warning": "#8a5a00",
    "warning-wash": "#fff7e0",
    "shadow": "rgb(16 24 40 / 18%)",
    "panel": "#ffffff",
    "font": FONT,
    "mono": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    "size": "13px",
    "small": "11px",
}


def ramp(n: int = 32) -> tuple[str, ...]:
    """Return colours from that of a point to the accent.

    Examples
    --------
    >>> ramp(2)
    ('#98a2b3', '#1a237e')
    """
    ends = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (POINT, ACCENT)]
    mixed = [
        [round(a + (b - a) * k / (n - 1)) for a, b in zip(*ends, strict=True)]
        for k in range(n)
    ]
    return tuple("#" + "".join(f"{v:02x}" for v in rgb) for rgb in mixed)


def css_variables() -> str:
    """Return the theme as CSS custom properties; they reach into shadow roots."""
    body = "".join(f"--{name}:{value};" for name, value in _VARIABLES.items())
    return f":root{{{body}}}"


def format_count(value: int) -> str:
    """Return a number of things.

    Examples
    --------
    >>> format_count(1281167)
    '1,281,167'
    """
    return f"{value:,}"


def format_percent(fraction: float) -> str:
    """Return a fraction as percent; a dash where there is none.

    Examples
    --------
    >>> format_percent(0.6191), format_percent(float("nan"))
    ('61.9 %', '–')
    """
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def format_lift(lift: float) -> str:
    """Return how many times more often than in all instances.

    Examples
    --------
    >>> format_lift(7.44), format_lift(312.7), format_lift(float("nan"))
    ('7.4 ×', '313 ×', '–')
    """
    if math.isnan(lift):
        return "–"
    return f"{lift:.1f} ×" if lift < 100 else f"{lift:,.0f} ×"


def format_p(p: float) -> str:
    """Return a p-value.

    Examples
    --------
    >>> format_p(0.0312), format_p(2e-9), format_p(1.0)
    ('0.031', '2e-09', '1')
    """
    if math.isnan(p):
        return "–"
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def format_value(value: float) -> str:
    """Return a number in the unit of a layer's output.

    Examples
    --------
    >>> format_value(12.3456), format_value(0.01234), format_value(5321.8)
    ('12.3', '0.0123', '5,322')
    """
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def shorten_path(path: str) -> str:
    """Return the part of a path, or of a dotted name, that tells it from others.

    Examples
    --------
    >>> shorten_path("/data/imagenet/val"), shorten_path("torchvision:squeezenet1_0")
    ('val', 'squeezenet1_0')
    """
    return path.rstrip("/").split("/")[-1].split(":")[-1] or path
