"""What happens during a run? Small frozen events, and the listeners that show them.

Stages emit events and never print; the command line attaches a :class:`ProgressBar`, a
batch job a :class:`JsonLog`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO, runtime_checkable

from tqdm import tqdm

__all__ = [
    "Calls",
    "Event",
    "JsonLog",
    "Listener",
    "Notice",
    "ProgressBar",
    "StageDone",
    "StageStarted",
    "TaskDone",
    "TaskFailed",
    "TaskRetried",
    "WorkersChanged",
    "emit",
]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins."""

    stage: str
    n_tasks: int
    n_done: int = 0
    """Tasks that an earlier run has completed."""
    n_instances: int = 0
    """Instances of the tasks that are to be done; 0 where tasks are no instances."""


@dataclass(frozen=True, slots=True)
class TaskDone:
    """One task has written its output."""

    stage: str
    task: str
    n_instances: int = 0
    n_unreadable: int = 0
    n_bytes: int = 0
    batch_size: int = 0
    """Smaller than the plan's where memory was short; 0 where it says nothing."""
    worker: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went: read and decode (ahead, in threads), wait (for them),
    forward, influence, write."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """One task has failed for good."""

    stage: str
    task: str
    error: str


@dataclass(frozen=True, slots=True)
class TaskRetried:
    """An attempt of a task has failed or hangs, and what is done about it."""

    stage: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkersChanged:
    """Workers have joined the cluster, or have left it."""

    stage: str
    joined: list[str]
    lost: list[str]
    n_workers: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the reader should know."""

    stage: str
    message: str
    needs_action: bool = False
    """Whether nothing goes on until somebody does something."""


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage has ended."""

    stage: str
    n_tasks: int
    n_failed: int
    n_instances: int
    seconds: float


Event = (
    StageStarted
    | TaskDone
    | TaskFailed
    | TaskRetried
    | WorkersChanged
    | Notice
    | StageDone
)


@runtime_checkable
class Listener(Protocol):
    """Receives every event of a run, in the process that holds the client."""

    def receive(self, event: Event) -> None:
        """Take note of one event; must not raise."""


def emit(listeners: Iterable[Listener], event: Event) -> None:
    """Hand one event to every listener."""
    for listener in listeners:
        listener.receive(event)


class ProgressBar:
    """A line with rate and time left for each stage.

    Parameters
    ----------
    stream
        Where to draw; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm[Any] | None = None
        self._by_instance = False

    def receive(self, event: Event) -> None:
        """Draw the event."""
        if isinstance(event, StageStarted):
            self._by_instance = event.n_instances > 0
            self._bar = tqdm(
                total=event.n_instances if self._by_instance else event.n_tasks,
                unit=" instances" if self._by_instance else " tasks",
                unit_scale=self._by_instance,
                desc=event.stage,
                file=self._stream,
                smoothing=0.05,
                dynamic_ncols=True,
                mininterval=0.2,
            )
        elif isinstance(event, TaskDone) and self._bar is not None:
            self._bar.update(event.n_instances if self._by_instance else 1)
        elif isinstance(event, WorkersChanged) and self._bar is not None:
            self._bar.set_postfix_str(f"{event.n_workers} workers")
        elif isinstance(event, (TaskFailed, TaskRetried, Notice)):
            tqdm.write(f"{event.stage}: {_text(event)}", file=self._stream)
        elif isinstance(event, StageDone) and self._bar is not None:
            self._bar.close()
            self._bar = None


def _text(event: TaskFailed | TaskRetried | Notice) -> str:
    if isinstance(event, Notice):
        return event.message
    if isinstance(event, TaskRetried):
        return f"{event.task}: {event.reason}"
    return f"{event.task} failed: {event.error}"


class Calls:
    """A line for what needs somebody to act, and nothing else: without progress."""

    def receive(self, event: Event) -> None:
        """Write what nobody can do without."""
        if isinstance(event, Notice) and event.needs_action:
            sys.stderr.write(f"{event.stage}: {event.message}\n")
            sys.stderr.flush()


class JsonLog:
    """One JSON object a line for each event, with the time; for batch jobs.

    Parameters
    ----------
    stream
        Opened for text; flushed after every line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def receive(self, event: Event) -> None:
        """Write the event as a line."""
        record = {
            "event": type(event).__name__,
            "time": round(time.time(), 3),
            **dataclasses.asdict(event),
        }
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()
