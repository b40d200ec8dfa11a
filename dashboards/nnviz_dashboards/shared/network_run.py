"""How does a view have the network run, where a worker is at hand? By a command."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RunNetwork"]

RunNetwork = Callable[[tuple[str, ...], Callable[[str], None]], None]
"""Runs a command, some time, and tells the second function what went wrong, if anything
did."""
