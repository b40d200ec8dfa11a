"""How are many ordered reductions run, on a cluster or in this process?

A job is one reduction: its leaves are computed, neighbours are combined in their order,
and a last task does something with the whole and returns a small value. The tree has
the same shape everywhere, so the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distributed import Client, Future, as_completed

from nnviz.engine.scheduling import reduce_ordered
from nnviz.errors import NnvizError, TaskError

__all__ = ["ReductionJob", "run_reductions"]

FAN_IN = 4
"""Partials that a worker holds when it combines them."""

LEAVES_PER_THREAD = 8
"""Leaves handed to the scheduler for each thread of the cluster; a job goes whole."""


class ReductionJob(Protocol):
    """One reduction; can be pickled, and its members may be called in any process."""

    @property
    def leaves(self) -> Sequence[Any]:
        """Return small descriptions of the leaves, in order."""

    def compute(self, leaf: Any, shared: Any) -> Any:
        """Return the partial of one leaf; `shared` is the same for all."""

    def combine(self, partials: Sequence[Any]) -> Any:
        """Return one partial of neighbouring ones, which are in order."""

    def finish(self, partial: Any) -> Any:
        """Use the whole, and return a small value; may be repeated."""


@dataclass(frozen=True, slots=True)
class _Running:
    job: ReductionJob
    n_leaves: int


def run_reductions(
    client: Client | None, jobs: Iterable[ReductionJob], *, shared: Any
) -> Iterator[tuple[ReductionJob, Any]]:
    """Run reductions, a bounded number at a time.

    Parameters
    ----------
    client
        Of a running cluster; None computes in this process.
    jobs
        Each with at least one leaf.
    shared
        Sent to every worker once, and handed to every leaf.

    Yields
    ------
    tuple
        The job, and what its ``finish`` returned; in order of completion.

    Raises
    ------
    NnvizError
        What a task raised on purpose.
    TaskError
        If a task failed otherwise, or the connection to the scheduler is lost.
    """
    if client is None:
        for job in jobs:
            yield job, job.finish(_reduce_here(job, shared))
        return
    copy = client.scatter(shared, broadcast=True, hash=False)
    waiting = iter(jobs)
    running: dict[object, _Running] = {}
    pool = as_completed(loop=client.loop)

    def fill() -> None:
        limit = LEAVES_PER_THREAD * max(1, sum(client.nthreads().values()))
        while sum(entry.n_leaves for entry in running.values()) < limit:
            job = next(waiting, None)
            if job is None:
                return
            future = _submit(client, job, copy)
            running[future.key] = _Running(job, len(job.leaves))
            pool.add(future)

    fill()
    while running:
        future: Future[Any] = next(pool)
        entry = running.pop(future.key)
        value = _value_of(future)
        del future
        fill()
        yield entry.job, value


def _submit(client: Client, job: ReductionJob, shared: Future[Any]) -> Future[Any]:
    leaves = [
        client.submit(job.compute, leaf, shared, pure=False) for leaf in job.leaves
    ]
    whole = reduce_ordered(client, leaves, job.combine, fan_in=FAN_IN)
    return client.submit(job.finish, whole, pure=False, priority=2)


def _value_of(future: Future[Any]) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        msg = (
            "the connection to the Dask scheduler was lost; start the cluster again "
            "and repeat the command"
        )
        raise TaskError(msg)
    error = future.exception()
    if isinstance(error, NnvizError):
        raise error
    msg = f"a task of a reduction failed on a worker: {error!r}"
    raise TaskError(msg) from error


def _reduce_here(job: ReductionJob, shared: Any) -> Any:
    """Build the tree of :func:`reduce_ordered` as its leaves come, few at a time."""
    levels: list[list[Any]] = []
    for leaf in job.leaves:
        _push(job.combine, levels, 0, job.compute(leaf, shared))
    depth = 0
    while depth < len(levels) - 1 or len(levels[depth]) > 1:
        rest, levels[depth] = levels[depth], []
        if rest:
            whole = job.combine(rest) if len(rest) > 1 else rest[0]
            _push(job.combine, levels, depth + 1, whole)
        depth += 1
    return levels[depth][0]


def _push(
    combine: Callable[[Sequence[Any]], Any],
    levels: list[list[Any]],
    depth: int,
    partial: Any,
) -> None:
    if depth == len(levels):
        levels.append([])
    levels[depth].append(partial)
    if len(levels[depth]) == FAN_IN:
        full, levels[depth] = levels[depth], []
        _push(combine, levels, depth + 1, combine(full))
