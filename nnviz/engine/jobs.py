"""Which attempts has a task, and since when is each at work?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distributed import Future

__all__ = ["Job", "Start"]


@dataclass(slots=True)
class Start:
    """Where and when an attempt has started."""

    worker: str
    began: float
    counted_from: float
    """Its deadline counts from here: loading a network, for instance, comes before."""


@dataclass(slots=True)
class Job:
    """One item on its way, with all its attempts."""

    item: Any
    first: Any
    """The item as it was given, where a remedy has replaced it."""
    futures: dict[str, Future[Any]] = field(default_factory=dict)
    started: dict[str, Start] = field(default_factory=dict)
    """By the attempts' keys."""
    waiting_since: float = 0.0
    failures: int = 0
    strikes: int = 0
    unseen_deaths: int = 0
    overdue: int = 0

    def stood_still(self, seconds: float) -> None:
        """Let no deadline count the time in which nobody listened.

        The process that does was suspended, and its workers perhaps with it.
        """
        self.waiting_since += seconds
        for start in self.started.values():
            start.counted_from += seconds
