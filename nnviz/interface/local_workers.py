"""Where does a stage run that is called from Python? Here, or in local processes.

Processes pay where there is much to compute: each one imports torch and copies the
network first. Otherwise, and where objects in memory cannot be sent, one worker runs as
a thread of this process. A client of the caller's own is used as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from nnviz.engine.callers_objects import cannot_travel, delivered
from nnviz.engine.handing_over import holding
from nnviz.engine.progress import Listener, Notice, emit
from nnviz.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["OF_THREADS", "local_workers", "n_workers_for", "reaching"]

WORTH_PROCESSES_S = 30.0
"""Two processes save at most half of a run, and take some seconds to start."""

OF_THREADS = {
    # Dask asks for the frames of all threads a hundred times a second. If Python looks
    # for garbage just then, and finds something of a thread, it waits for a lock that
    # it holds itself, and with it the whole process for ever.
    "distributed.worker.profile.enabled": False,
    # Fifty times a second each server would see whether it answers in time.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "10s",
    "distributed.admin.system-monitor.interval": "5s",
}
"""Dask's settings where workers are threads of this process."""


@contextlib.contextmanager
def reaching(
    objects: Mapping[str, Any], client: Client | None = None
) -> Iterator[None]:
    """Hand objects over to this process, and to a cluster's workers.

    Workers that are threads of this process find them without being sent a copy.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(holding(objects))
        if client is not None and not _is_inside(client):
            stack.enter_context(delivered(objects, client))
        yield


def _is_inside(client: Client) -> bool:
    """Whether all workers of a cluster are, and will be, threads of this process."""
    address = client.scheduler.address if client.scheduler else None
    return (address or "").startswith("inproc://")


def n_workers_for(
    seconds: float | None,
    objects: Mapping[str, Any],
    workers: int | None,
    listeners: list[Listener],
) -> int:
    """Return how many local processes to start; 0 for a thread of this one.

    Parameters
    ----------
    seconds
        That the work takes in one process, about; None if nobody knows.
    objects
        In memory, which processes would have to be sent.
    workers
        As the caller wants it; None leaves it to this function.
    listeners
        Told why there is one process only.

    Raises
    ------
    TaskError
        If the caller wants processes, and objects cannot be sent to them.
    ConfigError
        If it is not a number of processes.
    """
    if workers is not None and (isinstance(workers, bool) or workers < 0):
        msg = f"workers is {workers!r}; it is a number of processes, 0 for none"
        raise ConfigError(msg)
    if workers == 0:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    wanted = cores if workers is None else workers
    if workers is None:
        is_short = seconds is not None and seconds < WORTH_PROCESSES_S
        if is_short or cores < 2 or torch.cuda.is_available():
            return 0
    reason = cannot_travel(objects) if objects else ""
    if reason and workers is not None:
        msg = (
            f"network or data set cannot be sent to other processes ({reason}); leave "
            "out workers=, or name the callables that build them in a run file"
        )
        raise TaskError(msg)
    if reason:
        text = f"in one process: network or data set cannot be sent ({reason})"
        emit(listeners, Notice("workers", text))
        return 0
    return wanted


@contextlib.contextmanager
def local_workers(n_workers: int, *, threads: int = 1) -> Iterator[Client]:
    """Start workers on this machine; 0 starts one as a thread of this process."""
    if n_workers:
        from nnviz_cluster import local  # noqa: PLC0415  starts nothing in a thread

        with (
            _main_left_alone(),
            local.client(n_workers=n_workers, threads=threads) as c,
        ):
            yield c
        return
    import dask.config  # noqa: PLC0415  as Dask
    from distributed import Client, Scheduler, SpecCluster, Worker  # noqa: PLC0415

    # Inside of this process: whoever reached a port could run code as this user. What
    # Dask serves about itself has an address all the same, and all by default.
    options = {
        "protocol": "inproc://",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    worker = {"cls": Worker, "options": {"nthreads": 1, "memory_limit": 0, **options}}
    before = torch.get_num_threads()
    try:
        with (
            dask.config.set(OF_THREADS),
            SpecCluster(
                workers={0: worker},
                scheduler={"cls": Scheduler, "options": options},
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _main_left_alone() -> Iterator[None]:
    """Let new processes not run the script again that calls this.

    They would, to find what it defines, and a script without ``if __name__ ==
    "__main__":`` would start processes without end. What it defines travels by value.
    """
    main = sys.modules["__main__"]
    hidden = {name: vars(main)[name] for name in ("__file__",) if name in vars(main)}
    spec, main.__spec__ = main.__spec__, None
    for name in hidden:
        delattr(main, name)
    try:
        yield
    finally:
        main.__spec__ = spec
        for name, value in hidden.items():
            setattr(main, name, value)
