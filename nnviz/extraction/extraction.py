"""Stage 2: from a plan to facts about every instance, chunk by chunk, on a cluster.

A task is one chunk of instances; what a worker does with it is told in
:mod:`nnviz.extraction.chunks`. It may run any number of times with the same bytes as
result, so restart is the normal path: :func:`extract` runs the chunks without a mark.

A chunk that kills its worker twice, or hangs, gets its instances read in a process of
their own first (``nnviz.extraction.isolation``). One that needs more memory than there
is, is computed in smaller batches: equal to rounding then, and said in the store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnviz.engine import progress
from nnviz.engine.progress import Listener
from nnviz.engine.tasks import RunLimits, TaskOutcome, run_tasks
from nnviz.engine.whereabouts import SAID_BY
from nnviz.errors import (
    ConfigError,
    DatasetError,
    OutOfTimeError,
    TaskMemoryError,
    TaskOverdueError,
    WorkersDiedError,
)
from nnviz.extraction.worker_memory import check_worker_memory
from nnviz.extraction.worker_tasks import (
    ChunkReport,
    ChunkTask,
    Opening,
    check_inputs,
    extract_chunk,
)
from nnviz.formatting import instances_text
from nnviz.runs.planning_rules import check_signal
from nnviz.store.lock import writing
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ExtractionSummary", "extract"]

STAGE = "extract"

SECONDS_EACH = 60.0
"""Reading one instance may take so long where a deadline is not stated."""

INNOCENT_DEATHS = 5
"""So many workers may die in a chunk before it is suspected to need too much memory."""

SHOWN_CHUNKS = 10
"""Of those that failed for one reason."""

SMALLEST_BATCH = 2
"""A batch of one goes other ways through the libraries, and differs most."""


@dataclass(slots=True)
class ExtractionSummary:
    """What an extraction has done."""

    n_chunks: int
    n_done_before: int
    n_instances: int = 0
    """Instances of the chunks that this run completed."""
    n_unreadable: int = 0
    n_saturated: int = 0
    n_left: int = 0
    """Chunks that were not done because the time was over."""
    smaller_batches: dict[int, int] = field(default_factory=dict)
    """Batch size of the chunks that had to be computed with another than the plan's."""
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds that all tasks together spent, by part: see
    :data:`nnviz.extraction.worker_tasks.PARTS`."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why chunks failed, by number."""

    def add(self, report: ChunkReport, *, planned_batch_size: int) -> None:
        """Count one completed chunk."""
        self.n_instances += report.n_instances
        self.n_unreadable += report.n_unreadable
        self.n_saturated += report.n_saturated
        for part, seconds in report.seconds.items():
            self.parts[part] = self.parts.get(part, 0.0) + seconds
        if report.batch_size != planned_batch_size:
            self.smaller_batches[report.chunk] = report.batch_size

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        n_done = self.n_chunks - self.n_done_before - len(self.failed) - self.n_left
        rate = self.n_instances / self.seconds if self.seconds else 0.0
        done = f"extracted {instances_text(self.n_instances)} in {n_done:,} chunks"
        lines = [f"{done}, {self.seconds:.1f} s, {rate:,.0f} instances/s"]
        if self.n_done_before:
            lines.append(f"{self.n_done_before:,} chunks were complete already")
        if self.n_unreadable:
            lines.append(
                f"{instances_text(self.n_unreadable)} cannot be used: "
                "'nnviz inspect STORE --unreadable' lists them with the reason"
            )
        if self.n_saturated:
            lines.append(
                f"{self.n_saturated:,} activations were beyond the range of float16 "
                "and are stored as 65,504"
            )
        if self.smaller_batches:
            lines.append(
                f"{len(self.smaller_batches):,} chunks were computed in smaller "
                "batches for lack of memory: equal to rounding, not bit for bit"
            )
        if self.n_left:
            lines.append(f"{self.n_left:,} chunks are left: the time limit was reached")
        return "\n".join([*lines, *self._failures()])

    def _failures(self) -> list[str]:
        """Return a line for each reason: all chunks may have failed for the same."""
        chunks: dict[str, list[int]] = {}
        for chunk, why in self.failed.items():
            chunks.setdefault(why.partition(SAID_BY)[0], []).append(chunk)
        lines = []
        for numbers in chunks.values():
            shown = ", ".join(map(str, sorted(numbers)[:SHOWN_CHUNKS]))
            rest = len(numbers) - SHOWN_CHUNKS
            more = f" and {rest:,} more" if rest > 0 else ""
            which = f"chunk{'s' if len(numbers) > 1 else ''} {shown}{more}"
            lines.append(f"{which} failed: {self.failed[numbers[0]]}")
        return lines


def extract(
    store: Store,
    *,
    client: Client,
    listeners: Sequence[Listener] = (),
    trust: bool = False,
    max_unreadable_fraction: float | None = None,
    limits: RunLimits | None = None,
) -> ExtractionSummary:
    """Run the chunks that are missing in a store.

    Parameters
    ----------
    store
        Opened for writing.
    client
        Client of a running cluster; its workers must reach the store, the data and the
        code.
    listeners
        Receive the events of the run.
    trust
        Whether workers may read files that run code when read.
    max_unreadable_fraction
        Fraction of the instances in [0, 1]; None takes the plan's.
    limits
        How long a chunk may take, the whole run, and the absence of workers.

    Returns
    -------
    ExtractionSummary
        With the chunks that failed, and how many are left if the time was over; the
        others are complete.

    Raises
    ------
    ConfigError
        If `max_unreadable_fraction` is no such fraction.
    DatasetError
        If more instances are unreadable than allowed; what is complete stays.
    PlanError
        If a worker has less memory than a task needs.
    PlanMismatchError
        If network or data are not those of the plan.
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If the cluster is lost, or has no workers.
    """
    with writing(store.url, STAGE):
        return _extract(
            store,
            client,
            tuple(listeners),
            trust=trust,
            max_unreadable_fraction=max_unreadable_fraction,
            limits=limits or RunLimits(),
        )


def _extract(
    store: Store,
    client: Client,
    listeners: Sequence[Listener],
    *,
    trust: bool,
    max_unreadable_fraction: float | None,
    limits: RunLimits,
) -> ExtractionSummary:
    plan = store.plan
    check_worker_memory(plan, client)
    missing, chunks = store.chunks.missing(), store.chunks.spans
    if missing:
        check_signal(plan)
    summary = ExtractionSummary(len(chunks), len(chunks) - len(missing))
    started = time.perf_counter()
    progress.emit(
        listeners,
        progress.StageStarted(
            STAGE,
            len(missing),
            summary.n_done_before,
            sum(chunks[i][1] - chunks[i][0] for i in missing),
        ),
    )
    allowed = max_unreadable_fraction
    if allowed is None:
        allowed = plan.extraction.max_unreadable_fraction
    if not 0 <= allowed <= 1:
        msg = f"max_unreadable_fraction is {allowed}; it is a fraction, from 0 to 1"
        raise ConfigError(msg)
    unreadable = _UnreadableLimit(store, allowed)
    faults = _Faults()
    outcomes = _outcomes(
        store, client, missing, (*listeners, faults), trust=trust, limits=limits
    )
    n_settled = 0
    with contextlib.closing(outcomes), contextlib.suppress(OutOfTimeError):
        for outcome in outcomes:
            n_settled += 1
            if outcome.error is not None:
                _note_failure(summary, outcome.item.chunk, outcome.error, listeners)
                continue
            report: ChunkReport = outcome.value
            summary.add(report, planned_batch_size=plan.extraction.batch_size)
            progress.emit(listeners, _event(report))
            unreadable.count(report)
    summary.n_left = len(missing) - n_settled
    if summary.n_left == 0 and (summary.n_done_before or faults.n):
        # What killed tasks have begun to write, here or in an earlier run.
        store.integrity().remove_strays(older_than=0)
    summary.seconds = time.perf_counter() - started
    done = progress.StageDone(
        STAGE, len(missing), len(summary.failed), summary.n_instances, summary.seconds
    )
    progress.emit(listeners, done)
    return summary


def _outcomes(
    store: Store,
    client: Client,
    missing: Sequence[int],
    listeners: Sequence[Listener],
    *,
    trust: bool,
    limits: RunLimits,
) -> Generator[TaskOutcome[ChunkTask], None, None]:
    """Check the inputs, run the tasks of the missing chunks, and yield what came out.

    Raises
    ------
    OutOfTimeError
        If the time is over before all are settled.
    """
    opening = Opening(store.url, store.fingerprint, trust, writable=True)
    if missing:
        check_inputs(opening, client, limits=limits, stage=STAGE, listeners=listeners)
    batch_size = store.plan.extraction.batch_size
    yield from run_tasks(
        client,
        extract_chunk,
        map(ChunkTask, missing),
        arguments=(opening,),
        limits=limits,
        remedy=_Remedy(limits.deadline or SECONDS_EACH, batch_size),
        stage=STAGE,
        listeners=listeners,
    )


class _UnreadableLimit:
    """Counts the instances that cannot be used, and says when they are too many."""

    def __init__(self, store: Store, allowed: float) -> None:
        self._store = store
        self._allowed = allowed
        self._n = int(store.chunks.marks()["n_unreadable"].sum())

    def count(self, report: ChunkReport) -> None:
        """Count those of one chunk.

        Raises
        ------
        DatasetError
            If more than the allowed fraction of the store's instances are unusable.
        """
        self._n += report.n_unreadable
        if self._n <= self._allowed * self._store.n_instances:
            return
        ids = self._store.column("id")
        shown = "; ".join(f"{ids[i]}: {reason}" for i, reason in report.reasons.items())
        msg = (
            f"{self._n:,} of {self._store.n_instances:,} instances cannot be used, "
            f"more than the allowed fraction {self._allowed:g} ({shown}); repair the "
            "data, or allow more with --max-unreadable (from Python: "
            "extraction={'max_unreadable_fraction': ...})"
        )
        raise DatasetError(msg)


class _Faults:
    """Counts what was repeated."""

    def __init__(self) -> None:
        self.n = 0

    def receive(self, event: progress.Event) -> None:
        """Take note of one event."""
        self.n += isinstance(event, progress.TaskRetried)


def _note_failure(
    summary: ExtractionSummary,
    chunk: int,
    error: BaseException,
    listeners: Sequence[Listener],
) -> None:
    text = f"{type(error).__name__}: {error}"
    summary.failed[chunk] = text
    progress.emit(listeners, progress.TaskFailed(STAGE, f"chunk {chunk}", text))


@dataclass(frozen=True, slots=True)
class _Remedy:
    """What to try when a chunk has taken down workers, hangs, or lacks memory."""

    seconds_each: float
    batch_size: int
    """The plan's."""

    def __call__(
        self, task: ChunkTask, error: BaseException, strikes: int
    ) -> ChunkTask | None:
        """Return the next task for the chunk; None to give up.

        Instances are looked at first, as what they do has no effect on others. Smaller
        batches change the last bits of the numbers, so they come where nothing else is
        left: not for a worker that somebody has killed.
        """
        isolated = dataclasses.replace(task, seconds_each=self.seconds_each)
        if task.seconds_each is None and not isinstance(error, TaskMemoryError):
            return isolated
        if isinstance(error, TaskOverdueError):
            return None
        if isinstance(error, WorkersDiedError) and strikes < INNOCENT_DEATHS:
            return isolated
        size = task.batch_size or self.batch_size
        smaller = max(SMALLEST_BATCH, size // 2)
        if size <= smaller:
            return None
        return dataclasses.replace(task, batch_size=smaller)


def _event(report: ChunkReport) -> progress.TaskDone:
    return progress.TaskDone(
        stage=STAGE,
        task=f"chunk {report.chunk}",
        n_instances=report.n_instances,
        n_unreadable=report.n_unreadable,
        n_bytes=report.n_bytes,
        batch_size=report.batch_size,
        worker=report.worker,
        seconds={name: round(value, 4) for name, value in report.seconds.items()},
    )
