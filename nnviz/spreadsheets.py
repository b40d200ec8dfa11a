"""Which texts would a spreadsheet run, and how are they written so that it does not?

Names of classes, files and subsets are data of others. A spreadsheet takes a text that
begins like a formula for one, and a formula may start programs.
"""

from __future__ import annotations

from typing import Any

__all__ = ["FORMULA_STARTS", "LINE_END", "as_meant", "defused"]

LINE_END = "\r\n"
"""Of tables, as RFC 4180 has it. Python's writers quote what the ends of lines are made
of: with another one, a carriage return in a text begins a new row."""

FORMULA_STARTS = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A text that begins so is run; the last four are wide forms of the first."""


def defused(value: Any) -> Any:
    """Put an apostrophe in front of a text that a spreadsheet would run.

    Parameters
    ----------
    value
        Of a cell. Numbers, negative ones too, stay as they are.

    Examples
    --------
    >>> defused("=1+1"), defused("plain"), defused(-1)
    ("'=1+1", 'plain', -1)
    """
    return "'" + value if isinstance(value, str) and _is_run(value) else value


def as_meant(text: str) -> str:
    """Take the apostrophe away that :func:`defused` has put in front.

    Parameters
    ----------
    text
        Of a cell.

    Examples
    --------
    >>> as_meant("'=1+1"), as_meant("'plain'")
    ('=1+1', "'plain'")
    """
    return text[1:] if text.startswith("'") and _is_run(text) else text


def _is_run(text: str) -> bool:
    # With its apostrophes: one more, or one less, is then always the other's text.
    return text.lstrip("'").startswith(FORMULA_STARTS)
