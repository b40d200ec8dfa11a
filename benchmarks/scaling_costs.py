"""What does a task cost beside its work? Measured, for the model of a large cluster.

*Scheduling*: tasks that do nothing go through ``nnviz.engine.tasks.run_tasks``, to
up to hundreds of real Dask workers. Only what scheduler and client spend is of
interest, so many workers share a process, which no scheduler notices.

*Files*: one chunk is extracted while every question to the file system is counted.

*Listing*: data sets of many files are opened in a process of their own.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.extraction import ROOT, extract_one, run_process

__all__ = ["chunk_costs", "listing_costs", "scheduling_costs"]

WORKERS_OF_A_HOST = 64
"""So many Dask workers share one process."""


def nothing(_item: int) -> None:
    """Do nothing, on a worker."""


def cpu_seconds() -> float:
    """Return the processor time that this process has taken."""
    import psutil

    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def scheduling_costs(numbers: Sequence[int], n_tasks: int) -> list[dict[str, float]]:
    """Return what a task costs scheduler and client, by number of workers."""
    # Of many workers the window alone is two tasks for each, handed out at once.
    return [_scheduling_cost(n, max(n_tasks, 6 * n)) for n in numbers]


def _scheduling_cost(n_workers: int, n_tasks: int) -> dict[str, float]:
    from nnviz.engine.tasks import run_tasks

    with hosted_workers(n_workers) as client:
        # Connections are made with the first tasks.
        list(run_tasks(client, nothing, range(3 * n_workers)))
        before = client.run_on_scheduler(cpu_seconds), cpu_seconds()
        started = time.perf_counter()
        n_done = sum(1 for _ in run_tasks(client, nothing, range(n_tasks)))
        seconds = time.perf_counter() - started
        after = client.run_on_scheduler(cpu_seconds), cpu_seconds()
    if n_done != n_tasks:
        msg = f"{n_done} of {n_tasks} tasks were done"
        raise RuntimeError(msg)
    return {
        "workers": n_workers,
        "tasks": n_tasks,
        "scheduler_s": (after[0] - before[0]) / n_tasks,
        "client_s": (after[1] - before[1]) / n_tasks,
        "wall_s": seconds / n_tasks,
    }


@contextlib.contextmanager
def hosted_workers(n_workers: int) -> Iterator[Any]:
    """Start a scheduler, and workers that share processes; hand out a client."""
    from benchmarks.memory import cluster

    with cluster(0) as client, contextlib.ExitStack() as hosts:
        address = client.scheduler.address
        for start in range(0, n_workers, WORKERS_OF_A_HOST):
            n = min(WORKERS_OF_A_HOST, n_workers - start)
            code = "from benchmarks.scaling_costs import host; host()"
            process = subprocess.Popen(
                [sys.executable, "-c", code, address, str(n)],
                cwd=ROOT,
                env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"},
            )
            hosts.callback(_end, process)
        client.wait_for_workers(n_workers, timeout=300)
        yield client


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


def host() -> None:
    """Run workers in this process, until it is ended."""
    import dask
    from distributed import Worker

    address, n = sys.argv[1], int(sys.argv[2])
    with contextlib.suppress(ValueError):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    async def run() -> None:
        workers = [
            Worker(
                address, nthreads=1, host="127.0.0.1", memory_limit=0, dashboard=False
            )
            for _ in range(n)
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))

    quiet = {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "60s",
    }
    with dask.config.set(quiet):
        asyncio.run(run())


def chunk_costs(store: Path, data: Path) -> dict[str, float]:
    """Return what a chunk asks of the file system: bytes, and questions about names.

    Parameters
    ----------
    store
        A planned store of several full chunks, all missing.
    data
        Folder of the data set's files.
    """
    code = "from benchmarks.scaling_costs import count; count()"
    command = [sys.executable, "-c", code, str(store), str(data)]
    return dict(json.loads(run_process(command, dict(os.environ))))


def count() -> None:
    """Extract two chunks; print what the second one asked for."""
    import psutil

    from nnviz.store.store import Store

    url, data = sys.argv[1], os.path.realpath(sys.argv[2])
    store = Store.open(url)
    chunks, plan = store.chunks.spans, store.plan
    peaks = [a for a in plan.arrays if a.path.startswith("peaks/")]
    peak_bytes = sum(array.n_bytes for array in peaks) / len(chunks)
    extract_one(0, url)
    asked: collections.Counter[str] = collections.Counter()
    known = {"open": "open", "os.rename": "rename", "os.mkdir": "mkdir"}
    known |= {"os.remove": "remove", "os.scandir": "list", "os.listdir": "list"}

    def note(name: str, path: Any) -> None:
        text = path if isinstance(path, str) else os.fspath(path)
        of_data = str(text).startswith((data, sys.argv[2]))
        if of_data or str(text).startswith(url):
            asked[f"{'data' if of_data else 'store'} {name}"] += 1

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in known and isinstance(arguments[0], str | os.PathLike):
            note(known[event], arguments[0])

    stat, sync = os.stat, os.fsync

    def counted_stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | os.PathLike):
            note("stat", path)
        return stat(path, *arguments, **options)

    def counted_sync(descriptor: Any) -> None:
        asked["store sync"] += 1
        sync(descriptor)

    sys.addaudithook(audit)
    # No audit event tells of these two.
    os.stat, os.fsync = counted_stat, counted_sync  # type: ignore[assignment]
    before, started = _bytes(psutil.Process()), time.process_time()
    n_bytes = extract_one(1, url).n_bytes
    found, seconds = dict(asked), time.process_time() - started
    after = _bytes(psutil.Process())
    os.stat, os.fsync = stat, sync
    # Again, without the counting; a chunk may be repeated.
    write_s = extract_one(0, url).seconds["write"]
    n = chunks[1][1] - chunks[1][0]
    print(
        json.dumps(
            {
                "instances": n,
                "cpu_s": seconds,
                "array_bytes_of_an_instance": (n_bytes - peak_bytes) / n,
                "array_bytes_of_a_chunk": peak_bytes,
                "write_s": write_s,
                "bytes_read": after[0] - before[0],
                "bytes_written": after[1] - before[1],
                "questions": found,
                "store_questions": sum(
                    v for k, v in found.items() if k.startswith("store")
                ),
                "data_questions_of_an_instance": sum(
                    v for k, v in found.items() if k.startswith("data")
                )
                / n,
                "files_written": found.get("store rename", 0),
            }
        )
    )


def _bytes(process: Any) -> tuple[int, int]:
    """Return what this process has read and written so far; zeros where unknown."""
    counters = getattr(process, "io_counters", None)
    if counters is None:
        return 0, 0
    values = counters()
    return values.read_chars, values.write_chars


def listing_costs(n_files: int) -> dict[str, Any]:
    """Return seconds of a core for each file of a folder that is listed."""
    from benchmarks.listing import make_files

    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), n_files, 100)
        code = "from benchmarks.listing import measure; measure(is_only_listed=True)"
        command = [sys.executable, "-c", code, name, "folder"]
        found = json.loads(run_process(command, dict(os.environ)))
    seconds = found["seconds"]["list"] + found["seconds"]["fingerprint"]
    return {
        "files": n_files,
        "seconds": seconds,
        "seconds_of_a_file": seconds / n_files,
    }


def decoding_cost(shared: Path, n: int) -> dict[str, Any]:
    """Return seconds of a core to decode a photograph and cut 224 x 224 pixels."""
    import statistics

    from nnviz.inputs.preparation.preprocessing import Preprocessing
    from nnviz.runs.config import PreprocessingConfig

    found = sorted((shared / "data" / "imagenet-sample").glob("*/*"))[:n]
    files = [path.read_bytes() for path in found]
    prepare = Preprocessing(PreprocessingConfig(resize=256, crop=224)).prepare
    prepare(files[0])
    times = []
    for _ in range(3):
        started = time.thread_time()
        for data in files:
            prepare(data)
        times.append((time.thread_time() - started) / len(files))
    n_bytes = sum(map(len, files)) / len(files)
    return {
        "files": len(files),
        "bytes_of_a_file": n_bytes,
        "core_s": statistics.median(times),
    }
