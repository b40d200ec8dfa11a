"""A Dask cluster on this machine: one process per worker, on loopback only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import dask
from distributed import Client, LocalCluster

__all__ = ["client", "worker_environment"]


def worker_environment(threads: int = 1) -> dict[str, str]:
    """Return the environment in which a worker process has to start.

    Dask's default ``MALLOC_TRIM_THRESHOLD_`` gives memory back after every large
    temporary; the page faults that follow halve the speed of inference on a CPU. A
    ``dask worker`` that is started by hand needs the same variables.

    Parameters
    ----------
    threads
        Threads inside one operation of the network.
    """
    return {
        "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
    }


@contextlib.contextmanager
def client(
    *, n_workers: int = 1, threads: int = 1, memory_limit: str = "auto"
) -> Iterator[Client]:
    """Start workers, hand out their client, and stop everything at the end.

    Parameters
    ----------
    n_workers
        Worker processes; each holds one copy of the network.
    threads
        Threads inside one operation; a worker runs one task at a time.
    memory_limit
        Of each worker, as Dask writes it: ``"8GB"``; ``"auto"`` shares the machine.
    """
    settings = {
        "distributed.nanny.pre-spawn-environ": worker_environment(threads),
        "distributed.worker.daemon": True,
        "distributed.worker.preload": ["nnviz_cluster.quiet"],
        # Sampling the stacks of a forward pass a hundred times a second costs time.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        # A forward pass may hold the interpreter's lock for seconds.
        "distributed.admin.tick.limit": "10s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory_limit,
            host="127.0.0.1",
            # No page, and a free port for what remains of the HTTP server.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected
