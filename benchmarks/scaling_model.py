"""How fast would a run be on more machines than are at hand? A simulation.

Tasks go through the parts of a cluster as they do in nnviz: a window of two tasks for
each worker; a worker reads and decodes ahead of its network, writes its shards, and
tells the scheduler, which tells the client, which hands out the next task. Parts that
workers share (scheduler, client, file system, a machine's cores) are queues, first come
first served; parts of a worker's own are durations. All durations are constant: what is
simulated is who waits for whom, not noise.

Beside the simulated time, each part's own load gives a time that no run can beat; the
largest of them names the limit. :func:`simulate` is tested against runs that a pencil
can compute, and against measured runs of a load of known cost.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace

__all__ = [
    "Cluster",
    "Outcome",
    "Work",
    "best_chunk",
    "cores_needed",
    "first_limits",
    "limits",
    "simulate",
]

CHUNKS = (128, 256, 512, 1024, 2048, 4096, 8192)
"""Sizes of chunks that are tried."""

TASKS_PER_WORKER = 2
"""How many tasks of a worker the scheduler holds; see ``run_tasks``."""


@dataclass(frozen=True)
class Work:
    """A run: what each instance and each task costs, wherever it runs."""

    instances: int
    instances_per_chunk: int
    batch_size: int
    read_bytes: float
    """Bytes of an instance's file."""
    written_bytes: float
    """Bytes of an instance in the store."""
    read_operations: float
    """Questions about names (open, stat) to the file system for an instance."""
    task_operations: float
    """The same for a task: the files that it writes."""
    listed_operations: float
    """The same for an instance when the data set is compared with the plan: once."""
    decode_core_s: float
    """Seconds of one core to decode and prepare an instance."""
    listing_core_s: float = 0.0
    """Seconds of one core for an instance when a data set is listed."""
    task_core_s: float = 0.0
    """Seconds of a worker for a task after the network: what it writes."""
    scheduler_s: float = 0.0
    client_s: float = 0.0

    @property
    def n_tasks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.instances / self.instances_per_chunk)


@dataclass(frozen=True)
class Cluster:
    """Workers, and what they share."""

    workers: int
    forward_per_s: float
    """Instances a second through one worker's network, nothing else in its way."""
    cores_per_worker: float = 1.0
    """Cores that decode for one worker."""
    read_bytes_per_s: float = math.inf
    write_bytes_per_s: float = math.inf
    operations_per_s: float = math.inf
    """Questions about names that the file system answers in a second."""
    start_s: float = 0.0
    """Until a worker's first task: process, imports, network."""
    load_core_s: float = 0.0
    """Seconds of a core that each worker needs before its first task."""
    shared_cores: int | None = None
    """Cores of one machine that all processes share; None: each has its own."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    seconds: float
    instances_per_s: float
    efficiency: float
    """Of the rate of all networks, were they never kept waiting."""
    limits: dict[str, float]
    """Seconds that each part needs for its own work alone, the largest first."""

    @property
    def limit(self) -> str:
        """Name of the part with the most to do."""
        return next(iter(self.limits))


class _Queue:
    """A part that serves one request after another, in one lane or several."""

    def __init__(self, lanes: int = 1) -> None:
        self._free = [0.0] * lanes

    def serve(self, at: float, seconds: float) -> float:
        """Return when a request that arrives at this time has been served."""
        if seconds == 0:
            return at
        end = max(at, heapq.heappop(self._free)) + seconds
        heapq.heappush(self._free, end)
        return end


class _Cores:
    """The cores of a machine that all processes share, if they do."""

    def __init__(self, n: int | None) -> None:
        self._queue = None if n is None else _Queue(n)

    def serve(self, at: float, seconds: float) -> float:
        return at + seconds if self._queue is None else self._queue.serve(at, seconds)


def simulate(work: Work, cluster: Cluster) -> Outcome:
    """Run all tasks; events are handled in the order of their times.

    Parameters
    ----------
    work, cluster
        What there is to do, and where.
    """
    read, write, names = _Queue(), _Queue(), _Queue()
    scheduler, client, cores = _Queue(), _Queue(), _Cores(cluster.shared_cores)
    sizes = _chunk_sizes(work)
    n_left = len(sizes)
    # What waits at each worker, and whether it works.
    waiting, is_busy = [0] * cluster.workers, [False] * cluster.workers
    events: list[tuple[float, int, str, int, int]] = []
    number, ended = 0, 0.0

    def at(time: float, kind: str, worker: int, n: int = 0) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (time, number, kind, worker, n))

    def hand_out(now: float, worker: int, earliest: float = 0.0) -> None:
        known = scheduler.serve(now, work.scheduler_s)
        at(max(earliest, client.serve(known, work.client_s)), "given", worker)
        # On a machine of few cores they take one from the workers.
        cores.serve(now, work.scheduler_s + work.client_s)

    listed = cluster.start_s + _listing_s(work, cluster)
    loaded = [cores.serve(listed, cluster.load_core_s) for _ in waiting]
    for _ in range(TASKS_PER_WORKER):
        for worker, time in enumerate(loaded):
            hand_out(cluster.start_s, worker, time)
    while events:
        now, _, kind, worker, n = heapq.heappop(events)
        if kind == "given":
            # Tasks are handed out in order; the last may be a short one.
            waiting[worker] += n_left > 0
            n_left -= n_left > 0
            kind = "next"
        if kind == "next" and waiting[worker] and not is_busy[worker]:
            waiting[worker], is_busy[worker] = waiting[worker] - 1, True
            n = sizes.pop()
            at(_computed(now, n, work, cluster, (read, names)), "computed", worker, n)
        elif kind == "computed":
            at(cores.serve(now, work.task_core_s), "encoded", worker, n)
        elif kind == "encoded":
            write_s = n * work.written_bytes / cluster.write_bytes_per_s
            at(write.serve(now, write_s), "stored", worker, n)
        elif kind == "stored":
            name_s = work.task_operations / cluster.operations_per_s
            at(names.serve(now, name_s), "written", worker, n)
        elif kind == "written":
            ended, is_busy[worker] = max(ended, now), False
            at(now, "next", worker)
            hand_out(now, worker)
    rate = work.instances / ended
    full = cluster.workers * cluster.forward_per_s
    return Outcome(ended, rate, rate / full, limits(work, cluster))


def limits(work: Work, cluster: Cluster) -> dict[str, float]:
    """Return the seconds that each part needs for its own work, the largest first."""
    n, n_tasks, w = work.instances, work.n_tasks, cluster.workers
    names = n * work.read_operations + n_tasks * work.task_operations
    own_s = max(
        1 / cluster.forward_per_s, work.decode_core_s / cluster.cores_per_worker
    )
    rounds_s = _most_of_a_worker(work, w) * own_s
    found = {
        "networks": n / (w * cluster.forward_per_s),
        "decoding": n * work.decode_core_s / (w * cluster.cores_per_worker),
        "file system, reading": n * work.read_bytes / cluster.read_bytes_per_s,
        "file system, writing": n * work.written_bytes / cluster.write_bytes_per_s,
        "file system, names": names / cluster.operations_per_s,
        "writing by the workers": n_tasks * work.task_core_s / w,
        "scheduler": n_tasks * work.scheduler_s,
        "client": n_tasks * work.client_s,
        "listing, once": _listing_s(work, cluster),
        "start of workers": cluster.start_s,
    }
    if rounds_s > 1.1 * n * own_s / w:
        # The last round leaves more than a tenth of the workers' time unused.
        found["few chunks"] = rounds_s
    if cluster.shared_cores:
        every = work.task_core_s + work.scheduler_s + work.client_s
        found["cores"] = n_tasks * every / cluster.shared_cores
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def cores_needed(work: Work, cluster: Cluster) -> float:
    """Return how many cores keep one worker's network busy."""
    return cluster.forward_per_s * work.decode_core_s


def first_limits(work: Work, cluster: Cluster) -> dict[str, float]:
    """Return the number of workers at which each shared part has as much to do as they.

    From there on more workers make the run no faster. The fewest come first.

    Parameters
    ----------
    work
        The costs.
    cluster
        One worker's figures, and the shared parts.
    """
    each = work.instances_per_chunk
    own_s = max(
        1 / cluster.forward_per_s, work.decode_core_s / cluster.cores_per_worker
    )
    own_s += work.task_core_s / each
    names = work.read_operations + work.task_operations / each
    of_one = {
        "scheduler": work.scheduler_s / each,
        "client": work.client_s / each,
        "file system, names": names / cluster.operations_per_s,
        "file system, reading": work.read_bytes / cluster.read_bytes_per_s,
        "file system, writing": work.written_bytes / cluster.write_bytes_per_s,
        "listing, once": work.listed_operations / cluster.operations_per_s,
    }
    found = {name: own_s / seconds for name, seconds in of_one.items() if seconds}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def best_chunk(work: Work, cluster: Cluster) -> Work:
    """Return the work with chunks of the size with which it is done the soonest."""
    sizes = [replace(work, instances_per_chunk=n) for n in CHUNKS]
    return min(sizes, key=lambda of: simulate(of, cluster).seconds)


def _computed(
    now: float, n: int, work: Work, cluster: Cluster, shared: tuple[_Queue, _Queue]
) -> float:
    """Return when a chunk has been read, decoded and gone through the network."""
    read, names = shared
    arrived = names.serve(now, n * work.read_operations / cluster.operations_per_s)
    arrived = read.serve(arrived, n * work.read_bytes / cluster.read_bytes_per_s)
    decode_s = work.decode_core_s / cluster.cores_per_worker
    # The network waits for the first batch; from there on the slower of both decides.
    first_s = min(n, work.batch_size) * decode_s
    own_s = max(n / cluster.forward_per_s, n * decode_s - first_s)
    return max(arrived, now + first_s + own_s)


def _listing_s(work: Work, cluster: Cluster) -> float:
    """One worker asks for every file, and the others wait until it has."""
    asked = work.instances * work.listed_operations
    return max(work.instances * work.listing_core_s, asked / cluster.operations_per_s)


def _most_of_a_worker(work: Work, workers: int) -> int:
    """Return how many instances the worker with the most has, at the least."""
    each, sizes = work.instances_per_chunk, _chunk_sizes(work)
    n_full = work.instances // each
    # One of its chunks may be the short one, unless there are enough full ones.
    with_short = (math.ceil(len(sizes) / workers) - 1) * each + sizes[0]
    return max(with_short, math.ceil(n_full / workers) * each)


def _chunk_sizes(work: Work) -> list[int]:
    full, rest = divmod(work.instances, work.instances_per_chunk)
    return [*([rest] if rest else []), *([work.instances_per_chunk] * full)]
