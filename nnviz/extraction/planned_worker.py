"""What does a worker process keep between tasks? A store, its data set and network.

They are opened from the plan by the first task that needs them, and held for the next
ones, whatever these do with them: extract chunks, compute a sample again, or run the
network without some of its channels. A process holds one of these at a time, because it
has memory for one network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from nnviz.engine.worker_cache import cached
from nnviz.extraction.chunk_rows import ChunkRows
from nnviz.extraction.planned import (
    check_planned,
    check_tokenizer,
    hashes_in,
    open_stored_dataset,
    planned_reader,
)
from nnviz.extraction.planned_network import (
    load_planned_network,
    planned_runtime,
    whole_runtime,
)
from nnviz.extraction.worker_tasks import Opening
from nnviz.inputs.preparation.batches import BatchReader
from nnviz.network.recording.runtime import NetworkRuntime, telling_faults
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

__all__ = ["PlannedWorker", "worker_of"]


class PlannedWorker:
    """Store, plan, data set and network of one run, on a worker.

    Parameters
    ----------
    opening
        What is opened of the run.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
        Whether files have still their sizes is for
        :func:`nnviz.extraction.worker_tasks.check_inputs` to ask.
    """

    def __init__(self, opening: Opening) -> None:
        trust = opening.trust
        self.trust = trust
        self.store = Store.open(opening.url, writable=opening.writable)
        check_planned("plan", opening.fingerprint, self.store.fingerprint)
        self.plan = plan = self.store.plan
        self.dataset = open_stored_dataset(
            plan,
            self.store.column("id").tolist(),
            self.store.positions(),
            trust=trust,
            hashes=hashes_in(self.store, plan),
        )
        check_tokenizer(plan, self.dataset)
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
        targets = None
        if self.plan.target_column is not None:
            path = f"instances/{self.plan.target_column}"
            targets = self.store.read(path, start, stop)
        return ChunkRows(self.plan, start, labels, targets)


@contextlib.contextmanager
def worker_of(opening: Opening) -> Iterator[PlannedWorker]:
    """Lend what this process holds of a run; it is opened where it is not held yet.

    Raises
    ------
    PlanMismatchError
        If it is not what was planned.
    TaskMemoryError
        If there is not enough memory, to open it or in the block.
    DeviceLostError
        If the device fails, then or in the block.
    """
    with telling_faults():
        yield cached("worker", repr(opening), lambda: PlannedWorker(opening))


def _runtime(plan: Plan, opening: Opening) -> NetworkRuntime:
    if opening.is_whole:
        return whole_runtime(plan, trust=opening.trust)
    if opening.layers is None:
        return planned_runtime(plan, trust=opening.trust)
    layers = tuple(x for x in plan.architecture.layers if x.name in opening.layers)
    return NetworkRuntime(
        load_planned_network(plan, trust=opening.trust),
        replace(plan.architecture, layers=layers, edges=()),
        preprocessing=plan.preprocessing,
        extraction=replace(plan.extraction, targets="none"),
    )
