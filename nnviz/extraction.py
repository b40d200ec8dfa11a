"""Stage 2: from a plan to facts about every instance, chunk by chunk, on a cluster.

A task is one chunk of instances. On a worker it

1. reads and prepares batches in threads, ahead of the network;
2. runs the network once per batch and keeps each channel's maximum, and the strongest
   sources of the top channels, never a map;
3. computes prediction, confidence and the probability of the true class;
4. writes its own shard of every array, reads it back, and marks the chunk complete.

It may run any number of times with the same bytes as result, so restart is the normal
path: :func:`extract` runs the chunks that have no mark.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnviz.chunk_rows import ChunkRows
from nnviz.engine import progress
from nnviz.engine.model_cache import cached
from nnviz.engine.progress import Listener
from nnviz.engine.scheduling import run_tasks
from nnviz.errors import DatasetError, PlanError
from nnviz.inputs.reading import Batch
from nnviz.plan_report import size_text
from nnviz.planned_inputs import (
    check_planned,
    open_planned_dataset,
    planned_reader,
    planned_runtime,
)
from nnviz.planning import Plan
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ChunkReport", "ExtractionSummary", "extract", "extract_chunk"]

STAGE = "extract"
PARTS = ("read", "decode", "wait", "forward", "influence", "write")
"""Where a chunk's time goes. Threads read and decode ahead (see
:class:`nnviz.inputs.reading.Batch`); to wait for them, to run the network and record,
to find influences, and to write add up to the task's time."""


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What a task tells the client: a few hundred bytes, never data."""

    chunk: int
    n_instances: int
    n_unreadable: int
    n_saturated: int
    """Activations beyond the range of float16, stored as its largest value."""
    n_bytes: int
    worker: str
    """Machine and process that did it."""
    seconds: dict[str, float]
    reasons: dict[int, str]
    """Why instances cannot be used, for the first few of the chunk."""


@dataclass(slots=True)
class ExtractionSummary:
    """What an extraction has done."""

    n_chunks: int
    n_done_before: int
    n_instances: int = 0
    """Instances of the chunks that this run completed."""
    n_unreadable: int = 0
    n_saturated: int = 0
    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds that all tasks together spent, by part: see `PARTS`."""
    failed: dict[int, str] = field(default_factory=dict)
    """Why chunks failed, by number."""

    def add(self, report: ChunkReport) -> None:
        """Count one completed chunk."""
        self.n_instances += report.n_instances
        self.n_unreadable += report.n_unreadable
        self.n_saturated += report.n_saturated
        for part, seconds in report.seconds.items():
            self.parts[part] = self.parts.get(part, 0.0) + seconds

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        n_done = self.n_chunks - self.n_done_before - len(self.failed)
        rate = self.n_instances / self.seconds if self.seconds else 0.0
        done = f"extracted {self.n_instances:,} instances in {n_done:,} chunks"
        lines = [f"{done}, {self.seconds:.1f} s, {rate:,.0f} instances/s"]
        if self.n_done_before:
            lines.append(f"{self.n_done_before:,} chunks were complete already")
        if self.n_unreadable:
            lines.append(
                f"{self.n_unreadable:,} instances cannot be used: "
                "'nnviz inspect STORE --unreadable' lists them with the reason"
            )
        if self.n_saturated:
            lines.append(
                f"{self.n_saturated:,} activations were beyond the range of float16 "
                "and are stored as 65,504"
            )
        lines += [f"chunk {i} failed: {why}" for i, why in self.failed.items()]
        return "\n".join(lines)


def extract(
    store: Store,
    *,
    client: Client,
    listeners: Sequence[Listener] = (),
    trust: bool = False,
    max_unreadable_fraction: float | None = None,
) -> ExtractionSummary:
    """Run the chunks that are missing in a store.

    Parameters
    ----------
    store
        Opened for writing.
    client
        Of a running cluster; its workers must reach the store, the data and the code.
    listeners
        Receive the events of the run.
    trust
        Whether workers may read files that run code when read.
    max_unreadable_fraction
        Fraction of the instances in [0, 1]; None takes the plan's.

    Returns
    -------
    ExtractionSummary
        With the chunks that failed; the others are complete.

    Raises
    ------
    DatasetError
        If more instances are unreadable than allowed; what is complete stays.
    PlanError
        If a worker has less memory than a task needs.
    TaskError
        If the cluster is lost.
    """
    plan = Plan.from_json(store.plan)
    _check_memory(plan, client)
    missing = store.missing_chunks()
    chunks = store.chunks
    summary = ExtractionSummary(len(chunks), len(chunks) - len(missing))
    n_waiting = sum(chunks[i][1] - chunks[i][0] for i in missing)
    started = time.perf_counter()
    progress.emit(
        listeners,
        progress.StageStarted(STAGE, len(missing), summary.n_done_before, n_waiting),
    )
    allowed = max_unreadable_fraction
    if allowed is None:
        allowed = plan.extraction.max_unreadable_fraction
    n_unreadable = int(store.marks()["n_unreadable"].sum())
    arguments = (store.url, store.fingerprint, trust)
    outcomes = run_tasks(client, extract_chunk, missing, arguments=arguments)
    for outcome in outcomes:
        if outcome.error is not None:
            error = f"{type(outcome.error).__name__}: {outcome.error}"
            summary.failed[outcome.item] = error
            event = progress.TaskFailed(STAGE, f"chunk {outcome.item}", error)
            progress.emit(listeners, event)
            continue
        report: ChunkReport = outcome.value
        summary.add(report)
        progress.emit(listeners, _event(report))
        if n_unreadable + summary.n_unreadable > allowed * store.n_instances:
            raise DatasetError(
                _too_many(n_unreadable + summary.n_unreadable, allowed, store, report)
            )
    summary.seconds = time.perf_counter() - started
    done = progress.StageDone(
        STAGE, len(missing), len(summary.failed), summary.n_instances, summary.seconds
    )
    progress.emit(listeners, done)
    return summary


def extract_chunk(  # Dask hands over positional arguments
    index: int,
    url: str,
    fingerprint: str,
    trust: bool,  # noqa: FBT001
) -> ChunkReport:
    """Extract one chunk on a worker; may be repeated, and writes the same bytes.

    Parameters
    ----------
    index
        Number of the chunk.
    url
        Of the store.
    fingerprint
        Of its plan: a worker may outlive a store and meet another one at its place.
    trust
        Whether files that run code when read may be read.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
    TaskError
        If the chunk's numbers cannot be computed.
    """
    key = f"{url} {fingerprint} {trust}"
    worker: _Worker = cached("worker", key, lambda: _Worker(url, trust=trust))
    check_planned("plan", fingerprint, worker.store.fingerprint)
    return worker.extract(index)


class _Worker:
    """What a worker process keeps between its tasks: store, data set, network."""

    def __init__(self, url: str, *, trust: bool) -> None:
        self.store = Store.open(url, writable=True)
        self.plan = plan = Plan.from_json(self.store.plan)
        dataset = open_planned_dataset(plan, self.store.positions(), trust=trust)
        self.reader = planned_reader(plan, dataset)
        self.runtime = planned_runtime(plan, trust=trust)

    def _rows(self, start: int, stop: int) -> ChunkRows:
        labels = self.store.read("instances/label", start, stop)
        return ChunkRows(self.plan, start, labels)

    def extract(self, index: int) -> ChunkReport:
        start, stop = self.store.chunks[index]
        excluded: dict[int, str] = {}
        chunk = self._rows(start, stop)
        seconds = dict.fromkeys(PARTS, 0.0)
        while True:
            with self.runtime.recording(start) as recording:
                for batch in _timed(
                    self.reader.iter_batches(start, stop, excluded=excluded), seconds
                ):
                    began = time.perf_counter()
                    result = recording.run(batch.values, valid=batch.valid)
                    chunk.add(batch, result)
                    elapsed = time.perf_counter() - began
                    seconds["influence"] += result.influence_s
                    seconds["forward"] += elapsed - result.influence_s
            if not chunk.not_finite:
                break
            # The strongest instances of a channel must not be chosen among such rows:
            # the chunk is computed again without them.
            excluded |= chunk.not_finite
            chunk = self._rows(start, stop)
        began = time.perf_counter()
        arrays = {**chunk.arrays, **recording.peak_arrays()}
        counts = {
            "n_instances": stop - start,
            "n_unreadable": len(chunk.reasons),
            "n_saturated": chunk.n_saturated,
        }
        n_bytes = self.store.write_chunk(index, arrays, counts)
        seconds["write"] += time.perf_counter() - began
        first = dict(list(chunk.reasons.items())[:3])
        return ChunkReport(
            chunk=index,
            n_bytes=n_bytes,
            worker=f"{platform.node()}:{os.getpid()}",
            seconds=seconds,
            reasons=first,
            **counts,
        )


def _check_memory(plan: Plan, client: Client) -> None:
    limits = {
        address: worker["memory_limit"]
        for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
        if worker.get("memory_limit")
    }
    for address, limit in limits.items():
        if plan.task_bytes > limit:
            msg = (
                f"a task needs about {size_text(plan.task_bytes)} but the worker at "
                f"{address} has {size_text(limit)}; give workers more memory, or plan "
                "with a smaller extraction.batch_size or instances_per_chunk"
            )
            raise PlanError(msg)


def _timed(batches: Iterator[Batch], seconds: dict[str, float]) -> Iterator[Batch]:
    """Yield batches; add up what they took, and how long the consumer waited."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        seconds["wait"] += time.perf_counter() - began
        if batch is None:
            return
        for part, value in batch.seconds.items():
            seconds[part] += value
        yield batch


def _event(report: ChunkReport) -> progress.TaskDone:
    return progress.TaskDone(
        stage=STAGE,
        task=f"chunk {report.chunk}",
        n_instances=report.n_instances,
        n_unreadable=report.n_unreadable,
        n_bytes=report.n_bytes,
        worker=report.worker,
        seconds={name: round(value, 4) for name, value in report.seconds.items()},
    )


def _too_many(n: int, allowed: float, store: Store, report: ChunkReport) -> str:
    ids = store.column("id")
    shown = "; ".join(f"{ids[i]}: {reason}" for i, reason in report.reasons.items())
    return (
        f"{n:,} of {store.n_instances:,} instances cannot be used, more than the "
        f"allowed fraction {allowed:g} ({shown}); mend the data, or allow more with "
        "--max-unreadable"
    )
