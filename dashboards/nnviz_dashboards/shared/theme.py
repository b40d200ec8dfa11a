"""How does the dashboard look? All colours, fonts and number formats.

One accent colour, two palettes of the same roles. Two font sizes. Numbers with
thousands separators, shares as percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from nnviz.graphs.drawing import COLORS

__all__ = [
    "DARK",
    "FONT",
    "LIGHT",
    "css_variables",
    "format_count",
    "format_lift",
    "format_percent",
    "format_value",
    "shorten_path",
]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

_CATEGORIES = {
    "light": (
        "#1f6fb4", "#cf5f00", "#2a8a3a", "#c2293a", "#7d4fb3",
        "#8a5a44", "#c93d94", "#7f7d00", "#0a8794", "#33407f",
    ),
    "dark": (
        "#5aa9f0", "#ff9c4a", "#5fc96f", "#ff6b74", "#b48cf0",
        "#c99a80", "#f285c8", "#c9c650", "#45cbd8", "#e6dcc4",
    ),
}  # fmt: skip


def _data_colors(scheme: str, scale: tuple[str, str, str]) -> dict[str, str]:
    """Return the colours of categories, and three of a scale of numbers.

    The scale becomes evenly darker, in the dark lighter, between its colours, and the
    page mixes them in a space (OKLab) in which equal steps look equal.
    """
    categories = {f"category-{i}": c for i, c in enumerate(_CATEGORIES[scheme])}
    return categories | {f"scale-{i}": c for i, c in enumerate(scale)}


LIGHT: Mapping[str, str] = {
    **COLORS,
    **_data_colors("light", ("#c78500", "#b0398a", "#1a237e")),
    "top": "#1a237e",
    "on-top": "#ffffff",
    "accent": "#1a237e",
    "accent-light": "#6f7dc7",
    "accent-wash": "#eef0fa",
    "on-accent": "#ffffff",
    "line": "#e4e7ec",
    "edge": "#878f9e",
    "page": "#f5f6f8",
    "hover": "#f2f3f7",
    "glyph": "#b3bac6",
    "point": "#878f9e",
    "heat": "#ffc41f",
    "on-heat": "#26241f",
    "dim": "#3a3f48",
    "source": "#08796b",
    "target": "#b4500a",
    "warning": "#8a5a00",
    "warning-wash": "#fff7e0",
    "shadow": "rgb(16 24 40 / 18%)",
}
"""Colours by role. `edge` is around what can be changed, `line` only separates; `top`
is the bar with the run's name; what is written on `accent` has the colour `on-accent`;
`heat` is where a channel fires, over a picture that is
darkened as far as `dim`; what is written on it has the colour `on-heat`.
"""

DARK: Mapping[str, str] = {
    **_data_colors("dark", ("#6a76cc", "#dd7cbc", "#ffe08a")),
    "top": "#1b2150",
    "on-top": "#eef0fa",
    "accent": "#aab4ff",
    "accent-light": "#7f8ceb",
    "accent-wash": "#252b4a",
    "on-accent": "#12151c",
    "text": "#e6e9ef",
    "muted": "#a5afbf",
    "line": "#2c323e",
    "edge": "#737d8f",
    "track": "#272d38",
    "page": "#10131a",
    "hover": "#1f2530",
    "glyph": "#535c6c",
    "point": "#7d8799",
    "arc": "#8a94a6",
    "heat": "#ffc41f",
    "on-heat": "#26241f",
    "dim": "#3a3f48",
    "source": "#35c4b1",
    "target": "#f2934f",
    "first": "#74adff",
    "second": "#d493f2",
    "shared": "#a5afbf",
    "warning": "#f2c063",
    "warning-wash": "#33290f",
    "shadow": "rgb(0 0 0 / 55%)",
    "panel": "#171b23",
}
"""The same roles where the visitor, or the visitor's system, wants it dark."""

_SIZES = {
    "font": FONT,
    "mono": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    "size": "13px",
    "small": "11px",
}


def css_variables() -> str:
    """Return the theme as CSS custom properties; they reach into shadow roots.

    The page is dark where the system is, unless ``data-theme`` of the root says
    ``light`` or ``dark``.
    """
    light = _declared({**LIGHT, **_SIZES, "scheme": "light"})
    dark = _declared({**DARK, "scheme": "dark"})
    return (
        f":root{{{light}color-scheme:var(--scheme)}}"
        f":root[data-theme=dark]{{{dark}}}"
        "@media (prefers-color-scheme: dark)"
        f"{{:root:not([data-theme=light]){{{dark}}}}}"
    )


def _declared(variables: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in variables.items())


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


def format_value(value: float) -> str:
    """Return a number in the unit of a layer's output.

    Examples
    --------
    >>> format_value(12.3456), format_value(0.01234), format_value(5321.8)
    ('12.3', '0.0123', '5,322')
    >>> format_value(-0.657)
    '−0.657'
    """
    if math.isnan(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−", 1) if value < 0 else text  # as wide as a plus


def shorten_path(path: str) -> str:
    """Return the part of a path, or of a dotted name, that tells it from others.

    Examples
    --------
    >>> shorten_path("/data/imagenet/val"), shorten_path("torchvision:squeezenet1_0")
    ('val', 'squeezenet1_0')

    Of what was given in memory, the mark that tells it from others of its name is cut:

    >>> shorten_path("memory:CifarResNet@928b28deab8b")
    'CifarResNet'
    """
    name = path.rstrip("/").split("/")[-1].split(":")[-1]
    return re.sub(r"(?<=.)@[0-9a-f]{12}$", "", name) or path
