"""How many workers has a machine, and which environment, where nobody says it?

Nothing here imports a library: the fork server has to start before the first of them.
"""

from __future__ import annotations

import os

__all__ = ["LATE", "usual_workers", "worker_environment"]

LATE = ("NUMBA_NUM_THREADS",)
"""Variables that a worker reads when it imports a library, not when it starts."""


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
        # Workers on other machines do not have this process's settings of Dask.
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    }


def usual_workers(threads: int = 1) -> int:
    """Return how many workers there are where nobody says a number.

    Parameters
    ----------
    threads
        Threads inside one operation of the network.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, n_cores // threads)
