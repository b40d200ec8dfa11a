"""What becomes of each task? It is submitted, watched, and repeated where it helps.

The scheduler sees a window of tasks, never all of them: its memory and its time per
task stay flat, and a dying worker drags few innocent tasks along.

What Dask does not decide is decided here:

* Every task that was assigned to a dying worker is reported as `KilledWorker`, running
  or not. One that had not started is repeated and not blamed.
* A task that takes far longer than others is given to another worker as well. The
  first result counts, and the worker that hangs is ended. What a task says to take its
  time, such as loading the network on a new worker, is not counted.
* Memory that is short, a death or a deadline is a strike. From the second on, a stage
  may have a remedy: the same work in another way.
* Faults of file systems and connections are repeated after a pause that grows.
* A cluster without workers is waited for, but not for ever.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import queue
import statistics
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from distributed import Client, Future, KilledWorker

from nnviz.engine.connection import LOST, NotThereError, Results, connected
from nnviz.engine.jobs import Job, Start
from nnviz.engine.progress import Listener, Notice, TaskRetried, emit
from nnviz.engine.sharing import Shared
from nnviz.engine.standstill import Standstill
from nnviz.engine.whereabouts import whereabouts
from nnviz.engine.workers import TOPIC, Workers, say_started, since_text
from nnviz.errors import (
    DeviceLostError,
    NnvizError,
    OutOfTimeError,
    TaskError,
    TaskMemoryError,
    TaskOverdueError,
    WorkersDiedError,
)

__all__ = ["Remedy", "RunLimits", "TaskOutcome", "TaskRun", "run_tasks"]

ATTEMPTS = 5
"""How often a task is tried when the file system or a connection fails."""

REMEDIED = 2
"""Strikes of a task from which on a remedy is asked for."""

STRIKES = 4
"""Strikes of a task for which there is no remedy, after which it has failed."""

UNSEEN_DEATHS = 2
"""Deaths before a task has said that it started, after which it is blamed all the same:
the message of one that kills at once may be lost."""

PAUSES_S = (0.2, 1.0, 3.0, 10.0)
"""Before the second and further attempts."""

MIN_DEADLINE_S = 60.0
SLOW_S = 600.0
"""Without any result, after which it is said: nothing is known of what is usual."""

MEDIANS = 10.0
TICK_S = 0.5

Item = TypeVar("Item")

Remedy = Callable[[Any, BaseException, int], Any]
"""From an item, its last fault and strikes to the item to try next; None gives up."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long things may take."""

    deadline: float | None = None
    """Seconds after which a task is given to another worker as well; None for 10 times
    the median of the tasks so far, and at least a minute. Where a worker loads the
    network first, they count from then."""
    wait_for_workers: float | None = None
    """Seconds without any worker after which a run ends; None for what the cluster was
    started with: 5 minutes, or no limit where workers wait in a queue."""
    stop_at: float | None = None
    """No task is started that would not end before, on the clock of
    `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class TaskOutcome(Generic[Item]):
    """What became of one task."""

    item: Item
    value: Any = None
    error: BaseException | None = None
    """Why it failed for good; None if it did not."""


class TaskRun:
    """The state of one :func:`run_tasks`; only the consumer's thread changes it."""

    def __init__(
        self,
        client: Client,
        function: Callable[..., Any],
        items: Iterator[Any],
        arguments: tuple[Any, ...],
        *,
        window: int | None,
        limits: RunLimits,
        remedy: Remedy | None,
        shared: Shared | None,
        stage: str,
        listeners: tuple[Listener, ...],
    ) -> None:
        self._client, self._function = client, function
        self._items, self._arguments = items, arguments
        self._window, self._limits, self._remedy = window, limits, remedy
        self._stage, self._listeners = stage, listeners
        self._workers = Workers(
            client, stage=stage, listeners=listeners, patience=limits.wait_for_workers
        )
        self._shared, self._results = shared, Results()
        self._news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self._paused: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._seconds: collections.deque[float] = collections.deque(maxlen=200)
        self._is_exhausted = False
        self._is_late = False
        self._standstill = Standstill()
        self._began = self._watched = time.monotonic()
        self._is_told = False
        self._ready: collections.deque[TaskOutcome[Any]] = collections.deque()
        client.subscribe_topic(TOPIC, self._on_started)

    def close(self) -> None:
        """Let go of what still runs."""
        self._jobs.clear()
        self._standstill.close()
        self._workers.close()
        if self._client.status == "running":
            self._client.unsubscribe_topic(TOPIC)

    def outcomes(self) -> Iterator[TaskOutcome[Any]]:
        """Submit, watch and repeat until everything has an outcome."""
        self._fill()
        while self._jobs or self._paused:
            self._advance()
            self._fill()
            while self._ready:
                yield self._ready.popleft()
        if self._is_late:
            msg = "the time limit came before all tasks were started"
            raise OutOfTimeError(msg)

    def _advance(self) -> None:
        """Wait for news, for a moment, and act on them."""
        try:
            kind, news = self._news.get(timeout=TICK_S)
        except queue.Empty:
            kind, news = "tick", None
        if kind == "started" and news["key"] in self._jobs:
            now, started = time.monotonic(), self._jobs[news["key"]].started
            start = started.setdefault(news["key"], Start(news["worker"], now, now))
            start.counted_from = now + news["allowed"]
        elif kind == "done":
            self._settle(news)
        self._workers.check()
        self._watch()

    def _fill(self) -> None:
        now = time.monotonic()
        while self._paused and self._paused[0][0] <= now:
            self._submit(heapq.heappop(self._paused)[2])
        limit = self._window or 2 * max(1, self._workers.n_threads)
        while len(self._jobs) < limit and not self._is_exhausted:
            if self._would_be_late(now):
                self._is_late = self._is_exhausted = True
                return
            try:
                item = next(self._items)
            except StopIteration:
                self._is_exhausted = True
                return
            self._submit(Job(item, item))

    def _submit(self, job: Job, *, without: str | None = None) -> None:
        arguments = self._arguments
        if self._shared is not None:
            arguments = (*arguments, self._shared.on(self._client, self._workers))
        key = f"{self._function.__name__}-{uuid.uuid4().hex}"
        others = sorted(self._workers.addresses - {without}) if without else []
        future = self._client.submit(
            say_started,
            key,
            whereabouts(),
            self._function,
            job.item,
            arguments,
            key=key,
            pure=False,
            workers=others or None,
            allow_other_workers=bool(others),
            retries=0,
        )
        job.futures[key], self._jobs[key] = future, job
        job.waiting_since = time.monotonic()
        future.add_done_callback(lambda done: self._news.put(("done", done)))

    def _on_started(self, event: tuple[float, Any]) -> None:
        self._news.put(("started", event[1]))

    def _settle(self, future: Future[Any]) -> None:
        """Take note of an attempt that has ended; its job may go on."""
        key = str(future.key)
        job = self._jobs.get(key)
        if job is None:
            return  # another attempt was faster
        if future.status == "cancelled":
            if self._shared is None or self._client.status != "running":
                raise TaskError(LOST)
            # What was sent to all workers has died with them.
            self._forget(job, key)
            if not job.futures:
                self._tell(job, "all workers died that had its data; it is repeated")
                self._submit(job)
            return
        if future.status == "error":
            error = future.exception()
            assert error is not None
            worker = self._forget(job, key)
            if not job.futures:  # else another attempt is still running
                self._failed(job, error, worker)
            return
        try:
            value = self._results.value_of(future)
        except NotThereError:
            # If its worker has stopped, it is overdue some time.
            self._news.put(("done", future))
            return
        if key in job.started:
            self._seconds.append(time.monotonic() - job.started[key].began)
        self._forget(job, key)
        self._drop_others(job)
        self._ready.append(TaskOutcome(job.first, value=value))

    def _forget(self, job: Job, key: str) -> str | None:
        """Drop an attempt; return the worker on which it has started."""
        self._jobs.pop(key, None)
        job.futures.pop(key, None)
        start = job.started.pop(key, None)
        return None if start is None else start.worker

    def _drop_others(self, job: Job) -> None:
        """Forget the slower attempts, and end the workers that hang in them."""
        deadline = self._deadline(job)
        for key in list(job.futures):
            start = job.started.get(key)
            worker = self._forget(job, key)
            is_over = (
                start is not None
                and deadline is not None
                and time.monotonic() - start.counted_from > deadline
            )
            if worker is not None and (is_over or job.overdue):
                self._workers.end(worker)

    def _failed(self, job: Job, error: BaseException, worker: str | None) -> None:
        if isinstance(error, KilledWorker):
            address = error.last_worker.address
            is_blamed = worker is not None or job.unseen_deaths >= UNSEEN_DEATHS
            if not is_blamed:
                job.unseen_deaths += 1
                text = f"worker {address} died before it started; it is repeated"
                self._tell(job, text)
                self._submit(job)
                return
            text = f"worker {address} died while it ran"
            self._struck(job, WorkersDiedError(text), text)
        elif isinstance(error, (MemoryError, TaskMemoryError)):
            self._struck(job, error, str(error) or "there was not enough memory")
        elif _may_pass(error) and job.failures < ATTEMPTS - 1:
            if isinstance(error, DeviceLostError) and worker is not None:
                self._workers.end(worker)
            self._pause(job, f"{type(error).__name__}: {error}")
        else:
            self._ready.append(TaskOutcome(job.first, error=error))

    def _struck(self, job: Job, error: BaseException, reason: str) -> None:
        """Repeat a job that may be guilty; from the second strike on, by a remedy."""
        job.strikes += 1
        if self._remedy is not None and job.strikes >= REMEDIED:
            item = self._remedy(job.item, error, job.strikes)
        else:
            item = job.item if job.strikes < STRIKES else None
        if item is None:
            self._ready.append(TaskOutcome(job.first, error=error))
            return
        other = "" if item == job.item else f" as {item}"
        self._tell(job, f"{reason}; it is repeated{other}")
        job.item = item
        self._submit(job)

    def _pause(self, job: Job, reason: str) -> None:
        job.failures += 1
        pause = PAUSES_S[min(job.failures, len(PAUSES_S)) - 1]
        due = time.monotonic() + pause
        self._tell(job, f"{reason}; attempt {job.failures + 1} in {pause:g} s")
        heapq.heappush(self._paused, (due, next(self._order), job))

    def _deadline(self, job: Job) -> float | None:
        """Seconds that an attempt may take; None while nothing is known of others."""
        limit = self._limits.deadline
        if limit is None:
            if not self._seconds:
                return None
            limit = max(MIN_DEADLINE_S, MEDIANS * statistics.median(self._seconds))
        return limit * 2.0**job.overdue

    def _watch(self) -> None:
        """Look for attempts that hang, and for the end of the time."""
        now = time.monotonic()
        if now - self._watched < TICK_S:
            return
        self._watched = now
        if self._limits.stop_at is not None and now > self._limits.stop_at:
            msg = "the time limit came while tasks were running"
            raise OutOfTimeError(msg)
        if not self._seconds and now - self._began > SLOW_S and not self._is_told:
            self._is_told = True
            text = (
                f"no task is done after {since_text(now - self._began)}; --deadline "
                "gives those that hang to other workers"
            )
            emit(self._listeners, Notice(self._stage, text))
        n_workers = len(self._workers.addresses)
        stood_still = self._standstill.taken()
        for job in self._different_jobs():
            job.stood_still(stood_still)
            if n_workers == 0:
                job.waiting_since = now  # nobody could have started it
            deadline = self._deadline(job)
            if deadline is None:
                continue
            if job.started:
                latest = max(start.counted_from for start in job.started.values())
                if now - max(latest, job.waiting_since) > deadline:
                    began = max(start.began for start in job.started.values())
                    self._overdue(job, now - began)
            elif now - job.waiting_since > 2 * deadline and n_workers > 1:
                # Behind a task that hangs, or at a worker that does not even say so.
                text = f"it has been waiting for {since_text(now - job.waiting_since)}"
                self._tell(job, f"{text}; another worker may take it")
                self._submit(job)

    def _different_jobs(self) -> Iterable[Job]:
        """Return the jobs, each once, however many attempts it has."""
        return {id(job): job for job in self._jobs.values()}.values()

    def _overdue(self, job: Job, seconds: float) -> None:
        job.overdue += 1
        job.waiting_since = time.monotonic()
        workers = [start.worker for start in job.started.values()]
        text = f"it has been running for {since_text(seconds)} on {workers[-1]}"
        if job.overdue == 1 and self._workers.addresses - set(workers):
            job.strikes += 1
            self._tell(job, f"{text}; another worker gets it too")
            self._submit(job, without=workers[0])
            return
        # Nobody else is there, or others hang in it too.
        for worker in workers:
            self._workers.end(worker)
        for key in list(job.futures):
            self._forget(job, key)
        self._struck(job, TaskOverdueError(text), text)

    def _would_be_late(self, now: float) -> bool:
        """Whether a task that is submitted now would end after the time limit."""
        if self._limits.stop_at is None:
            return False
        if now >= self._limits.stop_at:
            return True
        if not self._seconds:
            return False
        n_waiting = sum(key not in job.started for key, job in self._jobs.items())
        turns = 1 + n_waiting // max(1, self._workers.n_threads)
        running = 1 if self._jobs else 0
        return now + (turns + running) * max(self._seconds) > self._limits.stop_at

    def _tell(self, job: Job, reason: str) -> None:
        emit(self._listeners, TaskRetried(self._stage, str(job.first), reason))


def _may_pass(error: BaseException) -> bool:
    """Whether the next attempt may succeed: a file system's error, a connection's."""
    if isinstance(error, DeviceLostError):
        return True
    return isinstance(error, (OSError, EOFError)) and not isinstance(error, NnvizError)


def run_tasks(
    client: Client,
    function: Callable[..., Any],
    items: Iterable[Item],
    *,
    arguments: Sequence[Any] = (),
    shared: Shared | None = None,
    window: int | None = None,
    limits: RunLimits | None = None,
    remedy: Remedy | None = None,
    stage: str = "",
    listeners: Iterable[Listener] = (),
) -> Generator[TaskOutcome[Item], None, None]:
    """Run ``function(item, *arguments)`` for every item, a bounded number at a time.

    Parameters
    ----------
    client
        Client of a running cluster.
    function
        Module-level function; may run several times for one item, also at the same
        time, and must not mind.
    items
        Small values, one for each task; their text names the task in events.
    arguments
        Further arguments, the same for every task, and small.
    shared
        A last argument that is large; None for none.
    window
        Tasks handed to the scheduler at a time; None for twice the workers' threads.
    limits
        How long things may take.
    remedy
        What to run instead of an item that kills its worker, hangs, or needs more
        memory than there is, for the second time; None to repeat it a few times.
    stage
        For events.
    listeners
        Told about attempts that failed, and about workers that come and go.

    Yields
    ------
    TaskOutcome
        In order of completion. A failure is an outcome, so that the others go on.

    Raises
    ------
    TaskError
        If the connection to the scheduler is lost, or there are no workers.
    OutOfTimeError
        If the time limit is reached before all is done.
    """
    with connected(client):
        run = TaskRun(
            client,
            function,
            iter(items),
            tuple(arguments),
            window=window,
            limits=limits or RunLimits(),
            remedy=remedy,
            shared=shared,
            stage=stage,
            listeners=tuple(listeners),
        )
        with contextlib.closing(run):
            yield from run.outcomes()
