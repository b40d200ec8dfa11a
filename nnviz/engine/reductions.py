"""How are many ordered reductions run, on a cluster or in this process?

A job is one reduction: its leaves are computed, each is combined with all before it,
and a last task does something with the whole and returns a small value. Partials are
added from left to right everywhere, so the result has the same bits; and what was
reduced before can be the first leaf of more, again with the same bits.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distributed import Client, Future, KilledWorker

from nnviz.engine.connection import LOST, NotThereError, Results, connected
from nnviz.engine.progress import Listener, TaskRetried, emit
from nnviz.engine.sharing import Shared
from nnviz.engine.wanted import check_wanted
from nnviz.engine.whereabouts import run_telling, whereabouts
from nnviz.engine.workers import Workers
from nnviz.errors import NnvizError, TaskError

__all__ = ["ReductionJob", "run_reductions"]

FAN_IN = 4
"""Partials that a worker holds when it combines them: the sum so far, and three."""

LEAVES_PER_THREAD = 8
"""Leaves handed to the scheduler for each thread of the cluster; a job goes whole."""

ATTEMPTS = 4
"""How often a reduction is begun again when workers die under it."""

TICK_S = 0.5


class ReductionJob(Protocol):
    """One reduction; can be pickled, and its members may be called in any process."""

    @property
    def leaves(self) -> Sequence[Any]:
        """Return small descriptions of the leaves, in order."""

    def compute(self, leaf: Any, shared: Any) -> Any:
        """Return the partial of one leaf; `shared` is the same for all."""

    def combine(self, partials: Sequence[Any]) -> Any:
        """Return the partial of neighbouring ones, added from left to right."""

    def finish(self, partial: Any) -> Any:
        """Use the whole, and return a small value; may be repeated."""


@dataclass(frozen=True, slots=True)
class _Running:
    job: ReductionJob
    attempt: int = 1


def run_reductions(
    client: Client | None,
    jobs: Iterable[ReductionJob],
    *,
    shared: Any,
    stage: str = "",
    listeners: Iterable[Listener] = (),
) -> Iterator[tuple[ReductionJob, Any]]:
    """Run reductions, a bounded number at a time.

    Parameters
    ----------
    client
        Client of a running cluster; None computes in this process.
    jobs
        Each with at least one leaf.
    shared
        Sent to every worker once, and handed to every leaf.
    stage
        For events.
    listeners
        Told when workers die or join.

    Yields
    ------
    tuple
        The job, and what its ``finish`` returned; in order of completion.

    Raises
    ------
    NnvizError
        What a task raised on purpose.
    TaskError
        If a task failed otherwise, the connection to the scheduler is lost, or there
        are no workers.
    """
    if client is None:
        for job in jobs:
            yield job, job.finish(_reduce_here(job, shared))
        return
    listeners = tuple(listeners)
    with (
        connected(client),
        contextlib.closing(
            Workers(client, stage=stage, listeners=listeners)
        ) as workers,
    ):
        yield from _run(client, workers, iter(jobs), shared, stage, listeners)


def _run(
    client: Client,
    workers: Workers,
    waiting: Iterator[ReductionJob],
    shared: Any,
    stage: str,
    listeners: Sequence[Listener],
) -> Iterator[tuple[ReductionJob, Any]]:
    everywhere = Shared(shared)
    running: dict[object, tuple[_Running, Future[Any]]] = {}
    done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    results = Results()

    def start(entry: _Running) -> None:
        future = _submit(client, entry.job, everywhere.on(client, workers))
        running[future.key] = (entry, future)
        future.add_done_callback(done.put)

    def fill() -> None:
        limit = LEAVES_PER_THREAD * max(1, workers.n_threads)
        while sum(len(entry.job.leaves) for entry, _ in running.values()) < limit:
            job = next(waiting, None)
            if job is None:
                return
            start(_Running(job))

    fill()
    while running:
        workers.check()
        try:
            future = done.get(timeout=TICK_S)
        except queue.Empty:
            continue
        entry, _ = running[future.key]
        if _has_lost_workers(client, future) and entry.attempt < ATTEMPTS:
            text = "workers died under it; it is begun again"
            emit(listeners, TaskRetried(stage, str(entry.job), text))
            del running[future.key]
            start(_Running(entry.job, entry.attempt + 1))
            continue
        try:
            value = _value_of(future, results)
        except NotThereError:
            done.put(future)
            continue
        del running[future.key], future
        fill()
        yield entry.job, value


def _has_lost_workers(client: Client, future: Future[Any]) -> bool:
    if future.status == "error":
        return isinstance(future.exception(), KilledWorker)
    # Data that were sent to workers, and died with them, cancel what needs them.
    return future.status in ("cancelled", "lost") and client.status == "running"


def _submit(client: Client, job: ReductionJob, shared: Future[Any]) -> Future[Any]:
    driver = whereabouts()
    leaves = [
        client.submit(run_telling, driver, job.compute, leaf, shared, pure=False)
        for leaf in job.leaves
    ]
    whole, *rest = leaves
    for start in range(0, len(rest), FAN_IN - 1):
        group = [whole, *rest[start : start + FAN_IN - 1]]
        # Combined before further leaves are computed: few partials are held at a time.
        whole = client.submit(
            run_telling, driver, job.combine, group, pure=False, priority=1
        )
    return client.submit(run_telling, driver, job.finish, whole, pure=False, priority=2)


def _value_of(future: Future[Any], results: Results) -> Any:
    if future.status == "cancelled":
        raise TaskError(LOST)
    if future.status != "error":
        return results.value_of(future)
    error = future.exception()
    if isinstance(error, NnvizError):
        raise error
    msg = f"a task of a reduction failed on a worker: {error!r}"
    raise TaskError(msg) from error


def _reduce_here(job: ReductionJob, shared: Any) -> Any:
    first, *rest = job.leaves
    whole = job.compute(first, shared)
    for leaf in rest:
        check_wanted()
        whole = job.combine([whole, job.compute(leaf, shared)])
    return whole
