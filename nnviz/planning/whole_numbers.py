"""Which whole number does a label spell?

Tables and text files have no types: pandas writes 10 as ``10.0`` where another label is
missing, ``numpy.savetxt`` as ``1.000000000000000000e+01``, a spreadsheet as ``10,0``,
and others leave blanks around it. All of these are the same class.
"""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["is_number", "whole_number"]

_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d{1,3})?", re.IGNORECASE)

_MAX_DIGITS = 18
"""A longer number is no index of anything; it is left a text."""


def is_number(label: str | int) -> bool:
    """Whether a label spells a number, whole or not.

    Examples
    --------
    >>> is_number(" 10.5"), is_number("n01440764")
    (True, False)
    """
    return isinstance(label, int) or _decimal(label) is not None


def whole_number(label: str | int) -> int | None:
    """Return the whole number that a label spells; None for anything else.

    Examples
    --------
    >>> [whole_number(text) for text in ("10", " 10.0 ", "1e1", "+10", "10,0", "010")]
    [10, 10, 10, 10, 10, 10]
    >>> [whole_number(text) for text in ("10.5", "ten", "", "nan", "10 000")]
    [None, None, None, None, None]
    """
    if isinstance(label, int):
        return label
    value = _decimal(label)
    if value is None or value.adjusted() >= _MAX_DIGITS or value % 1:
        return None
    return int(value)


def _decimal(text: str) -> Decimal | None:
    text = text.strip()
    if not text.isascii() or _NUMBER.fullmatch(text) is None:
        return None
    return Decimal(text.replace(",", "."))
