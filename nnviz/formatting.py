"""How are tables, sizes, durations, p-values and differences written for people?

Names of classes, subsets and layers are data: in HTML they are always escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "differences",
    "duration_text",
    "html_table",
    "instances_text",
    "p_value_text",
    "printable",
    "said_p_value",
    "size_text",
    "text_table",
]

SHOWN_ROWS = 20

LEAST_P = 1e-300
"""Smaller p-values are told as a bound: numbers of a computer end near."""

MAX_TEXT = 40
"""Longer texts are cut in a terminal, so that rows stay in line."""


def text_table(
    title: str, columns: Sequence[tuple[str, Sequence[object] | NDArray[np.generic]]]
) -> str:
    """Return a title and columns as aligned lines.

    Parameters
    ----------
    title
        First line.
    columns
        Heading and values of each; equally many values.

    Examples
    --------
    >>> print(text_table("two", [("channel", [7, 12]), ("share", [0.5, 0.25])]))
    two
      channel  share
            7    0.5
           12   0.25
    """
    n_rows = len(columns[0][1]) if columns else 0
    texts = [
        [heading, *(_shown(value)[:MAX_TEXT] for value in values[:SHOWN_ROWS])]
        for heading, values in columns
    ]
    widths = [max(map(len, column)) for column in texts]
    lines = [
        "  "
        + "  ".join(
            text.rjust(width) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in zip(*texts, strict=True)
    ]
    return "\n".join([title, *lines, *_rest(n_rows)])


def html_table(
    title: str, columns: Sequence[tuple[str, Sequence[object] | NDArray[np.generic]]]
) -> str:
    """Return a title and columns as HTML, with every text escaped.

    Parameters
    ----------
    title
        Above the table.
    columns
        Heading and values of each; equally many values.

    Examples
    --------
    >>> html_table("<b>", [("name", ["<script>"])])[:15]
    '<b>&lt;b&gt;</b'
    """
    n_rows = len(columns[0][1]) if columns else 0
    head = "".join(
        _cell("th", heading, is_number=len(values) > 0 and _is_number(values[0]))
        for heading, values in columns
    )
    rows = "".join(
        "<tr>"
        + "".join(_cell("td", _shown(v), is_number=_is_number(v)) for v in row)
        + "</tr>"
        for row in zip(*(values[:SHOWN_ROWS] for _, values in columns), strict=True)
    )
    rest = "".join(f"<p>{html.escape(line.strip())}</p>" for line in _rest(n_rows))
    return (
        f"<b>{html.escape(title)}</b><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}"
    )


def _cell(tag: str, text: str, *, is_number: bool) -> str:
    """Return a cell, its numbers at its right; other pages style tables otherwise."""
    side = "right" if is_number else "left"
    style = f"text-align:{side};padding:0.1em 0.6em"
    return f"<{tag} style='{style}'>{html.escape(text)}</{tag}>"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def _shown(value: object) -> str:
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    return " ".join(str(value).split())


def _rest(n_rows: int) -> list[str]:
    return [f"  … {n_rows - SHOWN_ROWS:,} more"] if n_rows > SHOWN_ROWS else []


def printable(text: str) -> str:
    r"""Return a name from the data with what would move a terminal's cursor escaped.

    Examples
    --------
    >>> print(printable("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def instances_text(n: int) -> str:
    """Return a number of instances for people.

    Examples
    --------
    >>> instances_text(1), instances_text(1_281_167)
    ('1 instance', '1,281,167 instances')
    """
    return f"{n:,} instance{'' if n == 1 else 's'}"


def size_text(n_bytes: float) -> str:
    """Return a number of bytes for people, in powers of 1000.

    Examples
    --------
    >>> size_text(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:,.0f} {unit}" if unit == "B" else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> duration_text(7200)
    '2.0 h'
    """
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def p_value_text(p: float) -> str:
    """Return a p-value for people; below the smallest that is told, a bound.

    Examples
    --------
    >>> p_value_text(0.0312), p_value_text(2e-9), p_value_text(1.0), p_value_text(0.0)
    ('0.031', '2e-09', '1', '< 1e-300')
    """
    if math.isnan(p):
        return "–"
    if p < LEAST_P:
        return f"< {LEAST_P:.0e}"
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def said_p_value(p: float) -> str:
    """Return a p-value as it stands in a sentence.

    Examples
    --------
    >>> said_p_value(0.0312), said_p_value(0.0)
    ('p = 0.031', 'p < 1e-300')
    """
    text = p_value_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two JSON values differ, as ``place: one, not other``.

    Examples
    --------
    >>> differences({"a": {"b": 1}}, {"a": {"b": 2}})
    ['a.b: 1, not 2']
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found: list[str] = []
        for name in dict.fromkeys([*one, *other]):
            inner = f"{place}.{name}" if place else str(name)
            found += differences(one.get(name), other.get(name), inner)
        return found
    if one == other:
        return []
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [
            line for i, (a, b) in pairs for line in differences(a, b, f"{place}[{i}]")
        ]
    return [f"{place}: {_short(one)}, not {_short(other)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
