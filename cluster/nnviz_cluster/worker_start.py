"""How has a worker process to start? The same for every kind of cluster."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

from nnviz.engine.workers import PATIENCE
from nnviz.errors import MissingDependencyError
from nnviz_cluster.site import QUEUED, ClusterConfig
from nnviz_cluster.worker_defaults import LATE, worker_environment

__all__ = [
    "PRELOAD",
    "kept_environment",
    "missing",
    "settings_of",
    "worker_environment",
]

PRELOAD = "nnviz_cluster.quiet"
"""Module that every worker process loads."""


def settings_of(config: ClusterConfig, threads: int) -> dict[str, Any]:
    """Return Dask's settings for scheduler and workers of a cluster that we start."""
    environment = worker_environment(threads) | dict(config.environment)
    # Dask sets the first kind in the process that starts the workers, too. There numba
    # may have started its threads, and refuses to hear of another number.
    late = {name: environment.pop(name) for name in LATE if name in environment}
    return {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.nanny.environ": late,
        "distributed.worker.daemon": True,
        "distributed.worker.preload": [PRELOAD],
        # Sampling the stacks of a forward pass a hundred times a second costs time.
        "distributed.worker.profile.enabled": False,
        # A task that was assigned to a worker that died is handed back at once: nnviz
        # knows better which of them to blame, and what to do.
        "distributed.scheduler.allowed-failures": 0,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        # A forward pass may hold the interpreter's lock for seconds.
        "distributed.admin.tick.limit": "10s",
        # A nanny of this process is never lost, and may need a while to start another
        # worker; in Dask's 15 seconds it would be closed at it, and nobody comes back.
        "distributed.deploy.lost-worker-timeout": (
            config.slurm.resubmit_after if config.kind in QUEUED else "1000d"
        ),
        # Jobs of a batch system wait as long as they must.
        PATIENCE: math.inf if config.kind in QUEUED else 300.0,
    }


@contextlib.contextmanager
def kept_environment() -> Iterator[None]:
    """Give this process its variables back, which Dask sets to start workers here."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def missing(kind: str, library: str, extra: str) -> MissingDependencyError:
    """Return the error of a kind of cluster whose library is not installed."""
    msg = (
        f"a {kind} cluster needs the library {library!r}, which is not installed or "
        f"cannot be imported; pip install 'nnviz[{extra}]'"
    )
    return MissingDependencyError(msg)
