"""What does a worker do with a chunk of instances? Read, compute, write, mark.

It

1. reads and prepares batches in threads, ahead of the network;
2. runs the network once per batch and keeps each channel's maximum, and the strongest
   sources of the top channels, never a map;
3. computes prediction, confidence and the probability of the true class;
4. writes its own shard of every array, reads it back, and marks the chunk complete.

It may do so any number of times, with the same bytes as result. Where it cannot, the
error says what is missing: memory, or a device.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

from nnviz.engine.worker_cache import cached
from nnviz.engine.workers import memory_limit
from nnviz.extraction.chunk_rows import ChunkRows
from nnviz.extraction.isolation import fatal_instances
from nnviz.extraction.planned import (
    check_listing,
    check_planned,
    hashes_in,
    open_stored_dataset,
    planned_reader,
    planned_runtime,
)
from nnviz.inputs.preparation.batches import Batch
from nnviz.network.recording.runtime import telling_faults
from nnviz.store.store import Store

__all__ = ["PARTS", "ChunkReport", "ChunkTask", "check_inputs", "extract_chunk"]

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


def check_inputs(  # Dask hands over positional arguments
    what: str,
    url: str,
    fingerprint: str,
    trust: bool,  # noqa: FBT001
) -> None:
    """Compare data set and network with the plan, on one worker for all of a run's.

    Parameters
    ----------
    what
        Is done, for events.
    url, fingerprint, trust
        As for :func:`extract_chunk`.

    Raises
    ------
    PlanMismatchError
        If they are not those of the plan, or the store has another plan.
    """
    del what
    with telling_faults():
        worker = _worker_of(url, fingerprint, trust=trust)
    check_listing(worker.plan, trust=trust)


def extract_chunk(  # Dask hands over positional arguments
    task: ChunkTask | int,
    url: str,
    fingerprint: str,
    trust: bool,  # noqa: FBT001
) -> ChunkReport:
    """Extract one chunk on a worker; may be repeated, and writes the same bytes.

    Parameters
    ----------
    task
        Which chunk, and how; a number stands for the chunk as it was planned.
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
    TaskMemoryError
        If there is not enough memory.
    DeviceLostError
        If the GPU has failed.
    """
    with telling_faults():
        worker = _worker_of(url, fingerprint, trust=trust)
        return worker.extract(ChunkTask(task) if isinstance(task, int) else task)


def _worker_of(url: str, fingerprint: str, *, trust: bool) -> _Worker:
    key = f"{url} {fingerprint} {trust}"
    worker: _Worker = cached("worker", key, lambda: _Worker(url, trust=trust))
    check_planned("plan", fingerprint, worker.store.fingerprint)
    return worker


class _Worker:
    """What a worker process keeps between its tasks: store, data set, network."""

    def __init__(self, url: str, *, trust: bool) -> None:
        self.trust = trust
        self.store = Store.open(url, writable=True)
        self.plan = plan = self.store.plan
        self.dataset = open_stored_dataset(
            plan,
            self.store.column("id").tolist(),
            self.store.positions(),
            trust=trust,
            hashes=hashes_in(self.store, plan),
        )
        self.reader = planned_reader(plan, self.dataset)
        self.runtime = planned_runtime(plan, trust=trust)

    def _rows(self, start: int, stop: int) -> ChunkRows:
        labels = self.store.read("instances/label", start, stop)
        return ChunkRows(self.plan, start, labels)

    def extract(self, task: ChunkTask) -> ChunkReport:
        index, reader = task.chunk, self.reader
        start, stop = self.store.chunks.spans[index]
        if task.batch_size is not None:
            reader = planned_reader(self.plan, self.dataset, batch_size=task.batch_size)
        excluded = self._fatal(task, start, stop)
        chunk = self._rows(start, stop)
        seconds = dict.fromkeys(PARTS, 0.0)
        while True:
            with self.runtime.recording(start) as recording:
                for batch in _timed(
                    reader.iter_batches(start, stop, excluded=excluded), seconds
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
        noted = {} if task.batch_size is None else {"batch_size": task.batch_size}
        n_bytes = self.store.chunks.write(index, arrays, counts | noted)
        seconds["write"] += time.perf_counter() - began
        first = dict(list(chunk.reasons.items())[:3])
        return ChunkReport(
            chunk=index,
            n_bytes=n_bytes,
            worker=f"{platform.node()}:{os.getpid()}",
            seconds=seconds,
            reasons=first,
            batch_size=task.batch_size or self.plan.extraction.batch_size,
            **counts,
        )

    def _fatal(self, task: ChunkTask, start: int, stop: int) -> dict[int, str]:
        if task.seconds_each is None:
            return {}
        return fatal_instances(
            self.store.url,
            start,
            stop,
            trust=self.trust,
            seconds_each=task.seconds_each,
            memory_bytes=memory_limit(),
        )


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
