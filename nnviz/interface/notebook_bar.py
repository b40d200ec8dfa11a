"""How far is a stage? A bar in a notebook, a line in a terminal."""

from __future__ import annotations

import html
import importlib
import sys
import time
from typing import Any

from nnviz.engine.progress import (
    Calls,
    Event,
    Listener,
    Notice,
    ProgressBar,
    StageDone,
    StageStarted,
    TaskDone,
    TaskFailed,
    TaskRetried,
    WorkersChanged,
)
from nnviz.formatting import duration_text

__all__ = ["NotebookBar", "bars"]

DRAWN_EVERY_S = 0.3


def bars(*, progress: bool) -> list[Listener]:
    """Return what shows progress where this runs; what it needs, if not wanted."""
    if not progress:
        return [Calls()]
    return [NotebookBar()] if _is_notebook() else [ProgressBar()]


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell else None
    return found is not None and hasattr(found, "kernel")


class NotebookBar:
    """One output of a notebook's cell for each stage, drawn anew as it goes on.

    It is HTML without scripts, so that a notebook that is saved or exported keeps its
    last state.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._started: StageStarted | None = None
        self._n_done = 0
        self._notes: list[str] = []
        self._begun = self._drawn = 0.0

    def receive(self, event: Event) -> None:
        """Draw the event."""
        if isinstance(event, StageStarted):
            self._started, self._n_done, self._notes = event, 0, []
            self._begun = time.monotonic()
            self._handle = None
            self._draw()
        elif isinstance(event, TaskDone) and self._started is not None:
            self._n_done += event.n_instances if self._started.n_instances else 1
            if time.monotonic() - self._drawn > DRAWN_EVERY_S:
                self._draw()
        elif isinstance(event, (TaskFailed, TaskRetried, Notice, WorkersChanged)):
            text = _text(event)
            self._notes = [*self._notes, text][-5:] if text else self._notes
            self._draw()
        elif isinstance(event, StageDone):
            self._draw(is_over=True)

    def _draw(self, *, is_over: bool = False) -> None:
        started = self._started
        if started is None:
            return
        by_instance = started.n_instances > 0
        total = max(1, started.n_instances if by_instance else started.n_tasks)
        done = total if is_over else min(self._n_done, total)
        seconds = time.monotonic() - self._begun
        unit = "instances" if by_instance else "parts"
        text = f"{done:,} of {total:,} {unit}, {duration_text(seconds)}"
        if done and not is_over:
            text += f"; about {duration_text(seconds * (total - done) / done)} left"
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self._notes)
        # A notebook has it; nothing else needs it.
        ipython: Any = importlib.import_module("IPython.display")
        drawn = ipython.HTML(
            "<div style='font-family:sans-serif;font-size:13px'>"
            f"<span style='display:inline-block;width:6em'>{started.stage}</span>"
            f"<progress value='{done}' max='{total}' aria-label='{started.stage}'>"
            f"</progress> {text}{notes}</div>"
        )
        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = ipython.display(drawn, display_id=True)
        else:
            self._handle.update(drawn)


def _text(event: TaskFailed | TaskRetried | Notice | WorkersChanged) -> str:
    if isinstance(event, Notice):
        return event.message
    if isinstance(event, WorkersChanged):
        return f"{event.n_workers} workers" if event.lost else ""
    if isinstance(event, TaskRetried):
        return f"{event.task}: {event.reason}"
    return f"{event.task} failed: {event.error}"
