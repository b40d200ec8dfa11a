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
from typing import Any

from numpy.typing import NDArray

from nnviz.engine.workers import memory_limit
from nnviz.extraction.chunk_rows import ChunkRows
from nnviz.extraction.isolation import fatal_instances
from nnviz.extraction.planned_worker import PlannedWorker
from nnviz.extraction.worker_tasks import PARTS, ChunkReport, ChunkTask
from nnviz.inputs.preparation.batches import Batch

__all__ = ["compute_chunk"]


def compute_chunk(worker: PlannedWorker, task: ChunkTask) -> ChunkReport:
    """Extract one chunk; may be repeated, and writes the same bytes.

    Parameters
    ----------
    worker
        With the store open for writing.
    task
        Which chunk, and how.
    """
    start, stop = worker.store.chunks.spans[task.chunk]
    excluded = _fatal(worker, task, start, stop)
    seconds = dict.fromkeys(PARTS, 0.0)
    while True:
        chunk = worker.rows(start, stop)
        peaks = _record(worker, task, chunk, excluded, seconds)
        if not chunk.not_finite:
            break
        # The strongest instances of a channel must not be chosen among such rows:
        # the chunk is computed again without them.
        excluded |= chunk.not_finite
    began = time.perf_counter()
    counts = {
        "n_instances": stop - start,
        "n_unreadable": len(chunk.reasons),
        "n_saturated": chunk.n_saturated,
    }
    noted = {} if task.batch_size is None else {"batch_size": task.batch_size}
    n_bytes = worker.store.chunks.write(
        task.chunk, {**chunk.arrays, **peaks}, counts | noted
    )
    seconds["write"] += time.perf_counter() - began
    return ChunkReport(
        chunk=task.chunk,
        n_bytes=n_bytes,
        worker=f"{platform.node()}:{os.getpid()}",
        seconds=seconds,
        reasons=dict(list(chunk.reasons.items())[:3]),
        batch_size=task.batch_size or worker.plan.extraction.batch_size,
        **counts,
    )


def _record(
    worker: PlannedWorker,
    task: ChunkTask,
    chunk: ChunkRows,
    excluded: dict[int, str],
    seconds: dict[str, float],
) -> dict[str, NDArray[Any]]:
    """Record a chunk's batches in its rows, and return the arrays of its peaks."""
    start, stop = worker.store.chunks.spans[task.chunk]
    batches = worker.reader(task.batch_size).iter_batches(
        start, stop, excluded=excluded
    )
    with worker.runtime.recording(start, labels=chunk.labels) as recording:
        for batch in _timed(batches, seconds):
            began = time.perf_counter()
            result = recording.run(
                batch.values, valid=batch.valid, instances=batch.instances
            )
            chunk.add(batch, result)
            elapsed = time.perf_counter() - began
            seconds["influence"] += result.influence_s
            seconds["forward"] += elapsed - result.influence_s
    return recording.peak_arrays()


def _fatal(
    worker: PlannedWorker, task: ChunkTask, start: int, stop: int
) -> dict[int, str]:
    if task.seconds_each is None:
        return {}
    return fatal_instances(
        worker.store.url,
        start,
        stop,
        trust=worker.trust,
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
