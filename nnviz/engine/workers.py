"""Which workers are there, and what are they at? Asked now and then, not per task.

Workers die, are added by a cluster that adapts itself, or are all away for a while. A
task says when it starts, and where: only so is it known whether it ran on a worker that
died, and since when it has been running.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dask
from distributed import Client, get_worker

from nnviz.engine.connection import LOST
from nnviz.engine.progress import (
    Calls,
    Listener,
    Notice,
    WorkersChanged,
    emit,
)
from nnviz.engine.whereabouts import Whereabouts, run_telling
from nnviz.errors import TaskError

__all__ = [
    "PATIENCE",
    "TOPIC",
    "TROUBLE",
    "Workers",
    "allow_time",
    "memory_limit",
    "say_started",
    "since_text",
]

TOPIC = "nnviz-started"
"""Under which tasks tell the client that they have started."""

PATIENCE = "nnviz.wait-for-workers"
"""Dask's setting of how many seconds a cluster may have no workers."""

TROUBLE = "nnviz-trouble"
"""Under which whoever starts workers tells the client that they cannot be started."""

ASKED_EVERY_S = 1.0
TOLD_AFTER_S = 5.0
"""Without workers, after which it is said that they are waited for."""


class Workers:
    """The workers of a cluster, as of a moment ago.

    Parameters
    ----------
    client
        Client of a running cluster.
    stage
        For events.
    listeners
        Told about workers that come and go. Where there are none, standard error is
        told that workers are waited for.
    patience
        Seconds without any worker after which to give up; None for Dask's setting
        ``nnviz.wait-for-workers``, 300 where there is none.
    """

    def __init__(
        self,
        client: Client,
        *,
        stage: str = "",
        listeners: Iterable[Listener] = (),
        patience: float | None = None,
    ) -> None:
        self._client = client
        self._stage = stage
        self._listeners = tuple(listeners)
        if patience is None:
            patience = float(dask.config.get(PATIENCE, 300.0))
        self._patience = patience
        self._threads: dict[str, int] = dict(client.nthreads())
        self._found = self._threads
        self._seen = time.monotonic()
        self._is_told = False
        self._trouble = ""
        self._is_closed = threading.Event()
        client.subscribe_topic(TROUBLE, self._on_trouble)
        # Beside the consumer: a scheduler that is dead answers after half a minute.
        threading.Thread(target=self._ask, name="nnviz-workers", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._is_closed.set()
        if self._client.status == "running":
            self._client.unsubscribe_topic(TROUBLE)

    @property
    def addresses(self) -> frozenset[str]:
        """Addresses of the workers."""
        return frozenset(self._threads)

    @property
    def n_threads(self) -> int:
        """Threads of all workers together; 0 while there is none."""
        return sum(self._threads.values())

    def check(self) -> None:
        """Take note of the last answer of the scheduler.

        Raises
        ------
        TaskError
            If the scheduler is lost, there has been no worker for too long, or workers
            cannot be started.
        """
        if self._client.status != "running":
            raise TaskError(LOST)
        if self._trouble:
            raise TaskError(self._trouble)
        now, found = time.monotonic(), self._found
        if found is not self._threads:
            joined, lost = found.keys() - self._threads, self._threads.keys() - found
            self._threads = found
            if joined or lost:
                event = WorkersChanged(
                    self._stage, sorted(joined), sorted(lost), len(found)
                )
                emit(self._listeners, event)
        if found:
            self._seen, self._is_told = now, False
        elif now - self._seen > TOLD_AFTER_S and not self._is_told:
            self._is_told = True
            self._tell()
        elif now - self._seen > self._patience:
            msg = (
                f"the cluster has had no workers for {since_text(now - self._seen)}; "
                "what is done is in the store: start workers ('dask worker ADDRESS') "
                "and repeat the command, or wait longer with --wait-for-workers"
            )
            raise TaskError(msg)

    def _tell(self) -> None:
        """Say that workers are waited for, where nobody listens as a warning."""
        scheduler = self._client.scheduler
        address = "" if scheduler is None else scheduler.address
        end = f"; this ends after {since_text(self._patience)} without one"
        text = (
            f"waiting for a worker of the scheduler at {address}, which has none: "
            f"start some ('dask worker {address}')"
            f"{end if math.isfinite(self._patience) else ''}"
        )
        # Some stages tell nobody anything; this is to be heard nevertheless.
        notice = Notice(self._stage or "nnviz", text, needs_action=True)
        emit(self._listeners or (Calls(),), notice)

    def _on_trouble(self, event: tuple[float, Any]) -> None:
        self._trouble = str(event[1])

    def _ask(self) -> None:
        while not self._is_closed.wait(ASKED_EVERY_S):
            # A cluster that is lost is noticed by the client's status.
            with contextlib.suppress(Exception):
                self._found = dict(self._client.nthreads())

    def end(self, address: str) -> None:
        """End the process of a worker that is of no use; its nanny starts another.

        Nobody waits for it here. A worker that has no nanny stays as it is.
        """
        threading.Thread(target=self._end, args=(address,), daemon=True).start()

    def _end(self, address: str) -> None:
        # It may have gone by itself, or the cluster with it.
        with contextlib.suppress(Exception):
            # By a signal: asked to end, a process that hangs takes its time.
            self._client.run(_end_process, workers=[address], nanny=True)


def _end_process(dask_worker: Any) -> None:
    """Kill the worker's process, in that of its nanny."""
    os.kill(dask_worker.pid, signal.SIGKILL)


def say_started(
    key: str,
    driver: Whereabouts,
    function: Callable[..., Any],
    item: Any,
    arguments: Sequence[Any],
) -> Any:
    """Run ``function(item, *arguments)`` on a worker, and tell the client before."""
    worker = get_worker()
    worker.log_event(TOPIC, {"key": key, "worker": worker.address, "allowed": 0.0})
    return run_telling(driver, function, item, *arguments)


def allow_time(seconds: float) -> None:
    """Let the deadline of the running task begin anew, in some seconds.

    For a task that is at something that takes its time, such as loading a network, and
    watches it itself: a slow start is not a task that hangs. Outside of tasks nothing
    happens.

    Parameters
    ----------
    seconds
        From now, after which the deadline begins to count; 0 for now.
    """
    # Somebody calls the task as a function, or a thread of its own asks.
    with contextlib.suppress(ValueError, KeyError):
        worker = get_worker()
        key = worker.get_current_task()
        message = {"key": key, "worker": worker.address, "allowed": seconds}
        worker.log_event(TOPIC, message)


def memory_limit() -> int | None:
    """Return the bytes that the worker of the running task may have; None for all."""
    try:
        worker = get_worker()
    except ValueError:
        return None  # no worker: somebody calls the task as a function
    return worker.memory_manager.memory_limit


def since_text(seconds: float) -> str:
    """Return a duration for a message."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
