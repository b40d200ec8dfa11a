"""Why is something not there to look at?"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Missing"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why something is not shown, and the command that makes it."""

    title: str
    text: str
    command: str = ""
