"""What does the driver of a run ask of workers, and what do they answer?

Here are the functions that are sent to workers and the small values that travel with
them. Only a worker imports what does the work, with torch and compiled kernels: a
driver, which needs none of it, starts in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnviz.engine.importing_ahead import import_ahead
from nnviz.engine.tasks import RunLimits, run_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client

    from nnviz.engine.progress import Listener

__all__ = [
    "PARTS",
    "ChunkReport",
    "ChunkTask",
    "Opening",
    "check_inputs",
    "extract_chunk",
]

PARTS = ("read", "decode", "wait", "forward", "influence", "write")
"""Where a chunk's time goes. Threads read and decode ahead (see
:class:`nnviz.inputs.preparation.batches.Batch`); to wait for them, to run the network
and record, to find influences, and to write add up to the task's time."""


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """What a worker is asked to do."""

    chunk: int
    batch_size: int | None = None
    """Instances in a batch; None for the plan's."""
    seconds_each: float | None = None
    """If set, instances are read in a process of their own first, each in this time."""

    def __str__(self) -> str:
        text = f"chunk {self.chunk}"
        if self.batch_size is not None:
            text += f" in batches of {self.batch_size}"
        if self.seconds_each is not None:
            text += ", its instances read one by one in a process of their own first"
        return text


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
    batch_size: int = 0
    """Smaller than the plan's where there was not enough memory for that."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Which store a task belongs to, and how it is opened."""

    url: str
    fingerprint: str
    """Of the plan: a worker may outlive a store and meet another one at its place."""
    trust: bool = False
    """Whether files that run code when read may be read."""
    writable: bool = False
    """Whether the task writes to the store."""
    layers: tuple[str, ...] | None = None
    """Layers whose outputs alone are wanted; None: the network records what the plan
    says, with influences."""
    is_whole: bool = False
    """Whether everything is wanted of single instances, whatever the plan says: in all
    layers gradients, and contributions at peaks."""


def extract_chunk(task: ChunkTask | int, opening: Opening) -> ChunkReport:
    """Extract one chunk on a worker; may be repeated, and writes the same bytes.

    Parameters
    ----------
    task
        Which chunk, and how; a number stands for the chunk as it was planned.
    opening
        What is opened of the run, writable.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
    TaskMemoryError
        If there is not enough memory.
    DeviceLostError
        If the GPU has failed.
    """
    from nnviz.extraction.chunks import compute_chunk  # noqa: PLC0415  on workers only
    from nnviz.extraction.planned_worker import worker_of  # noqa: PLC0415  likewise

    task = ChunkTask(task) if isinstance(task, int) else task
    with worker_of(opening) as worker:
        return compute_chunk(worker, task)


def check_inputs(
    opening: Opening,
    client: Client | None,
    *,
    limits: RunLimits | None = None,
    stage: str = "",
    listeners: Sequence[Listener] = (),
) -> None:
    """Compare network and data set with the plan, on one worker for all of a run's.

    Parameters
    ----------
    opening
        What is opened of the run.
    client
        Client of a running cluster; None checks in this process.
    limits, stage, listeners
        As for :func:`nnviz.engine.tasks.run_tasks`.

    Raises
    ------
    PlanMismatchError
        If they are not those of the plan, or the store has another plan.
    """
    what = "the check of network and data"
    if client is None:
        _check(what, opening)
        return
    import_ahead(client, ["nnviz.extraction.planned_worker"])
    unhurried = replace(limits or RunLimits(), deadline=None)
    for outcome in run_tasks(
        client,
        _check,
        [what],
        arguments=(opening,),
        limits=unhurried,
        stage=stage,
        listeners=listeners,
    ):
        if outcome.error is not None:
            raise outcome.error


def _check(what: str, opening: Opening) -> None:
    """Do it; `what` is done names the task in events."""
    from nnviz.extraction.planned import check_listing  # noqa: PLC0415  on workers only
    from nnviz.extraction.planned_worker import worker_of  # noqa: PLC0415  likewise

    del what
    with worker_of(opening) as worker:
        check_listing(worker.plan, trust=opening.trust)
