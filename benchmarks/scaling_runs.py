"""How much faster is a run on more workers? Measured, beside loops without Dask.

A *plain loop* is a process that calls the task's function for one chunk after another,
with no Dask and no scheduling; several plain loops, each with its share of the chunks,
say what the machine itself has to give. *Strong* scaling keeps the instances, *weak*
scaling the instances of each worker.

Starting processes and importing is no part of the times; to load the network and to
list the data is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import ROOT, extract_one, import_extraction, prepare
from benchmarks.memory import cluster
from benchmarks.scaling_costs import cpu_seconds

__all__ = ["Loops", "Sleeping", "Stores", "loops", "real_runs", "synthetic_runs"]

SLEEPING_RUN_FILE = """\
[model]
source = "{networks}:tiny"

[dataset]
kind = "torch"
source = "{here}:Sleeping"
arguments = {{ n_instances = {n_instances}, milliseconds = {milliseconds} }}

[preprocessing]
kind = "array"
dtype = "float32"

[extraction]
instances_per_chunk = {chunk}
batch_size = {chunk}
reader_threads = 1
"""


class Sleeping:
    """A torch data set whose instances take a known time, and no processor."""

    def __init__(self, n_instances: int, milliseconds: float) -> None:
        self.targets = np.zeros(n_instances, np.int64)
        self._seconds = milliseconds / 1000
        self._value: NDArray[np.float32] = np.linspace(
            0, 1, 64, dtype=np.float32
        ).reshape(1, 8, 8)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        time.sleep(self._seconds)
        return self._value, 0


class Stores:
    """Planned stores by number of instances, and a new copy for each run.

    Parameters
    ----------
    folder
        Where they are made.
    run_file
        Of the run; its data set has as many instances as asked for, or more.
    """

    def __init__(self, folder: Path, run_file: Path) -> None:
        self._folder = folder
        self._run_file = run_file
        self._copies = itertools.count()

    def plan(self, n_instances: int) -> Path:
        """Return an empty store of the first so many instances."""
        import nnviz
        from nnviz.runs.config import load_config

        path = self._folder / f"{self._run_file.stem}-{n_instances}.zarr"
        if not path.exists():
            config = load_config(self._run_file)
            limited = dataclasses.replace(config.dataset, limit=n_instances)
            config = dataclasses.replace(config, dataset=limited)
            plan, probe = nnviz.plan_run(config)
            nnviz.prepare_store(plan, str(path), probe=probe)
        return path

    @contextlib.contextmanager
    def new(self, n_instances: int) -> Iterator[Path]:
        """Hand out a copy, and remove it at the end."""
        planned = self.plan(n_instances)
        path = planned.with_name(f"{planned.stem}-{next(self._copies)}.zarr")
        shutil.copytree(planned, path)
        try:
            yield path
        finally:
            shutil.rmtree(path)


class Loops:
    """Plain processes with a worker's environment; each runs its chunks in a loop."""

    def __init__(self, n: int) -> None:
        self.n = n
        os.environ.update(_environment())
        # They start as workers do.
        context = distributed.utils.get_mp_context()
        self._pool = ProcessPoolExecutor(n, mp_context=context)
        # So many that each process gets one.
        list(self._pool.map(import_extraction, range(4 * n)))

    def run(self, store: Path, n: int) -> dict[str, Any]:
        """Extract the store in so many loops; seconds of all, and of each chunk."""
        from nnviz.store.store import Store

        chunks = Store.open(store).chunks.missing()
        started = time.perf_counter()
        jobs = [
            self._pool.submit(loop_over, chunks[i::n], str(store)) for i in range(n)
        ]
        chunk_s = [job.result() for job in jobs]
        return {"seconds": time.perf_counter() - started, "chunk_s": chunk_s}

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


def loop_over(chunks: Sequence[int], store: str) -> list[tuple[float, float]]:
    """Extract chunks one after another; return seconds, and those of a processor."""
    taken = []
    for index in chunks:
        started, busy = time.perf_counter(), time.process_time()
        extract_one(index, store)
        taken.append((time.perf_counter() - started, time.process_time() - busy))
    return taken


def run_with_dask(client: Any, store: Path) -> dict[str, Any]:
    """Extract the store on a client's workers."""
    from nnviz.extraction.extraction import extract
    from nnviz.store.store import Store

    summary = extract(Store.open(store, writable=True), client=client)
    if summary.failed:
        raise RuntimeError(str(summary))
    return {
        "seconds": summary.seconds,
        "parts": {part: s / summary.n_chunks for part, s in summary.parts.items()},
    }


def real_runs(
    folder: Path,
    shared: Path,
    cases: dict[str, tuple[int, int]],
    workers: Sequence[int],
    repeat: int,
    plain: Loops,
) -> list[dict[str, Any]]:
    """Measure inference of real networks, with and without influences.

    Parameters
    ----------
    folder
        For stores.
    shared
        Folder of data and weights.
    cases
        Instances of a chunk, and chunks of each worker, by network.
    workers
        Numbers of worker processes.
    repeat
        How often each is measured; medians are returned.
    plain
        As many processes as the most workers.
    """
    rows, most = [], max(workers)
    stores: dict[tuple[str, str], Stores] = {}
    for network, (chunk, n_chunks) in cases.items():
        place = folder / network
        place.mkdir()
        prepare(place, network, chunk * n_chunks * most, chunk, shared)
        for name, run_file in (("maxima", "maxima"), ("influences", "run")):
            stores[network, name] = Stores(place, place / f"{run_file}.toml")
    for n in workers:
        with cluster(n) as client:
            client.run(import_extraction)
            for (network, name), of in stores.items():
                chunk, n_chunks = cases[network]
                sizes = {"weak": chunk * n_chunks * n}
                sizes["strong"] = chunk * n_chunks * most
                found = _compare(of, plain, client, n, sizes, repeat)
                what = {"network": network, "recorded": name, "workers": n}
                rows.append({**what, "instances_per_chunk": chunk, **found})
    return rows


def _compare(
    stores: Stores,
    plain: Loops,
    client: Any,
    n: int,
    sizes: dict[str, int],
    repeat: int,
) -> dict[str, Any]:
    """Interleave one loop, as many loops as workers, and Dask; return medians."""
    alone = sizes["weak"] // n
    with stores.new(alone) as store:
        # Networks are loaded and kernels compiled before anything is timed.
        plain.run(store, n)
    with stores.new(sizes["weak"]) as store:
        run_with_dask(client, store)
    loop_s: list[float] = []
    loops_s: list[float] = []
    runs: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes.values()}
    for _ in range(repeat):
        with stores.new(alone) as store:
            loop_s.append(plain.run(store, 1)["seconds"])
        if n > 1:
            with stores.new(sizes["weak"]) as store:
                loops_s.append(plain.run(store, n)["seconds"])
        for size, found in runs.items():
            with stores.new(size) as store:
                found.append(run_with_dask(client, store))
    loop_per_s = alone / statistics.median(loop_s)
    loops_per_s = sizes["weak"] / statistics.median(loops_s) if n > 1 else loop_per_s
    row = {
        "loop_per_s": loop_per_s,
        "loops_per_s": loops_per_s,
        "loops_efficiency": loops_per_s / (n * loop_per_s),
    }
    for kind, size in sizes.items():
        per_s = size / statistics.median(run["seconds"] for run in runs[size])
        row[f"{kind}_per_s"] = per_s
        row[f"{kind}_efficiency"] = per_s / (n * loop_per_s)
    row["weak_against_loops"] = row["weak_per_s"] / loops_per_s
    some = runs[sizes["strong"]]
    parts = {
        part: statistics.median(run["parts"][part] for run in some)
        for part in some[0]["parts"]
    }
    return {"instances": sizes, **row, "seconds_of_a_chunk": parts}


def synthetic_runs(
    folder: Path,
    workers: Sequence[int],
    *,
    chunk: int,
    milliseconds: float,
    n_chunks: int,
    plain: Loops,
) -> dict[str, Any]:
    """Measure a load that sleeps, so that cores are not the limit.

    Parameters
    ----------
    folder
        For stores.
    workers
        Numbers of worker processes.
    chunk
        Instances of a chunk.
    milliseconds
        What an instance takes.
    n_chunks
        Chunks of a worker in the weak runs, and four times as many in the strong ones.
    plain
        One process at the least.
    """
    place = folder / "sleeping"
    place.mkdir()
    most = max(max(workers) * n_chunks, 4 * n_chunks) * chunk
    text = SLEEPING_RUN_FILE.format(
        networks=ROOT / "benchmarks" / "networks.py",
        here=Path(__file__).resolve(),
        n_instances=most,
        milliseconds=milliseconds,
        chunk=chunk,
    )
    # A network without weights would be another one each time.
    text = text.replace(':tiny"', f':tiny"\nweights = "{_tiny_weights(place)}"')
    (place / "run.toml").write_text(text, encoding="utf-8")
    stores = Stores(place, place / "run.toml")
    for n in (plain.n, 1):
        # In the first run every process compiles.
        with stores.new(n_chunks * chunk) as store:
            loop = plain.run(store, n)
    first, *rest = loop["chunk_s"][0]
    chunk_s, chunk_cpu_s = map(statistics.median, zip(*rest, strict=True))
    rows, starts = [], []
    with cluster(0) as client:
        for n in sorted(workers):
            started = time.perf_counter()
            before = len(client.scheduler_info(n_workers=-1)["workers"])
            client.cluster.scale(n)
            client.wait_for_workers(n, timeout=300)
            registered = time.perf_counter()
            client.run(import_extraction)
            # The pause at its end lets a pool of processes share such calls.
            ready = time.perf_counter() - 0.2
            with stores.new(2 * n * chunk) as store:
                run_with_dask(client, store)
            starts.append(
                {
                    "workers": n - before,
                    "register_s": registered - started,
                    "import_s": ready - registered,
                }
            )
            for kind, size in (("strong", 4 * n_chunks), ("weak", n * n_chunks)):
                with stores.new(size * chunk) as store:
                    cpu = _core_seconds(client)
                    seconds = run_with_dask(client, store)["seconds"]
                    now = _core_seconds(client)
                ideal = size * loop["seconds"] / n_chunks / n
                rows.append(
                    {
                        "kind": kind,
                        "workers": n,
                        "chunks": size,
                        "seconds": seconds,
                        "efficiency": ideal / seconds,
                        **{
                            name: (now[name] - before_run) / size
                            for name, before_run in cpu.items()
                        },
                    }
                )
    return {
        "instances_per_chunk": chunk,
        "milliseconds_of_an_instance": milliseconds,
        # The first chunk also opens the store and loads the network.
        "loop": {
            "seconds": loop["seconds"] / n_chunks,
            "chunk_s": chunk_s,
            "chunk_core_s": chunk_cpu_s,
            "load_s": max(0.0, first[0] - chunk_s),
            "load_core_s": max(0.0, first[1] - chunk_cpu_s),
        },
        "runs": rows,
        "starts": starts,
    }


def _core_seconds(client: Any) -> dict[str, float]:
    """Return what scheduler, client and all workers have taken of processors so far."""
    return {
        "scheduler_s": client.run_on_scheduler(cpu_seconds),
        "client_s": cpu_seconds(),
        "worker_core_s": sum(client.run(cpu_seconds).values()),
    }


def _tiny_weights(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    from benchmarks import networks

    torch.manual_seed(0)
    path = folder / "tiny.safetensors"
    save_file(networks.tiny().state_dict(), path)
    return path


@contextlib.contextmanager
def loops(n: int) -> Iterator[Loops]:
    """Start plain processes, and end them."""
    from nnviz_cluster.worker_start import kept_environment

    with kept_environment():
        started = Loops(n)
        try:
            yield started
        finally:
            started.close()


def _environment() -> dict[str, str]:
    from nnviz_cluster.worker_start import worker_environment

    return worker_environment(1)
