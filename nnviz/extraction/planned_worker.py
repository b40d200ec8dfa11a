"""What does a worker process keep between tasks? A store, its data set and network.

They are opened from the plan by the first task that needs them, and held for the next
ones, whatever these do with them: extract chunks, compute a sample again, or run the
network without some of its channels. A process holds one of these at a time, because it
has memory for one network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnviz.engine.tasks import RunLimits, run_tasks
from nnviz.engine.worker_cache import cached
from nnviz.extraction.chunk_rows import ChunkRows
from nnviz.extraction.planned import (
    check_listing,
    check_planned,
    hashes_in,
    load_planned_network,
    open_stored_dataset,
    planned_reader,
    planned_runtime,
)
from nnviz.network.recording.runtime import NetworkRuntime, telling_faults
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client

    from nnviz.engine.progress import Listener
    from nnviz.inputs.preparation.batches import BatchReader

__all__ = ["Opening", "PlannedWorker", "check_inputs", "worker_of"]


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


class PlannedWorker:
    """Store, plan, data set and network of one run, on a worker.

    Parameters
    ----------
    opening
        Of the run.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
        Whether files have still their sizes is for :func:`check_inputs` to ask.
    """

    def __init__(self, opening: Opening) -> None:
        trust = opening.trust
        self.trust = trust
        self.store = Store.open(opening.url, writable=opening.writable)
        check_planned("plan", opening.fingerprint, self.store.fingerprint)
        self.plan = plan = Plan.from_json(self.store.plan)
        self.dataset = open_stored_dataset(
            plan,
            self.store.column("id").tolist(),
            self.store.positions(),
            trust=trust,
            hashes=hashes_in(self.store, plan),
        )
        self._reader = planned_reader(plan, self.dataset)
        self.runtime = _runtime(plan, opening)

    def reader(self, batch_size: int | None = None) -> BatchReader:
        """Return what reads and prepares batches; None for the plan's size of them."""
        if batch_size is None:
            return self._reader
        return planned_reader(self.plan, self.dataset, batch_size=batch_size)

    def rows(self, start: int, stop: int) -> ChunkRows:
        """Return what is computed of a range of instances, still empty."""
        labels = self.store.read("instances/label", start, stop)
        return ChunkRows(self.plan, start, labels)


def worker_of(opening: Opening) -> PlannedWorker:
    """Return what this process holds of a run; it is opened where it is not held yet.

    Raises
    ------
    PlanMismatchError, TaskMemoryError, DeviceLostError
        If it cannot be opened.
    """
    with telling_faults():
        worker: PlannedWorker = cached(
            "worker", repr(opening), lambda: PlannedWorker(opening)
        )
        return worker


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
        Of the run.
    client
        Of a running cluster; None checks in this process.
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
    del what
    worker = worker_of(opening)
    check_listing(worker.plan, trust=opening.trust)


def _runtime(plan: Plan, opening: Opening) -> NetworkRuntime:
    if opening.layers is None:
        return planned_runtime(plan, trust=opening.trust)
    layers = tuple(x for x in plan.architecture.layers if x.name in opening.layers)
    return NetworkRuntime(
        load_planned_network(plan, trust=opening.trust),
        replace(plan.architecture, layers=layers, edges=()),
        preprocessing=plan.preprocessing,
        extraction=replace(plan.extraction, targets="none"),
    )
