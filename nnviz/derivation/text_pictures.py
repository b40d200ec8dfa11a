"""What does an example look like where the instance is a text, or the row of a table?

Of a text the token at which a channel is largest, or the window of tokens that it sees
there, in its sentence: what stands before and behind it is kept as text, and drawn as a
small picture where pictures stand. So every place that shows a picture shows the text.
"""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["TextExample", "draw_row", "draw_text", "picture_of", "text_of"]

SIDE = 96
"""Side of a picture in its own units; it is drawn at any size."""
CONTEXT = 120
"""Characters that are kept on each side of the token."""
_WIDTH = 0.6
"""Width of a character in a usual font without serifs, as a fraction of its size."""
_MARK = b'{"nnviz_text":'

_STYLE = (
    "text{font-family:system-ui,'Segoe UI',sans-serif;fill:#26241f}"
    ".ground{fill:#faf8f3}.mark{fill:#ffd95e}.token{font-weight:650}"
    ".context{fill:#625d52}"
    "@media(prefers-color-scheme:dark){text{fill:#f1eee6}.ground{fill:#26241f}"
    ".mark{fill:#ffd95e}.token{fill:#26241f}.context{fill:#c2bcae}}"
)


@dataclass(frozen=True, slots=True)
class TextExample:
    """A text with the token, or the tokens, at which a channel is largest."""

    before: str
    shown: str
    """Their characters in the text; empty where no token is meant."""
    after: str
    token: str = ""
    """The one in the middle, as the tokenizer has it."""

    @property
    def text(self) -> str:
        """The text, with the token in brackets."""
        middle = f"[{self.shown}]" if self.shown else ""
        return f"{self.before}{middle}{self.after}"

    def to_bytes(self) -> bytes:
        """Return it as it is kept in a store."""
        body = json.dumps(asdict(self), ensure_ascii=False).encode()
        return _MARK + body + b"}"

    @classmethod
    def at(cls, text: str, span: tuple[int, int], token: str) -> TextExample:
        """Return the surroundings of some characters of a text.

        Parameters
        ----------
        text
            One instance.
        span
            Characters of the tokens, half open; empty for a special token.
        token
            The one in the middle, as the tokenizer has it; empty for none.
        """
        start, stop = span
        if start == stop:
            if not token:
                return cls(_end_cut(text, 2 * CONTEXT), "", "")
            return cls("", token, f" {_end_cut(text, CONTEXT)}", token)
        before, after = text[:start], text[stop:]
        before = before if len(before) <= CONTEXT else f"…{before[-CONTEXT:]}"
        return cls(before, text[start:stop], _end_cut(after, CONTEXT), token)


def text_of(stored: bytes) -> TextExample | None:
    """Return a stored example as a text; None if it is a picture.

    Parameters
    ----------
    stored
        What stands in ``picture_bytes``.
    """
    if not stored.startswith(_MARK):
        return None
    found = json.loads(stored[len(_MARK) : -1])
    return TextExample(**found)


def picture_of(stored: bytes) -> bytes:
    """Return a stored example as a picture's file: a PNG or JPEG as it is, or an SVG.

    Parameters
    ----------
    stored
        What stands in ``picture_bytes``.
    """
    example = text_of(stored)
    if example is None:
        return stored
    if not example.shown:
        return draw_text(example.before, SIDE)
    return _drawn_example(example)


def draw_text(text: str, side: int) -> bytes:
    """Return a whole text as an SVG file.

    Parameters
    ----------
    text
        One instance.
    side
        Longer side of the place where it stands, in pixels: a longer one has more
        characters on a line.
    """
    size = 11.0 if side <= SIDE else 8.0
    lines = _wrapped(text, SIDE - 12, size, int((SIDE - 10) // (1.25 * size)))
    top = (SIDE - 1.25 * size * len(lines)) / 2 + size
    parts = [
        _line(7, top + 1.25 * size * i, size, each, "", "start")
        for i, each in enumerate(lines)
    ]
    return _file(text, parts, side)


def draw_row(values: Mapping[str, str], side: int) -> bytes:
    """Return the row of a table as an SVG file: names and values.

    Parameters
    ----------
    values
        By column.
    side
        Longer side of the place where it stands, in pixels.
    """
    size = 9.0 if side <= SIDE else 6.0
    n_lines = int((SIDE - 8) // (1.3 * size))
    shown = list(values.items())
    if len(shown) > n_lines:
        shown = [*shown[: n_lines - 1], (f"+{len(values) - n_lines + 1} more", "")]
    n = int((SIDE - 12) / (_WIDTH * size))
    parts = []
    for index, (name, value) in enumerate(shown):
        y = 5 + size + 1.3 * size * index
        value = _fitted(value, max(2 * n // 5, n - len(name) - 1))
        name = _end_cut(name, n - len(value) - bool(value))
        parts.append(_line(6, y, size, name, "context", "start"))
        parts.append(_line(SIDE - 6, y, size, value, "", "end"))
    return _file(", ".join(f"{n} {v}" for n, v in values.items()), parts, side)


def _drawn_example(example: TextExample) -> bytes:
    """Draw the token large in the middle, what stands before it above, and so on."""
    shown = " ".join(example.shown.split()) or example.token
    size = max(9.0, min(19.0, (SIDE - 14) / (_WIDTH * max(1, len(shown)))))
    shown = _end_cut(shown, int((SIDE - 10) / (_WIDTH * size)))
    width = min(SIDE - 4, _WIDTH * size * len(shown) + 10)
    middle, small = SIDE / 2, 8.5
    step = 1.2 * small
    above = _wrapped_from_end(example.before, SIDE - 8, small, 3)
    below = _wrapped(example.after, SIDE - 8, small, 3)
    left, top = middle - width / 2, middle - 0.72 * size
    rectangle = (
        f"<rect class='mark' x='{left:.1f}' y='{top:.1f}' width='{width:.1f}' "
        f"height='{1.44 * size:.1f}' rx='4'/>"
    )
    parts = [
        rectangle,
        _line(middle, middle + 0.34 * size, size, shown, "token"),
    ]
    first = middle - 0.72 * size - 4 - step * (len(above) - 1)
    for index, line in enumerate(above):
        parts.append(_line(middle, first + step * index, small, line, "context"))
    first = middle + 0.72 * size + 2 + small
    for index, line in enumerate(below):
        parts.append(_line(middle, first + step * index, small, line, "context"))
    return _file(example.text, parts)


def _file(title: str, parts: Sequence[str], side: int = SIDE) -> bytes:
    side = max(side, SIDE)
    text = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {SIDE} {SIDE}' "
        f"width='{side}' height='{side}'><title>{_escaped(title)}</title>"
        f"<style>{_STYLE}</style><rect class='ground' width='100%' height='100%'/>"
        f"{''.join(parts)}</svg>"
    )
    return text.encode("utf-8", "replace")


def _line(
    x: float, y: float, size: float, text: str, kind: str, anchor: str = "middle"
) -> str:
    return (
        f"<text class='{kind}' x='{x:.1f}' y='{y:.1f}' font-size='{size:.1f}' "
        f"text-anchor='{anchor}'>{_escaped(text)}</text>"
    )


def _escaped(text: str) -> str:
    """Escape a text; what no XML may hold becomes a blank."""
    allowed = "".join(c if c >= " " and c not in "\ufffe\uffff" else " " for c in text)
    return html.escape(allowed)


def _wrapped(text: str, width: float, size: float, n_lines: int) -> list[str]:
    """Break a text into lines; the last one says that there is more."""
    n = max(1, int(width / (_WIDTH * size)))
    lines = _lines_of(text.split(), n)
    if len(lines) > n_lines:
        lines = lines[:n_lines]
        lines[-1] = f"{lines[-1][: n - 1]}…"
    return lines


def _wrapped_from_end(text: str, width: float, size: float, n_lines: int) -> list[str]:
    """Break the end of a text into lines."""
    n = max(1, int(width / (_WIDTH * size)))
    backwards = [word[::-1] for word in reversed(text.split())]
    lines = [line[::-1] for line in reversed(_lines_of(backwards, n))]
    if len(lines) > n_lines:
        lines = lines[-n_lines:]
        lines[0] = f"…{lines[0][-(n - 1) :]}"
    return lines


def _lines_of(words: Sequence[str], n: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        while len(word) > n:
            lines.append(word[:n])
            word = word[n:]
        if lines and len(lines[-1]) + 1 + len(word) <= n:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines


def _fitted(value: str, n: int) -> str:
    """Return a value on n characters: a fraction with fewer digits, a text cut.

    Digits alone may be a code or a date, which another number would not be.
    """
    if len(value) > n and "." in value:
        with contextlib.suppress(ValueError):
            shorter = [f"{float(value):.{digits}g}" for digits in (5, 4, 3, 2, 1)]
            return next((each for each in shorter if len(each) <= n), shorter[-1])
    return _end_cut(value, n)


def _end_cut(text: str, n: int) -> str:
    return text if len(text) <= n else f"{text[: max(1, n - 1)]}…"
